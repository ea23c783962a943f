"""The template for plugins: what it makes is installed apart, passes its own tests and conforms."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hauberk.conformance import CHECKS

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "contrib" / "plugin-template"
WORD = "night_watch"
PATIENCE = 240.0

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, cwd: Path, status: int = 0, path: str = os.defpath) -> str:
    """Run a program as a user who has set up nothing; return what it said."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "UV_"))}
    env = kept | {"HOME": os.environ.get("HOME", "/"), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def generate(folder: Path, status: int = 0, **answers: str) -> str:
    """Answer the questions of the template; return what Copier said."""
    given = [f"--data={name}={value}" for name, value in answers.items()]
    copier: list[str | Path] = [sys.executable, "-m", "copier", "copy", "--defaults", *given, TEMPLATE, folder]
    return run(*copier, cwd=folder.parent, status=status, path=os.environ["PATH"])


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a plugin made from the template."""
    folder = tmp_path_factory.mktemp("template") / "plugin"
    generate(folder, word=WORD, author="A. Nother")
    return folder


@pytest.fixture(scope="module")
def programs(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheels of the core and of the plugin into an environment of their own; return its programs."""
    home = tmp_path_factory.mktemp("apart")
    run(sys.executable, "-m", "venv", home / "venv", cwd=home)
    pip: list[str | Path] = [home / "venv" / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", home / "dist", ROOT, generated, cwd=home)
    group = tomllib.loads((generated / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["test"]
    run(*pip, "install", *(home / "dist").glob("*.whl"), *group, cwd=home)
    return home / "venv" / "bin"


# --- what it makes ---


def test_names_derive_from_one_word(generated: Path) -> None:
    """Package, module, entry point, table and codes have one word, and nothing of the template is left over."""
    project = tomllib.loads((generated / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "hauberk-night-watch"
    assert project["entry-points"]["hauberk.plugins"] == {WORD: "hauberk_night_watch:NightWatch"}
    assert [path.name for path in (generated / "src").iterdir()] == ["hauberk_night_watch"]
    files = [path for path in generated.rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".jinja" or re.search(r"[{][{%]", path.read_text())] == []


def test_plugin_has_the_shape_of_the_others(generated: Path) -> None:
    """What is made has the parts that each plugin of this project has, and the range of the core that they have."""
    source = generated / "src" / f"hauberk_{WORD}"
    assert {"README.md", "pyproject.toml", "src", "tests"} <= {path.name for path in generated.iterdir()}
    names = {path.name for path in source.iterdir()}
    assert names == {"__init__.py", "_options.py", "_plugin.py", "_rules.py", "py.typed"}
    ours = tomllib.loads((ROOT / "plugins" / "sieve" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made = tomllib.loads((generated / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert made["dependencies"] == [one for one in ours["dependencies"] if one.startswith("hauberk")]
    assert made["requires-python"] == ours["requires-python"]


def test_made_code_is_clean(generated: Path) -> None:
    """The linter, its formatter and mypy, as the made package sets them up, find nothing."""
    path = f"{Path(sys.executable).parent}:{os.defpath}"
    run(sys.executable, "-m", "ruff", "check", "--no-cache", cwd=generated, path=path)
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", cwd=generated, path=path)
    run(sys.executable, "-m", "mypy", "--cache-dir", os.devnull, cwd=generated, path=path)


@pytest.mark.parametrize("word", ["x", "as_long_as_a_word_can_be"])
def test_code_is_clean_with_any_word(word: str, tmp_path: Path) -> None:
    """The linter and its formatter find nothing, however short or long the word is."""
    generate(tmp_path / "plugin", word=word, author="A. Nother", layer="CONTENT")
    for check in (["check"], ["format", "--check"]):
        run(sys.executable, "-m", "ruff", *check, "--no-cache", cwd=tmp_path / "plugin", path=os.environ["PATH"])


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"word": "Night Watch", "author": "A"}, "use lower-case letters"),
        ({"word": "7up", "author": "A"}, "use lower-case letters"),
        ({"word": "server", "author": "A"}, "a word of the core's own"),
        ({"word": "curfew", "author": 'A "B"'}, "a name, without quotes"),
        ({"word": "curfew", "author": "A", "does": "Ends."}, "no period"),
        ({"word": "curfew", "author": "A", "layer": "WIRE"}, "layer"),
    ],
    ids=["blank", "digit", "taken", "quotes", "period", "layer"],
)
def test_wrong_answers_are_refused(answers: dict[str, str], words: str, tmp_path: Path) -> None:
    """An answer that would make a package which does not load is refused, and nothing is made."""
    assert words in generate(tmp_path / "plugin", status=1, **answers)
    assert not (tmp_path / "plugin" / "pyproject.toml").exists()


def test_template_runs_no_code() -> None:
    """The template has no tasks, no migrations and no extensions: nothing of it has to be trusted."""
    text = (TEMPLATE / "copier.yml").read_text(encoding="utf-8")
    settings = set(re.findall(r"(?m)^(_\w+):", text))
    assert settings == {"_min_copier_version", "_subdirectory", "_message_after_copy"}


# --- what it makes, installed apart ---


@pytest.mark.wheels
def test_made_plugin_passes_its_own_tests(generated: Path, programs: Path) -> None:
    """Installed with the wheel of the core, and nothing else of this project, the made plugin passes its tests."""
    said = run(programs / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=generated)
    assert re.search(r"\d\d passed", said), said
    assert "skipped" not in said


@pytest.mark.wheels
def test_made_plugin_conforms(programs: Path, tmp_path: Path) -> None:
    """The made plugin passes every check of the conformance suite, run from the installed core."""
    said = json.loads(run(programs / "python", "-m", "hauberk.conformance", WORD, "--json", cwd=tmp_path))
    assert said["passed"] is True
    assert [check["check"] for check in said["checks"]] == [check.name for check in CHECKS]
    assert {check["status"] for check in said["checks"]} == {"passed"}


@pytest.mark.wheels
def test_made_plugin_is_shown_and_runs_with_its_table(programs: Path, tmp_path: Path) -> None:
    """``hauberk plugins`` shows the made plugin: idle without its table, active with it."""
    for table, active in (("", False), (f'[{WORD}]\ndeny = ["write*"]\n', True)):
        config = tmp_path / "hauberk.toml"
        config.write_text(table)
        config.chmod(0o600)
        shown = json.loads(run(programs / "hauberk", "plugins", "--config", config, "--json", cwd=tmp_path))
        assert [(plugin["name"], plugin["active"]) for plugin in shown] == [(WORD, active)]
