"""Streams in memory that are written to at once, held against their own ways."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

import anyio
import pytest
from mcp.shared._context_streams import create_context_streams
from tests.sdk.kit import guard, item, settled, within
from tests.sdk.test_memory import OPERATIONS, outcome

from hauberk.hosts._prompt import FEW, Prompt, prompt
from hauberk.hosts.sdk import around

WHO: Final[ContextVar[str]] = ContextVar("who", default="nobody")
Make = Callable[[float], tuple[Any, Any]]


def plain(size: float) -> tuple[Any, Any]:
    return anyio.create_memory_object_stream[Any](size)


def wrapped(size: float) -> tuple[Any, Any]:
    return create_context_streams[Any](size)


@pytest.fixture(params=[plain, wrapped])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def at_once(sending: Any) -> bool:
    """Whether a write is done without a turn of the event loop; one that is not is let go."""
    try:
        sending.send(None)
    except StopIteration:
        return True
    sending.close()
    return False


async def closed(*streams: Any) -> None:
    for stream in streams:
        await stream.aclose()


async def test_what_has_room_is_sent_at_once(make: Make) -> None:
    """An item for which there is room, or a receiver, is there when `send` returns, and nobody else has run."""
    send, receive = make(2)
    assert [at_once(prompt(send).send(number)) for number in range(3)] == [True, True, False]
    assert [await within(receive.receive()) for _ in range(2)] == [0, 1]
    await closed(send, receive)
    send, receive = make(0)
    assert not at_once(prompt(send).send("nobody waits"))
    assert await within(receive.receive()) == "nobody waits"
    reading = asyncio.create_task(receive.receive())
    await settled()
    assert at_once(prompt(send).send("x"))
    assert await within(reading) == "x"
    await closed(send, receive)


async def test_who_sends_too_much_waits_its_turn(make: Make) -> None:
    """A sender waits while there is no room (backpressure), and nobody overtakes one that waits."""
    send, receive = make(1)
    hasty = prompt(send)

    async def flood() -> None:
        for number in range(20):
            await hasty.send(number)

    task = asyncio.create_task(flood())
    await settled()
    assert not task.done()
    late = asyncio.create_task(hasty.send("late"))
    await settled()
    got = [await within(receive.receive()) for _ in range(21)]
    await within(asyncio.gather(task, late))
    assert [one for one in got if one != "late"] == list(range(20))
    assert got.index("late") <= 3
    await closed(send, receive)


@pytest.mark.parametrize("operation", ["stop sending", "stop receiving"])
@pytest.mark.parametrize("sent", [0, 1, 2])
async def test_closed_ends_are_as_they_were(make: Make, operation: str, sent: int) -> None:
    """Whatever is sent once either end is closed ends as it does with the stream's own `send`."""
    ends = []
    for hasten in (prompt, lambda stream: stream):
        send, receive = make(2)
        for number in range(sent):
            await hasten(send).send(number)
        await OPERATIONS[operation](send, receive)
        ends.append([await outcome(hasten(send).send("x")), await outcome(receive.receive())])
        await closed(send, receive)
    assert ends[0] == ends[1]
    assert ends[0][0] in ("ClosedResourceError", "BrokenResourceError")


async def test_each_item_has_the_context_of_its_sender() -> None:
    """What the SDK carries beside a message is carried: the context of whoever sent it."""
    send, receive = wrapped(3)

    async def say(who: str) -> None:
        WHO.set(who)
        await prompt(send).send(who)

    for who in ("ann", "bob", "cyd"):
        await asyncio.create_task(say(who))
    got = [(await within(receive.receive()), receive.last_context[WHO]) for _ in range(3)]
    assert got == [("ann", "ann"), ("bob", "bob"), ("cyd", "cyd")]
    await closed(send, receive)


@pytest.mark.parametrize("size", [0, 1, 4])
async def test_who_finds_room_overtakes_nobody_that_waits_for_it(make: Make, size: int) -> None:
    """A reader that makes room in the turn in which somebody begins to wait lets no later message past that one."""
    send, receive = make(size)
    hasty, begun = prompt(send), list[asyncio.Task[None]]()
    loop = asyncio.get_running_loop()

    def say(number: int) -> None:
        begun.append(loop.create_task(hasty.send(number)))

    async def read() -> list[int]:
        return [await receive.receive() for _ in range(size + 2)]

    for number in range(size):
        await hasty.send(number)
    loop.call_soon(say, size)
    reading = loop.create_task(read())
    loop.call_soon(say, size + 1)
    assert await within(reading) == list(range(size + 2))
    await within(asyncio.gather(*begun))
    await closed(send, receive)


async def test_what_waits_is_written_though_its_sender_gave_up(make: Make) -> None:
    """What was sent is written in its place: it may be sealed, and then all that comes after it goes by it."""
    send, receive = make(1)
    hasty = prompt(send)
    await hasty.send(0)
    waiting = [asyncio.create_task(hasty.send(number)) for number in (1, 2)]
    await settled()
    waiting[0].cancel()
    assert isinstance((await asyncio.gather(*waiting[:1], return_exceptions=True))[0], asyncio.CancelledError)
    assert [await within(receive.receive()) for _ in range(3)] == [0, 1, 2]
    await within(waiting[1])
    await closed(send, receive)


async def test_what_is_closed_is_closed_for_who_waits(make: Make) -> None:
    """Whoever still waits for room when the stream is closed is told so, and nothing is left behind."""
    send, receive = make(0)
    waiting = asyncio.create_task(prompt(send).send("x"))
    await settled()
    await send.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await within(waiting)
    assert await outcome(receive.receive()) == "EndOfStream"
    await closed(receive)


async def _stubborn(send: Any, shield: bool) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=shield):
            await send.send(item(method="notifications/roots/list_changed"))
        raise


@pytest.mark.parametrize("shield", [False, True])
async def test_who_is_being_cancelled_sends_nothing(make: Make, *, shield: bool) -> None:
    """In a scope that was cancelled nothing more crosses the guard, but for what is shielded from that."""
    (write, there), (back, read) = make(2), make(2)
    made = guard()
    async with made, around(made, await made.connect("s", "client"), read, write) as (_, guarded):
        async with anyio.create_task_group() as group:
            group.start_soon(_stubborn, guarded, shield)
            await settled()
            group.cancel_scope.cancel()
        for scope in (anyio.CancelScope(), anyio.move_on_after(0)):
            with scope:
                scope.cancel()
                await guarded.send(item(id=1, method="ping"))
        await write.aclose()
        assert (await outcome(there.receive()) == "EndOfStream") is not shield
    await closed(write, there, back, read)


class Own:
    """A transport's own stream, which no rule is known of."""

    _inner = None

    async def send(self, item: Any) -> None:
        await asyncio.sleep(0)


async def test_other_streams_are_written_to_their_own_way(make: Make) -> None:
    """Where there is room for very many, a flood keeps nobody else from running; any other kind of stream is kept."""
    for size in (FEW + 1, math.inf):
        send, receive = make(size)
        assert not at_once(prompt(send).send("x"))
        await settled()
        assert await within(receive.receive()) == "x"
        await closed(send, receive)
    own = Own()
    assert prompt(own) is own
    send, receive = make(FEW)
    again = prompt(send)
    assert again is not send
    assert isinstance(again if make is plain else again._inner, Prompt)
    await closed(send, receive)


async def test_a_message_leaves_the_guard_at_once(make: Make) -> None:
    """A message that waits for no hook is with the transport when the host's `send` returns, and the loop rested."""
    (write, there), (back, read) = make(1), make(1)
    made = guard()
    async with made, around(made, await made.connect("s", "client"), read, write) as (_, guarded):
        assert at_once(guarded.send(item(id=1, method="ping")))
        assert (await within(there.receive())).message.method == "ping"
    await closed(write, there, back, read)


async def test_what_waits_is_let_go_with_the_session(make: Make) -> None:
    """A message that its transport has not taken when the session ends leaves nothing behind."""
    (write, there), (back, read) = make(0), make(1)
    made = guard()
    before = asyncio.all_tasks()
    async with made, around(made, await made.connect("s", "client"), read, write) as (_, guarded):
        waiting = asyncio.create_task(guarded.send(item(id=1, method="ping")))
        await settled()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await settled()
    assert asyncio.all_tasks() == before
    await closed(write, there, back, read)
