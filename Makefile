# One command each; every one makes what it needs first. `make help` lists them.
# Needs only Python 3.11 or newer, make and git. Another interpreter: make PYTHON=python3.13 …

PYTHON ?= python3
WORDS := $(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/pyproject.toml))))
MANIFESTS := pyproject.toml uv.lock $(wildcard plugins/*/pyproject.toml)
UV := .venvs/uv/bin/uv
BIN := .venv/bin

# uv installs into the environment that each rule names, never into one that happens to be active.
unexport VIRTUAL_ENV
export PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-alone test-all check lint types shape bench fuzz lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.synced ## make .venv, with everything that development needs

demo: .venv/.synced ## run a guarded and an unguarded host side by side, with five attacks
	@$(BIN)/python examples/demo.py

test: test-alone ## run all tests: the core alone, each plugin alone with the core, then everything
	@$(MAKE) --no-print-directory test-all

test-all: .venv/.synced
	$(BIN)/python -m pytest tests plugins

test-alone: $(addprefix alone-,core $(WORDS))

alone-core: .venvs/core/.synced
	.venvs/core/bin/python -m pytest -q tests/core

alone-%: .venvs/%/.synced
	.venvs/$*/bin/python -m pytest -q plugins/$*

check: lint types shape ## ruff, mypy --strict, and the limits on the size of functions and modules

lint: .venv/.synced
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/.synced
	$(BIN)/mypy

shape: .venv/.synced
	$(BIN)/python contrib/shape.py src plugins

bench: .venv/.synced ## run the benchmarks: a table and JSON
	@$(BIN)/python tests/bench/run.py

fuzz: .venv/.synced ## run the fuzz targets
	@$(BIN)/python tests/fuzz/run.py

lock: $(UV) ## bring uv.lock up to date with the manifests
	$(UV) lock

clean: ## remove the environments and caches
	rm -rf .venv .venvs .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist

# Environments. A stamp is older than a manifest: sync again.

.venvs/uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "no Python 3.11 or newer: '$(PYTHON)' is missing or older" >&2; \
	  echo "hint: install one, or name it: make PYTHON=python3.13 …" >&2; exit 1; }
	@$(PYTHON) -m venv .venvs/uv || { \
	  echo "hint: the module venv is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@.venvs/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

# sync(environment, arguments)
define sync
	UV_PROJECT_ENVIRONMENT=$(1) $(UV) sync --quiet --locked --python .venvs/uv/bin/python $(2)
	@touch $(1)/.synced
endef

.venv/.synced: $(MANIFESTS) | $(UV)
	$(call sync,.venv,--all-packages --all-extras)

.venvs/core/.synced: $(MANIFESTS) | $(UV)
	$(call sync,.venvs/core,--extra sdk --no-default-groups --group test)

.venvs/%/.synced: $(MANIFESTS) | $(UV)
	$(call sync,.venvs/$*,--extra $* --no-default-groups --group test)
