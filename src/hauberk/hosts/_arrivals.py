"""A connection that was accepted, until it is one: plugins, handshake, peer, first word, record.

The rules:

1. ``on_connect`` first, then the handshake, then the checks of the peer. Nothing that a peer says is read before that.
2. Who is at the other end of a Unix socket is what the kernel says (S4.7, A80): a user that is named, else our own.
   What a peer says of itself, its address or the environment make nobody local.
3. A connection counts once it has said its first word, in time; one that says none costs a socket and a task (A65). Of
   a long word only the beginning is held before it counts, and of one that is refused next to nothing. One that has
   to agree on something first (`Connection.must_agree`) takes its place when it has (`_served`). If
   there are too many by then, it is told so. Those that have not spoken are bounded too: the oldest of them goes.
4. It is recorded before its first word is answered. Each refusal is recorded under its own code, and the peer is told
   the code where it is one that a stranger may know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from hauberk.carriers import ping, stream
from hauberk.carriers.address import Address
from hauberk.carriers.stream import Stream
from hauberk.connection import Connection, Peer, Tls
from hauberk.edge import Overlong, loose_id, salvage_id
from hauberk.event import Event
from hauberk.hosts._dial import check_owner, secured
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import IDENTITY, LIMITS, HookError, Refused
from hauberk.reports import Reports

if TYPE_CHECKING:
    from hauberk._servers import Listen
    from hauberk.guard import Guard
    from hauberk.hosts._terms import Terms

logger = logging.getLogger("hauberk")
SILENT: Final = "core.silent"
_FAREWELL: Final = 2.0
"""What a peer that is refused has to say its first word, and then to read the answer to it (seconds)."""

_DENIED: Final = 4096
"""What is read of the first word of a peer that is refused (bytes): its id is to be found there, or nowhere."""


class Arrival(NamedTuple):
    """A connection that is made."""

    connection: Connection
    stream: Stream
    frame: bytes | Overlong | None
    """What it said first; None where that was a ping of a guard, which is answered."""


class Slots:
    """How many connections there may be at once; what is taken is given back on every way out (S4.16)."""

    def __init__(self) -> None:
        self.taken = 0

    @contextlib.contextmanager
    def one(self, limit: int) -> Iterator[None]:
        """Take one, of so many.

        Raises:
            Refused: ``core.too_many_connections``.
        """
        if self.taken >= limit:
            raise too_many(limit)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


def too_many(limit: int) -> Refused:
    """Return what one connection more is refused with."""
    return Refused(
        "core.too_many_connections",
        f"{limit} connections are there already",
        jsonrpc=LIMITS,
        rule=f"connections = {limit}",
        retry_after=1.0,
        hint="wait, or raise connections in [server.NAME.listen]",
        public=True,
    )


async def arrive(
    guard: Guard,
    server: str,
    address: Address,
    sock: socket.socket,
    terms: Terms,
    *,
    proved: Callable[[], object],
    take: Callable[[], object],
) -> Arrival | None:
    """Make a connection of an accepted socket, which is this function's from now on.

    Args:
        guard: Whose plugins are asked.
        server: The server's name in rules and events.
        address: What was listened on.
        sock: The socket.
        terms: Who may connect, and how long a first word may take.
        proved: Called once it is known who is there.
        take: Takes the connection's place among those that count, or raises `Refused`.

    Returns:
        The connection; None where it was refused, or has gone.
    """
    try:
        connection = await guard.admit(
            server, "server", carrier=address.carrier, target=str(address), peer=_name(sock, address)
        )
    except Refused as error:
        tell(sock, address, error)
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    made: Stream | None = None
    arrival: Arrival | None = None
    try:
        tls = secured(connection, address)
        made = await _opened(guard, sock, tls)
        if made is None:
            return None
        listen = terms.listen
        _prove(connection, made.peer(address), listen)
        proved()
        arrival = await _spoken(guard, connection, made, tls, listen.first_seconds, take)
        return arrival
    except (Refused, HookError) as error:
        guard.refused(connection, error)
        refusal = error.refusal() if isinstance(error, HookError) else error
        if made is None:
            sock.close()
        else:
            await _deny(made, refusal, 0 if refusal.code == SILENT else _FAREWELL)
        return None
    except BaseException:
        if made is not None:
            made.abort()
        else:
            sock.close()
        raise
    finally:
        if arrival is None:
            connection.end()


async def _opened(guard: Guard, sock: socket.socket, tls: Tls | None) -> Stream | None:
    """Do the handshake; None where there is nobody any more.

    Raises:
        Refused: It failed.
    """
    try:
        return await stream.accepted(sock, guard.bounds, tls)
    except OSError as error:
        if tls is None:
            return None
        raise tls.refusal(error) from None


def _prove(connection: Connection, peer: Peer, listen: Listen) -> None:
    """Find out who is there.

    Raises:
        Refused: Nobody that may be.
    """
    connection.credentials = peer.credentials
    check_owner(peer, frozenset(listen.uids) or frozenset({os.geteuid()}))
    connection.proved(peer)
    if connection.principal is ANONYMOUS and peer.credentials is not None:
        connection.principal = Principal(id=f"uid:{peer.credentials.uid}", kind="user", method="peercred")


async def _spoken(
    guard: Guard,
    connection: Connection,
    made: Stream,
    tls: Tls | None,
    seconds: float,
    take: Callable[[], object],
) -> Arrival | None:
    """Take the first word, and answer it if it is a guard's.

    Raises:
        Refused: It does not come, there are too many, or the connection cannot be recorded.
    """
    places: list[object] = []

    def placed() -> None:
        """Take a place, for a word that is long before it has ended."""
        if not places and not connection.must_agree:
            places.append(take())

    def long() -> None:
        if connection.must_agree:
            raise _silent(connection, "says more than it takes to agree")
        placed()

    try:
        frame = await asyncio.wait_for(made.first(stream.SHORT, long), seconds)
    except TimeoutError:
        raise _silent(connection, f"has said nothing for {seconds:g} s") from None
    if frame is None:
        if tls is not None and made.error is not None:
            raise tls.refusal(made.error)
        raise _silent(connection, "has gone before it said anything")
    placed()
    try:
        await guard.connected(connection)
    except asyncio.CancelledError:  # it may have been recorded by then: what was made ends
        event = Event("core.disconnected", category="connection", details=connection.described)
        Reports(guard, connection).record(event)
        raise
    id = None if isinstance(frame, Overlong) else ping.id_of(frame)
    if id is None:
        return Arrival(connection, made, frame)
    made.deliver(ping.accepted(id), None)
    return Arrival(connection, made, None)


def _silent(connection: Connection, what: str) -> Refused:
    return Refused(SILENT, f"{connection.peer} {what}", jsonrpc=IDENTITY)


async def _deny(made: Stream, refused: Refused, seconds: float) -> None:
    """Tell a peer why it is refused, as far as it may know, in answer to its first word; then end."""
    try:
        frame: bytes | Overlong | None = None
        with contextlib.suppress(TimeoutError, Refused):
            frame = await asyncio.wait_for(made.first(_DENIED, _enough), seconds)
        id = None
        if frame is not None:
            id = loose_id(frame.head, frame.tail) if isinstance(frame, Overlong) else salvage_id(frame)
        made.deliver(ping.denied(id, refused), None)
        await made.closed(_FAREWELL)
    finally:
        made.abort()


def _enough() -> None:
    raise TimeoutError


def tell(sock: socket.socket, address: Address, refused: Refused) -> None:
    """Tell a peer why it is refused before there is a stream; under TLS there is no way to."""
    if address.carrier == "unix":
        with contextlib.suppress(OSError):
            sock.send(ping.denied(None, refused) + b"\n", socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))


def _name(sock: socket.socket, address: Address) -> str:
    """Return the address of the other end, for events."""
    if address.carrier == "unix":
        return str(address.path)
    try:
        host, port = sock.getpeername()[:2]
    except OSError:  # it has gone
        return ""
    return str(Address("tls", host=host, port=port)).removeprefix("tls://")
