"""``hauberk serve``: a server that speaks on standard input and output, offered on sockets, with the guard in front.

What a user can rely on:

- nothing is listened on that could not be served: no command, no TLS, a socket that another one has;
- who connects is who the kernel, or TLS, says; nothing is started for a connection before it is proved and has asked;
- on SIGTERM or SIGINT nothing more is accepted, the socket is removed, what is in flight is answered within
  ``drain_seconds``, and the servers are ended; a second signal ends all of it at once;
- SIGHUP reads the configuration again; a file that is refused ends nothing;
- the exit status is 0 after an orderly end, 128 and the signal's number where something in flight was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from hauberk import pipeline
from hauberk._servers import Listen
from hauberk.chains import Chain
from hauberk.connection import Connection, Program
from hauberk.event import Event
from hauberk.hosts import _hangup
from hauberk.hosts._arrivals import Slots, arrive, tell, too_many
from hauberk.hosts._dial import secured
from hauberk.hosts._doors import Door, doors
from hauberk.hosts._front import first
from hauberk.hosts._lobby import Guest, Lobby
from hauberk.hosts._served import Served
from hauberk.hosts._signals import told
from hauberk.hosts._terms import Terms
from hauberk.hosts.proxy import not_started
from hauberk.layers import Layer
from hauberk.refusals import ConfigError, HookError, Refused
from hauberk.watchdog import Watchdog

if TYPE_CHECKING:
    from hauberk.carriers.address import Address
    from hauberk.guard import Guard
    from hauberk.hosts._backends import Target

logger = logging.getLogger("hauberk")
LOST: Final = 125
"""Exit status where nobody can reach us any more, and nobody told us to end."""
_LOOKS: Final = 8
_LOOK: Final = 1.0


class Server:
    """All connections to one server."""

    def __init__(self, guard: Guard, name: str, target: Target, listen: Listen) -> None:
        self._guard: Final = guard
        self._name: Final = name
        self._target: Final = target
        self._terms: Final = Terms(guard, name, listen)
        self.slots: Final = Slots()
        self._arriving: Final = Lobby()
        """Those that have not said their first word."""
        self._fresh: Final[dict[asyncio.Task[None], socket.socket]] = {}
        """Those whose task has not begun, and may be cancelled before it does."""
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._served: Final[dict[Served, asyncio.Task[None]]] = {}
        self._doors: list[Door] = []
        self._stop: Final = asyncio.Event()
        self._now: Final = asyncio.Event()
        self.signal: signal.Signals | None = None
        self.lost = False
        """Whether something in flight was not answered."""

    # --- life ---

    def listen(self, addresses: Sequence[Address]) -> list[Address]:
        """Listen; return where.

        Raises:
            ConfigError: One cannot be listened on.
        """
        self._doors = doors(self._guard, self._name, addresses, self._accepted)
        for door in self._doors:
            door.start()
        return [door.address for door in self._doors]

    async def run(self, stopping: Callable[[], object] = lambda: None) -> None:
        """Serve until told to stop, or until nobody can reach us; then finish what is in flight."""
        looking = asyncio.get_running_loop().create_task(self._look())
        try:
            await self._stop.wait()
            stopping()
            await self._drain()
        finally:
            looking.cancel()
            self._close_doors()
            await self._end()

    def stop(self) -> None:
        """End in order; called again, at once."""
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    def signals(self) -> contextlib.AbstractContextManager[None]:
        """Let signals stop it."""

        def stopped(number: signal.Signals) -> None:
            self.signal = number
            self.stop()

        return told(stopped)

    @property
    def reachable(self) -> bool:
        """Whether anybody can connect."""
        return any(door.open for door in self._doors)

    # --- connections ---

    def _accepted(self, sock: socket.socket, address: Address) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(sock, address))
        self._fresh[task] = sock
        self._arriving.enter(task, sock, address)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        self._make_room()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._arriving.leave(task)
        if (sock := self._fresh.pop(task, None)) is not None:
            sock.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler({"message": "a connection failed", "exception": error})

    def _make_room(self) -> None:
        """Turn out whom there is no room for: a flood of silent ones must keep nobody out (A65)."""
        most = self._terms.listen.connections
        for task, guest in self._arriving.turn_out(most):
            self._evict(guest, most)
            task.cancel()

    def _evict(self, guest: Guest, most: int) -> None:
        sock, address, _ = guest
        refused = too_many(most)
        event = Event(
            refused.code,
            category="connection",
            severity="warning",
            action="blocked",
            server=self._name,
            rule=refused.rule or "",
            details={"carrier": address.carrier, "target": str(address), "reason": "has said nothing, and others come"},
        )
        if not self._guard.floods.counts(event):
            self._guard.note(event)
        tell(sock, address, refused)

    async def _serve(self, sock: socket.socket, address: Address) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        del self._fresh[task]
        with contextlib.ExitStack() as stack:

            def proved() -> None:
                self._arriving.prove(task)
                self._make_room()

            def take() -> None:
                """Take a place; nobody turns it out from then on."""
                stack.enter_context(self.slots.one(self._terms.listen.connections))
                self._arriving.leave(task)

            arrival = await arrive(self._guard, self._name, address, sock, self._terms, proved=proved, take=take)
            if arrival is None:
                return
            served = Served(self._guard, arrival, self._target, self._terms.listen, take)
            self._served[served] = task
            if self._stop.is_set():
                served.drain()
            try:
                await served.run()
            finally:
                del self._served[served]
                self.lost |= self._stop.is_set() and served.lost

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_LOOK, self._terms.listen.stalled_seconds / _LOOKS))
            for served in tuple(self._served):
                with _going_on():
                    served.look(loop.time())
            for door in self._doors:
                with _going_on():
                    door.look()
            if not self.reachable:
                self._stop.set()

    # --- the end ---

    def _close_doors(self) -> None:
        for door in self._doors:
            door.close()

    async def _drain(self) -> None:
        self._close_doors()
        for task in self._arriving.tasks:
            task.cancel()
        for served in tuple(self._served):
            served.drain()
        if self._tasks:
            await first(self._gone(), asyncio.sleep(self._terms.listen.drain_seconds), self._now.wait())
        self.lost |= any(served.busy for served in self._served)

    async def _gone(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _end(self) -> None:
        for task in self._tasks.difference(self._served.values()):
            task.cancel()
        for served in tuple(self._served):
            served.give_up()
        await first(self._gone(), self._now.wait())
        if self._tasks:
            for served in tuple(self._served):
                served.abort()
            self._target.kill()
            await self._gone()
        await first(self._target.close(), self._now.wait())
        if self._now.is_set():
            self._target.kill()
            await self._target.close()


@contextlib.contextmanager
def _going_on() -> Iterator[None]:
    """Let what fails for one be no matter of the others."""
    try:
        yield
    except Exception:
        logger.exception("a connection, or what is listened on, could not be looked at")


async def serve(
    guard: Guard,
    name: str,
    target: Target,
    addresses: Sequence[Address],
    *,
    listen: Listen | None = None,
    ready: Callable[[Sequence[Address]], object] = lambda _: None,
    stopping: Callable[[], object] = lambda: None,
) -> int:
    """Offer a server until a signal comes; return the exit status.

    Args:
        guard: The plugins; it is opened and closed.
        name: The server's name in rules and events.
        target: Where servers come from.
        addresses: Where to listen.
        listen: The bounds; None are the defaults.
        ready: Called once it is listened on all of them, with the addresses as they are.
        stopping: Called when it begins to end.

    Raises:
        ConfigError: It cannot be listened, or nothing secures what would be.
        PluginError: A plugin cannot open.
    """
    with Watchdog(guard.bounds.watchdog, on_stuck=target.kill), _hangup.reloads(guard):
        async with guard:
            await check(guard, name, addresses)
            server = Server(guard, name, target, listen or Listen())
            with server.signals():
                ready(server.listen(addresses))
                await server.run(stopping)
    if server.signal is None:
        return LOST
    return 128 + server.signal if server.lost else 0


async def check(guard: Guard, name: str, addresses: Sequence[Address]) -> None:
    """See that there is TLS where it is needed, before anything listens: with the plugins that give it.

    Raises:
        ConfigError: There is none, or not enough of it is configured.
    """
    chain = Chain(step for step in guard.chains.connect.steps if step.layer == Layer.WIRE)
    for address in addresses:
        if address.carrier == "unix":
            continue
        connection = Connection(
            id="", host=guard.host, server=name, role="server", target=str(address), carrier=address.carrier
        )
        try:
            await pipeline.connect(chain, connection, guard.bounds.deadline, guard.clock)
            secured(connection, address)
        except (Refused, HookError) as error:
            raise ConfigError(f"cannot listen at {address}: {error.message}", hint=error.hint) from None


def missing(program: Program) -> int | None:
    """Say what is wrong with a command that is not there, before anything listens; return the exit status.

    Raises:
        ConfigError: Its working directory is not there.
    """
    command, cwd = program.command, program.cwd
    if cwd is not None and not Path(cwd).is_dir():
        return not_started(FileNotFoundError(errno.ENOENT, "", cwd), command, cwd)
    if "/" in command:
        path = os.path.join(cwd or "", command)  # noqa: PTH118 - it may be any text
        found: str | None = path if os.access(path, os.X_OK) and not os.path.isdir(path) else None  # noqa: PTH112
        if found is None and os.path.exists(path):  # noqa: PTH110
            return not_started(PermissionError(errno.EACCES, "", command), command, None)
    else:
        found = shutil.which(command, path=program.env.get("PATH", os.defpath))
    if found is None:
        return not_started(FileNotFoundError(errno.ENOENT, "", command), command, None)
    return None


def notify(path: str | None, state: str) -> None:
    """Tell the service manager (sd_notify(3)); where there is none, or it does not listen, nothing happens."""
    if not path or path[0] not in "/@":
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.send(state.encode())
