"""The TCP connections of one wrapped HTTP transport: each is checked, and all are with one peer.

The rules:

1. Each connection is checked after its TLS, and before a request leaves on it. Its TLS is asked for anew
   (`hauberk.connection.Tls.renewed`): who is trusted may have changed. What fails there has a code, and is recorded
   under it.
2. One session speaks with one peer: who another connection of it proves to be must be who the first one was. A
   connection without TLS proves nobody, and there is none once another one of the session had TLS.
3. The pool belongs to one endpoint, one identity, one configuration of TLS. Nothing of it is shared. Tickets are kept
   by who made the context (`hauberk.connection.Tls.established`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpcore2
import httpx2
from msgspec.structs import replace

from hauberk.carriers.address import authority
from hauberk.connection import Connection, Peer, Tls
from hauberk.hosts._causes import cause
from hauberk.hosts._dial import without_tls
from hauberk.principal import ANONYMOUS
from hauberk.refusals import IDENTITY, Refused

if TYPE_CHECKING:
    from hauberk.guard import Guard

_CONNECTIONS: Final = 100
_IDLE: Final = 20
_IDLE_SECONDS: Final = 5.0
"""As the SDK's own client has them."""
_REFUSES: Final = 400


class Link:
    """The connection as a whole: whatever TCP connections are opened for it."""

    def __init__(self, guard: Guard, connection: Connection) -> None:
        self.guard: Final = guard
        self.connection: Final = connection
        self.error: Refused | None = None
        """What was refused last."""
        self.secured = False
        """Whether a connection of it had TLS."""
        self._who: str | None = None
        self._connected = False
        self._turn: Final = asyncio.Lock()

    def refuse(self, error: Refused) -> Refused:
        """Record a refusal, and return it."""
        self.guard.refused(self.connection, error)
        self.error = error
        return error

    def renewed(self) -> Tls | None:
        """Return how the next TCP connection is secured.

        Raises:
            Refused: The plugin says that there is none.
        """
        tls = self.connection.tls
        try:
            return None if tls is None else tls.renewed()
        except Refused as error:
            raise self.refuse(error) from None

    def proved(self, stream: httpcore2.AsyncNetworkStream, tls: ssl.SSLObject | None) -> None:
        """Check who is at the other end of one TCP connection.

        Raises:
            Refused: A check says no, or it is somebody else than before.
        """
        connection = self.connection
        host, port = (stream.get_extra_info("server_addr") or ("", 0))[:2]
        connection.peer = authority(host, port)
        before, connection.principal = connection.principal, ANONYMOUS  # nobody is who another connection proved
        try:
            connection.proved(Peer(connection.carrier, connection.peer, None, tls))
            self._check_same()
        except Refused as error:
            connection.principal = before
            raise self.refuse(error) from None
        self._who = connection.principal.key
        self.secured = self.secured or tls is not None
        if self._connected and connection.notes:
            notes, connection.notes = connection.notes, []
            self.guard.note(*(replace(note, server=connection.server, exchange=connection.id) for note in notes))

    def _check_same(self) -> None:
        who = self.connection.principal.key
        if self._who is not None and who != self._who:
            raise Refused(
                "core.peer_changed",
                f"{self.connection.target} was {self._who!r}, and is {who!r} now",
                jsonrpc=IDENTITY,
                hint="see whether two servers answer under one name",
            )

    async def answered(self, response: httpx2.Response) -> None:
        """Record that the connection is made, once the server has taken a request."""
        if self._connected or response.status_code >= _REFUSES:
            return
        async with self._turn:
            if not self._connected:
                try:
                    await self.guard.connected(self.connection)
                except Refused as error:
                    self.error = error
                    await response.aclose()
                    raise
                self._connected = True


class Transport(httpx2.AsyncHTTPTransport):
    """The client's transport, on connections that are checked."""

    def __init__(self, link: Link) -> None:
        self._link: Final = link
        tls = link.connection.tls
        context = httpx2.create_ssl_context(trust_env=False) if tls is None else tls.context
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            http1=True,
            http2=False,
            network_backend=_Backend(link),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request.

        Raises:
            Refused: A check says no.
        """
        response = await super().handle_async_request(request)
        await self._link.answered(response)
        return response


class _Backend(httpcore2.AnyIOBackend):
    """Opens TCP connections that are checked."""

    def __init__(self, link: Link) -> None:
        self._link: Final = link

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library has it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect; without TLS, check the peer at once."""

        async def again() -> httpcore2.AsyncNetworkStream:
            return await super(_Backend, self).connect_tcp(host, port, timeout, local_address, socket_options)

        inner = await again()
        if self._link.connection.carrier == "https":
            return _Plain(inner, self._link, again)
        async with _closing(inner):
            self._link.proved(inner, None)
        return inner


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection as the library has it."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, link: Link) -> None:
        self._inner = inner
        self._link: Final = link

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the library has it
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Plain(_Stream):
    """A TCP connection on which TLS is to begin: nothing is written to it before."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, link: Link, again: Any) -> None:
        super().__init__(inner, link)
        self._again: Final = again

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        raise AssertionError("nothing leaves without TLS")

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library has it
    ) -> httpcore2.AsyncNetworkStream:
        """Do the handshake, and check the peer.

        Raises:
            Refused: One of both failed.
        """
        async with _closing(self._inner):
            tls = self._link.renewed()
            if tls is None:
                secured = await self._inner.start_tls(ssl_context, server_hostname, timeout)
            else:
                most = tls.handshake_seconds if timeout is None else min(timeout, tls.handshake_seconds)
                try:
                    secured = await self._inner.start_tls(tls.context, tls.server_name or server_hostname, most)
                except (OSError, httpcore2.NetworkError, httpcore2.TimeoutException, EOFError) as error:
                    return await self._without(tls, tls.refusal(cause(error)))
            self._link.proved(secured, secured.get_extra_info("ssl_object"))
        return secured if tls is None else _Secured(secured, self._link, tls)

    async def _without(self, tls: Tls, refusal: Refused) -> httpcore2.AsyncNetworkStream:
        """Do without TLS, in development, where that was allowed and the peer offers none at all (S0.4).

        Raises:
            Refused: It is not so.
        """
        link = self._link
        never = link.secured or link.guard.config.production or not tls.insecure_fallback
        if never or refusal.code != "tls.not_tls":
            raise link.refuse(refusal) from None
        link.guard.note(without_tls(link.connection))
        plain: httpcore2.AsyncNetworkStream = await self._again()
        async with _closing(plain):
            link.proved(plain, None)
        return plain


class _Secured(_Stream):
    """A connection under TLS. In TLS 1.3 a server that refuses the client says so when the client reads first."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, link: Link, tls: Tls) -> None:
        super().__init__(inner, link)
        self._tls: Final = tls
        self._answered = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the library has it
        """Read.

        Raises:
            Refused: The server closed the connection before it said anything.
        """
        if self._answered:
            return await self._inner.read(max_bytes, timeout)
        try:
            data = await self._inner.read(max_bytes, timeout)
        except (OSError, httpcore2.ReadError) as error:
            raise self._link.refuse(self._tls.refusal(cause(error))) from None
        if not data:
            raise self._link.refuse(self._tls.refusal(EOFError("the peer closed the connection"))) from None
        self._answered = True
        self._tls.established(self._inner.get_extra_info("ssl_object"))
        return data


@asynccontextmanager
async def _closing(stream: httpcore2.AsyncNetworkStream) -> AsyncIterator[None]:
    """Close a connection that something goes wrong with, a cancellation included."""
    try:
        yield
    except BaseException:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
        raise
