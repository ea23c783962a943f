"""What is given back of a call whose connection is lost, and of one that has several rounds."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.listening import listener
from tests.running import server
from tests.serving import serving, until_true
from tests.test_connect import CALL, connecting, meet

from hauberk import plugins
from hauberk.bounds import Bounds
from hauberk.config import Options as Base
from hauberk.connection import Connection
from hauberk.embedded import Rounds
from hauberk.exchange import Exchange
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import ToolCall
from hauberk.overdue import abandon
from hauberk.principal import Principal
from hauberk.refusals import Refused
from hauberk.testing import Rig, notification
from hauberk.verdict import Deny
from hauberk_ratelimit._usage import KEY

QUOTA = '[ratelimit]\nglobal = "2/month"\n'
EACH = """
[ratelimit]
usage = true
principals = {"*" = "99 credits/month each"}
prices = {"*" = 4}
"""
ERROR: dict[str, Any] = {"jsonrpc": "2.0", "error": {"code": -32000, "message": "no"}}
GONE = Refused("core.server_gone", "it has gone")
SILENT = """
import json, sys
for line in sys.stdin.buffer:
    request = json.loads(line)
    if request.get("method") != "tools/call" and "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {}}), flush=True)
    elif request.get("method") == "tools/call":
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message",
                          "params": {"level": "info", "data": "begun"}}), flush=True)
"""
"""A server that says that a call has begun, and answers none."""


def configured(folder: Path) -> list[str]:
    """Write a configuration with a quota, and no other plugin; return the arguments that name it."""
    others = sorted({*plugins.installed()} - {"ratelimit"})
    (folder / "hauberk.toml").write_text(f"{QUOTA}[plugins]\ndisable = {json.dumps(others)}\n")
    return ["--config", str(folder / "hauberk.toml")]


async def passes(rig: Rig, id: Any, **more: Any) -> bool:
    """Call, and return whether that reaches the server."""
    before = len(rig.reached)
    await rig.call("ask", id=id, **more)
    return len(rig.reached) > before


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("lost", [True, False])
async def test_a_lost_connection_gives_back_and_one_that_was_closed_does_not(
    limited: Any, role: Any, lost: bool
) -> None:
    """Of a connection that ended under its caller quotas come back; of one that he ended nothing does (S1.41(c))."""
    async with limited(QUOTA, role=role) as rig:
        assert await passes(rig, 1)
        assert await passes(rig, 2)
        way = rig.session.out if role == "client" else rig.session.inn
        abandon(rig.session, way, GONE, lost=lost)
        assert [await passes(rig, 3), await passes(rig, 4), await passes(rig, 5)] == [lost, lost, False]


def test_a_server_that_drops_each_call_uses_up_no_quota(tmp_path: Path) -> None:
    """Beside a client, who is dialled and closes again and again does not spend the host's own month (S1.41(c))."""
    with listener(tmp_path) as there, connecting(tmp_path, there, options=configured(tmp_path)) as client:
        far = meet(client, there)
        for _ in range(4):
            client.send(CALL)
            assert far.receive() == CALL
            far.close()
            assert client.receive()["error"]["data"]["code"] == "core.connection_lost"
            far = there.welcome()
        client.send(CALL)
        assert far.receive() == CALL


def test_a_server_that_dies_spends_nothing_and_a_client_that_goes_does(tmp_path: Path) -> None:
    """In front of a server, a child that dies costs its caller nothing; his own closing does (S1.41(c))."""
    with serving(tmp_path, server(tmp_path, SILENT), options=configured(tmp_path)) as serve:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "arguments": {}}}
        for _ in range(4):
            with serve.client() as client:
                client.send(call)
                assert client.receive()["method"] == "notifications/message"
                (pid,) = serve.children()
                os.kill(pid, signal.SIGKILL)
                assert client.receive()["error"]["data"]["code"] == "core.server_gone"
            until_true(lambda: not serve.children())
        for ends in (False, True):
            with serve.client() as client:
                client.send(call)
                assert client.receive()["method"] == "notifications/message"
                if ends:  # one way: he still reads, and is told that no answer comes
                    client.end()
                    assert "error" in client.receive()
            until_true(lambda: not serve.children())
        with serve.client() as client:
            assert client.ask(call)["error"]["data"]["code"] == "ratelimit.exceeded"


# --- calls of several rounds ---


async def ask(rig: Rig, id: Any, **more: Any) -> None:
    """Send one round of a call."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }
    before = len(rig.reached)
    await rig.call("ask", id=id, _meta=meta, **more)
    assert len(rig.reached) > before, rig.replies[-1]


async def asked(rig: Rig, id: Any, **more: Any) -> None:
    """Send a call that the server answers with a question."""
    await ask(rig, id)
    params = {"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": {}}}
    question = {"method": "elicitation/create", "params": params}
    result = {"resultType": "input_required", "requestState": "s", "inputRequests": {"q": question}}
    await rig.answer({**result, **more}, id=id)


REPLY: dict[str, Any] = {"requestState": "s", "inputResponses": {"q": {"action": "accept", "content": {}}}}


async def used(rig: Rig) -> int:
    """Return what was used of the balance before a call that is answered, as that answer tells it; it uses 4, too."""
    await rig.call("look", id="look")
    await rig.answer({"content": []}, id="look")
    found = rig.replies[-1]["result"]["_meta"][KEY]["credit"]
    return int(99 - found["balance"] - found["cost"])


async def test_a_call_of_several_rounds_is_charged_once_and_tells_so(limited: Any) -> None:
    """The first round is charged, the next ones are not; the last answer tells what the call has used (S1.41)."""
    async with limited(EACH, role="server") as rig:
        await asked(rig, 1)
        await ask(rig, 2, **REPLY)
        await rig.answer({"content": []}, id=2)
        assert rig.replies[-1]["result"]["_meta"] == {KEY: {"credit": {"balance": 95, "cost": 4}}}
        assert await used(rig) == 4


@pytest.mark.parametrize("answer", [ERROR, {"jsonrpc": "2.0", "result": {"content": [], "isError": True}}])
async def test_a_call_whose_last_round_fails_comes_back(limited: Any, answer: dict[str, Any]) -> None:
    """A call has failed if its last round has, whatever came of those before it (S1.41(c))."""
    async with limited(EACH, role="server") as rig:
        await asked(rig, 1)
        await ask(rig, 2, **REPLY)
        await rig.send(rig.from_server, {**answer, "id": 2})
        assert await used(rig) == 0


async def test_a_round_that_fails_is_not_gone_on_with(limited: Any) -> None:
    """An answer that fails, and asks all the same, gives back; its retry is a call of its own, and is charged."""
    async with limited(EACH, role="server") as rig:
        await asked(rig, 1, isError=True)
        assert await used(rig) == 0
        await ask(rig, 2, **REPLY)
        await rig.answer({"content": []}, id=2)
        assert await used(rig) == 8


@pytest.mark.parametrize("ends", ["cancelled", "left"])
async def test_a_call_that_its_caller_does_not_end_is_spent(limited: Any, ends: str) -> None:
    """Who cancels the last round, or does not go on with the first, was served (S1.41(c))."""
    async with limited(EACH, role="server") as rig:
        await asked(rig, 1)
        if ends == "cancelled":
            await ask(rig, 2, **REPLY)
            await rig.send(rig.from_client, notification("notifications/cancelled", {"requestId": 2}))
        assert await used(rig) == 4


class Once:
    """Denies each retry."""

    name = "once"
    layer = Layer.POLICY

    class Options(Base, frozen=True):
        """No options."""

    @hookimpl
    def on_tool_call(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Deny."""
        return Deny("once.no", "no") if call.round else None


async def test_a_retry_that_is_refused_gives_nothing_back(limited: Any) -> None:
    """The first round was served; what its caller brings to the next one, and may not, is no failure of it."""
    async with limited(EACH, Once(), role="server") as rig:
        await asked(rig, 1)
        before = len(rig.reached)
        with pytest.raises(AssertionError):
            await ask(rig, 2, **REPLY)
        assert len(rig.reached) == before
        assert await used(rig) == 4


@pytest.mark.parametrize("outcome", ["answered", "refused"])
def test_an_answer_that_did_not_leave_is_gone_on_with_by_nobody(outcome: Any) -> None:
    """Who has his credits back, since an answer was refused, cannot guess its state and go on with it."""
    rounds, who = Rounds(Bounds()), Principal(id="alice", kind="user")
    first = Exchange(1, 1, "tools/call", who, 0.0, 1, digest="d")
    rounds.mint("s", first)
    first.end(outcome)
    retry: Any = SimpleNamespace(digest="d", exchange=Exchange(2, 2, "tools/call", who, 0.0, 2))
    assert rounds.claim("s", retry) == (outcome == "answered")


async def test_a_state_gives_one_call_back(limited: Any) -> None:
    """What a state was minted for is given back once: who brings it again begins a call that is charged."""
    async with limited(EACH, role="server") as rig:
        await asked(rig, 1)
        await ask(rig, 2, **REPLY)
        await ask(rig, 3, **REPLY)
        for id in (2, 3):
            await rig.send(rig.from_server, {**ERROR, "id": id})
        assert await used(rig) == 0
        await asked(rig, 4)
        await ask(rig, 5, **REPLY)
        await rig.send(rig.from_server, {**ERROR, "id": 5})
        await ask(rig, 6, **REPLY)
        await rig.answer({"content": []}, id=6)
        assert await used(rig) == 8


# --- what a server says of it ---


async def test_a_server_says_nothing_under_our_key(limited: Any) -> None:
    """What a server's answer has in the place of what the guard tells is taken out, and nothing else is (S1.41)."""
    lie = {KEY: {"credit": {"balance": 999, "cost": 0}}, "x": 1}
    async with limited(EACH + "[ratelimit.costs]\nfree = 0\n", role="server") as rig:
        for result in ({"content": [], "_meta": lie}, {"content": [{"type": "text", "text": KEY, "_meta": lie}]}):
            await rig.call("free", id=1)
            await rig.answer({**result, "_meta": lie, "isError": True}, id=1)
            assert rig.replies[-1]["result"] == {**result, "_meta": {"x": 1}, "isError": True}
        await rig.request("tools/list", id=2)
        await rig.answer({"tools": [], "_meta": lie}, id=2)
        assert rig.replies[-1]["result"] == {"tools": [], "_meta": {"x": 1}}
        await rig.call("ask", id=3)
        error = {"code": -32000, "message": KEY, "data": {"_meta": lie, "y": [lie]}}
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": 3, "error": error})
        assert rig.error() == {**error, "data": {"_meta": {"x": 1}, "y": [lie]}}
        await rig.call("ask", id=4)
        await rig.answer({"content": [], "_meta": lie}, id=4)
        assert rig.replies[-1]["result"]["_meta"] == {"x": 1, KEY: {"credit": {"balance": 95, "cost": 4}}}
