"""The client's end: frames on two descriptors, with the guard behind them.

On the guard's other side stands a child (`proxy`) or a connection that is dialled (`connect`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from hauberk.carriers.child import GRACE
from hauberk.carriers.stdio import Reader, Writer
from hauberk.hosts._relay import Inlet, Outlet, Side, sides
from hauberk.hosts._signals import told

if TYPE_CHECKING:
    from hauberk import edge
    from hauberk.guard import Guard
    from hauberk.session import Session

_LOOK: Final = 0.1
ENDLESS: Final = "subscriptions/listen"
"""The request that nobody waits for at the end of input."""


class Front:
    """One client on two descriptors. What is behind sets ``session``, and joins both sides to it."""

    session: Session

    def __init__(self, guard: Guard, stdin: int, stdout: int) -> None:
        self.guard: Final = guard
        self._stdin: Final = stdin
        self._stdout: Final = stdout
        self.input_ended: Final = asyncio.Event()
        self.over: Final = asyncio.Event()
        """Nothing more can come from the server, or go to the client."""
        self.given_up: Final = asyncio.Event()
        """Nobody waits for answers: a signal, or a client that has gone."""
        self.signal: signal.Signals | None = None
        self._news: Final = asyncio.Event()
        """Something came from the server."""
        self.here, self.there = sides()
        """The client, and the server."""

    def signals(self) -> AbstractContextManager[None]:
        """Let signals end it in order; enter this before there is a server."""
        return told(self._stopped)

    def open(self) -> None:
        """Take the descriptors; nothing is read before `start`."""
        bounds = self.guard.bounds
        self.near = Writer(
            self._stdout,
            limit=bounds.buffer_bytes,
            on_full=self.here.full,
            on_drained=self.here.drained,
            on_broken=self.give_up,
        )
        self.client = Reader(self._stdin, self.from_client, self.input_ended.set, bounds=bounds)
        self.here.outlet, self.here.inlet = self.near, self.client

    def start(self) -> None:
        """Let the client speak."""
        self.near.watch_reader()
        self.client.start()

    async def answered(self) -> None:
        """Wait until the client waits for nothing any more."""
        while any(exchange.method != ENDLESS for exchange in self.session.out.exchanges.flight.values()):
            self._news.clear()
            await at_most(_LOOK, self._news.wait())
        await self.session.quiet()

    async def written(self) -> None:
        """Let the client read the last answers; nobody waits for long after a signal."""
        if not self.given_up.is_set():
            await first(self.near.flushed(), self.given_up.wait())
        await at_most(GRACE / 2, self.near.flushed())

    # --- frames ---

    def stand(self, session: Session, outlet: Outlet, inlet: Inlet) -> None:
        """Put a session between the client and a server."""
        self.session = session
        self.there.outlet, self.there.inlet = outlet, inlet
        self.here.join(session, session.out)
        self.there.join(session, session.inn)
        if self.near.full:
            inlet.pause()

    def anew(self) -> None:
        """Make room for another server: what held up the one before does not hold up this one."""
        self.there = Side()
        self.here.other, self.there.other = self.there, self.here

    def from_client(self, frame: bytes | edge.Overlong) -> None:
        """Take one frame of the client."""
        self.here.took(frame)

    def from_server(self, frame: bytes | edge.Overlong) -> None:
        """Take one frame of the server."""
        self.there.took(frame)
        self._news.set()

    # --- what ends it ---

    def give_up(self) -> None:
        """End it: nobody waits for answers."""
        self.given_up.set()
        self.over.set()

    def _stopped(self, number: signal.Signals) -> None:
        self.signal = number
        self.give_up()


async def first(*several: Awaitable[Any]) -> None:
    """Wait for the first of several; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in several]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def at_most(seconds: float, one: Awaitable[Any]) -> None:
    """Wait for something, but no longer than that."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(one, seconds)
