"""What the commands give to other programs: JSON, SARIF, words between two tabs; and to a terminal, colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import jsonschema  # type: ignore[import-untyped]
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from plugins.pins.tests.conftest import STRICT, Showing, desk_of, hash_seen, listed, tool

from hauberk.refusals import HauberkError
from hauberk_pins import _lock
from hauberk_pins._commands import pins

if TYPE_CHECKING:
    from plugins.pins.tests.conftest import Guarded

Hauberk = Callable[..., Result]
BAD: Final = tool("bad", description="Fine.\x1b[2J\u202e\u200b\U000e0041\x9b", title="Nice\x00")

_TEXT: Final = {"type": "string", "minLength": 1}
_MESSAGE: Final = {"type": "object", "required": ["text"], "properties": {"text": _TEXT}}
_PLACE: Final = {
    "type": "object",
    "required": ["physicalLocation"],
    "properties": {
        "physicalLocation": {
            "type": "object",
            "required": ["artifactLocation", "region"],
            "properties": {
                "artifactLocation": {"type": "object", "required": ["uri"], "properties": {"uri": _TEXT}},
                "region": {
                    "type": "object",
                    "required": ["startLine"],
                    "properties": {"startLine": {"type": "integer", "minimum": 1}},
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
_RESULT: Final = {
    "type": "object",
    "required": ["ruleId", "level", "message", "locations", "partialFingerprints"],
    "properties": {
        "ruleId": _TEXT,
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": _MESSAGE,
        "locations": {"type": "array", "items": _PLACE, "minItems": 1},
        "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}
_RULE: Final = {
    "type": "object",
    "required": ["id", "shortDescription"],
    "properties": {"id": _TEXT, "shortDescription": _MESSAGE},
    "additionalProperties": False,
}
SARIF: Final = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "version", "rules"],
                                "properties": {
                                    "name": _TEXT,
                                    "version": _TEXT,
                                    "rules": {"type": "array", "items": _RULE, "uniqueItems": True},
                                },
                                "additionalProperties": False,
                            }
                        },
                        "additionalProperties": False,
                    },
                    "results": {"type": "array", "items": _RESULT},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
"""The members of SARIF 2.1.0 (OASIS, sections 3.13 to 3.49) that are written here, and no others."""


@pytest.fixture
async def changed(guarded: Guarded, trust: Callable[..., None]) -> Showing:
    """Return a server that was trusted, and shows a tool changed, one renamed, one more, and one less."""
    server = Showing(tool("read"), tool("write"), tool("old", title="same"))
    async with guarded(server) as rig:
        await listed(rig)
    trust()
    server.show(tool("read", title="x"), tool("new", title="same", description="Do old."), tool("more"))
    async with guarded(server) as rig:
        await listed(rig)
    return server


def test_sarif_is_sarif(changed: Showing, hauberk: Hauberk, tmp_path: Path) -> None:
    """What ``verify --sarif`` writes has the form of SARIF 2.1.0, and points to the lines of the lock."""
    done = hauberk("verify", "--sarif", str(tmp_path / "out.sarif"))
    assert (done.exit_code, "not as trusted" in done.output) == (1, True)
    log = json.loads((tmp_path / "out.sarif").read_text())
    assert json.loads(hauberk("verify", "--sarif", "-").stdout) == log
    jsonschema.Draft202012Validator(SARIF, format_checker=jsonschema.FormatChecker()).validate(log)
    (run,) = log["runs"]
    results = {result["ruleId"]: result for result in run["results"]}
    assert {rule: one["level"] for rule, one in results.items()} == {
        "changed": "error",
        "renamed": "error",
        "unpinned": "error",
        "gone": "note",
    }
    assert results.keys() <= {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    lines = (tmp_path / "hauberk.lock").read_text().split("\n")
    place = results["changed"]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "hauberk.lock"}
    assert lines[place["region"]["startLine"] - 1].startswith('  tool "read" sha256:')
    where = results["unpinned"]["locations"][0]["physicalLocation"]["region"]["startLine"]
    assert lines[where - 1].startswith('server "files" sha256:')


def test_verify_of_a_part(changed: Showing, hauberk: Hauberk) -> None:
    """``verify`` of one tool says nothing of the others, and its status is that of the tool."""
    assert hauberk("verify", "--tool", "write").exit_code == 0
    assert hauberk("verify", "--server", "files", "--tool", "read").exit_code == 1
    assert isinstance(hauberk("verify", "--server", "mail").exception, HauberkError)


def test_verify_tells_what_nobody_has_seen(changed: Showing, hauberk: Hauberk) -> None:
    """A server of the lock that nobody has seen is no failure, and is not passed over in silence."""
    hauberk("reset", "--server", "files", "--seen", "--yes")
    done = hauberk("verify")
    assert (done.exit_code, "nobody has seen what a server of the lock shows: files" in done.output) == (0, True)


def test_each_command_speaks_json(changed: Showing, hauberk: Hauberk, tmp_path: Path) -> None:
    """With ``--json`` standard output is one JSON value, whatever the command (S3.42)."""
    rows = json.loads(hauberk("list", "--json").stdout)
    assert {row["status"] for row in rows} == {"changed", "renamed", "unpinned", "gone"}
    renamed = next(row for row in rows if row["status"] == "renamed")
    assert (renamed["name"], renamed["pinned_name"]) == ("new", "old")
    (diff,) = json.loads(hauberk("diff", "--json", "--tool", "read").stdout)
    assert '+  "title": "x"' in "\n".join(diff["diff"])
    assert json.loads(hauberk("diff", "--json", "--lock").stdout)["diff"] == []
    exported = json.loads(hauberk("export", "--json", "--tool", "write").stdout)
    assert [one["name"] for one in exported["servers"]["files"]] == ["write"]
    assert "changed" in {one["rule"] for one in json.loads(hauberk("verify", "--json").stdout)}
    trusted = json.loads(hauberk("trust", "--yes", "--hash", hash_seen(tmp_path), "--json").stdout)
    assert (len(trusted["trusted"]), trusted["generation"]) == (4, 2)
    reset = json.loads(hauberk("reset", "--server", "files", "--tool", "read", "--yes", "--json").stdout)
    assert ([row["name"] for row in reset["reset"]], reset["generation"]) == (["read"], 3)


def test_export_of_a_part_is_a_lock(changed: Showing, hauberk: Hauberk) -> None:
    """What ``export`` prints of one server or tool is read as a lock; of nothing it is an error."""
    lock = _lock.read(hauberk("export", "--server", "files", "--tool", "read").output.encode(), "x")
    assert list(lock.servers["files"]) == [("tool", "read")]
    assert isinstance(hauberk("export", "--server", "mail").exception, HauberkError)


async def test_nothing_hidden_reaches_a_terminal(guarded: Guarded, hauberk: Hauberk) -> None:
    """``trust``, ``list`` and ``diff`` show a definition in full, each character that does not show as an escape."""
    server = Showing(BAD, tool("\x1b]0;x\x07name"))
    async with guarded(server) as rig:
        await listed(rig)
    for command in (("trust",), ("list",), ("diff",), ("list", "--json"), ("verify",), ("verify", "--sarif", "-")):
        output = hauberk(*command).output
        assert not [char for char in output if char != "\n" and not char.isprintable()], command
    shown = hauberk("trust").output
    assert r"\u001b[2J\u202e\u200b\udb40\udc41\u009b" in shown
    assert r'"title": "Nice\u0000"' in shown


def test_colours_are_for_terminals(changed: Showing, tmp_path: Path) -> None:
    """On a terminal additions and removals have colours; in a pipe there is none."""
    config = str(tmp_path / "hauberk.toml")
    plain = CliRunner().invoke(pins, ["diff", "--config", config])
    coloured = CliRunner().invoke(pins, ["diff", "--config", config], color=True)
    assert "\x1b[" not in plain.output
    assert click.style('  +  "title": "x"', fg="green") in coloured.output
    assert click.unstyle(coloured.output) == plain.output


def completed(words: str, incomplete: str) -> list[str]:
    complete = ShellComplete(pins, {}, "pins", "_PINS_COMPLETE")
    return [item.value for item in complete.get_completions(words.split(), incomplete)]


def test_names_are_completed(changed: Showing, tmp_path: Path) -> None:
    """Between two tabs stand the servers and tools that are pinned, seen or configured, and never an error."""
    config = tmp_path / "hauberk.toml"
    config.write_text(f"{config.read_text()}[server.mail]\ncommand = 'mail'\n")
    for command in ("list", "trust", "diff", "reset", "verify", "export"):
        assert completed(f"{command} --config {config} --server", "") == ["mail", "files"]
        assert set(completed(f"{command} --config {config} --server files --tool", "")) == {
            "read",
            "write",
            "new",
            "more",
        }
        assert completed(f"{command} --config {config} --tool", "wr") == ["write"]
        assert completed(f"{command} --config /nowhere --tool", "") == []
    config.write_text("nonsense")
    assert completed(f"list --config {config} --server", "") == []


async def test_somebody_is_asked(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal ``trust`` shows the definition and asks; no means no."""
    async with guarded(Showing(tool("read")), STRICT) as rig:
        await listed(rig)
    monkeypatch.setattr("hauberk_pins._trusting._is_terminal", lambda: True)
    for answer, generation in (("n\n", 0), ("y\n", 1)):
        done = CliRunner().invoke(pins, ["trust", "--config", str(tmp_path / "hauberk.toml")], input=answer)
        assert '"description": "Do read."' in done.output
        assert "Trust this?" in done.output
        assert desk_of(tmp_path).trusted().generation == generation
