"""The pages under ``docs/`` against the code: every option, every code, every block."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Annotated, get_args

import pytest
from contrib.docs.generate import left_over, stale
from contrib.docs.hooks import specs
from contrib.docs.options import FIRST_PARTY, TABLES, words
from contrib.docs.pages import sections
from contrib.docs.refusals import entries
from contrib.docs.scenes import REFUSALS as SCENES
from contrib.docs.scenes import UNPLAYED_REFUSALS
from tests.prose import DOCS, README, ROOT, Place, block, blocks, call, languages, like, rows, section, steps

from hauberk import Config, Event
from hauberk.config import Narrow
from hauberk.exchange import Outcome
from hauberk_sieve._options import Options as SieveOptions

CONFIGURATION = DOCS / "configuration.md"
REFUSALS = DOCS / "refusals.md"
EVENTS = DOCS / "events.md"
PLUGINS = DOCS / "plugins.md"
WORDS = ("core", "policy", *FIRST_PARTY)
INDEX = DOCS / "index.md"
FOLLOWED = (
    "tutorial.md",
    "guard-a-server.md",
    "guard-an-agent.md",
    "reload.md",
    "from-development-to-production.md",
)
"""Pages whose steps are followed, from the first to the last."""
APART: dict[str, list[str]] = {
    "asks.md": ["toml"],
    "access.md": ["toml"],
    "attacks.md": ["toml", "sh"],
    "bulkhead.md": ["toml", "console"],
    "benchmarks.md": ["sh", "text", "sh", "text", "sh", "text", "sh", "text", "sh", "sh", "sh"],
    "certs.md": ["console", "console", "console"],
    "checkpoints.md": ["toml", "console", "console", "text"],
    "configuration.md": ["toml"],
    "connect.md": ["toml", "json", "toml"],
    "doctor.md": ["console", "python"],
    "efficacy.md": ["sh", "text"],
    "envelope.md": ["console", "toml", "toml", "toml", "toml"],
    "envelope-sessions.md": ["json", "json", "text", "text", "json"],
    "explain.md": ["toml", "console"],
    "meta-tools.md": ["toml"],
    "names.md": ["toml"],
    "people.md": ["toml", "toml"],
    "plugins.md": ["python", "toml", "toml", "python", "python"],
    "policy-history.md": ["console", "console", "sh", "toml", "toml"],
    "production.md": ["console"],
    "rejudge.md": ["toml", "console"],
    "ratelimit.md": [*["toml"] * 6, "text", "text", "text", "text", "toml", "console"],
    "replay.md": ["toml", "toml", "python"],
    "rule-packs.md": ["toml", "toml"],
    "schemas.md": ["toml"],
    "serve.md": ["console", "console", "toml", "console"],
    "shared-store.md": ["console", "toml"],
    "tls.md": ["console", "toml", "toml"],
    "testing-your-plugin.md": ["toml", "python", "python", "console", "python", "sh"],
}
"""Pages whose blocks have tests of their own, and the languages of these blocks."""
FOLDERS = {"CONFIG": ".config", "STATE": ".local/state"}
FILES = {"policy.py", "audit.jsonl", "audit.key"}
"""Names of files that look like codes."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- what is made from the code ---


@pytest.mark.timeout(600)
def test_generated_parts_are_up_to_date() -> None:
    """Hooks, options, codes, events and help on the pages are those of the code; ``make docs-write`` renews them."""
    assert [path.name for path in stale()] == [], "make docs-write"
    assert left_over() == []


def test_every_hook_has_its_section() -> None:
    """The hook reference has a section for each hook, with its exact signature as heading, in the order of the code."""
    text = (DOCS / "hooks.md").read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^## `(.*)`$", text)
    assert headings == [f"{spec.__name__}({', '.join(inspect.signature(spec).parameters)})" for spec in specs()]
    assert len(headings) == 5
    assert [text.count(f"**{title}**") for title in ("When", "Failure")] == [len(headings)] * 2


@pytest.mark.timeout(600)
def test_help_is_what_the_program_prints(place: Place) -> None:
    """The page of the command line shows what each command prints, to the letter, and leaves out none."""
    page = DOCS / "cli.md"
    for line, shown in re.findall(r"(?ms)^## `(.*?)`\n\n```text\n(.*?)\n```$", page.read_text(encoding="utf-8")):
        done = place.run([*line.split(), "--help"])
        assert (line, done.out.rstrip()) == (line, shown)


# --- configuration.md ---


def test_every_table_is_on_the_page() -> None:
    """Each table of the core, and of each plugin of this repository, has a section; each option has a meaning."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^## (`\[.*\]`)$", text)) == {name for name in TABLES if name.startswith("`[")}
    assert {f"`[{word}]`" for word in FIRST_PARTY} <= set(TABLES)
    assert [row for name in TABLES for row in rows(section(CONFIGURATION, name)) if len(row) != 4 or not row[3]] == []


def test_option_is_described_by_its_type() -> None:
    """A row has the type, the default and the marks of its option as the code has them."""
    assert words(Annotated[tuple[str, ...] | None, Narrow.UNION]) == "list of text"
    shown = {row[0]: row[1:3] for name in TABLES for row in rows(section(CONFIGURATION, name))}
    assert shown["`deny`"] == ["list of text or table, *narrow*", "`[]`"]
    assert shown["`headers`"] == ["table of text, *secret*", "`{}`"]
    assert shown["`deadline`"] == ["number above 0", "`2.0`"]
    assert shown["`request_timeout`"] == ["number above 0", "none"]


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


# --- refusals.md, events.md ---


def codes_of_the_code() -> set[str]:
    """Return each code that stands in the source of the core and of the plugins; outcomes are made of theirs."""
    found = {f"core.{outcome}" for outcome in get_args(Outcome)}
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]:
        if path.parent.name not in {"testing", "conformance"}:  # their examples have codes of their own
            found |= codes_in(path)
    return found - FILES


def codes_in(path: Path) -> set[str]:
    """Return what looks like a code in one module, but for the names of probes, which look like one, too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    if "probe" in path.stem or "doctor" in path.stem:
        calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "Event"]
        nodes = [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "code"]
    values = [str(node.value) for node in nodes if isinstance(node, ast.Constant)]
    return {value for value in values if re.fullmatch(rf"({'|'.join(WORDS)})\.[a-z_]+", value)}


def codes_of(page: Path, *headings: str) -> list[str]:
    """Return the code at the beginning of each row of a page, under these headings or all."""
    text = page.read_text(encoding="utf-8")
    parts = [part for heading, part in sections(text).items() if not headings or heading in headings]
    return [code for part in parts for row in rows(part) for code in re.findall(r"`(\w+\.\w+)`", row[0])]


def test_every_code_has_its_entry() -> None:
    """Each code of the core and the plugins is on a page, once as a refusal or once as another event, and no other."""
    refusals, events = codes_of(REFUSALS), codes_of(EVENTS, "All others")
    assert len(set(refusals)) == len(refusals) > 30
    assert len(set(events)) == len(events)
    assert set(refusals) | set(events) == codes_of_the_code()
    # A call's outcome, or a connection's, or what somebody is told.
    assert set(refusals) & set(events) == {"core.closed", "core.timed_out", "core.connection_lost"}


def test_every_refusal_says_what_to_do() -> None:
    """Each refusal has a meaning and what to do, each a sentence, and a page of its own."""
    found = list(entries(REFUSALS.read_text(encoding="utf-8")))
    assert [entry.code for entry in found if not entry.meaning.endswith(".") or not entry.remedy.endswith(".")] == []
    assert {entry.code for entry in found} == {path.stem for path in (DOCS / "refusals").glob("*.md")}


def test_refusals_are_provoked() -> None:
    """The page of a refusal shows how it came about, but for those that nobody can be shown."""
    assert set(codes_of(REFUSALS)) - set(SCENES) == set(UNPLAYED_REFUSALS)


def test_event_has_the_fields_of_the_page() -> None:
    """The page names each field of an event, and no other, in the order in which they are written."""
    shown = [row[0].strip("`") for row in rows(section(EVENTS, "What an event holds"))]
    assert sorted(shown) == sorted(Event.__struct_fields__)


# --- tutorial.md, the pages that say how to do something, the contents ---


@pytest.fixture
def reader(place: Place) -> Place:
    """Return the place of a reader, whose folders are where the pages say."""
    place.env |= {f"XDG_{kind}_HOME": str(place.home / folder) for kind, folder in FOLDERS.items()}
    (place.home / ".config" / "hauberk").mkdir(parents=True, mode=0o700)
    return place


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FOLLOWED)
def test_page_does_what_it_says(reader: Place, name: str) -> None:
    """Whoever follows a page to the letter, with nothing but what it says, sees what it shows (S0.41)."""
    found = list(steps(DOCS / name))
    assert [step for step in found if not step.file]
    for step in found:
        if step.file:
            reader.write(step.file.replace("~/", ""), step.text)
            continue
        done = reader.run(step.text.replace("plugins lock", "plugins lock --editable"))  # as the tests are installed
        said = (done.out + done.err).replace(str(reader.home), "/home/you")
        assert done.status == 0, (step.text, said)
        assert like(step.shown, said), (step.text, said)


@pytest.mark.parametrize("name", FOLLOWED)
def test_followed_page_leaves_no_block_out(name: str) -> None:
    """Each block of such a page is a file or a command, but for how to install, which is as in the README."""
    page = DOCS / name
    named = {step.text for step in steps(page) if step.file}
    assert set(languages(page)) <= {"console", "python", "toml", "json", "sh"}
    for language in ("python", "toml", "json"):
        assert set(blocks(page, language)) <= named
    for install in blocks(page, "sh"):
        assert install.splitlines()[-1] == block(README, "sh", "pip install").strip()


def test_every_page_is_in_the_contents() -> None:
    """Each page of the site is named in a table of contents: the index leads to every page but to itself."""
    listed = set(
        re.findall(r"(?m)^[\w-]+$", "\n".join(re.findall(r"(?s)```{toctree}.*?```", INDEX.read_text("utf-8"))))
    )
    assert listed == {path.stem for path in DOCS.glob("*.md")} - {"index"}


def test_every_block_is_run() -> None:
    """No page has a block that no test runs: it is followed, made from the code, or the pages here have tests apart."""
    with_blocks = {page.name for page in DOCS.glob("*.md") if set(languages(page)) - {"text"}}
    assert with_blocks - set(FOLLOWED) - {"hooks.md"} == set(APART)
    for name, kinds in APART.items():
        assert languages(DOCS / name) == kinds


def test_commands_of_the_wrap_page_run(reader: Place) -> None:
    """The commands that the page of wrap shows run in the order in which it shows them."""
    reader.write("mcp.json", block(DOCS / "guard-a-server.md", "json", "mcpServers"))
    commands = block(DOCS / "wrap.md", "text", "unwrap").splitlines()
    assert len(commands) == 4
    for line in commands:
        done = reader.run(line.replace("FILE", "mcp.json"))
        assert done.status == 0, (line, done)


def test_benchmarks_are_run_as_their_page_says() -> None:
    """The commands on the page of the benchmarks name targets and programs that are here."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in "".join(blocks(DOCS / "benchmarks.md", "sh")).splitlines():
        program, _, rest = line.partition(" ")
        word = rest.split()[0]
        assert re.search(rf"(?m)^{word}:", makefile) if program == "make" else (ROOT / word).exists(), line


def test_log_is_verified_as_the_page_of_checkpoints_shows(place: Place) -> None:
    """The configuration of the page has no fault, and each of its commands says what it shows (S3.6, S2.39)."""
    page = DOCS / "checkpoints.md"
    text = block(page, "toml", "sinks")
    place.write("hauberk.toml", text)
    assert place.run("hauberk config check --config hauberk.toml").status == 0
    kept = f"file:{place.home}/host1.checkpoints"
    place.write("hauberk.toml", re.sub(r"sinks = .*", f'sinks = ["{kept}"]\nkey_file = "checkpoint.key"', text))
    with (place.home / "hauberk.toml").open("r+", encoding="utf-8") as file:
        lines = file.read().replace("[audit]", '[audit]\npath = "audit.jsonl"\nkey_file = "audit.key"')
        file.seek(0)
        file.write(lines)
    assert place.answers("hauberk run --config hauberk.toml -- npx")  # one that has answered has started
    for step in steps(page):
        done = place.run(step.text)
        assert done.status == 0, (step.text, done)
        shown = re.sub(r"\b5\b", "…", step.shown)
        assert like(shown, done.out), (step.text, done)


@pytest.mark.timeout(600)
def test_doctor_says_what_its_page_shows(reader: Place) -> None:
    """With a sieve that only observes, the doctor says and ends as its page shows."""
    reader.write("hauberk.toml", '[plugins]\nrequire = ["audit", "sieve"]\n\n[sieve]\nmode = "audit"\n')
    (step,) = steps(DOCS / "doctor.md")
    done = reader.run(step.text)
    assert done.status == 1
    assert like(without_numbers(step.shown), without_numbers(done.out)), done.out


@pytest.mark.timeout(600)
def test_probe_of_the_doctor_page_tells(reader: Place) -> None:
    """The plugin of the page is live; once it denies nothing, the doctor says so."""
    program = block(DOCS / "doctor.md", "python", "def probes")
    reader.write("hauberk.toml", '[plugins]\npolicy = "policy.py"\n\n[policy]\n')
    for text, state in ((program, "ok"), (program.replace("call.name == self.never", "False"), "NOT STOPPED")):
        reader.write("policy.py", text)
        said = reader.run("hauberk doctor --config hauberk.toml").out
        assert re.search(rf"(?m)^{state} +policy\.refuses_never ", said), said


def test_commands_of_the_production_page_are_followed() -> None:
    """What the page of production shows is what the way from development to production goes through."""
    followed = {step.text for step in steps(DOCS / "from-development-to-production.md")}
    assert {step.text for step in steps(DOCS / "production.md")} <= followed


def without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)


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
