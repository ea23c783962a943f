"""Connections: whether one may be made, and which one is ended because nobody says anything on it.

Who is silent is hung up on in front of a server that others reach by a socket: there a connection holds a place, a
child and memory that somebody else may want. Never beside a client, whose own connection it is, and never where it is
the two ends of a pipe or in one process: who speaks there would not come back (`ENDED`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection, Peer
from hauberk_bulkhead import _events, _hold
from hauberk_bulkhead._addresses import address_of
from hauberk_bulkhead._idle import silent
from hauberk_bulkhead._limits import LIMITS

if TYPE_CHECKING:
    from hauberk_bulkhead._gate import Gate

ENDED: Final = frozenset({"unix", "tls", "http", "https"})
"""Carriers on which silence ends a connection, in front of a server."""
IDLE: Final = "bulkhead.idle"
_LOOKS: Final = 4
"""Looks within the shortest time that anybody may be silent."""


class Door:
    """The connections of one policy, on the state of its host."""

    def __init__(self, guard: Any, gate: Gate, shortest: float | None) -> None:
        """Look after connections.

        Args:
            guard: The guard as its plugins see it.
            gate: What is checked of whoever connects.
            shortest: How long a connection may be silent at least (seconds); None is for ever.
        """
        self._guard: Final = guard
        self._gate: Final = gate
        self._every: Final = None if shortest is None else min(LIMITS.idle_look_seconds, shortest / _LOOKS)
        self._looked = guard.clock()

    def connect(self, connection: Connection) -> None:
        """Count a connection, or refuse it.

        Raises:
            Refused: There are too many, it is suspended, or the machine is busy.
        """
        gate, state = self._gate, self._gate.state
        options = gate.rules(connection.server).options
        server, outward = connection.server, connection.role == "client"
        address = "" if outward else address_of(connection.peer)
        if outward or address:
            gate.check_suspended("server" if outward else "address", server if outward else address, connection)
        if not outward:
            gate.check_load()
        there = state.of_server.get(server, 0)
        if there >= options.connections:
            raise _hold.many(
                f"server {server!r} has {there} connections", f"bulkhead.connections = {options.connections}"
            )
        _hold.check_address(state.of_address, address, options)
        state.meet(connection, address)
        if not outward and connection.carrier in ENDED:
            state.live(connection, self._guard.clock())
        if connection.carrier == "unix" and not outward:
            connection.verify.append(partial(self._proved, connection))
        gate.near("connections", server, there + 1, options.connections, options)

    def _proved(self, connection: Connection, peer: Peer | None) -> None:
        """Count a connection by a Unix socket to the user at its other end, who is known only now.

        Raises:
            Refused: He has too many.
        """
        if peer is None or peer.credentials is None:
            return
        state, options = self._gate.state, self._gate.rules(connection.server).options
        address = f"uid:{peer.credentials.uid}"
        if options.mode != "audit":  # in which no check of a peer may refuse
            _hold.check_address(state.of_address, address, options)
        state.settle(connection.id, address)

    # --- silence ---

    def look(self) -> None:
        """Hang up where nobody says anything (S4.21); called every second, it looks as often as it has to."""
        now = self._guard.clock()
        if self._every is None or now - self._looked < self._every:
            return
        self._looked = now
        state = self._gate.state
        most, working = (lambda server: self._gate.rules(server).idle), self._working()
        for id, seconds in silent(state.lives, now, most=most, working=working):
            connection = state.connection(id)
            if connection is not None and not connection.over:
                self._end(connection, seconds, now)

    def _end(self, connection: Connection, seconds: float, now: float) -> None:
        state = self._gate.state
        audits = self._gate.rules(connection.server).options.mode == "audit"
        self._guard.emit(_events.idle(connection, seconds, ended=not audits))
        if audits:
            state.live(connection, now)  # it is told again after as long
        else:
            state.lives.pop(connection.id, None)
            connection.hang_up(IDLE)

    def _working(self) -> frozenset[str]:
        """Return the ids of the connections on which a request waits, or a message is on its way, if only in part."""
        state = self._gate.state
        moving = (id for id in state.lives if (met := state.connection(id)) is not None and met.moves)
        return frozenset((*moving, *(one.connection.id for one in self._guard.guard.sessions if one.busy)))
