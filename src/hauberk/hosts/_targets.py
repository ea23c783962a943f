"""What ``guard.wrap`` can connect to, and how it is opened and shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp.client.stdio import StdioServerParameters
from mcp.server import Server
from mcp.server.mcpserver import MCPServer

if TYPE_CHECKING:
    from hauberk.connection import Connection


def usable(target: Any) -> bool:
    """Whether this is something to connect to."""
    return isinstance(target, str | StdioServerParameters | Server | MCPServer) or hasattr(target, "__aenter__")


def opened(target: Any, connection: Connection) -> AbstractAsyncContextManager[Any]:
    """Return a transport to a target that is no child process."""
    if isinstance(target, Server | MCPServer):
        from hauberk.hosts._memory import in_process

        return in_process(target)
    if isinstance(target, str):
        return _http(target, connection)
    transport: AbstractAsyncContextManager[Any] = target
    return transport


@asynccontextmanager
async def _http(url: str, connection: Connection) -> AsyncIterator[Any]:
    """Open the SDK's Streamable HTTP transport, with what plugins left for the connection: headers and TLS."""
    import httpx2
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import MCP_DEFAULT_SSE_READ_TIMEOUT, MCP_DEFAULT_TIMEOUT

    timeout = httpx2.Timeout(MCP_DEFAULT_TIMEOUT, read=MCP_DEFAULT_SSE_READ_TIMEOUT)
    verify = True if connection.tls is None else connection.tls.context
    async with (
        httpx2.AsyncClient(headers=connection.headers, timeout=timeout, verify=verify) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams


def shown(target: Any) -> str:
    """Return what is dialled, without anything that may be a secret."""
    if isinstance(target, StdioServerParameters):
        return target.command
    if isinstance(target, str):
        parts = urlsplit(target)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return str(getattr(target, "name", type(target).__name__))
