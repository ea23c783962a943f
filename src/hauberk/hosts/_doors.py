"""The sockets that are listened on, and what is accepted there.

The rules:

1. A connection is accepted by us and not by the event loop's own server: there is no moment in which it is served and
   nobody has counted it.
2. Where there are no descriptors left, accepting pauses, longer each time up to a second, and goes on by itself (A85).
3. A Unix socket whose path was removed is bound anew. One whose path is somebody else's now is given up: whoever dials
   it would not reach us. Both are told.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from hauberk.carriers import tcp
from hauberk.carriers.address import Address
from hauberk.carriers.tcp import TcpListener
from hauberk.carriers.unix import NotNow, UnixListener
from hauberk.event import Event, Severity
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from hauberk.guard import Guard

logger = logging.getLogger("hauberk")
OnAccept = Callable[[socket.socket, Address], object]
_AT_ONCE: Final = 64
"""Connections that are accepted without letting the event loop turn."""
_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Door:
    """One socket that is listened on."""

    def __init__(
        self, guard: Guard, server: str, address: Address, listener: UnixListener | TcpListener, on_accept: OnAccept
    ) -> None:
        self.address: Final = address
        self._guard: Final = guard
        self._server: Final = server
        self._listener: Final = listener
        self._on_accept: Final = on_accept
        self._loop: Final = asyncio.get_running_loop()
        self._pause = _PAUSE
        self._lost = False
        """Whether the path is known to be gone, and is to be bound anew."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether anything is accepted here any more."""
        return self._listener.sock.fileno() >= 0

    def start(self) -> None:
        """Accept from now on."""
        self._record("core.listening", "info")
        self._loop.add_reader(self._listener.sock, self._accept)

    def close(self) -> None:
        """Accept no more; the path of a Unix socket is removed, if it is still ours."""
        if not self.open:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listener.sock)
        if isinstance(self._listener, UnixListener):
            self._listener.close()
        else:
            self._listener.sock.close()

    def look(self) -> None:
        """See whether whoever dials still reaches us; called every now and then."""
        listener = self._listener
        if not isinstance(listener, UnixListener) or not self.open or (found := listener.found) == "there":
            return
        if not self._lost:
            self._lost = True
            self._record("core.socket_lost", "critical", reason=f"the path was {found}")
            logger.error("the socket of %s was %s", self.address, found)
        if found == "removed":
            self._bind_again(listener)
        else:
            self.close()

    def _bind_again(self, listener: UnixListener) -> None:
        self._loop.remove_reader(listener.sock)
        try:
            listener.again()
        except NotNow as error:
            logger.warning("%s; it is tried again", error.message)
            self._loop.add_reader(listener.sock, self._accept)
        except ConfigError as error:
            self._record("core.socket_lost", "critical", reason=error.message)
            self.close()
        else:
            self._lost = False
            self._loop.add_reader(listener.sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._listener.sock.accept()
            except OSError as error:
                if error.errno in _SHORT:
                    self._rest(error)
                return  # else it is about whoever connected, who has gone: accept(2), "Error handling"
            self._pause = _PAUSE
            sock.setblocking(False)
            self._on_accept(sock, self.address)

    def _rest(self, error: OSError) -> None:
        """Accept nothing for a while: whoever waits is told that he is there for as long as he waits."""
        event = self._event("core.no_descriptors", "critical", reason=os.strerror(error.errno or 0).lower())
        if not self._guard.floods.counts(event):
            self._guard.note(event)
        self._loop.remove_reader(self._listener.sock)
        self._timer = self._loop.call_later(self._pause, self._go_on)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _go_on(self) -> None:
        if self.open:
            self._loop.add_reader(self._listener.sock, self._accept)

    def _record(self, code: str, severity: Severity, **details: str) -> None:
        self._guard.note(self._event(code, severity, **details))

    def _event(self, code: str, severity: Severity, **details: str) -> Event:
        details = {"carrier": self.address.carrier, "target": str(self.address), **details}
        return Event(code, category="connection", severity=severity, server=self._server, details=details)


def doors(guard: Guard, server: str, addresses: Sequence[Address], on_accept: OnAccept) -> list[Door]:
    """Listen on all of these; nothing is accepted before `Door.start`.

    Raises:
        ConfigError: One cannot be listened on; then none is.
    """
    found: list[Door] = []
    try:
        for address in addresses:
            if address.carrier == "unix":
                found.append(Door(guard, server, address, UnixListener(address.path), on_accept))
                continue
            for listener in tcp.listeners(address.host, address.port):
                host, port = listener.sock.getsockname()[:2]
                found.append(Door(guard, server, Address("tls", host=host, port=port), listener, on_accept))
    except BaseException:
        for door in found:
            door.close()
        raise
    return found
