"""``hauberk run``: a client that cannot be changed on our standard input and output, a server as our child.

What a user can rely on:

- nothing but frames is written to standard output; the child's standard error is ours;
- when input ends, what is in flight is finished, then the child is asked to go: end of input, TERM, KILL;
- a signal that ends us ends the child and all that it started;
- the exit status is the child's.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hauberk import edge
from hauberk.carriers.stdio import GRACE, Child, Reader, Writer
from hauberk.watchdog import Watchdog

if TYPE_CHECKING:
    from pathlib import Path

    from hauberk.guard import Guard
    from hauberk.session import Session, Way

STDIN: Final = 0
STDOUT: Final = 1
FAILED: Final = 125
"""Exit status of hauberk's own failures."""
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Proxy:
    """One client and one server, with the guard between."""

    def __init__(self, guard: Guard, server: str, child: Child) -> None:
        self._guard: Final = guard
        self._server: Final = server
        self._child: Final = child
        self._over: Final = asyncio.Event()
        self._signal: signal.Signals | None = None
        self._input_ended = False
        self._client_gone = False

    async def run(self) -> int:
        """Stand between until one side ends; return the exit status.

        Raises:
            Refused: A plugin refused the connection.
        """
        connection = await self._guard.connect(self._server, "client", target=self._server)
        bounds, child = self._guard.bounds, self._child
        limit = bounds.buffer_bytes
        self._far = Writer(child.stdin, limit=limit, on_full=self._slow_server, on_drained=self._fast_server)
        self._near = Writer(STDOUT, limit=limit, on_full=self._slow_client, on_drained=self._fast_client,
                            on_broken=self._no_client)
        self._session = session = self._guard.session(connection, self._near, self._far)
        self._client = Reader(STDIN, lambda f: take(session, session.out, f), self._no_input, bounds=bounds)
        self._replies = Reader(child.stdout, lambda f: take(session, session.inn, f), self._over.set, bounds=bounds)
        self._near.watch_reader()
        self._client.start()
        self._replies.start()
        try:
            return await self._until_over()
        finally:
            await self._close()

    async def _until_over(self) -> int:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stopped, number)
        exited = loop.create_task(self._child.wait())
        exited.add_done_callback(lambda _: self._over.set())
        try:
            await self._over.wait()
            if self._input_ended and not self._client_gone and self._signal is None:
                await self._finish()
            if self._child.running:
                await self._child.end()
            code = await exited
            self._replies.drain()
            await self._written()
        finally:
            exited.cancel()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        return 128 + self._signal if self._signal is not None else code if code >= 0 else 128 - code

    async def _finish(self) -> None:
        """After the end of input: let waiting messages leave and answers come, then end the child's input."""
        self._over.clear()
        await self._session.quiet()
        await self._far.flushed()
        self._far.close(close_fd=False)
        self._child.close_input()
        while self._child.running and not self._over.is_set():
            if not self._session.busy:
                await self._child.waited(GRACE)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), 0.05)

    async def _written(self) -> None:
        """Give the client a moment to read the last answers."""
        await self._session.quiet()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._near.flushed(), GRACE)

    async def _close(self) -> None:
        self._client.stop()
        self._replies.stop()
        await self._session.close()
        self._near.close(close_fd=False)
        self._far.close(close_fd=False)
        self._child.close()

    # --- what ends it ---

    def _no_input(self) -> None:
        self._input_ended = True
        self._over.set()

    def _no_client(self) -> None:
        self._client_gone = True
        self._over.set()

    def _stopped(self, number: signal.Signals) -> None:
        self._signal = signal.Signals(number)
        self._over.set()

    # --- back-pressure ---

    def _slow_server(self) -> None:
        self._client.pause()

    def _fast_server(self) -> None:
        self._client.resume()

    def _slow_client(self) -> None:
        self._replies.pause()

    def _fast_client(self) -> None:
        self._replies.resume()


def take(session: Session, way: Way, frame: bytes | edge.Overlong) -> None:
    """Hand one frame to the session."""
    if isinstance(frame, bytes):
        session.receive(way, frame)
    else:
        session.overlong(way, frame.size, edge.loose_id(frame.head, frame.tail))


async def run(
    guard: Guard,
    server: str,
    command: str,
    args: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | Path | None = None,
) -> int:
    """Start a server and stand in front of it; return the exit status (125: our own failure, 127: no such command)."""
    async with guard:
        try:
            child = Child(command, args, env=env, cwd=cwd)
        except FileNotFoundError:
            _complain(f"command {command!r} is not found", "check the name, and PATH")
            return NOT_FOUND
        except PermissionError:
            _complain(f"command {command!r} cannot be executed", "check its mode")
            return NOT_EXECUTABLE
        with Watchdog(guard.bounds.watchdog, on_stuck=lambda: child.signal(signal.SIGKILL)):
            try:
                return await Proxy(guard, server, child).run()
            finally:
                await child.end(grace=GRACE)


def _complain(what: str, hint: str) -> None:
    sys.stderr.write(f"hauberk: {what}\nhint: {hint}\n")
