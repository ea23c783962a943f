"""Dialling a server that listens on a Unix socket or under TLS.

The rules:

1. ``on_connect`` first, then the transport, its handshake, the checks of the peer, one answered ping (`carriers.ping`);
   then the connection is made, and is recorded. What fails at any step has a code, and is recorded under it.
2. ``tls://`` is never dialled without TLS: nothing but a plugin's own word lets it (``insecure_fallback``), in
   development, and only where the peer offers no TLS at all. A peer that fails a check is not asked again without it.
3. Who holds the other end of a Unix socket is what the kernel says; it must be a user that is named, else our own.
4. A socket at which nobody listens lets the connection go by TLS where the configuration says so; in production that
   has to be said twice. It is an event each time, and every check of TLS holds.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from hauberk.carriers import address as addresses
from hauberk.carriers import ping, stream
from hauberk.carriers.address import Address
from hauberk.carriers.stream import Stream
from hauberk.connection import Connection, Peer, Tls
from hauberk.edge import Overlong
from hauberk.event import Event
from hauberk.refusals import IDENTITY, ConfigError, HookError, Refused

if TYPE_CHECKING:
    from hauberk._servers import ServerOptions
    from hauberk.guard import Guard

LOCAL_SECONDS: Final = 2.0
"""Connecting to a Unix socket may take this (seconds, S4.24)."""
REMOTE_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 10.0
"""The answer to the ping may take this (seconds)."""
UNREACHABLE: Final = "core.unreachable"
LOST: Final = "core.connection_lost"


class Dialled(NamedTuple):
    """A connection that is made."""

    connection: Connection
    stream: Stream


def ways(options: ServerOptions | None, target: str | None, name: str, *, production: bool) -> Sequence[Address]:
    """Return where to dial, the first choice first.

    Args:
        options: What the configuration says of the server.
        target: What the caller asked for; None is what the configuration says.
        name: The configuration, for errors.
        production: Whether a fallback has to be allowed.

    Raises:
        ConfigError: There is nothing to dial.
    """
    if target is not None:
        return (addresses.parse(target),)
    if options is None or (options.socket is None and not addresses.is_address(options.url or "")):
        raise ConfigError(
            f"{name}: the server has neither a socket nor a url of tls://", hint="give it one in [server.NAME]"
        )
    remote = [addresses.parse(options.url)] if addresses.is_address(options.url or "") and options.url else []
    if options.socket is None or options.transport == "tcp":
        return remote
    addresses.check_length(options.socket)
    local = Address("unix", path=options.socket)
    if options.transport == "unix-with-tcp-fallback" and (options.allow_tcp_fallback or not production):
        return [local, *remote]
    return [local]


async def dial(guard: Guard, server: str, target: str | None = None) -> Dialled:
    """Make a connection.

    Args:
        guard: Whose plugins are asked.
        server: The server's name in rules and events.
        target: ``unix:///path`` or ``tls://host:port``; None is what ``[server.NAME]`` says.

    Raises:
        ConfigError: There is nothing to dial.
        Refused: A plugin, a check, or the peer said no; or nobody is there (``core.unreachable``).
        PluginError: The guard was not open, and a plugin cannot open.
    """
    options = guard.config.server(server)
    several = ways(options, target, guard.config.name, production=guard.config.production)
    uids = frozenset(options.uids if options is not None else ()) or {os.geteuid()}
    for one, next_one in zip(several, [*several[1:], None], strict=True):
        try:
            return await _dialled(guard, server, one, uids)
        except Refused as error:
            if error.code != UNREACHABLE or next_one is None:
                if error.code == UNREACHABLE and options is not None and _wants_more(options, several):
                    error.hint = f"in production the fallback needs allow_tcp_fallback = true in [server.{server}]"
                raise
            details = {"from": str(one), "to": str(next_one), "why": error.message}
            guard.note(
                Event(
                    code="core.fallback",
                    category="connection",
                    severity="warning",
                    server=server,
                    details=details,
                )
            )
    raise AssertionError("there is always one")


def _wants_more(options: ServerOptions, several: Sequence[Address]) -> bool:
    """Whether the configuration speaks of a fallback that it does not allow."""
    return options.transport == "unix-with-tcp-fallback" and [one.carrier for one in several] == ["unix"]


async def _dialled(guard: Guard, server: str, address: Address, uids: frozenset[int] | set[int]) -> Dialled:
    connection = await guard.admit(server, "client", carrier=address.carrier, target=str(address))
    made: Stream | None = None
    try:
        tls = secured(connection, address)
        made = await _opened(guard, connection, address, tls)
        peer = made.peer(address)
        connection.peer = peer.address
        check_owner(peer, uids)
        _check_alert(made, tls)
        connection.proved(peer)
        await _answered(connection, made, tls)
    except (Refused, HookError) as error:
        guard.refused(connection, error)
        if made is not None:
            made.abort()
        connection.end()
        raise (error.refusal() if isinstance(error, HookError) else error) from None
    except BaseException:
        if made is not None:
            made.abort()
        connection.end()
        raise
    try:
        await guard.connected(connection)
    except BaseException:
        made.abort()
        connection.end()
        raise
    if tls is not None and made.tls is not None:
        tls.established(made.tls)
    return Dialled(connection, made)


def _check_alert(made: Stream, tls: Tls | None) -> None:
    """Refuse a connection that an alert has ended as soon as its handshake had: nothing can be asked of it any more.

    Raises:
        Refused: What the alert says.
    """
    if tls is not None and made.error is not None:
        raise tls.refusal(made.error)


def lost(guard: Guard, connection: Connection, made: Stream, unanswered: int) -> None:
    """Record that a connection was lost: it ended, and we did not end it, or a plugin did."""
    why = type(made.error).__name__ if made.error is not None else "the server closed it"
    why = connection.over or why
    guard.note(
        Event(
            code=LOST,
            category="connection",
            severity="warning",
            server=connection.server,
            exchange=connection.id,
            details={"target": connection.target, "why": why, "unanswered": unanswered},
        )
    )


def secured(connection: Connection, address: Address) -> Tls | None:
    """Return how the connection is secured; a Unix socket is not.

    Raises:
        Refused: TLS is asked for, and no plugin gave any.
    """
    if address.carrier == "unix":
        return None
    if connection.tls is None:
        raise Refused(
            "core.no_tls",
            f"{address} needs the plugin tls, which is not active",
            jsonrpc=IDENTITY,
            hint="pip install hauberk-tls, and write a table [tls]",
        )
    return connection.tls


async def _opened(guard: Guard, connection: Connection, address: Address, tls: Tls | None) -> Stream:
    """Connect, and do the handshake.

    Raises:
        Refused: It failed.
    """
    if tls is None:
        _check_socket(address)
        try:
            return await stream.dialled(address, guard.bounds, None, seconds=LOCAL_SECONDS)
        except stream.Unreachable as error:
            raise _unreachable(address, error) from None
    try:
        return await stream.dialled(address, guard.bounds, tls, seconds=REMOTE_SECONDS)
    except stream.Unreachable as error:
        raise _unreachable(address, error) from None
    except OSError as error:
        refusal = tls.refusal(error)
        if refusal.code != "tls.not_tls" or not tls.insecure_fallback or guard.config.production:
            raise refusal from None
    connection.note(without_tls(connection))
    try:
        return await stream.dialled(address, guard.bounds, None, seconds=REMOTE_SECONDS)
    except stream.Unreachable as error:
        raise _unreachable(address, error) from None


def without_tls(connection: Connection) -> Event:
    """Return what is recorded where a peer that offers no TLS is spoken to without (S0.4, X.16)."""
    return Event(
        code="tls.fallback",
        category="connection",
        severity="warning",
        plugin="tls",
        server=connection.server,
        exchange=connection.id,
        details={"target": connection.target, "why": "the peer offers no TLS"},
    )


def _check_socket(address: Address) -> None:
    """Refuse what is there and is no socket; a link to one could be pointed somewhere else meanwhile."""
    try:
        mode = address.path.lstat().st_mode
    except OSError as error:
        raise _unreachable(address, error) from None
    if not stat.S_ISSOCK(mode):
        raise Refused(
            "core.not_a_socket",
            f"{address.path} is no socket",
            jsonrpc=IDENTITY,
            hint="look at who put it there",
        )


def _unreachable(address: Address, error: OSError) -> Refused:
    why = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
    return Refused(
        UNREACHABLE,
        f"nobody answers at {address}: {why}",
        jsonrpc=IDENTITY,
        hint="check that `hauberk serve` runs there",
    )


def check_owner(peer: Peer, uids: frozenset[int] | set[int]) -> None:
    """Refuse a Unix socket whose other end another user holds (A80).

    Raises:
        Refused: It is not one of these users, or the kernel does not say.
    """
    if peer.carrier != "unix":
        return
    who = peer.credentials
    if who is None or who.uid not in uids:
        named = "somebody that the kernel does not name" if who is None else f"user {who.uid}"
        raise Refused(
            "core.peer_user",
            f"{named} holds the other end of {peer.address}",
            jsonrpc=IDENTITY,
            rule=f"uids {sorted(uids)}",
            hint="name the user in uids, if it may be there",
            public=True,
        )


async def _answered(connection: Connection, made: Stream, tls: Tls | None) -> None:
    """Do one round trip.

    Raises:
        Refused: The peer does not accept the connection, or does not answer.
    """
    id, frame = ping.request()
    made.deliver(frame, None)
    try:
        first = await asyncio.wait_for(made.first(), ANSWER_SECONDS)
    except TimeoutError:
        raise _unanswered(connection, "did not answer in time") from None
    if first is None:
        if tls is not None:
            raise tls.refusal(made.error or EOFError("the peer closed the connection"))
        raise _unanswered(connection, "closed the connection")
    try:
        code = "core.refused" if isinstance(first, Overlong) else ping.denial(first, id)
    except (ValueError, orjson.JSONDecodeError):
        raise _unanswered(connection, "answered with something else") from None
    if code is not None:
        raise Refused(
            "core.refused_by_peer",
            f"{connection.target} does not take the connection: {code}",
            jsonrpc=IDENTITY,
            hint="its log says why",
            details={"code": code},
        )


def _unanswered(connection: Connection, what: str) -> Refused:
    return Refused(
        "core.unanswered",
        f"{connection.target} {what}",
        jsonrpc=IDENTITY,
        hint="check that it is `hauberk serve`, or a server that speaks JSON-RPC, one message a line",
    )
