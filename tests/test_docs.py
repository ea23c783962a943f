"""The pages under ``docs/`` against the code: every option, every code, every block."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from tests.prose import DOCS, ROOT, Place, block, call, rows, section

from hauberk import Config, Options
from hauberk._document import Core, Features, Plugins, ServerOptions
from hauberk.bounds import Bounds
from hauberk.exchange import Outcome
from hauberk_audit._options import Options as AuditOptions
from hauberk_sieve._options import Options as SieveOptions

CONFIGURATION = DOCS / "configuration.md"
REFUSALS = DOCS / "refusals.md"
PLUGINS = DOCS / "plugins.md"
OWN = set(Options.__struct_fields__)
TABLES: dict[str, type[msgspec.Struct]] = {
    "`[plugins]`": Plugins,
    "`[features]`": Features,
    "`[server.NAME]`": ServerOptions,
    "`[core]`": Core,
    "`[core.bounds]`": Bounds,
    "Every plugin": Options,
    "`[sieve]`": SieveOptions,
    "`[audit]`": AuditOptions,
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- configuration.md ---


def written(value: Any) -> str:
    """Return a default as the page writes it."""
    if value is None:
        return "none"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def options(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the keys of a table with their defaults, as the page writes them."""
    made = kind()
    shared = OWN if issubclass(kind, Options) and kind is not Options else set()
    values = {name: getattr(made, name) for name in kind.__struct_fields__ if name not in shared}
    return {f"`{name}`": written(value) for name, value in values.items() if not isinstance(value, Bounds)}


@pytest.mark.parametrize("heading", TABLES)
def test_every_option_has_its_row(heading: str) -> None:
    """Each key that a table takes stands on the page with its default, and no other does."""
    shown = {key: default for key, default, _ in rows(section(CONFIGURATION, heading))}
    assert shown == options(TABLES[heading])


def test_configuration_of_the_page_lets_a_host_start(place: Place) -> None:
    """The page's configuration is one without a fault, in production too."""
    place.write("hauberk.toml", block(CONFIGURATION, "toml", "profile"))
    locked = place.run(["hauberk", "plugins", "lock", "--config", "hauberk.toml", "--editable"])
    assert locked.status == 0, locked.err
    done = place.run(["hauberk", "config", "check", "--config", "hauberk.toml", "--json"])
    assert json.loads(done.out)["profile"] == "production", done.err


def test_more_specific_lists_are_united() -> None:
    """A deny list for one server is added to the one for all, as the page says of narrow options."""
    config = Config.from_toml(block(CONFIGURATION, "toml", "profile"))
    assert config.options("sieve", SieveOptions, "files").deny == ("*/execute_shell", "files/read_media_file")


# --- refusals.md ---


def codes_of_the_core() -> set[str]:
    """Return each code that stands in the source of the core; outcomes are made of theirs."""
    found = {f"core.{outcome}" for outcome in get_args(Outcome)}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(r"core\.[a-z_]+", str(node.value)):
                found.add(str(node.value))
    return found


def codes_of_the_page() -> list[str]:
    """Return each code that begins a row of the page, as often as it does."""
    lines = REFUSALS.read_text(encoding="utf-8").splitlines()
    firsts = [line.split(" | ")[0] for line in lines if line.startswith("| `core.")]
    return [code for first in firsts for code in re.findall(r"`(core\.\w+)`", first)]


def test_every_code_has_its_entry() -> None:
    """Each code of the core has one entry on the page, and the page has no other."""
    page = codes_of_the_page()
    assert sorted(page) == sorted(codes_of_the_core())


def test_every_refusal_says_what_to_do() -> None:
    """Each refusal on the page has a meaning and what to do, each a sentence."""
    text = REFUSALS.read_text(encoding="utf-8").partition("\n## Events that are no refusals\n")[0]
    entries = [row for row in rows(text) if row[0].startswith("`core.")]
    assert len(entries) > 30
    assert [row[0] for row in entries if len(row) != 3 or not all(cell.endswith(".") for cell in row[1:])] == []


# --- plugins.md ---


def test_policy_of_the_page_denies(place: Place) -> None:
    """The page's policy has twenty lines at most, loads with its table, and denies more than the table allows."""
    program = block(PLUGINS, "python", "class Policy")
    assert len(program.splitlines()) <= 20
    place.write("policy.py", program)
    place.write("hauberk.toml", block(PLUGINS, "toml", "policy.py"))
    answers = place.answers(
        "hauberk run --config hauberk.toml -- npx",
        call("send_mail", to=["a"] * 11),
        call("send_mail", to=["a"] * 10),
    )
    assert answers[1]["error"]["data"] == {"code": "policy.many", "plugin": "policy", "rule": "at most 10"}
    assert "result" in answers[2]  # the server's own word that it has no such tool


@pytest.fixture
def package(place: Place) -> Place:
    """Return a place where the package of the page is installed."""
    project = tomllib.loads(block(PLUGINS, "toml", "entry-points"))["project"]
    place.write("hauberk_curfew.py", block(PLUGINS, "python", "class Curfew"))
    info = place.home / f"hauberk_curfew-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    lines = [f"{name} = {target}" for name, target in project["entry-points"]["hauberk.plugins"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[hauberk.plugins]", *lines, ""]), encoding="utf-8")
    place.env["PYTHONPATH"] = str(place.home)
    return place


def test_package_of_the_page_is_found(package: Place) -> None:
    """The page's package is listed once it is installed: idle without a table, active with one."""
    for table, active in (("", False), ("[curfew]\n", True)):
        package.write("hauberk.toml", table)
        listed = json.loads(package.run(["hauberk", "plugins", "--config", "hauberk.toml", "--json"]).out)
        (curfew,) = [plugin for plugin in listed if plugin["name"] == "curfew"]
        assert curfew["distribution"] == "hauberk-curfew"
        assert curfew["active"] is active


def test_test_of_the_page_passes(package: Place) -> None:
    """The page's test of its plugin passes."""
    package.write("test_curfew.py", block(PLUGINS, "python", "def test_"))
    done = package.run([sys.executable, "-c", "import test_curfew; test_curfew.test_night_is_denied()"])
    assert done.status == 0, done.err
