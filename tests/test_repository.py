"""What holds for the repository as a whole: names, versions, dependencies, decisions, and who imports whom."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import hauberk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
WORDS = [path.name for path in PLUGINS]
FRAGMENT = re.compile(r"[a-z0-9-]+\.(added|changed|deprecated|removed|fixed|security)\.md")
each_plugin = pytest.mark.parametrize("folder", PLUGINS, ids=WORDS)


def manifest(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def strings(value: object) -> Iterator[str]:
    """Yield each string in a TOML value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield each node of a module but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from executed(node)


def imports(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each module that is imported at run time under a folder, as the file and the top name of the import."""
    for path in folder.rglob("*.py"):
        for node in executed(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield path, node.module.partition(".")[0]


def test_lock_names_only_the_public_index() -> None:
    """``uv.lock`` names no host but those of the public package index."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    hosts = {urlsplit(text).netloc for text in strings(lock) if "://" in text}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_lock_takes_everything_from_the_index_or_from_here() -> None:
    """Each locked package comes from the public index, or is a member of the workspace."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    local = {package["name"] for package in lock["package"] if "registry" not in package["source"]}
    assert local == {"hauberk", *(f"hauberk-{word}" for word in WORDS)}


def test_decisions_have_one_number_each() -> None:
    """No two decisions share a number, none is left out, and the first says what the project is for."""
    names = sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert [name[:5] for name in names] == [f"{number:04d}-" for number in range(1, len(names) + 1)]
    assert names[0] == "0001-what-this-project-is-for.md"


def test_decisions_have_one_form() -> None:
    """Each decision has its number as title, a status, a context, a decision and its consequences."""
    for path in (ROOT / "docs" / "adr").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        for part in ("\nStatus: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n"):
            assert part in text, (path.name, part)


def test_each_runtime_dependency_has_a_decision() -> None:
    """A dependency of the core is the subject of a page in ``docs/adr``."""
    decisions = [path.stem.split("-")[1:] for path in (ROOT / "docs" / "adr").glob("*.md")]
    for requirement in manifest(ROOT)["project"]["dependencies"]:
        name = re.split(r"[^\w-]", requirement)[0]
        assert any(name in words for words in decisions), name


def test_one_version_for_all() -> None:
    """The core, its ``__version__`` and every plugin have one version (until 1.0)."""
    versions = {manifest(folder)["project"]["version"] for folder in (ROOT, *PLUGINS)}
    assert versions == {hauberk.__version__}


@each_plugin
def test_names_derive_from_one_word(folder: Path) -> None:
    """A plugin's folder names its distribution, its module and its entry point."""
    word, project = folder.name, manifest(folder)["project"]
    assert project["name"] == f"hauberk-{word}"
    assert [path.name for path in (folder / "src").iterdir() if path.is_dir()] == [f"hauberk_{word}"]
    assert list(project["entry-points"]["hauberk.plugins"]) == [word]
    assert project["entry-points"]["hauberk.plugins"][word].startswith(f"hauberk_{word}:")


@each_plugin
def test_each_plugin_is_an_extra_of_the_core(folder: Path) -> None:
    """``hauberk[<word>]`` and ``hauberk[all]`` install the plugin, in the range of its version."""
    extras = manifest(ROOT)["project"]["optional-dependencies"]
    assert extras[folder.name] == [f"hauberk-{folder.name}>=0.1,<0.2"]
    assert folder.name in re.split(r"[\[\],]", extras["all"][0])


@each_plugin
def test_plugins_have_one_shape(folder: Path) -> None:
    """A plugin has a page, a typed module, tests, a range of the core, and is known to mypy."""
    source = folder / "src" / f"hauberk_{folder.name}"
    assert {"README.md", "pyproject.toml", "src", "tests"} <= {path.name for path in folder.iterdir()}
    assert {"__init__.py", "py.typed"} <= {path.name for path in source.iterdir()}
    assert "hauberk>=0.1,<0.2" in manifest(folder)["project"]["dependencies"]
    assert str(source.parent.relative_to(ROOT)) in manifest(ROOT)["tool"]["mypy"]["mypy_path"]


def test_core_imports_no_plugin() -> None:
    """The core never imports a plugin."""
    assert [found for found in imports(ROOT / "src") if found[1].startswith("hauberk_")] == []


@each_plugin
def test_plugin_imports_no_other_plugin(folder: Path) -> None:
    """A plugin never imports another plugin."""
    own = f"hauberk_{folder.name}"
    assert [found for found in imports(folder / "src") if found[1].startswith("hauberk_") and found[1] != own] == []


def test_sdk_is_imported_in_one_place() -> None:
    """Only the hosts, and the SDK's face of the testing kit, import the SDK and what it stands on."""
    users = {path for path, name in imports(ROOT / "src") if name in {"mcp", "mcp_types", "anyio", "pydantic"}}
    kit = ROOT / "src" / "hauberk" / "testing" / "_sdk.py"  # a transport for the SDK's client; imported when asked for
    assert kit in users
    assert {path.parent.name for path in users - {kit}} <= {"hosts"}


def test_pytest_is_imported_in_one_place() -> None:
    """Only the fixtures of the testing kit import pytest: no guard loads it, and no user needs it."""
    users = {path.name for path, name in imports(ROOT / "src") if name in {"pytest", "_pytest"}}
    assert users == {"_pytest.py"}


def test_changelog_fragments_have_a_kind() -> None:
    """A changelog fragment is ``<word>.<kind>.md``, is not empty, and is a sentence."""
    fragments = list((ROOT / "changelog.d").iterdir())
    assert [path.name for path in fragments if not FRAGMENT.fullmatch(path.name)] == []
    assert [path.name for path in fragments if not path.read_text(encoding="utf-8").endswith(".\n")] == []


def test_each_test_states_its_claim() -> None:
    """Each test has a docstring, and no two of one file have the same."""
    for path in [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")]:
        tests = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        ]
        claims = Counter(ast.get_docstring(test) for test in tests)
        assert None not in claims, path
        assert [claim for claim, times in claims.items() if times > 1] == [], path


def test_environment_is_read_in_one_place() -> None:
    """Only ``config.py`` reads the environment, and no module asks for the time of day or for chance by itself."""
    banned = re.compile(r"os\.environ|os\.getenv|\btime\.time\(|\bimport random\b|\bdatetime\.now\(")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for top in (ROOT / "src", *(folder / "src" for folder in PLUGINS))
        for path in top.rglob("*.py")
        if path.name != "config.py"
        for match in banned.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
