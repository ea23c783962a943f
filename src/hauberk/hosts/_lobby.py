"""Those that were accepted and have no place yet: how many there may be, and who goes when there are more (A65).

The rules:

1. Whoever has not proved who he is keeps nobody out that has: both are counted apart, each with the same bound.
2. Over a bound, one goes of the remote address that has most of them, the one that is there for longest. So a flood
   from one address turns out itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from hauberk.carriers.address import Address

FEWEST: Final = 32
"""So many may always wait."""


class Guest(NamedTuple):
    """One that was accepted."""

    sock: socket.socket
    address: Address
    """What was listened on."""
    origin: str
    """The remote host; empty on a Unix socket."""


_Row = dict["asyncio.Task[None]", Guest]


class Lobby:
    """Who waits, the oldest first."""

    def __init__(self) -> None:
        self._strangers: Final[_Row] = {}
        self._proved: Final[_Row] = {}

    def __len__(self) -> int:
        return len(self._strangers) + len(self._proved)

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """Return the task of each."""
        return (*self._strangers, *self._proved)

    def enter(self, task: asyncio.Task[None], sock: socket.socket, address: Address) -> None:
        """Let one in, whom nobody knows."""
        self._strangers[task] = Guest(sock, address, _origin(sock, address))

    def prove(self, task: asyncio.Task[None]) -> None:
        """Learn that it is known who somebody is."""
        if (guest := self._strangers.pop(task, None)) is not None:
            self._proved[task] = guest

    def leave(self, task: asyncio.Task[None]) -> None:
        """Let one go, to a place or away."""
        self._strangers.pop(task, None)
        self._proved.pop(task, None)

    def turn_out(self, most: int) -> list[tuple[asyncio.Task[None], Guest]]:
        """Take out whoever is there over the bounds."""
        found = []
        for row in (self._strangers, self._proved):
            while len(row) > max(most, FEWEST):
                task = _worst(row)
                found.append((task, row.pop(task)))
        return found


def _worst(row: _Row) -> asyncio.Task[None]:
    (origin, _), *_ = Counter(guest.origin for guest in row.values()).most_common(1)
    return next(task for task, guest in row.items() if guest.origin == origin)


def _origin(sock: socket.socket, address: Address) -> str:
    if address.carrier == "unix":
        return ""
    try:
        return str(sock.getpeername()[0])
    except OSError:  # it has gone
        return ""
