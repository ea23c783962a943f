"""What a reload leaves as it is: who is in, what is held, what is open, who is suspended."""

from __future__ import annotations

import weakref
from typing import Final, NamedTuple

from hauberk.connection import Connection, Role
from hauberk.principal import Principal
from hauberk_bulkhead._account import Account
from hauberk_bulkhead._alerts import Alerts
from hauberk_bulkhead._breakers import Breakers
from hauberk_bulkhead._idle import Life
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._room import Caps, Room
from hauberk_bulkhead._suspended import Suspended
from hauberk_bulkhead._tally import Tally


class Met(NamedTuple):
    """A connection that counts."""

    server: str
    role: Role
    address: str
    connection: weakref.ref[Connection] | None = None

    def speaker(self) -> Principal | None:
        """Return who is there, while it is."""
        found = self.connection() if self.connection is not None else None
        return None if found is None else found.principal


class State:
    """All of it."""

    def __init__(self) -> None:
        self.rooms: Final[dict[str, Room]] = {}
        """By server; an empty room is let go of."""
        self.breakers: Final = Breakers(lambda *_: None)
        self.account: Final = Account()
        self.alerts: Final = Alerts()
        self.tally: Final = Tally(LIMITS.counted)
        self.suspended: Final = Suspended(LIMITS.suspended)
        self.connections: Final[dict[str, Met]] = {}
        """By the connection's id."""
        self.lives: Final[dict[str, Life]] = {}
        """Of those among them that silence may end."""
        self.asking: Final[dict[str, int]] = {}
        """Calls that wait for a person, by caller."""
        self.of_server: Final[dict[str, int]] = {}
        self.of_address: Final[dict[str, int]] = {}

    def room(self, server: str, caps: Caps, now: float) -> Room:
        """Return the room of a server; where its caps have changed, whoever fits now goes in."""
        room = self.rooms.get(server)
        if room is None:
            room = self.rooms[server] = Room(caps)
        elif room.caps is not caps:
            room.caps = caps
            room.admit(now)
        return room

    def left(self, server: str) -> None:
        """Let go of a room that is empty."""
        room = self.rooms.get(server)
        if room is not None and room.empty:
            del self.rooms[server]

    # --- who waits for a person ---

    def ask(self, caller: str, most: int) -> bool:
        """Count a call that a person is asked about; return whether there may be one more."""
        if self.asking.get(caller, 0) >= most:
            return False
        _more(self.asking, caller)
        return True

    def asked(self, caller: str) -> None:
        """Count one no longer."""
        _less(self.asking, caller)

    # --- connections ---

    def meet(self, connection: Connection, address: str) -> None:
        """Count a connection."""
        self.connections[connection.id] = Met(connection.server, connection.role, address, weakref.ref(connection))
        _more(self.of_server, connection.server)
        if address:
            _more(self.of_address, address)

    def live(self, connection: Connection, now: float) -> None:
        """See from now on how long a connection is silent."""
        self.lives[connection.id] = Life(connection.server, now)

    def connection(self, id: str) -> Connection | None:
        """Return a connection that counts, while it is there."""
        met = self.connections.get(id)
        return None if met is None or met.connection is None else met.connection()

    def settle(self, id: str, address: str) -> None:
        """Count a connection to an address that was not known when it was met."""
        met = self.connections.get(id)
        if met is not None and not met.address:
            self.connections[id] = met._replace(address=address)
            _more(self.of_address, address)

    def part(self, id: str) -> None:
        """Count a connection no longer; only the first call for it does anything."""
        self.lives.pop(id, None)
        met = self.connections.pop(id, None)
        if met is None:
            return
        _less(self.of_server, met.server)
        if met.address:
            _less(self.of_address, met.address)


def _more(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _less(counts: dict[str, int], name: str) -> None:
    left = counts[name] - 1
    if left:
        counts[name] = left
    else:
        del counts[name]
