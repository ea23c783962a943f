"""What one connection gets: its context, the checks after its handshake, and words for what goes wrong."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from hauberk.connection import Connection, Peer
from hauberk.principal import Principal
from hauberk.refusals import Refused
from hauberk_tls._failures import failure
from hauberk_tls._limits import shown
from hauberk_tls._names import asked
from hauberk_tls._peer import ALPN, Check
from hauberk_tls._refusals import refused
from hauberk_tls._rotation import Generation, Kept
from hauberk_tls._tickets import ClientContext, ServerContext

CARRIERS: Final = frozenset(ALPN)


class Secured(NamedTuple):
    """How one connection is secured: the core's `hauberk.connection.Tls`."""

    context: ClientContext | ServerContext
    server_name: str | None
    handshake_seconds: float
    insecure_fallback: bool
    who: str
    begin: Callable[[], Secured]

    def renewed(self) -> Secured:
        """Return what another connection with the same peer is made with: the files may have changed.

        Raises:
            Refused: It is not known who is trusted.
        """
        return self.begin()

    def refusal(self, error: Exception) -> Refused:
        """Return what a handshake that failed is called."""
        return failure(error, self.who)

    def established(self, tls: ssl.SSLObject) -> None:
        """Keep the ticket for the next handshake; called once the peer has proved that it accepts this one."""
        if isinstance(self.context, ClientContext):
            self.context.keep(tls)


Begin = Callable[[], Secured]


def secure(connection: Connection, kept: Kept, now: Callable[[], float]) -> None:
    """Give a connection its TLS, and leave the checks of its peer.

    Raises:
        Refused: There is nothing to secure it with.
    """
    make = _client if connection.role == "client" else _server
    who = shown(f"the {'server' if connection.role == 'client' else 'client'} {_address(connection)}")

    def begin() -> Secured:
        return make(connection, kept.begin(who), who, begin)

    secured = begin()
    connection.tls = secured
    check = Check(
        role=connection.role,
        carrier=connection.carrier,
        name=secured.server_name,
        options=kept.options,
        lists=secured.context.lists,
        who=who,
        now=now,
        insecure=secured.insecure_fallback,
    )

    def verify(peer: Peer | None) -> Principal | None:
        """Check a peer by the lists of the context that its handshake was made with."""
        tls = None if peer is None else peer.tls
        lists = check.lists if tls is None else getattr(tls.context, "lists", check.lists)
        return msgspec.structs.replace(check, lists=lists)(peer)

    connection.verify.append(verify)


def _client(connection: Connection, generation: Generation, who: str, begin: Begin) -> Secured:
    options = generation.options
    address = urlsplit(connection.target)
    try:
        name = asked(options.server_name or address.hostname or "")
    except ValueError as error:
        raise refused("tls.bad_name", who, error) from None
    context = generation.client(f"{address.scheme}://{address.netloc.lower()}", ALPN[connection.carrier])
    return Secured(context, name, options.handshake_seconds, options.allow_insecure_fallback, who, begin)


def _server(connection: Connection, generation: Generation, who: str, begin: Begin) -> Secured:
    options = generation.options
    if not generation.own.chain or (options.clients != "none" and generation.trust.authorities is None):
        raise refused("tls.unconfigured", who)
    return Secured(generation.server(ALPN[connection.carrier]), None, options.handshake_seconds, False, who, begin)


def _address(connection: Connection) -> str:
    if connection.role == "server":
        return connection.peer or "of an unknown address"
    address = urlsplit(connection.target)
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
