"""The host's side where frames come from a carrier of the guard's own: a child, or a connection that was dialled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from hauberk.carriers.child import GRACE
from hauberk.hosts._inbox import AHEAD, Inbox
from hauberk.hosts._relay import Inlet

if TYPE_CHECKING:
    from hauberk.session import Session


class Flushed(Protocol):
    """A port that knows when what was written to it has left."""

    async def flushed(self) -> None:
        """Wait until nothing waits there."""


class Tap(Inbox):
    """An inbox that holds up its source while the SDK does not read."""

    source: Inlet
    closing = False
    """Whether this end has begun to close the connection."""
    _held = False

    def deliver(self, data: dict[str, Any], ticket: Any) -> None:
        """Put one message where the SDK reads; past a bound, let no more come."""
        super().deliver(data, ticket)
        if len(self) >= AHEAD and not self._held:
            self._held = True
            self.source.pause()

    def take(self) -> Any:
        """Take the next message; let more come where there is room."""
        item = super().take()
        if self._held and len(self) < AHEAD // 2:
            self._held = False
            asyncio.get_running_loop().call_soon(self.source.resume)
        return item


class Room:
    """Whether the wire takes more; who writes waits for it."""

    def __init__(self) -> None:
        self._drained: Final = asyncio.Event()
        self._drained.set()
        self.full: Final = self._drained.clear
        self.drained: Final = self._drained.set

    async def wait(self) -> None:
        """Wait until there is room."""
        await self._drained.wait()


async def end(session: Session, inbox: Inbox) -> None:
    """Let the SDK see the end, once everything that came has crossed."""
    await session.quiet()
    inbox.end()


def lose(session: Session, tap: Tap) -> None:
    """Note that the server has gone from what it was asked, if we were not closing; what has come may still pass."""
    for exchange in () if tap.closing else session.out.exchanges.flight.values():
        exchange.lost = True


async def flush(far: Flushed, tap: Tap) -> None:
    """Begin to close: let what waits leave, for a moment."""
    tap.closing = True
    with suppress(TimeoutError):
        await asyncio.wait_for(far.flushed(), GRACE / 4)
