"""HTTP with the checks of a connection in it: for the SDK's Streamable HTTP transport.

The rules:

1. Every TCP connection that the client opens is checked (`hauberk.hosts._pool`), and its pool belongs to one wrapped
   transport.
2. Nothing is sent to another origin than the one that was asked for, whatever a server's redirect says; never without
   TLS where TLS was asked for.
3. Nothing is decompressed: a few kilobytes could be gigabytes then, and no bound of ours would have seen them. What
   comes compressed all the same is refused.
4. The environment has no say (``SSL_CERT_FILE``, ``SSLKEYLOGFILE``, ``HTTPS_PROXY``): not in production, and
   nowhere once something is to be checked. A proxy would end the TLS, or the checks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import MCP_DEFAULT_SSE_READ_TIMEOUT, MCP_DEFAULT_TIMEOUT

from hauberk.connection import Connection
from hauberk.hosts._pool import Link, Transport
from hauberk.refusals import IDENTITY, MEDIATION, Refused

if TYPE_CHECKING:
    from hauberk.guard import Guard
    from hauberk.hosts._targets import Web


@asynccontextmanager
async def opened(guard: Guard, server: str, web: Web, shown: str) -> AsyncIterator[tuple[Connection, Any, Any]]:
    """Open the SDK's transport with what plugins left for the connection: headers, TLS, and checks.

    Args:
        guard: Whose plugins are asked.
        server: The server's name in rules and events.
        web: Where to.
        shown: The same, without anything that may be a secret.

    Raises:
        Refused: A plugin or a check said no.
    """
    connection = await guard.admit(server, "client", carrier="https" if web.secure else "http", target=shown)
    with connection.ending():
        try:
            _check(guard, connection)
        except Refused as error:
            guard.refused(connection, error)
            raise
        link = Link(guard, connection) if _checked(guard, connection) else None
        if link is None:
            await guard.connected(connection)
        async with _client(web, connection, link) as client:
            try:
                async with streamable_http_client(web.url, http_client=client) as (read, write):
                    yield connection, read, write
            except BaseExceptionGroup as group:
                if link is not None and link.error is not None and group.subgroup(Refused) is not None:
                    raise link.error from None  # the SDK's task groups have it in groups of their own
                raise


def _checked(guard: Guard, connection: Connection) -> bool:
    return connection.tls is not None or bool(connection.verify) or guard.config.production


def _check(guard: Guard, connection: Connection) -> None:
    """Refuse to do without TLS where it is asked for (S0.8).

    Raises:
        Refused: ``core.no_tls``.
    """
    options = guard.config.server(connection.server)
    asked = options is not None and options.transport == "https"
    if asked and connection.carrier != "https":
        raise _no_tls(f"[server.{connection.server}] has transport 'https', and {connection.target} is none")
    if (asked or guard.config.features.mcp_tls_enabled) and connection.tls is None:
        raise _no_tls(f"{connection.target} needs the plugin tls, which is not active")


def _no_tls(text: str) -> Refused:
    return Refused(
        "core.no_tls",
        text,
        jsonrpc=IDENTITY,
        hint="pip install hauberk-tls, write a table [tls], and give a url of https://",
    )


def _client(web: Web, connection: Connection, link: Link | None) -> httpx2.AsyncClient:
    timeout = httpx2.Timeout(MCP_DEFAULT_TIMEOUT, read=MCP_DEFAULT_SSE_READ_TIMEOUT)
    transport = None if link is None else Transport(link)
    headers = httpx2.Headers({**web.headers, **connection.headers})
    headers["Accept-Encoding"] = "identity"
    return httpx2.AsyncClient(
        headers=headers,
        timeout=timeout,
        transport=transport,
        trust_env=link is None,
        event_hooks={"request": [_Origin(web.url, upgrade=link is None)], "response": [_plain]},
    )


async def _plain(response: httpx2.Response) -> None:
    """Refuse an answer that would have to be decompressed, before any of it is read.

    Raises:
        Refused: ``core.compressed``.
    """
    if response.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        why = f"the server at {response.url.host} answers compressed, and was asked not to"
        hint = "let the server, or the proxy before it, honour Accept-Encoding: identity"
        raise Refused("core.compressed", why, jsonrpc=MEDIATION, hint=hint)


class _Origin:
    """Lets no request leave for another origin than the first one's."""

    def __init__(self, url: str, *, upgrade: bool) -> None:
        self._url: Final = httpx2.URL(url)
        self._several: Final = {(self._url.scheme, self._url.port)}
        if upgrade and self._several == {("http", None)}:
            self._several.add(("https", None))

    async def __call__(self, request: httpx2.Request) -> None:
        asked, url = self._url, request.url
        if url.host == asked.host and (url.scheme, url.port) in self._several:
            return
        raise Refused(
            "core.redirected",
            f"the server at {asked.host} names another place: {url.scheme}://{url.host[:253]}",
            jsonrpc=IDENTITY,
            hint="if that is where the server is, give that url",
        )
