"""The two sides of a session, and the two directions between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any, Final, Protocol

from hauberk.exchange import Exchange, Exchanges, Outcome
from hauberk.refusals import LIMITS, Refused

Walk = Generator[Awaitable[Any], Any, Any]
"""A message on its way: yields what has to be awaited, and returns the reply that its caller has to write."""


Reply = dict[str, Any] | None
"""The answer that a caller has to write itself."""


class Stopped(Exception):
    """The message goes no further, and nobody waits for an answer."""


class Port(Protocol):
    """One side of a session, to write to."""

    bytes_only: bool
    """Whether it takes frames without a line feed, and not objects."""

    def deliver(self, data: Any, ticket: Any) -> Awaitable[None] | None:
        """Write one message; return what is to be awaited where it cannot be written at once."""

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:
        """Learn that a request which came in here gets no answer."""


class Way:
    """One direction of travel."""

    __slots__ = ("exchanges", "long", "opposite", "outward", "sender", "source", "tail", "target", "toward", "waiting")
    opposite: Way

    def __init__(self, source: Port, target: Port, *, outward: bool, sender: str, exchanges: Exchanges) -> None:
        self.source: Final = source
        self.target: Final = target
        self.outward: Final = outward
        """From the host to the wire."""
        self.sender: Final = sender
        self.toward: Final[Any] = "server" if sender == "client" else "client"
        self.exchanges: Final = exchanges
        """The requests that travel this way."""
        self.tail: asyncio.Future[None] | None = None
        """The last notification or answer that waits; what comes later leaves after it."""
        self.waiting = 0
        self.long = False
        """Whether the last message was long; the next one's depth is then measured while it is serialised."""

    def release(self, done: asyncio.Future[None], after: asyncio.Future[None] | None) -> None:
        """Let go on what waits for ``done``, but not before ``after``: a message may end before those ahead of it."""
        if after is not None and not after.done():
            after.add_done_callback(lambda _: self.release(done, None))
            return
        if not done.done():
            done.set_result(None)
        if self.tail is done:
            self.tail = None


async def drive(walk: Walk, waiting: Awaitable[Any], *, full: bool) -> Reply:
    """Await what a walk yields until it ends."""
    if full:
        discard(waiting)
        error: BaseException | None = Refused("core.busy", "too many messages wait", jsonrpc=LIMITS, public=True)
    else:
        error = None
    while True:
        try:
            if error is None:
                value = await waiting
                waiting = walk.send(value)
            else:
                thrown, error = error, None
                waiting = walk.throw(thrown)
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        except BaseException as raised:
            if getgeneratorstate(walk) == GEN_CLOSED:
                raise
            error = raised


def awaiting(waiting: Awaitable[Any]) -> Walk:
    """Wait for one thing."""
    yield waiting


def raising(error: BaseException) -> Walk:
    """Raise what was caught, on a walk."""
    try:
        raise error
    finally:
        del error  # its traceback holds this frame
    yield  # type: ignore[unreachable] # what makes it a walk


def discard(waiting: Awaitable[Any]) -> None:
    """Let go of what is not going to be awaited."""
    close = getattr(waiting, "close", None)
    if close is not None:
        close()


def stop_with(exchange: Exchange, task: asyncio.Task[Any]) -> None:
    """Stop the walk of a request when its asker has gone."""

    def stop(outcome: Outcome) -> None:
        if outcome in ("cancelled", "timed_out", "closed") and task is not asyncio.current_task():
            task.cancel()

    exchange.defer(stop)
