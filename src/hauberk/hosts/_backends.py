"""What stands behind a guard in front of a server: the server's end of one connection, and where it comes from."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from hauberk.carriers.child import GRACE, Child
from hauberk.carriers.stdio import Reader, Writer
from hauberk.connection import Program
from hauberk.hosts._relay import Inlet, Outlet, Side
from hauberk.refusals import FAILED_HOOK, Refused

if TYPE_CHECKING:
    from hauberk.bounds import Bounds
    from hauberk.carriers._source import OnFrame
    from hauberk.connection import Connection


OnBurst = Callable[[bool], object]


class Held(Outlet, Protocol):
    """A port that what is written to waits in."""

    async def flushed(self) -> None:
        """Wait until nothing waits there."""


class Backend(Protocol):
    """The server's end of one connection."""

    why: str
    """Why it has gone, once it has."""
    impatient: bool
    """Whether it has gone because the client does not read; then nobody waits for the client to read the rest."""

    @property
    def outlet(self) -> Held:
        """Where the server is written to."""

    @property
    def inlet(self) -> Inlet:
        """Where it speaks."""

    def attach(self, side: Side, on_frame: OnFrame, on_gone: Callable[[], object], on_burst: OnBurst) -> None:
        """Make both; nothing is read before `start`.

        ``on_gone`` is called when the server has gone, ``on_burst`` around frames that are handed over in a row.
        """

    def start(self) -> None:
        """Let the server speak."""

    def end_input(self) -> None:
        """Let it know that nobody asks any more; what was asked may still be answered."""

    async def finish(self) -> None:
        """Let it go: nobody asks any more. Return when it has gone, and when all that it said was handed over."""

    async def end(self) -> None:
        """Make sure that it has gone, and let go of all that it had; called once in the end, `finish` or not."""


class Target(Protocol):
    """Where servers come from."""

    async def open(self, connection: Connection) -> Backend:
        """Return the server for a connection.

        Raises:
            Refused: There is none.
        """

    async def close(self) -> None:
        """End what all connections had together."""

    def kill(self) -> None:
        """End every server at once; called from any thread."""


class ChildBackend:
    """A server as a child of its own for one connection."""

    why = "ended by itself"
    impatient = False

    def __init__(self, child: Child, bounds: Bounds) -> None:
        self._child: Final = child
        self._bounds: Final = bounds
        self._exited: asyncio.Task[int] | None = None

    def attach(self, side: Side, on_frame: OnFrame, on_gone: Callable[[], object], on_burst: OnBurst) -> None:
        """Make the ends of both pipes."""
        child = self._child
        self.outlet = Writer(
            child.stdin,
            limit=self._bounds.buffer_bytes,
            on_full=side.full,
            on_drained=side.drained,
            on_broken=on_gone,
        )
        self.inlet = Reader(child.stdout, on_frame, on_gone, bounds=self._bounds)
        self.inlet.on_burst = on_burst
        self._exited = asyncio.get_running_loop().create_task(child.wait())
        self._exited.add_done_callback(lambda _: on_gone())

    def start(self) -> None:
        """Let the server speak."""
        self.outlet.watch_reader()
        self.inlet.start()

    def end_input(self) -> None:
        """End its input; what waits to be written is lost."""
        self.outlet.close(close_fd=False)
        self._child.close_input()

    async def finish(self) -> None:
        """End its input, then it: TERM, KILL, with all that it started (A86)."""
        self.end_input()
        await self._child.waited(GRACE)
        await self._child.end()
        self.inlet.drain()
        await self.inlet.finished()

    async def end(self) -> None:
        """End it at once, if it is still there."""
        if self._exited is not None:
            self._exited.cancel()
            self.inlet.stop()
            self.outlet.close(close_fd=False)
        try:
            await self._child.end()
        finally:
            self._child.close()


class Children:
    """A child for each connection."""

    def __init__(self, program: Program, bounds: Bounds) -> None:
        self._program: Final = program
        self._bounds: Final = bounds
        self._running: Final[set[Child]] = set()

    async def open(self, connection: Connection) -> ChildBackend:
        """Start a child.

        Raises:
            Refused: ``core.not_started``.
        """
        child = started(self._program, connection)
        self._running.add(child)
        child.on_exit(lambda: self._running.discard(child))
        return ChildBackend(child, self._bounds)

    async def close(self) -> None:
        """Do nothing: each connection has ended its own."""

    def kill(self) -> None:
        """Kill every child, with all that it started."""
        for child in tuple(self._running):
            child.signal(signal.SIGKILL)


def started(program: Program, connection: Connection) -> Child:
    """Start a server.

    Raises:
        Refused: ``core.not_started``.
    """
    command, args, env, cwd = program
    try:
        return Child(command, args, env=env, cwd=cwd, executable=connection.executable)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number).lower() if number else type(error).__name__
        raise Refused(
            "core.not_started",
            f"the server {connection.server!r} cannot be started: {reason}",
            jsonrpc=FAILED_HOOK,
            hint="look at the log of `hauberk serve`",
            public=True,
        ) from error
