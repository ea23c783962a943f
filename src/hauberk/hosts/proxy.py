"""``hauberk run``: a client that cannot be changed on our standard input and output, a server as our child.

What a user can rely on:

- nothing but frames is written to standard output; the child's standard error is ours;
- a connection that a plugin refuses starts nothing;
- when input ends, what is in flight is finished, then the child is asked to go: end of input, TERM, KILL;
- what a child had answered when it ended passes, and what it had not is answered with ``core.server_gone``;
- a signal that ends us ends the child and all that it started;
- SIGHUP reads the configuration again; a file that is refused ends nothing;
- the exit status is the child's, 128 and the signal's number where a signal ended it or us.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hauberk import admission
from hauberk.carriers.child import GRACE, Child
from hauberk.carriers.stdio import Reader, Writer
from hauberk.connection import Program
from hauberk.event import Event
from hauberk.hosts import _hangup
from hauberk.hosts._front import Front, at_most, first
from hauberk.hosts._losses import gone, lost
from hauberk.overdue import abandon
from hauberk.refusals import ConfigError, HauberkError
from hauberk.watchdog import Watchdog

if TYPE_CHECKING:
    from pathlib import Path

    from hauberk.connection import Connection
    from hauberk.guard import Guard

STDIN: Final = 0
STDOUT: Final = 1
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
HOLD: Final = 2.0
"""Seconds that the end of input is kept from a server that has not answered everything: many drop it there."""


class Proxy(Front):
    """One client and one server, with the guard between."""

    def __init__(self, guard: Guard, connection: Connection, stdin: int, stdout: int) -> None:
        super().__init__(guard, stdin, stdout)
        self._connection: Final = connection

    async def run(self, child: Child) -> int:
        """Stand between until one side ends; return the exit status."""
        self._stand(child)
        exited = asyncio.get_running_loop().create_task(child.wait())
        exited.add_done_callback(lambda _: self.over.set())
        try:
            await first(self.session.agree(), self.over.wait())
            self.start()
            await first(self.input_ended.wait(), self.over.wait())
            if not self.over.is_set():
                await first(self._finish(child), self.over.wait())
            by_itself = self.over.is_set()
            code = await self._gone(child)
            self._replies.drain()
            await self._replies.finished()
            await self._answer(by_itself=by_itself)
            await self.written()
        finally:
            exited.cancel()
            await self._close(child)
        return 128 + self.signal if self.signal is not None else code if code >= 0 else 128 - code

    def _stand(self, child: Child) -> None:
        bounds = self.guard.bounds
        self._far = Writer(
            child.stdin,
            limit=bounds.buffer_bytes,
            on_full=self.there.full,
            on_drained=self.there.drained,
            on_broken=self.over.set,
        )
        self._replies = Reader(child.stdout, self.from_server, self.over.set, bounds=bounds)
        self._connection.watch(self.over.set)
        self.open()
        self.stand(self.guard.session(self._connection, self.near, self._far), self._far, self._replies)
        self._far.watch_reader()
        self._replies.start()

    async def _finish(self, child: Child) -> None:
        """After the end of input: let waiting messages leave and answers come, then end the child's input."""
        await self.session.quiet()
        await self._far.flushed()
        await at_most(HOLD, self.answered())
        self._far.close(close_fd=False)
        child.close_input()
        await self.answered()

    async def _gone(self, child: Child) -> int:
        """Wait until the child has gone, or end it; return its status."""
        if not self.given_up.is_set():
            await first(child.waited(GRACE), self.given_up.wait())
        return await child.end()

    async def _answer(self, *, by_itself: bool) -> None:
        """Let pass what the child has said; whoever waits for more is told that none comes."""
        session, connection = self.session, self._connection
        await first(session.arrived(session.inn), self.given_up.wait())
        if self.given_up.is_set():
            await at_most(GRACE / 2, session.arrived(session.inn))
        elif by_itself and session.owed(session.out):
            if connection.over:
                abandon(session, session.out, lost(sent=True))
                return
            details = connection.described | {"reason": "ended by itself"}
            session.reports.record(
                Event("core.server_gone", category="connection", severity="warning", details=details)
            )
            abandon(session, session.out, gone("start the client again; standard error has what the server said"))

    async def _close(self, child: Child) -> None:
        self.client.stop()
        self._replies.stop()
        await self.session.close()
        self.near.close(close_fd=False)
        self._far.close(close_fd=False)
        child.close()


async def run(
    guard: Guard,
    server: str,
    command: str,
    args: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | Path | None = None,
    stdin: int = STDIN,
    stdout: int = STDOUT,
) -> int:
    """Start a server and stand in front of it; return the exit status (126: not executable, 127: no such command).

    Args:
        guard: The plugins; it is opened and closed.
        server: The server's name in rules and events.
        command: What to start.
        args: Its arguments.
        env: Its whole environment.
        cwd: Its working directory.
        stdin: Where the client writes (descriptor).
        stdout: Where the client reads (descriptor).

    Raises:
        HauberkError: The command cannot be started for another reason.
        PluginError: A plugin cannot open.
        Refused: A plugin refused the connection.
    """
    child: Child | None = None

    def stuck() -> None:
        if child is not None:
            child.signal(signal.SIGKILL)

    with Watchdog(guard.bounds.watchdog, on_stuck=stuck), _hangup.reloads(guard):
        async with guard:
            program = Program(command, tuple(args), env, None if cwd is None else str(cwd))
            connection = await guard.connect(server, "client", target=server, program=program)
            proxy = Proxy(guard, connection, stdin, stdout)
            with proxy.signals(), connection.ending():
                try:
                    child = Child(command, args, env=env, cwd=cwd, executable=connection.executable)
                except (OSError, ValueError) as error:
                    return not_started(error, command, cwd)
                try:
                    admission.proved(guard, connection)
                    return await proxy.run(child)
                finally:
                    await child.end()


def not_started(error: OSError | ValueError, command: str, cwd: str | Path | None) -> int:
    """Say why a command cannot be started.

    Raises:
        HauberkError: It is not the command's fault.
    """
    if not isinstance(error, OSError):
        raise ConfigError(f"command {command!r} cannot be started: {error}") from error
    reason = os.strerror(error.errno or 0).lower()
    if error.filename is None:  # no process, no pipe
        raise HauberkError(f"command {command!r} cannot be started: {reason}") from error
    if error.filename == cwd:
        raise ConfigError(f"working directory {str(cwd)!r}: {reason}", hint="see cwd in [server.NAME]") from error
    if isinstance(error, FileNotFoundError) and not os.path.exists(command):  # noqa: PTH110 - it may be any text
        _complain(f"command {command!r} is not found", "check its name, and PATH")
        return NOT_FOUND
    if isinstance(error, FileNotFoundError):
        _complain(f"command {command!r}: the program that its first line names is not found", "install it")
        return NOT_FOUND
    _complain(f"command {command!r} cannot be executed: {reason}", "check its mode, and that it is a program")
    return NOT_EXECUTABLE


def _complain(what: str, hint: str) -> None:
    sys.stderr.write(f"hauberk: {what}\nhint: {hint}\n")
