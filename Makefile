# One command each; every one makes what it needs first. `make help` lists them.
# Needs only Python 3.11 or newer, make and git. Another interpreter: make PYTHON=python3.13 …
# Arguments for pytest: make test ARGS='-m "not registry and not wheels"'; one process, to look into a test: ARGS='-n 0'

PYTHON ?= python3
WORDS := $(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/pyproject.toml))))
MANIFESTS := pyproject.toml uv.lock $(wildcard plugins/*/pyproject.toml)
UV := .venvs/uv/bin/uv
UVPYTHON := .venvs/uv/bin/python
MIRROR = $(UVPYTHON) -m pip config list | sed -n "s/^[a-z:]*\.index-url='\(.*\)'$$/\1/p" | head -n 1
BIN := .venv/bin
PYTEST := -m pytest -n logical --dist loadfile

# uv installs into the environment that each rule names, never into one that happens to be active.
unexport VIRTUAL_ENV
# pip and git trust what the machine trusts; so does uv.
export UV_SYSTEM_CERTS ?= 1

.DEFAULT_GOAL := help
.SECONDARY:
.PHONY: help setup demo demo-tls test test-alone test-across test-all test-lowest check lint types shape bench bench-peers efficacy fuzz mcp-conformance tls-scan docs docs-write lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.synced ## make .venv, with everything that development needs

demo: .venv/.synced ## run a guarded and an unguarded host side by side, with five attacks
	@$(BIN)/python examples/demo.py

demo-tls: .venv/.synced ## run the same with the guarded servers behind TLS, with certificates on both sides
	@$(BIN)/python examples/demo_tls.py

test: test-alone ## run all tests: the core alone, each plugin alone with the core, then what crosses packages
	@$(MAKE) --no-print-directory test-across

# The log has tests that need its extras, which it is without where it is alone.
test-across: .venv/.synced
	$(BIN)/python $(PYTEST) tests plugins/audit --ignore tests/core -m "not campaign" $(ARGS)

test-all: .venv/.synced ## run all tests once, in one environment with everything in it
	$(BIN)/python $(PYTEST) tests plugins -m "not campaign" $(ARGS)

test-alone: $(addprefix alone-,core $(WORDS))

alone-core: .venvs/core/.synced
	.venvs/core/bin/python $(PYTEST) -q tests/core $(ARGS)

test-lowest: .venvs/lowest/.synced ## run the tests of the core with the lowest versions that it allows
	.venvs/lowest/bin/python $(PYTEST) -q tests/core $(ARGS)

alone-%: .venvs/%/.synced
	.venvs/$*/bin/python $(PYTEST) -q plugins/$* $(ARGS)

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

PEERS := $(patsubst tests/bench/peers/%.txt,.venvs/peers-%/.synced,$(wildcard tests/bench/peers/*.txt))

bench-peers: .venv/.synced ## measure beside fastmcp, Lasso's mcp-gateway and CPEX: a table and JSON
	-@$(MAKE) --silent --no-print-directory --keep-going $(PEERS)
	@$(BIN)/python tests/bench/peers/run.py

efficacy: .venv/.synced ## count what the sieve catches of a corpus of attacks, and what it catches that is harmless
	@$(BIN)/python tests/efficacy/run.py

fuzz: .venv/.synced ## run the fuzz targets
	@$(BIN)/python tests/fuzz/run.py

docs: .venvs/docs/.synced ## build the documentation site into build/docs; a warning is an error
	.venvs/docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --fresh-env -c contrib/docs docs build/docs

docs-write: .venv/.synced ## renew the parts of the documentation that are made from the code
	$(BIN)/python -m contrib.docs.generate --write

mcp-conformance: .venv/.synced ## play the official MCP conformance suite's client scenarios, bare and guarded
	@$(BIN)/python tests/mcp_conformance/run.py

tls-scan: .venv/.synced ## scan `hauberk serve` under TLS with sslyze, testssl and tlsfuzzer
	@$(BIN)/python tests/tls_scan/run.py

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
	@$(UVPYTHON) -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<1'

# sync(environment, arguments): uv.lock names the public index. Where pip is set up to use another one, uv would not
# reach the addresses in the lock, or would lock anew; there the same versions come from that index, by their hashes.
define sync
	@index=$${UV_DEFAULT_INDEX:-$$($(MIRROR))}; \
	if [ -z "$$index" ]; then UV_PROJECT_ENVIRONMENT=$(1) $(UV) sync --quiet --locked --python $(UVPYTHON) $(2); else \
	  export UV_DEFAULT_INDEX="$$index"; \
	  $(UV) venv --quiet --clear --python $(UVPYTHON) $(1) && \
	  $(UV) export --quiet --frozen $(2) --output-file $(1)/requirements.txt && \
	  $(UV) pip sync --quiet --python $(1)/bin/python $(1)/requirements.txt; \
	fi
	@touch $(1)/.synced
endef

.venv/.synced: $(MANIFESTS) | $(UV)
	$(call sync,.venv,--all-packages --all-extras)

.venvs/core/.synced: $(MANIFESTS) | $(UV)
	$(call sync,.venvs/core,--extra sdk --no-default-groups --group test)

.venvs/lowest/.synced: $(MANIFESTS) | $(UV)
	@index=$${UV_DEFAULT_INDEX:-$$($(MIRROR))}; if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	$(UV) venv --quiet --clear --python $(UVPYTHON) .venvs/lowest && \
	$(UV) pip install --quiet --python .venvs/lowest/bin/python --resolution lowest-direct --group test --editable '.[sdk]'
	@touch $@

.venvs/docs/.synced: $(MANIFESTS) | $(UV)
	$(call sync,.venvs/docs,--only-group docs)

.venvs/peers-%/.synced: tests/bench/peers/%.txt | $(UV)
	@index=$${UV_DEFAULT_INDEX:-$$($(MIRROR))}; if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	$(UV) venv --quiet --clear --python $(UVPYTHON) .venvs/peers-$* && \
	$(UV) pip install --quiet --python .venvs/peers-$*/bin/python --requirement $<
	@touch $@

.venvs/%/.synced: $(MANIFESTS) | $(UV)
	$(call sync,.venvs/$*,--extra $* --no-default-groups --group test)
