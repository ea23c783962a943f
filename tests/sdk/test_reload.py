"""A reload reaches the SDK's client: it is told that its lists changed, however its transport is read."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, cast

import pytest
from mcp import MCPError
from mcp.client.subscriptions import ToolsListChanged
from tests.core.harness import ring
from tests.sdk.everything import Everything
from tests.sdk.kit import Scripted, Seen, Told, guarded, session_of, settled, target, until, within

from hauberk.config import Config
from hauberk.hosts._inbox import Inbox

CHANGED = [f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")]
TARGETS = ["child", "transport", "server", "http-sse", "http-json"]


def policy(number: int, text: str = "") -> Config:
    """Return a configuration that differs from another in its bytes."""
    return Config.from_toml(f"# {number}\n{text}")


def told_of(told: Told) -> list[str]:
    return [m["method"] for m in told.messages if m.get("method") in CHANGED]


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("waits", [False, True])
async def test_idle_client_is_told(kind: str, waits: bool) -> None:
    """A client that waits for nothing has taken the word when a reload returns, and so has one that is told again."""

    async def later(*_: Any) -> None:
        await asyncio.sleep(0)

    told, plugin = Told(), ring("p", on_receive=later if waits else None)
    async with target(kind) as where, guarded(where, plugin, mode="legacy", told=told) as (client, made):
        known = session_of(made).lists._declared
        expected = [method for method in CHANGED if method.split("/")[1] in known]
        assert expected[0] == CHANGED[0]
        for number in (1, 2, 3):
            await within(made.reload(policy(number)))
            assert not cast("Inbox", session_of(made).out.source).items
            await settled()  # the SDK gives each callback a task
            assert told_of(told) == expected * number
            assert (await within(client.list_tools())).tools
        assert not session_of(made).busy


@pytest.mark.parametrize("kind", ["transport", "server", "http-sse"])
async def test_open_stream_is_told(kind: str) -> None:
    """A client of 2026-07-28 reads in its stream that its tools changed; the streams that it left get nothing."""
    told = Told()
    async with target(kind) as where, guarded(where, Seen(), mode="2026-07-28", told=told) as (client, made):
        async with client.listen(tools_list_changed=True):
            pass
        async with client.listen(tools_list_changed=True) as stream:
            await within(made.reload(policy(1)))
            assert await within(anext(stream)) == ToolsListChanged()
            assert len(session_of(made).lists._streams) <= 2
        assert (await within(client.list_tools())).tools
    assert not [m for m in told.messages if isinstance(m, Exception)]


async def test_client_without_a_stream_is_not_disturbed() -> None:
    """A client of 2026-07-28 that opened no stream gets no word that its revision does not have."""
    told = Told()
    async with guarded(Everything().server, Seen(), mode="2026-07-28", told=told) as (client, made):
        await within(made.reload(policy(1)))
        assert (await within(client.list_tools())).tools
        await settled()
        assert told_of(told) == []


async def test_calls_go_on_over_reloads() -> None:
    """Calls that are in flight at the server and in the guard get their own answers, whatever is reloaded meanwhile."""
    everything = Everything()
    async with guarded(everything.server, Seen(), mode="legacy") as (client, made):
        waiting = asyncio.ensure_future(client.call_tool("wait", {}))
        await within(everything.entered.wait())
        for number in range(20):
            await within(made.reload(policy(number)))
            answer = await within(client.call_tool("echo", {"n": number}))
            assert answer.structured_content is not None
            assert answer.structured_content["got"] == {"n": number}
        everything.release.set()
        assert not (await within(waiting)).is_error


async def test_idle_connection_keeps_no_old_policy() -> None:
    """A connection over which nothing has gone since the reload holds nothing of the policy before it."""
    async with guarded(Everything().server, Seen(), mode="legacy") as (client, made):
        await within(client.list_tools())
        old = weakref.ref(made.policy)
        await within(made.reload(policy(1)))
        await until(lambda: not any(task.get_name() == "hauberk-retire" for task in asyncio.all_tasks()))
        await settled()
        gc.collect()
        assert old() is None


async def test_time_out_that_a_reload_brings_reaches_a_caller() -> None:
    """A policy with a ``request_timeout`` ends a call that its server never answers, on a connection from before."""
    async with guarded(Scripted(_answered), Seen(), mode="legacy") as (client, made):
        await within(made.reload(policy(1, "[core]\nrequest_timeout = 0.05\n")))
        with pytest.raises(MCPError, match="did not come in time"):
            await within(client.call_tool("never", {}))


def _answered(request: Any) -> dict[str, Any] | None:
    if request.method != "initialize":
        return None
    info = {"name": "s", "version": "1"}
    return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}


# --- the interruption of a reader ---


class _Reader:
    """A task that reads as the SDK's does: straight from a transport, unless the inbox calls it away."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.arrived: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self._read())

    async def _read(self) -> str:
        self.inbox.reading = asyncio.current_task()
        try:
            return await self.arrived
        except asyncio.CancelledError:
            if not self.inbox.was_interrupted():
                raise
            return "interrupted"
        finally:
            self.inbox.reading = None

    def deliver(self) -> None:
        self.inbox.deliver({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}, None)


async def test_reader_is_called_away_once() -> None:
    """However much the guard has to say, the reader is interrupted once, and is not left as if it were cancelled."""
    reader = _Reader()
    await settled()
    reader.deliver()
    reader.deliver()
    assert await within(reader.task) == "interrupted"
    assert reader.task.cancelling() == 0
    assert len(reader.inbox.items) == 2


async def test_word_is_taken_when_the_reader_comes_back() -> None:
    """What the guard says has been taken when the SDK has read it and has come back for more, not before."""
    inbox = Inbox()
    inbox.deliver({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}, None)
    taken = asyncio.ensure_future(inbox.flushed())
    await settled()
    inbox.take()
    await settled()
    assert not taken.done()
    reading = asyncio.ensure_future(inbox.wait())
    await within(taken)
    inbox.end()
    await within(reading)


async def test_message_that_was_handed_over_is_not_lost() -> None:
    """A reader that has been handed a message, and has not run since, is not interrupted: the message would be lost."""
    reader = _Reader()
    await settled()
    reader.arrived.set_result("a message")
    reader.deliver()
    assert await within(reader.task) == "a message"
    await settled()
    assert reader.task.cancelling() == 0


async def test_cancellation_of_the_reader_is_kept() -> None:
    """A cancellation that comes with an interruption, before or after it, is the one that counts."""
    for first in (True, False):
        reader = _Reader()
        await settled()
        if first:
            reader.task.cancel()
        reader.deliver()
        if not first:
            reader.task.cancel()
        await until(reader.task.done)
        assert reader.task.cancelled()
