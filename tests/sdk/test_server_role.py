"""``guard.serve`` in front of the SDK's server: what a remote client sees, and what the server's handlers see."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import mcp_types as mt
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.server import Server
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from tests.core.harness import ring
from tests.sdk.everything import MODERN, WHO, Everything
from tests.sdk.kit import MODES, Seen, Streams, Told, behind, client, guard, item, plain, settled, until, within

from hauberk.connection import Connection
from hauberk.guard import Guard
from hauberk.message import Message, ToolCall
from hauberk.refusals import Refused
from hauberk.verdict import Allow, Approved, Ask, Deny

_REFUSED: Final = {"code": -32003, "message": "refused", "data": {"code": "core.refused"}}
Load = Callable[..., Guard]


async def _names(c: Client) -> list[str]:
    names, cursor = [], None
    while True:
        page = await within(c.list_tools(cursor=cursor))
        names += [tool.name for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            return sorted(names)


@pytest.mark.parametrize("mode", MODES)
async def test_a_sieve_in_front_of_a_server(mode: str, sieved: Load) -> None:
    """A remote client sees what is allowed, on each page, and a call of the rest is refused without a reason."""
    everything, seen = Everything(), Seen()
    made = sieved('[sieve]\ndefault = "deny"\nallow = ["s/e*", "s/st*"]\ndeny = ["*/contents"]\n', seen)
    async with behind(everything.server, made) as streams, client(Streams(streams), mode) as c:
        assert await _names(c) == ["echo", "steps"]
        assert (await within(c.call_tool("echo", {"a": 2**64 - 1}))).structured_content["got"] == {"a": 2**64 - 1}
        for name in ("contents", "wait", "none"):
            with pytest.raises(MCPError) as caught:
                await within(c.call_tool(name))
            assert plain(caught.value.error) == _REFUSED
    assert [name for name, _ in everything.calls] == ["echo"]
    assert [event.tool for event in seen.events if event.code == "sieve.denied"] == ["contents", "wait", "none"]


@pytest.mark.parametrize("mode", MODES)
async def test_same_results_as_without(mode: str) -> None:
    """Everything that a client does with a server it does with one behind a guard, with the same results."""
    from tests.sdk.test_equal import tour

    async with client(Everything().server, mode, told := Told()) as bare:
        expected = await tour(bare, told, "server")
    seen = Seen()
    async with behind(Everything().server, guard(seen)) as streams, client(Streams(streams), mode, told := Told()) as c:
        assert await tour(c, told, "server") == expected
    assert {"core.internal", "core.hook_failed"}.isdisjoint(seen.codes)


_VERDICTS: Final = [
    (Deny("no.way", "secret reason", rule="secret rule", hint="secret hint"), _REFUSED),
    (
        Deny("no.rate", "secret reason", public=True, retry_after=2.0),
        {"code": -32005, "message": "refused", "data": {"code": "no.rate", "retryAfter": 2.0, "httpStatus": 429}},
    ),
    (Ask("secret reason"), _REFUSED),
]


@pytest.mark.parametrize(("verdict", "error"), _VERDICTS)
@pytest.mark.parametrize("mode", MODES)
async def test_what_a_remote_peer_is_told(verdict: Any, error: dict[str, Any], mode: str) -> None:
    """A remote peer learns that it was refused; only codes of load and admission are told to it."""
    everything = Everything()
    made = guard(ring("no", on_tool_call=verdict))
    async with behind(everything.server, made) as streams, client(Streams(streams), mode) as c:
        with pytest.raises(MCPError) as caught:
            await within(c.call_tool("echo"))
    assert plain(caught.value.error) == error
    assert everything.calls == []


@pytest.mark.parametrize("mode", MODES)
async def test_refused_as_a_result(mode: str) -> None:
    """With ``refuse_as = "result"`` a remote peer gets a result that says no more than the error would."""
    made = guard(ring("no", on_tool_call=Deny("no.way", "secret")), toml='[core]\nrefuse_as = "result"\n')
    async with behind(Everything().server, made) as streams, client(Streams(streams), mode) as c:
        result = await within(c.call_tool("echo"))
    assert result.is_error
    assert [plain(content) for content in result.content] == [{"type": "text", "text": "refused"}]


def _refusing(method: str, kind: str) -> Any:
    def refuse(message: Message, connection: Connection) -> None:
        if (message.method, message.kind) == (method, kind):
            raise Refused("no.way", "because")

    return ring("no", on_send=refuse)


@pytest.mark.parametrize("mode", MODES)
async def test_a_refused_result_of_the_server(mode: str) -> None:
    """A result that may not leave becomes an error for the remote client, which does not say why."""
    made = guard(_refusing("tools/call", "result"))
    async with behind(Everything().server, made) as streams, client(Streams(streams), mode) as c:
        with pytest.raises(MCPError) as caught:
            await within(c.call_tool("echo"))
    assert plain(caught.value.error) == _REFUSED


async def test_a_refused_request_of_the_server() -> None:
    """The server that the guard works for is told why it may not ask; the remote client is not asked."""
    told, everything = Told(), Everything()
    made = guard(_refusing("sampling/createMessage", "request"))
    async with behind(everything.server, made) as streams, client(Streams(streams), "legacy", told) as c:
        await within(c.call_tool("ask"))
    assert everything.asked[0][0]["error"] == {
        "code": -32003,
        "message": "no.way: because",
        "data": {"code": "no.way", "plugin": "no"},
    }
    assert len(told.asked) == 2


# --- what the transport below hears ---


class _Unanswered:
    def __init__(self) -> None:
        self.said = 0
        self.metadata = ServerMessageMetadata(request_context={"the": "request"}, on_request_unanswered=self._say)

    async def _say(self) -> None:
        self.said += 1


def _held(hook: str, held: asyncio.Event) -> Any:
    """Return a plugin in which calls, or their results, wait."""

    async def wait(message: Message, connection: Connection) -> None:
        if message.method == "tools/call":
            await held.wait()

    return ring("held", **{hook: wait})


@pytest.mark.parametrize("where", ["guard", "handler", "answer", "nowhere", "refused"])
async def test_a_request_without_an_answer(where: str) -> None:
    """The transport hears once of a request that gets no answer, wherever it was cancelled, and else never."""
    everything, word, held = Everything(), _Unanswered(), asyncio.Event()
    plugins = {
        "guard": [_held("on_receive", held)],
        "answer": [_held("on_send", held)],
        "refused": [ring("no", on_tool_call=Deny("no.way", "no"))],
    }.get(where, [])
    made = guard(*plugins)
    async with behind(everything.server, made) as (read, write):
        await _initialize(read, write)
        tool = "wait" if where == "handler" else "echo"
        await write.send(item(word.metadata, id=7, method="tools/call", params={"name": tool}))
        if where not in ("nowhere", "refused"):
            await until(lambda: everything.calls or where == "guard")
            await settled()
            await write.send(item(method="notifications/cancelled", params={"requestId": 7}))
            await settled()
        held.set()
        if where in ("guard", "handler"):
            await until(lambda: word.said)
        else:  # what was answered before it was cancelled is answered
            assert (await within(read.receive())).message.id == 7
        await settled()
        assert word.said == (1 if where in ("guard", "handler") else 0)
        assert not next(iter(made._sessions)).busy
        await write.send(item(id=8, method="ping"))
        assert (await within(read.receive())).message.id == 8
    assert len(everything.calls) == (0 if where in ("guard", "refused") else 1)


async def _initialize(read: Any, write: Any) -> None:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    await write.send(item(id="i", method="initialize", params=params))
    await within(read.receive())
    await write.send(item(method="notifications/initialized"))


@pytest.mark.parametrize("hooks", ["none", "plain", "async", "rewrite"])
async def test_metadata_is_carried_through(hooks: str) -> None:
    """What a transport hangs on a message is there for the handler, and what the server hangs on, for the transport."""

    async def later(message: Message, connection: Connection) -> None:
        await settled(2)

    def rewrite(message: Message, connection: Connection) -> Message | None:
        if message.kind == "notification" or message.method != "tools/call":
            return None
        return message.with_params({**message.params, "arguments": {"new": 1}}) if message.kind == "request" else None

    plugin = {"none": [], "plain": [Seen()], "async": [ring("later", on_receive=later, on_send=later)]}
    plugin["rewrite"] = [ring("rewrite", on_receive=rewrite)]
    handled: list[Any] = []

    async def call(ctx: Any, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        handled.append((ctx.request, ctx.close_sse_stream, params.arguments))
        await ctx.session.send_notification(mt.ToolListChangedNotification(), ctx.request_id)
        return mt.CallToolResult(content=[])

    async def close() -> None: ...

    metadata = ServerMessageMetadata(request_context="request", close_sse_stream=close, can_send_request=False)
    async with behind(Server("s", on_call_tool=call), guard(*plugin[hooks])) as (read, write):
        await _initialize(read, write)
        await write.send(item(metadata, id=7, method="tools/call", params={"name": "t", "arguments": {"old": 1}}))
        notification: SessionMessage = await within(read.receive())
        answer = await within(read.receive())
    assert handled == [("request", close, {"new": 1} if hooks == "rewrite" else {"old": 1})]
    assert notification.metadata == ServerMessageMetadata(related_request_id=7)
    assert answer.message.id == 7


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "pump"])
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_context_of_the_sender(waits: bool, mode: str) -> None:
    """A context variable that whoever sent a message had set is seen in its handler, with and without a pump (A74)."""
    seen_in_hooks: list[str] = []

    def look(message: Message, connection: Connection) -> None:
        if message.method == "tools/call" and message.kind == "request":
            seen_in_hooks.append(WHO.get())
            WHO.set("changed by a hook")

    async def look_later(message: Message, connection: Connection) -> None:
        await settled(3)
        look(message, connection)

    everything = Everything()
    made = guard(ring("look", on_receive=look_later if waits else look))

    async def call(c: Client, who: str) -> None:
        WHO.set(who)
        await c.call_tool("echo", {"who": who})

    async with behind(everything.server, made) as streams, client(Streams(streams), mode) as c:
        await asyncio.gather(*(call(c, f"user {n}") for n in range(20)))
    assert everything.who == [arguments["who"] for _, arguments in everything.calls]
    assert sorted(set(everything.who)) == sorted(f"user {n}" for n in range(20))
    assert sorted(seen_in_hooks) == sorted(everything.who)


async def test_an_approval_that_waits_holds_up_nothing_else() -> None:
    """While one call waits for a person, the others of the same client pass, and so do its notifications."""
    everything, asked, answer = Everything(), asyncio.Event(), asyncio.Event()

    async def approve(call: ToolCall, connection: Connection) -> Approved:
        asked.set()
        await answer.wait()
        return Approved(call.digest)

    def judge(call: ToolCall, connection: Connection) -> Any:
        return Ask("sure?") if call.arguments.get("ask") else Allow()

    made = guard(ring("person", on_tool_call=judge, approve=approve), toml='[core]\napprovers = ["person"]\n')
    async with behind(everything.server, made) as streams, client(Streams(streams), "legacy") as c:
        waiting = asyncio.create_task(c.call_tool("echo", {"ask": 1}))
        await within(asked.wait())
        for n in range(3):
            await within(c.call_tool("echo", {"n": n}))
        await within(c.send_roots_list_changed())
        await until(lambda: everything.methods)
        assert not waiting.done()
        answer.set()
        await within(waiting)
    assert [arguments for _, arguments in everything.calls] == [{"n": 0}, {"n": 1}, {"n": 2}, {"ask": 1}]


async def test_what_a_stream_could_not_parse() -> None:
    """An exception on the transport's stream reaches no server, and leaves an event."""
    seen = Seen()
    async with behind(Everything().server, guard(seen)) as (read, write):
        await write.send(ValueError("s3cret"))
        await _initialize(read, write)
        await write.send(item(id=8, method="ping"))
        assert (await within(read.receive())).message.id == 8
    assert seen.codes.count("core.not_json") == 1
    assert "s3cret" not in repr(seen.events)


async def test_a_client_that_leaves() -> None:
    """When the client has gone the server is told so, its handlers end, and nothing is left behind."""
    everything, seen = Everything(), Seen()
    made = guard(seen)
    async with behind(everything.server, made) as (read, write):
        await _initialize(read, write)
        await write.send(item(id=7, method="tools/call", params={"name": "wait"}))
        await within(everything.entered.wait())
    assert everything.cancelled == 1
    assert not made._sessions
    assert seen.codes[-2:] == ["core.disconnected", "core.stopped"]


@pytest.mark.parametrize("mode", MODES)
async def test_over_standard_input_and_output(mode: str) -> None:
    """The same in a program of its own, in front of the SDK's stdio transport."""
    program = Path(__file__).with_name("served.py")
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    params = StdioServerParameters(command=sys.executable, args=[str(program)], env=env)
    async with client(stdio_client(params), mode) as c:
        assert await _names(c) == ["echo"]
        assert (await within(c.call_tool("echo", {"a": 1}))).structured_content["got"] == {"a": 1}
        with pytest.raises(MCPError) as caught:
            await within(c.call_tool("contents"))
    assert plain(caught.value.error) == _REFUSED
