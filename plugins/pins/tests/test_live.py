"""Servers that are started to be looked at: what they may say, what is believed, and how it ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from plugins.pins.tests.conftest import desk_of

from hauberk.bounds import Bounds
from hauberk.connection import Program
from hauberk.refusals import HauberkError
from hauberk_pins import _live
from hauberk_pins._items import Key
from hauberk_pins._limits import Limits

Hauberk = Callable[..., Result]
SERVER = """
import json, sys
ERAS, SHOWS = json.loads({shows!r})
def say(message):
    print(json.dumps({{"jsonrpc": "2.0", **message}}), flush=True)
changed = False
for line in sys.stdin:
    request = json.loads(line)
    method, params = request.get("method"), request.get("params") or {{}}
    if "id" not in request or not method:
        continue
    new = "_meta" in params
    era = "new" if new else "shaken"
    if method in ("initialize", "server/discover"):
        if era not in ERAS:
            say({{"id": request["id"], "error": {{"code": -32601, "message": "no"}}}})
            continue
        say({{"id": "ask", "method": "roots/list"}})
        say({{"id": request["id"], "result": ERAS[era]}})
        continue
    if method not in SHOWS:
        say({{"id": request["id"], "error": {{"code": -32601, "message": "no"}}}})
        continue
    pages = SHOWS[method]
    if isinstance(pages, dict):
        pages = pages["after" if changed else "before"]
        if not changed:
            changed = True
            say({{"method": "notifications/tools/list_changed"}})
    at = int(params.get("cursor", 0))
    result = dict(pages[at])
    if at + 1 < len(pages):
        result["nextCursor"] = str(at + 1)
    say({{"id": request["id"], "result": result}})
"""
ALL: dict[str, Any] = {"tools": {}, "prompts": {}, "resources": {}}
INFO = {"name": "shop", "version": "1"}
SHAKEN = {"protocolVersion": "2025-11-25", "capabilities": ALL, "serverInfo": INFO, "instructions": "Be kind."}
NEW = {"capabilities": {"tools": {}}, "_meta": {"io.modelcontextprotocol/serverInfo": INFO}}
TOOLS = {"tools/list": [{"tools": [{"name": "read"}]}, {"tools": [{"name": "write"}]}]}


def server(folder: Path, eras: Any, shows: Any) -> Program:
    script = folder / "server.py"
    script.write_text(SERVER.format(shows=json.dumps([eras, shows])))
    return Program(sys.executable, (str(script),), dict(os.environ))


async def seen(program: Program) -> dict[Key, Any]:
    return {key: one.value for key, one in (await _live.look(program, Bounds(), lambda _: None)).items()}


async def test_both_families_are_asked(tmp_path: Path) -> None:
    """What a server shows after ``initialize`` and after ``server/discover``, page by page, is one set of items."""
    lists = {
        "prompts/list": [{"prompts": [{"name": "greet"}]}],
        "resources/list": [{"resources": [{"uri": "notes://a", "name": "a"}]}],
        "resources/templates/list": [{"resourceTemplates": [{"uriTemplate": "notes://{x}", "name": "x"}]}],
    }
    found = await seen(server(tmp_path, {"shaken": SHAKEN, "new": NEW}, TOOLS | lists))
    assert found.pop(("origin", "executable")).keys() == {"sha256"}
    assert found.pop(("origin", "command"))["command"] == sys.executable
    assert found == {
        ("server", "serverInfo"): INFO,
        ("server", "instructions"): "Be kind.",
        ("server", "_meta.io.modelcontextprotocol/serverInfo"): INFO,
        ("tool", "read"): {"name": "read"},
        ("tool", "write"): {"name": "write"},
        ("prompt", "greet"): {"name": "greet"},
        ("resource", "notes://a"): {"uri": "notes://a", "name": "a"},
        ("template", "notes://{x}"): {"uriTemplate": "notes://{x}", "name": "x"},
    }


@pytest.mark.parametrize("era", ["shaken", "new"])
async def test_one_family_is_enough(tmp_path: Path, era: str) -> None:
    """A server that speaks one of the two shows what it has, and a list that it does not know is empty."""
    found = await seen(server(tmp_path, {era: SHAKEN if era == "shaken" else NEW}, TOOLS))
    assert {key for key in found if key[0] == "tool"} == {("tool", "read"), ("tool", "write")}


async def test_list_that_changes_is_asked_for_again(tmp_path: Path) -> None:
    """A list that changed while it was asked for counts as it is after the change."""
    moving = {"tools/list": {"before": TOOLS["tools/list"], "after": [{"tools": [{"name": "all"}]}, {"tools": []}]}}
    found = await seen(server(tmp_path, {"shaken": SHAKEN}, moving))
    assert [key for key in found if key[0] == "tool"] == [("tool", "all")]


@pytest.mark.parametrize(
    ("eras", "shows", "reason"),
    [
        ({}, TOOLS, "it answers initialize with error -32601"),
        ({"shaken": SHAKEN}, {"tools/list": [{"tools": "all"}]}, "without an array of tools"),
        ({"shaken": SHAKEN}, {"tools/list": [{"tools": [{"title": "x"}]}]}, "lists a tool without a name"),
        (
            {"shaken": SHAKEN},
            {"tools/list": [{"tools": [{"name": "a"}, {"name": "a", "x": 1}]}]},
            "two tools of the name",
        ),
        ({"shaken": SHAKEN}, {"tools/list": [{"tools": [{"name": str(n)} for n in range(9)]}]}, "more than 8 items"),
        ({"shaken": SHAKEN}, {"tools/list": [{"tools": []}] * 5}, "more than 4 pages"),
        ({"new": NEW}, {"tools/list": [{"tools": [{"name": "a", "n": 10**400}]}]}, "sends what is no message"),
    ],
)
async def test_server_that_cannot_be_pinned_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eras: Any, shows: Any, reason: str
) -> None:
    """What a hostile server shows is bounded and strict: none of it is recorded, and the error says why."""
    monkeypatch.setattr("hauberk_pins._live.LIMITS", Limits(items=8, pages=4))
    with pytest.raises(HauberkError, match=reason):
        await seen(server(tmp_path, eras, shows))


async def test_two_faces_are_an_error(tmp_path: Path) -> None:
    """A server that says other things of itself in one family cannot be pinned by one look."""
    with pytest.raises(HauberkError, match='shows server "instructions" differently in the two revisions'):
        await seen(server(tmp_path, {"shaken": SHAKEN, "new": NEW | {"instructions": "Be cruel."}}, TOOLS))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("", "it has ended"),
        ("print('hello', flush=True); input()", "sends what is no message"),
        ("print('x' * 5000, flush=True); input()", "a line that is too long"),
    ],
)
async def test_program_that_is_no_server_is_an_error(tmp_path: Path, script: str, reason: str) -> None:
    """One that ends, or speaks something else, is an error that says so, and nothing waits for it."""
    (tmp_path / "server.py").write_text(script)
    program = Program(sys.executable, (str(tmp_path / "server.py"),), dict(os.environ))
    with pytest.raises(HauberkError, match=reason):
        await _live.look(program, Bounds(line_bytes=4096), lambda _: None)


async def test_command_that_is_not_there_is_an_error() -> None:
    """A command that ``PATH`` does not find is named."""
    with pytest.raises(HauberkError, match="command 'no-such-server' is not found"):
        await _live.look(Program("no-such-server", (), {"PATH": "/nowhere"}), Bounds(), lambda _: None)


# --- the commands ---


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """Return a folder whose configuration has one server."""
    program = server(tmp_path, {"shaken": SHAKEN, "new": NEW}, TOOLS)
    text = (
        f'[core]\nstate_dir = "{tmp_path}/state"\n[server.shop]\ncommand = "{program.command}"\n'
        f'args = ["{program.args[0]}"]\n[pins]\nlock = "{tmp_path}/hauberk.lock"\n'
    )
    (tmp_path / "hauberk.toml").write_text(text)
    return tmp_path


def test_first_trust_needs_no_host(configured: Path, hauberk: Hauberk) -> None:
    """``trust --live`` shows everything, and by its hash all of it is pinned; ``verify --live`` agrees (S3.42)."""
    told = hauberk("trust", "--live")
    assert '"name": "write"' in told.output
    assert isinstance(told.exception, HauberkError)
    digest = str(told.exception.hint).split()[2].rstrip(",")
    done = hauberk("trust", "--live", "--yes", "--hash", digest, "--json")
    assert (done.exit_code, json.loads(done.stdout)["generation"]) == (0, 1)
    assert (configured / "hauberk.lock").is_file()
    assert hauberk("verify", "--live").exit_code == 0


def test_check_in_a_pipeline_needs_the_lock_alone(configured: Path, hauberk: Hauberk) -> None:
    """On a machine that has trusted nothing ``verify --live`` compares the servers with ``hauberk.lock``."""
    told = hauberk("trust", "--live")
    hauberk("trust", "--yes", "--hash", str(getattr(told.exception, "hint", "")).split()[2].rstrip(","))
    for path in sorted((configured / "state").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert hauberk("verify", "--live").exit_code == 0
    server(configured, {"shaken": SHAKEN}, {"tools/list": [{"tools": [{"name": "read", "title": "x"}]}]})
    changed = hauberk("verify", "--live", "--json")
    assert changed.exit_code == 1
    rules = {(one["item"], one["rule"]) for one in json.loads(changed.stdout)}
    assert {('tool "read"', "changed"), ('tool "write"', "gone")} <= rules


def test_command_of_no_configuration_is_looked_at(tmp_path: Path, hauberk: Hauberk) -> None:
    """A command after ``--`` is started under its own name, or the one that is given."""
    program = server(tmp_path, {"new": NEW}, TOOLS)
    (tmp_path / "hauberk.toml").write_text(f'[core]\nstate_dir = "{tmp_path}/state"\n[pins]\n')
    told = hauberk("trust", "--live", "--server", "shop", "--", program.command, *program.args)
    assert 'unpinned: shop: tool "read"' in told.output
    assert set(desk_of(tmp_path).seen()) == {"shop"}
    assert hauberk("trust", "--", "x").exit_code == 2
    nothing = hauberk("verify", "--live").exception
    assert isinstance(nothing, HauberkError)
    assert "there is no server to start" in nothing.message
