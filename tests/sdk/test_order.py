"""Order, waiting, cancelling and ending between the SDK's client and a server: nothing leaks and nothing hangs."""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import Any, Final

import anyio
import mcp_types as mt
import pytest
from mcp import Client, MCPError
from mcp.client._memory import InMemoryTransport
from tests.core.harness import notification, ring
from tests.sdk.everything import MODERN, WHO, Everything
from tests.sdk.kit import (
    MODES,
    Scripted,
    Seen,
    Told,
    behind,
    client,
    guard,
    guarded,
    hurried,
    item,
    session_of,
    settled,
    until,
    within,
)

from hauberk.connection import Connection
from hauberk.message import Message, ToolCall
from hauberk.session import Session
from hauberk.verdict import Approved, Ask

_APPROVE: Final = '[core]\napprovers = ["person"]\n'


def _later(turns: int = 3, **only: str) -> Any:
    """Return a plugin whose hooks wait a little; of ``only`` one kind, where it is given."""

    async def wait(message: Message, connection: Connection) -> None:
        if message.kind == only.get("kind", message.kind):
            await settled(turns)

    return ring("later", on_send=wait, on_receive=wait)


def _inward() -> Any:
    async def wait(message: Message, connection: Connection) -> None:
        await settled(1)

    return ring("inward", on_receive=wait)


class _Person:
    """An approver who answers when the test says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.stopped = 0
        self.outcomes: list[str] = []
        self.plugin = ring("person", on_tool_call=self._judge, approve=self._approve)

    def _judge(self, call: ToolCall, connection: Connection) -> Ask:
        call.exchange.defer(self.outcomes.append)
        return Ask("sure?")

    async def _approve(self, call: ToolCall, connection: Connection) -> Approved:
        self.asked.set()
        try:
            await self.answer.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return Approved(call.digest)


def _tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def _gauges(session: Session) -> list[int]:
    """Return what is in flight, waits or is remembered, in both directions."""
    ways = (session.out, session.inn)
    return [len(session._underway), *(len(way.exchanges.flight) for way in ways), *(way.waiting for way in ways)]


# --- the pump ---


@pytest.mark.parametrize(
    ("plugins", "toml", "pumps"),
    [
        ([], "", False),
        ([Seen()], "", False),
        ([_later()], "", True),
        ([_inward()], "", True),
        ([], '[core]\nrefuse_as = "result"\n', True),
        ([], "[core]\nrequest_timeout = 5.0\n", True),
    ],
    ids=["bare", "plain", "async", "async in", "refuse as result", "timeout"],
)
@pytest.mark.parametrize("mode", MODES)
async def test_who_needs_a_pump(plugins: list[Any], toml: str, pumps: bool, mode: str) -> None:
    """Only where something may have to wait on its way in is there a task that reads ahead of the SDK."""
    async with guarded(Everything().server, *plugins, mode=mode, toml=toml) as (c, _):
        await within(c.call_tool("echo"))
        assert any(task.get_name() == "hauberk-pump" for task in _tasks()) is pumps
    assert not any(task.get_name() == "hauberk-pump" for task in _tasks())


async def _agree(connection: Connection, ask: Any) -> None:
    await ask("com.example/hello")


@pytest.mark.parametrize("before", [0, 1, 40])
@pytest.mark.parametrize("after", [0, 1, 200])
async def test_the_pump_of_an_agreement_ends_with_it(before: int, after: int) -> None:
    """What plugins agree on is read by a pump, which ends with it and loses nothing that came before or after."""
    server = Scripted()

    async def answer() -> None:
        await until(lambda: bool(server.got))
        said = iter(range(before + after))
        for n in itertools.islice(said, before):
            await server.say(method="notifications/message", params={"level": "info", "data": n})
        asked = server.got[0].message
        assert isinstance(asked, mt.JSONRPCRequest)
        await server.say(id=asked.id, result={})
        for n in said:
            await server.say(method="notifications/message", params={"level": "info", "data": n})
        await server.end()

    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        async with guard(ring("agrees", agree=_agree)).wrap(server, server="s") as (read, _):
            assert not any(task.get_name() == "hauberk-pump" for task in _tasks())
            got = await within(_read(read))
    assert [message.params["data"] for message in got] == list(range(before + after))


async def test_a_pump_ends_with_what_it_was_for() -> None:
    """Where the guard in front of a server had to write something itself, there is no pump any more once it has."""
    hello = ring("hello", answers=("com.example/hello",), answer=lambda method, params, connection: {"said": method})
    async with behind(Everything().server, guard(hello)) as (read, write):
        await write.send(item(id="a", method="com.example/hello", params={}))
        assert (await within(read.receive())).message.result == {"said": "com.example/hello"}
        for id in range(3):
            await write.send(item(id=id, method="ping"))
            assert (await within(read.receive())).message.id == id
        assert not any(task.get_name() == "hauberk-pump" for task in _tasks())


@pytest.mark.parametrize("waits", [None, "result", "notification"])
async def test_notifications_arrive_in_order(waits: str | None) -> None:
    """Progress and logs arrive in the order in which they were sent, and before the answer that follows them."""
    told = Told()
    plugins = [_later(kind=waits)] if waits else []
    server = Scripted()
    made = guard(*plugins)
    async with made.wrap(server, server="s") as (read, write):
        await write.send(item(id=1, method="tools/call", params={"name": "t", "_meta": {"progressToken": 9}}))
        reading = asyncio.create_task(_read(read))
        for n in range(100):
            await server.say(method="notifications/progress", params={"progressToken": 9, "progress": n})
            await server.say(method="notifications/message", params={"level": "info", "data": n})
        await server.say(id=1, result={"content": []})
        await server.end()
        got = await within(reading)
    assert [getattr(m, "method", "answer") for m in got] == [
        *["notifications/progress", "notifications/message"] * 100,
        "answer",
    ]
    assert [m.params["progress"] for m in got[:-1:2]] == list(range(100))
    assert not told.messages


async def _read(stream: Any) -> list[Any]:
    return [received.message async for received in stream]


async def test_notifications_leave_in_order() -> None:
    """What a host sends leaves in the order in which it was sent, though each message waits in a hook."""
    everything = Scripted()
    async with guard(_later()).wrap(everything, server="s") as (_, write):
        sends = [write.send(item(**notification("notifications/roots/list_changed", {"n": n}))) for n in range(50)]
        async with asyncio.TaskGroup() as group:
            for send in sends:
                group.create_task(send)
        await until(lambda: len(everything.got) == 50)
    left: list[Any] = [sent.message for sent in everything.got]
    assert [message.params["n"] for message in left] == list(range(50))


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("mode", MODES)
async def test_two_hundred_calls_at_once(waits: bool, mode: str) -> None:
    """Two hundred calls at once are each answered with their own answer, and nothing is left of them."""
    everything = Everything()
    plugins = [_later()] if waits else [Seen()]
    async with guarded(everything.server, *plugins, mode=mode) as (c, made):
        await within(c.list_tools())
        calls = (c.call_tool("echo", {"n": n}) for n in range(200))
        results = await within(asyncio.gather(*calls), 15)
        assert [result.structured_content["got"] for result in results] == [{"n": n} for n in range(200)]
        assert not any(_gauges(session_of(made)))
    assert len(everything.calls) == 200


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_context_of_the_caller(waits: bool, mode: str) -> None:
    """A context variable of whoever calls is seen by a server in process; what a hook sets stays with its message."""
    left: list[str] = []

    async def leave(message: Message, connection: Connection) -> None:
        leave_plainly(message, connection)
        await settled(2)

    def leave_plainly(message: Message, connection: Connection) -> None:
        if message.method == "tools/call":
            left.append(WHO.get())
        WHO.set("changed by a hook")

    everything = Everything()

    async def call(c: Client, who: str) -> None:
        WHO.set(who)
        for _ in range(2):
            await c.call_tool("echo", {"who": who})
            assert WHO.get() == who

    plugin = ring("leave", on_send=leave if waits else leave_plainly)
    async with guarded(everything.server, plugin, mode=mode) as (c, _):
        await within(asyncio.gather(*(call(c, f"user {n}") for n in range(20))))
    assert everything.who == [arguments["who"] for _, arguments in everything.calls]
    assert sorted(left) == sorted(everything.who)


async def test_a_slow_reader_holds_up_the_server() -> None:
    """A client that does not read holds up the server: the guard takes a bounded number of messages ahead."""
    server = Scripted()
    async with guard(_later(0)).wrap(server, server="s") as (read, _):
        said = 0

        async def talk() -> None:
            nonlocal said
            for n in range(5000):
                await server.say(method="notifications/message", params={"level": "info", "data": n})
                said += 1

        talking = asyncio.create_task(talk())
        await within(read.receive())
        await settled(500)
        assert said < 200
        for n in range(1, 5000):
            received = await within(read.receive())
            assert received.message.params["data"] == n
        await within(talking)


# --- cancelling ---


@pytest.mark.parametrize("mode", MODES)
async def test_a_caller_who_leaves_while_an_approval_waits(mode: str) -> None:
    """The exchange ends at once, the approver is stopped, nothing is forwarded, and nothing is left (A58)."""
    person, server = _Person(), Everything()
    before = _tasks()
    async with guarded(server.server, person.plugin, mode=mode, toml=_APPROVE) as (c, made):
        for n in range(1, 4):
            person.asked.clear()
            call = asyncio.create_task(c.call_tool("echo"))
            await within(person.asked.wait())
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            assert person.stopped == n
            assert not any(_gauges(session_of(made)))
            assert not session_of(made).out.exchanges.tombstones
        person.answer.set()
        assert (await within(c.call_tool("echo"))).structured_content
    assert person.outcomes == ["cancelled"] * 3 + ["answered"]
    assert len(server.calls) == 1
    await settled()
    assert _tasks() == before


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_caller_whose_time_is_up(mode: str) -> None:
    """The SDK's own time-out ends the exchange too; the late answer is dropped, and others go on (A58)."""
    everything, seen = Everything(), Seen()
    async with guarded(everything.server, seen, mode=mode) as (c, made):
        await within(c.list_tools())
        with pytest.raises(MCPError) as caught:
            await c.call_tool("wait", read_timeout_seconds=0.05)
        assert caught.value.code == mt.REQUEST_TIMEOUT
        assert not any(_gauges(session_of(made)))
        assert (await within(c.call_tool("echo"))).structured_content
        await until(lambda: everything.cancelled == 1)
    assert "core.cancelled" in seen.codes


@pytest.mark.parametrize("mode", MODES)
async def test_the_guards_own_time_out(mode: str) -> None:
    """``request_timeout`` ends a request that the server does not answer, and tells the server (legacy and modern)."""
    everything = Everything()
    toml = "[core]\nrequest_timeout = 60.0\n"
    async with guarded(everything.server, mode=mode, toml=toml) as (c, made):
        with hurried(made), pytest.raises(MCPError) as caught:
            await within(c.call_tool("wait"))
        assert caught.value.error.data["code"] == "core.timed_out"
        await until(lambda: everything.cancelled == 1)
        assert not any(_gauges(session_of(made)))


@pytest.mark.parametrize("mode", MODES)
async def test_time_that_runs_out_while_an_approval_waits(mode: str) -> None:
    """``request_timeout`` counts from the moment the host asks: the caller is told, the approver stopped."""
    person, everything = _Person(), Everything()
    toml = '[core]\nrequest_timeout = 60.0\napprovers = ["person"]\n'
    async with guarded(everything.server, person.plugin, mode=mode, toml=toml) as (c, made):
        with hurried(made), pytest.raises(MCPError) as caught:
            await within(c.call_tool("echo"))
        assert caught.value.error.data["code"] == "core.timed_out"
        await settled()
        assert not any(_gauges(session_of(made)))
    assert (person.stopped, person.outcomes) == (1, ["timed_out"])
    assert everything.calls == []


async def test_a_cancellation_from_another_task() -> None:
    """A host that cancels by id alone ends the waiting request; its writer goes on, and nothing was forwarded."""
    person, server = _Person(), Scripted()
    async with guard(person.plugin, toml=_APPROVE).wrap(server, server="s") as (_, write):
        call = asyncio.create_task(write.send(item(id=1, method="tools/call", params={"name": "t"})))
        await within(person.asked.wait())
        await write.send(item(method="notifications/cancelled", params={"requestId": 1}))
        await within(call)
        await settled()
    assert (person.stopped, person.outcomes, server.got) == (1, ["cancelled"], [])


async def test_a_late_answer() -> None:
    """An answer that comes after its caller has gone reaches nobody, and its tombstone goes with it (A58)."""
    server, seen = Scripted(), Seen()
    async with guard(seen).wrap(server, server="s") as (read, write):
        reading = asyncio.create_task(_read(read))
        await write.send(item(id=1, method="tools/list"))
        await write.send(item(method="notifications/cancelled", params={"requestId": 1}))
        await until(lambda: len(server.got) == 2)
        for _ in range(2):
            await server.say(id=1, result={"tools": []})
        await server.end()
        assert await within(reading) == []
    assert seen.codes.count("core.unmatched") == 1


# --- ending ---


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_server_that_leaves(waits: bool, mode: str) -> None:
    """When the server's end closes, each caller gets CONNECTION_CLOSED at once, and so does who calls later."""
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    server = Scripted(lambda request: hello if request.method == "initialize" else None)
    async with guarded(server, *([_later()] if waits else []), mode=mode) as (c, _):
        calls = [asyncio.create_task(c.call_tool("t", {"n": n})) for n in range(5)]
        await until(lambda: server.methods.count("tools/call") == 5)
        await server.end()
        for result in await within(asyncio.gather(*calls, return_exceptions=True)):
            assert isinstance(result, MCPError)
            assert result.code == mt.CONNECTION_CLOSED
        with pytest.raises(MCPError) as caught:
            await within(c.list_tools())
        assert caught.value.code == mt.CONNECTION_CLOSED


@pytest.mark.parametrize("where", ["server", "approval", "answer"])
@pytest.mark.parametrize("mode", MODES)
async def test_closing_while_calls_are_in_flight(where: str, mode: str) -> None:
    """A client that closes ends what is in flight: its callers are told, deferred functions run, no task is left."""
    person, everything, seen = _Person(), Everything(), Seen()
    held = asyncio.Event()
    before = _tasks()

    async def hold(message: Message, connection: Connection) -> None:
        if message.method == "tools/call":
            await held.wait()

    plugins = {"approval": [person.plugin], "answer": [ring("hold", on_receive=hold)]}.get(where, [])
    toml = _APPROVE if where == "approval" else ""
    async with guarded(everything.server, *plugins, seen, mode=mode, toml=toml) as (c, made):
        tool = "wait" if where == "server" else "echo"
        calls = [asyncio.create_task(c.call_tool(tool)) for _ in range(3)]
        await until(lambda: person.asked.is_set() or len(everything.calls) == 3)
        session = session_of(made)
    results = await within(asyncio.gather(*calls, return_exceptions=True))
    assert all(isinstance(result, MCPError) for result in results)
    assert session.closed
    assert not any(_gauges(session))
    await settled()
    assert _tasks() == before
    assert seen.codes[-2:] == ["core.disconnected", "core.stopped"]
    if where == "approval":
        assert person.outcomes == ["closed"] * 3


@pytest.mark.parametrize("native", [False, True], ids=["scope", "task"])
@pytest.mark.parametrize("waits", [False, True], ids=["plain", "async"])
async def test_a_client_that_is_cancelled(native: bool, waits: bool) -> None:
    """Whatever cancels a client, the session ends, the plugins close, and the last event is recorded."""
    seen, everything, closed = Seen(), Everything(), asyncio.Event()

    async def close() -> None:
        await settled(5)
        closed.set()

    before = _tasks()
    made = guard(ring("slow", close=close), seen, *([_later()] if waits else []))
    scope = anyio.CancelScope()

    async def run() -> None:
        with scope:
            async with client(made.wrap(everything.server, server="s")) as c:
                await c.call_tool("wait")

    running = asyncio.create_task(run())
    await within(everything.entered.wait())
    session = session_of(made)
    if native:
        running.cancel()
    else:
        scope.cancel()
    await within(asyncio.wait([running]))
    assert running.cancelled() is native
    assert closed.is_set()
    assert not made._sessions
    assert not any(_gauges(session))
    assert seen.codes[-2:] == ["core.disconnected", "core.stopped"]
    await settled()
    assert _tasks() == before


@pytest.mark.parametrize("native", [False, True], ids=["scope", "task"])
async def test_a_cancelled_client_of_a_guard_that_stays(native: bool) -> None:
    """A cancelled client leaves no session in a guard that others still use."""
    everything, held, waiting = Everything(), asyncio.Event(), asyncio.Event()

    async def hold(message: Message, connection: Connection) -> None:
        if message.kind == "notification":
            waiting.set()
            await held.wait()

    made = guard(Seen(), ring("hold", on_receive=hold))
    scope = anyio.CancelScope()

    async def run() -> None:
        with scope:
            async with client(made.wrap(everything.server, server="s"), "legacy") as c:
                await c.call_tool("changed")

    async with made:
        running = asyncio.create_task(run())
        await within(waiting.wait())
        session = session_of(made)
        (running if native else scope).cancel()
        await within(asyncio.wait([running]))
        assert session.closed
        assert not made._sessions
        assert not any(_gauges(session))
        async with client(made.wrap(everything.server, server="s")) as c:
            assert (await within(c.call_tool("echo"))).structured_content


async def test_a_session_that_is_closed_while_an_approval_waits() -> None:
    """Whoever waits to send when the session closes is told that the stream is closed."""
    person, server = _Person(), Scripted()
    made = guard(person.plugin, toml=_APPROVE)
    async with made.wrap(server, server="s") as (_, write):
        call = asyncio.create_task(write.send(item(id=1, method="tools/call", params={"name": "t"})))
        await within(person.asked.wait())
        await session_of(made).close()
        with pytest.raises(anyio.ClosedResourceError):
            await within(call)
        with pytest.raises(anyio.ClosedResourceError):
            await within(write.send(item(id=2, method="ping")))
    assert (person.stopped, person.outcomes, server.got) == (1, ["closed"], [])


async def test_many_clients_of_one_guard() -> None:
    """Clients of one guard come and go, at once and one after the other; the guard closes with the last of them."""
    seen, opened, closed = Seen(), [], []

    async def open_() -> None:
        await settled(5)
        opened.append(1)

    async def close() -> None:
        closed.append(1)

    made = guard(ring("life", open=open_, close=close), seen)

    async def use(name: str) -> None:
        async with client(made.wrap(Everything().server, server=name)) as c:
            await c.call_tool("echo")
            await barrier.wait()

    barrier = asyncio.Barrier(5)
    for _ in range(2):
        await within(asyncio.gather(*(use(f"s{n}") for n in range(5))))
    assert (len(opened), len(closed)) == (2, 2)
    assert not made._sessions
    assert seen.codes.count("core.disconnected") == 10


async def test_one_transport_for_one_client_at_a_time() -> None:
    """A transport that is in use cannot be entered again, and can once it was left."""
    transport = guard().wrap(Everything().server, server="s")
    for _ in range(2):
        async with transport:
            with pytest.raises(RuntimeError, match="in use"):
                await transport.__aenter__()


class _Broken:
    """A transport that fails where a test says so."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._inner = InMemoryTransport(Everything().server)

    async def __aenter__(self) -> Any:
        if self._where == "open":
            raise OSError("no route")
        read, write = await self._inner.__aenter__()
        return (read, self._Write(write, self._where))

    async def __aexit__(self, *error: object) -> bool | None:
        await self._inner.__aexit__(None, None, None)
        if self._where == "close":
            raise OSError("no way back")
        return None

    class _Write:
        def __init__(self, inner: Any, where: str) -> None:
            self._inner, self._where = inner, where

        async def send(self, sent: Any) -> None:
            if self._where == "send" and getattr(sent.message, "method", "") == "tools/call":
                raise TimeoutError("the transport's own")
            if self._where == "gone" and getattr(sent.message, "method", "") == "tools/call":
                raise anyio.BrokenResourceError
            await self._inner.send(sent)

        async def aclose(self) -> None:
            await self._inner.aclose()


@pytest.mark.parametrize("where", ["open", "send", "gone", "close"])
async def test_a_transport_that_fails(where: str) -> None:
    """What the transport below raises reaches the caller as without a guard, and nothing is left in flight."""
    outcomes: list[str] = []
    plugin = ring("watch", on_tool_call=lambda call, c: call.exchange.defer(outcomes.append))
    made = guard(plugin)

    async def use() -> None:
        async with client(made.wrap(_Broken(where), server="s"), "legacy") as c:
            with pytest.raises({"send": TimeoutError, "gone": MCPError}.get(where, KeyError)):
                await c.call_tool("echo")
            assert not any(_gauges(session_of(made)))
            await c.list_tools()
            if where == "close":
                raise KeyError

    if where in ("open", "close"):
        with pytest.raises((OSError, KeyError, ExceptionGroup)):
            await within(use())
    else:
        await within(use())
    assert not made._sessions
    assert outcomes == {"send": ["closed"], "gone": ["closed"], "close": ["answered"]}.get(where, [])


async def test_no_garbage_is_left() -> None:
    """A thousand calls, a hundred of them cancelled, leave nothing that grows with their number."""
    everything = Everything()
    async with guarded(everything.server, Seen(), mode="legacy") as (c, made):
        session = session_of(made)
        await c.list_tools()
        for n in range(10):
            await asyncio.gather(*(c.call_tool("echo", {"n": n}) for _ in range(90)))
            calls = [asyncio.create_task(c.call_tool("wait")) for _ in range(10)]
            await until(lambda: len(everything.calls) % 100 == 0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        await until(lambda: everything.cancelled == 100)
        assert not any(_gauges(session))
        assert len(session.out.exchanges.tombstones) <= 100
        assert not session.out.exchanges._tokens
    gc.collect()
