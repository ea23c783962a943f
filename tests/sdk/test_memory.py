"""The streams of a server in process, held against the SDK's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final

import anyio
import pytest
from mcp import Client
from mcp.client._memory import InMemoryTransport
from mcp.server import Server
from mcp.shared._context_streams import create_context_streams
from tests.sdk.kit import guard, settled, within

from hauberk.hosts import _memory
from hauberk.hosts._memory import ROOM, Receiving, Sending, Stream

WHO: Final[ContextVar[str]] = ContextVar("who", default="nobody")


def ours() -> tuple[Any, Any]:
    stream = Stream()
    return Sending(stream), Receiving(stream)


def theirs() -> tuple[Any, Any]:
    return create_context_streams[Any](ROOM)


async def outcome(operation: Any) -> Any:
    """Return what an operation gives, or the name of what it raises."""
    try:
        return await within(operation)
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, StopAsyncIteration) as error:
        return type(error).__name__


OPERATIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "send": lambda send, _: send.send("x"),
    "receive": lambda _, receive: receive.receive(),
    "next": lambda _, receive: receive.__anext__(),
    "stop sending": lambda send, _: send.aclose(),
    "stop receiving": lambda _, receive: receive.aclose(),
}


@pytest.mark.parametrize("closed", ["stop sending", "stop receiving"])
@pytest.mark.parametrize("sent", [0, 1, 2])
async def test_closed_ends_are_as_the_sdks(closed: str, sent: int) -> None:
    """Whatever is done at either end once one is closed ends as it does with the SDK's streams."""
    ends = []
    for make in (ours, theirs):
        send, receive = make()
        for number in range(sent):
            await send.send(number)
        await OPERATIONS[closed](send, receive)
        ends.append([await outcome(OPERATIONS[name](send, receive)) for name in (*OPERATIONS, *OPERATIONS)])
        await send.aclose()
        await receive.aclose()
    assert ends[0] == ends[1]


async def test_items_come_in_order_with_their_context() -> None:
    """What is sent arrives in order, each item with the context of whoever sent it."""
    send, receive = ours()

    async def say(who: str) -> None:
        WHO.set(who)
        await send.send(who)

    for who in ("ann", "bob", "cyd"):
        await asyncio.create_task(say(who))
    await send.aclose()
    got = [(item, receive.last_context[WHO]) async for item in receive]
    assert got == [("ann", "ann"), ("bob", "bob"), ("cyd", "cyd")]


async def test_who_sends_too_much_waits() -> None:
    """A sender waits while there is no room, and its items keep their order."""
    send, receive = ours()

    async def flood() -> None:
        for number in range(3 * ROOM):
            await send.send(number)

    task = asyncio.create_task(flood())
    await settled()
    assert (len(send._stream._items), task.done()) == (ROOM, False)
    assert [await within(receive.receive()) for _ in range(3 * ROOM)] == list(range(3 * ROOM))
    await within(task)


@pytest.mark.parametrize("close", ["stop sending", "stop receiving"])
async def test_who_waits_is_told_of_the_end(close: str) -> None:
    """Closing either end ends who waits at the other, and every sender that waits for room."""
    send, receive = ours()
    reading = asyncio.create_task(outcome(receive.receive()))
    await settled()
    await OPERATIONS[close](send, receive)
    assert await within(reading) == ("EndOfStream" if close == "stop sending" else "ClosedResourceError")
    send, receive = ours()
    for number in range(ROOM):
        await send.send(number)
    waiting = [asyncio.create_task(outcome(send.send("late"))) for _ in range(3)]
    await settled()
    await OPERATIONS[close](send, receive)
    expected = "ClosedResourceError" if close == "stop sending" else "BrokenResourceError"
    assert await within(asyncio.gather(*waiting)) == [expected] * 3


async def test_a_cancelled_sender_leaves_its_room() -> None:
    """A sender that is cancelled when there is room for it sends nothing, and the next one gets the room."""
    send, receive = ours()
    for number in range(ROOM):
        await send.send(number)
    first, second = (asyncio.create_task(send.send(name)) for name in ("first", "second"))
    await settled()
    await receive.receive()
    first.cancel()
    await within(second)
    assert first.cancelled()
    rest = [await within(receive.receive()) for _ in range(ROOM)]
    assert rest == [*range(1, ROOM), "second"]


async def test_a_cancelled_receiver_loses_nothing() -> None:
    """What comes for a receiver that is cancelled in the same turn is there for the next one."""
    send, receive = ours()
    reading = asyncio.create_task(receive.receive())
    await settled()
    await send.send("x")
    reading.cancel()
    await settled()
    assert reading.cancelled()
    assert await within(receive.receive()) == "x"


# --- the server ---


def failing() -> Server[Any]:
    async def start() -> None:
        raise RuntimeError("cannot start")

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        await start()
        yield {}

    return Server("failing", lifespan=lifespan)


async def test_a_server_that_fails_ends_as_the_sdks() -> None:
    """What a server raises comes to its host, as it does without the guard."""
    raised = []
    for target in (InMemoryTransport(failing()), guard().wrap(failing(), server="s")):
        with pytest.raises(ExceptionGroup) as caught:
            async with Client(target):
                pass
        raised.append(caught.group_contains(RuntimeError, match="cannot start"))
    assert raised == [True, True]


async def test_a_server_that_does_not_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose own end never comes holds its host up for a while and no longer."""
    cancelled = []

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        yield {}
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    monkeypatch.setattr(_memory, "GRACE", 0.05)
    async with Client(guard().wrap(Server("stays", lifespan=lifespan), server="s")):
        pass
    assert cancelled == [True]
