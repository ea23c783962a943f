"""``hauberk run``: a client that cannot be changed on our standard input and output, a server as our child.

What a user can rely on:

- nothing but frames is written to standard output; the child's standard error is ours;
- a connection that a plugin refuses starts nothing;
- when input ends, what is in flight is finished, then the child is asked to go: end of input, TERM, KILL;
- a signal that ends us ends the child and all that it started;
- SIGHUP reads the configuration again; a file that is refused ends nothing;
- the exit status is the child's, 128 and the signal's number where a signal ended it or us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from hauberk import edge
from hauberk.carriers.child import GRACE, Child
from hauberk.carriers.stdio import Reader, Writer
from hauberk.connection import Program
from hauberk.hosts import _hangup
from hauberk.refusals import ConfigError, HauberkError
from hauberk.watchdog import Watchdog

if TYPE_CHECKING:
    from pathlib import Path

    from hauberk.connection import Connection
    from hauberk.guard import Guard
    from hauberk.session import Session
    from hauberk.ways import Way

STDIN: Final = 0
STDOUT: Final = 1
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
HOLD: Final = 2.0
"""Seconds that the end of input is kept from a server that has not answered everything: many drop it there."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LOOK: Final = 0.1
_ENDLESS: Final = "subscriptions/listen"


class Proxy:
    """One client and one server, with the guard between."""

    def __init__(self, guard: Guard, connection: Connection, stdin: int, stdout: int) -> None:
        self._guard: Final = guard
        self._stdin: Final = stdin
        self._stdout: Final = stdout
        self._connection: Final = connection
        self._input_ended: Final = asyncio.Event()
        self._over: Final = asyncio.Event()
        """Nothing more can come from the server, or go to the client."""
        self._given_up: Final = asyncio.Event()
        """Nobody waits for answers: a signal, or a client that has gone."""
        self._news: Final = asyncio.Event()
        """Something came from the server."""
        self._signal: signal.Signals | None = None
        self._client_held = self._replies_held = False

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let signals end the proxy in order; enter this before there is a child."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stopped, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def run(self, child: Child) -> int:
        """Stand between until one side ends; return the exit status."""
        self._open(child)
        exited = asyncio.get_running_loop().create_task(child.wait())
        exited.add_done_callback(lambda _: self._over.set())
        try:
            await _first(self._input_ended.wait(), self._over.wait())
            if not self._over.is_set():
                await _first(self._finish(child), self._over.wait())
            code = await self._gone(child)
            self._replies.drain()
            await self._written()
        finally:
            exited.cancel()
            await self._close(child)
        return 128 + self._signal if self._signal is not None else code if code >= 0 else 128 - code

    def _open(self, child: Child) -> None:
        bounds, connection = self._guard.bounds, self._connection
        self._far = Writer(
            child.stdin,
            limit=bounds.buffer_bytes,
            on_full=self._slow_server,
            on_drained=self._fast_server,
            on_broken=self._over.set,
        )
        self._near = Writer(
            self._stdout,
            limit=bounds.buffer_bytes,
            on_full=self._slow_client,
            on_drained=self._fast_client,
            on_broken=self._give_up,
        )
        self._session = self._guard.session(connection, self._near, self._far)
        self._client = Reader(self._stdin, self._from_client, self._input_ended.set, bounds=bounds)
        self._replies = Reader(child.stdout, self._from_server, self._over.set, bounds=bounds)
        self._near.watch_reader()
        self._far.watch_reader()
        self._client.start()
        self._replies.start()

    async def _finish(self, child: Child) -> None:
        """After the end of input: let waiting messages leave and answers come, then end the child's input."""
        await self._session.quiet()
        await self._far.flushed()
        await _at_most(HOLD, self._answered())
        self._far.close(close_fd=False)
        child.close_input()
        await self._answered()

    async def _answered(self) -> None:
        """Wait until the client waits for nothing any more."""
        while any(exchange.method != _ENDLESS for exchange in self._session.out.exchanges.flight.values()):
            self._news.clear()
            await _at_most(_LOOK, self._news.wait())
        await self._session.quiet()

    async def _gone(self, child: Child) -> int:
        """Wait until the child has gone, or end it; return its status."""
        if not self._given_up.is_set():
            await _first(child.waited(GRACE), self._given_up.wait())
        return await child.end()

    async def _written(self) -> None:
        """Let the client read the last answers; nobody waits for long after a signal."""
        await _at_most(GRACE / 2, self._session.quiet())
        if not self._given_up.is_set():
            await _first(self._near.flushed(), self._given_up.wait())
        await _at_most(GRACE / 2, self._near.flushed())

    async def _close(self, child: Child) -> None:
        self._client.stop()
        self._replies.stop()
        await self._session.close()
        self._near.close(close_fd=False)
        self._far.close(close_fd=False)
        child.close()

    # --- frames, and back-pressure ---
    # Who does not read holds up the other side. Refusals go back to where the message came from, so that one who only
    # writes would fill us with them: past twice the bound he is held up himself. Not before: a server that reads
    # nothing until its own answer has left must be able to write it.

    def _from_client(self, frame: bytes | edge.Overlong) -> None:
        take(self._session, self._session.out, frame)
        if self._near.flooded and not self._client_held:
            self._client_held = True
            self._client.pause()

    def _from_server(self, frame: bytes | edge.Overlong) -> None:
        take(self._session, self._session.inn, frame)
        self._news.set()
        if self._far.flooded and not self._replies_held:
            self._replies_held = True
            self._replies.pause()

    def _slow_server(self) -> None:
        self._client.pause()

    def _fast_server(self) -> None:
        if self._replies_held:
            self._replies_held = False
            self._replies.resume()
        self._client.resume()

    def _slow_client(self) -> None:
        self._replies.pause()

    def _fast_client(self) -> None:
        if self._client_held:
            self._client_held = False
            self._client.resume()
        self._replies.resume()

    # --- what ends it ---

    def _give_up(self) -> None:
        self._given_up.set()
        self._over.set()

    def _stopped(self, number: signal.Signals) -> None:
        self._signal = signal.Signals(number)
        self._give_up()


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
            with proxy.signals():
                try:
                    child = Child(command, args, env=env, cwd=cwd, executable=connection.executable)
                except (OSError, ValueError) as error:
                    return _not_started(error, command, cwd)
                try:
                    connection.proved(None)
                    return await proxy.run(child)
                finally:
                    await child.end()


def _not_started(error: OSError | ValueError, command: str, cwd: str | Path | None) -> int:
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


async def _first(*several: Awaitable[Any]) -> None:
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


async def _at_most(seconds: float, one: Awaitable[Any]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(one, seconds)
