"""No path of the SDK's client goes round the guard (issue: complete mediation)."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import mcp_types as mt
import pytest
from mcp import Client, ClientSession
from mcp.client._memory import InMemoryTransport
from mcp.client.extension import ClientExtension
from mcp.shared.message import SessionMessage
from tests.core.harness import ring
from tests.sdk.everything import MODERN, Everything
from tests.sdk.kit import Scripted, Seen, Tapped, Told, client, guard, guarded, item, settled, until, within

from hauberk.guard import Guard

Do = Callable[[Any], Awaitable[Any]]


async def _listen(c: Client) -> None:
    async with c.listen(tools_list_changed=True) as stream:
        await c.call_tool("changed")
        await anext(stream)


_PING: Final = mt.PingRequest()
_NONE: Final[tuple[str, ...]] = ()
_OF_CLIENT: Final[dict[str, tuple[str, Do, tuple[str, ...]]]] = {
    "send_ping": ("legacy", lambda c: c.send_ping(), ("ping",)),
    "send_progress_notification": ("legacy", lambda c: c.send_progress_notification("unasked", 1), _NONE),
    "set_logging_level": ("legacy", lambda c: c.set_logging_level("info"), ("logging/setLevel",)),
    "list_resources": ("auto", lambda c: c.list_resources(), ("resources/list",)),
    "list_resource_templates": ("auto", lambda c: c.list_resource_templates(), ("resources/templates/list",)),
    "read_resource": ("auto", lambda c: c.read_resource("x://ask"), ("resources/read", "resources/read")),
    "listen": ("auto", _listen, ("subscriptions/listen", "tools/call", "tools/list", "notifications/cancelled")),
    "subscribe_resource": ("legacy", lambda c: c.subscribe_resource("x://a"), ("resources/subscribe",)),
    "unsubscribe_resource": ("legacy", lambda c: c.unsubscribe_resource("x://a"), ("resources/unsubscribe",)),
    "call_tool": ("auto", lambda c: c.call_tool("ask"), ("tools/call", "tools/call", "tools/list")),
    "list_prompts": ("auto", lambda c: c.list_prompts(), ("prompts/list",)),
    "get_prompt": ("auto", lambda c: c.get_prompt("ask"), ("prompts/get", "prompts/get")),
    "complete": (
        "auto",
        lambda c: c.complete(mt.PromptReference(name="p"), {"name": "a", "value": "v"}),
        ("completion/complete",),
    ),
    "list_tools": ("auto", lambda c: c.list_tools(), ("tools/list",)),
    "send_roots_list_changed": ("legacy", lambda c: c.send_roots_list_changed(), ("notifications/roots/list_changed",)),
}
"""Each public method of the SDK's `Client`: the mode to call it in, the call, and what it must send."""

_OF_SESSION: Final[dict[str, tuple[str, Do, tuple[str, ...]]]] = {
    name: row for name, row in _OF_CLIENT.items() if name not in ("listen", "read_resource", "call_tool", "get_prompt")
} | {
    "read_resource": ("auto", lambda s: s.read_resource("x://a"), ("resources/read",)),
    "call_tool": ("auto", lambda s: s.call_tool("echo"), ("tools/call", "tools/list")),
    "get_prompt": ("auto", lambda s: s.get_prompt("hello"), ("prompts/get",)),
    "send_request": ("legacy", lambda s: s.send_request(_PING, mt.EmptyResult), ("ping",)),
    "send_notification": (
        "legacy",
        lambda s: s.send_notification(mt.RootsListChangedNotification()),
        ("notifications/roots/list_changed",),
    ),
    "send_discover": ("auto", lambda s: s.send_discover(MODERN), ("server/discover",)),
    "validate_tool_result": (
        "auto",
        lambda s: s.validate_tool_result("echo", mt.CallToolResult(content=[])),
        ("tools/list",),
    ),
}
_CONNECTING: Final = {"initialize", "discover"}
"""Sent while a client connects; see `test_connecting`."""
_LOCAL: Final = {"adopt", "dispatch_input_request"}
"""They send nothing: one installs a result that the caller holds, one runs a callback."""


def _public(cls: type) -> set[str]:
    return {name for name, member in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}


def test_no_method_of_the_sdk_is_unknown_here() -> None:
    """A method that a new version of the SDK adds fails here, until somebody proves that it crosses the guard."""
    assert _public(Client) == set(_OF_CLIENT)
    assert _public(ClientSession) == set(_OF_SESSION) | _CONNECTING | _LOCAL
    # What an extension may do is to name result shapes and to observe notifications; neither sends.
    assert _public(ClientExtension) == {"settings", "claims", "notifications"}


@asynccontextmanager
async def _tapped(mode: str) -> AsyncIterator[tuple[Client, Seen, Tapped]]:
    seen, tap = Seen(), Tapped(InMemoryTransport(Everything().server))
    async with guarded(tap, seen, mode=mode) as (c, _):
        await settled()
        yield c, seen, tap
    _all_seen(seen, tap)


def _all_seen(seen: Seen, tap: Tapped) -> None:
    """Nothing was on the wire that no hook saw, in either direction."""
    assert _names(tap.out) == _names_of_hooks(seen.sent)
    assert _names(tap.back) == _names_of_hooks(seen.received)


def _names(items: list[SessionMessage]) -> Counter[str]:
    return Counter(str(getattr(item.message, "method", getattr(item.message, "id", ""))) for item in items)


def _names_of_hooks(messages: list[Any]) -> Counter[str]:
    outer = [message for message in messages if message.embedded is None]
    return Counter(str(m.data.get("method", m.data.get("id", ""))) for m in outer)


@pytest.mark.parametrize("name", sorted(_OF_CLIENT))
async def test_client(name: str) -> None:
    """What each public method of ``Client`` sends, and what comes back, met the hooks."""
    mode, do, expected = _OF_CLIENT[name]
    async with _tapped(mode) as (c, seen, _):
        await _sends(seen, do(c), expected)


@pytest.mark.parametrize("name", sorted(_OF_SESSION))
async def test_session(name: str) -> None:
    """What each public method of ``ClientSession`` sends, and what comes back, met the hooks."""
    mode, do, expected = _OF_SESSION[name]
    async with _tapped(mode) as (c, seen, _):
        await _sends(seen, do(c.session), expected)


async def _sends(seen: Seen, doing: Awaitable[Any], expected: tuple[str, ...]) -> None:
    before = len(seen.sent)
    await within(doing)
    await settled()
    sent = [m.method for m in seen.sent[before:] if m.kind in ("request", "notification") and m.embedded is None]
    assert sorted(sent) == sorted(expected)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("streams", [True, False], ids=["streams", "client"])
async def test_connecting(mode: str, streams: bool) -> None:
    """The handshake and the probe cross the guard, for ``Client`` and for ``ClientSession`` on the streams."""
    seen, tap = Seen(), Tapped(InMemoryTransport(Everything().server))
    if streams:
        async with guard(seen).wrap(tap, server="s") as (read, write), ClientSession(read, write) as session:
            await (session.initialize() if mode == "legacy" else session.discover())
            await session.list_tools()
    else:
        async with guarded(tap, seen, mode=mode) as (c, _):
            await c.list_tools()
    first = ["initialize", "notifications/initialized"] if mode == "legacy" else ["server/discover"]
    assert [m.method for m in seen.sent] == [*first, "tools/list"]
    _all_seen(seen, tap)


async def test_progress_in_both_directions() -> None:
    """Progress meets the hooks whichever side reports it, and a token that nobody gave is dropped (A58)."""
    told = Told()
    seen, tap = Seen(), Tapped(InMemoryTransport(Everything().server))
    async with guarded(tap, seen, mode="legacy", told=told) as (c, _):
        await c.call_tool("steps", {}, progress_callback=told.step)
        await c.send_progress_notification("nobody's", 1.0)
        await settled()
    assert seen.back("notification").count("notifications/progress") == 3
    assert "notifications/progress" not in seen.out("notification")
    assert "core.progress_unknown" in seen.codes
    _all_seen(seen, tap)


async def test_progress_for_a_server_that_asked() -> None:
    """A client's progress for a request of the server meets the hooks and reaches it."""
    seen, server = Seen(), Scripted()
    async with guard(seen).wrap(server, server="s") as (read, write):
        await server.say(id=1, method="ping", params={"_meta": {"progressToken": "t"}})
        await within(read.receive())
        await write.send(item(method="notifications/progress", params={"progressToken": "t", "progress": 1}))
        await until(lambda: server.got)
    assert server.methods == ["notifications/progress"]
    assert seen.out("notification") == ["notifications/progress"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_cancellation(mode: str) -> None:
    """The SDK's word that a caller has gone meets the hooks and reaches the server."""
    everything = Everything()
    seen, tap = Seen(), Tapped(InMemoryTransport(everything.server))
    async with guarded(tap, seen, mode=mode) as (c, made):
        call = asyncio.create_task(c.call_tool("wait"))
        await within(everything.entered.wait())
        call.cancel()
        await until(lambda: everything.cancelled)
        await asyncio.wait([call])
        assert not next(iter(made._sessions)).busy
    assert seen.out("notification")[-1] == "notifications/cancelled"
    _all_seen(seen, tap)


async def test_requests_of_the_server() -> None:
    """What a server asks of the client meets the hooks, and so do the answers (legacy back-channel)."""
    seen, tap = Seen(), Tapped(InMemoryTransport(Everything().server))
    async with guarded(tap, seen, mode="legacy") as (c, _):
        await within(c.call_tool("ask"))
    asked = ["sampling/createMessage", "elicitation/create", "roots/list", "ping"]
    assert seen.back("request") == asked
    assert seen.out("result") == asked
    _all_seen(seen, tap)


async def test_requests_inside_an_answer() -> None:
    """What a server asks inside ``input_required`` meets the hooks as messages of their own method (SEP-2322)."""
    seen = Seen()
    async with guarded(InMemoryTransport(Everything().server), seen, mode="auto") as (c, _):
        await within(c.call_tool("ask"))
    inner = sorted(m.method for m in seen.received if m.embedded is not None and m.kind == "request")
    answers = sorted(m.method for m in seen.sent if m.embedded is not None and m.kind == "result")
    assert inner == answers == ["elicitation/create", "roots/list", "sampling/createMessage"]


async def test_exceptions_on_the_stream_are_dropped() -> None:
    """What a transport could not parse holds the server's raw text: it reaches no handler, and leaves an event."""
    told, seen, server = Told(), Seen(), Scripted(lambda request: {"tools": []})
    made: Guard = guard(seen)
    async with client(made.wrap(server, server="s"), "2026-07-28", told) as c:
        await server.fail(ValueError("raw text of the server: s3cret"))
        server.reply = lambda request: {"tools": [], "ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
        assert (await within(c.list_tools())).tools == []
        await settled()
    assert told.messages == []
    assert seen.codes.count("core.not_json") == 1
    assert "s3cret" not in repr(seen.events)


async def test_an_item_that_answers_nothing_is_dropped() -> None:
    """An answer under an id that nobody used, and a second answer, reach nobody and leave an event (A57)."""
    seen, server = Seen(), Scripted()
    async with guard(seen).wrap(server, server="s") as (read, write):
        await write.send(item(id=1, method="tools/list"))
        reading = asyncio.create_task(_read(read))
        for id in (2, "+1", 1, 1):
            await server.say(id=id, result={"tools": []})
        await server.end()
        (received,) = await within(reading)
        assert received.message == item(id=1, result={"tools": []}).message
    assert seen.codes.count("core.unmatched") == 3


async def _read(stream: Any) -> list[SessionMessage]:
    return [received async for received in stream]


async def test_a_rewritten_result_is_what_the_client_sees() -> None:
    """What a hook returned is what every layer of the SDK above the guard works with."""

    def hide(message: Any, connection: Any) -> Any:
        if message.method == "tools/list" and message.kind == "result":
            return message.with_result({**message.result, "tools": message.result["tools"][:1]})
        return None

    async with guarded(Everything().server, ring("hide", on_receive=hide)) as (c, _):
        assert len((await c.list_tools()).tools) == 1
