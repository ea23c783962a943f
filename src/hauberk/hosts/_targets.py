"""What ``guard.wrap`` can connect to, and how it is opened and shown."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from mcp.client.stdio import StdioServerParameters
from mcp.server import Server
from mcp.server.mcpserver import MCPServer

from hauberk.carriers import address
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from hauberk.config import Config


class Remote(NamedTuple):
    """A server that is dialled: at this address, or at those that the configuration names."""

    address: str | None


class Web(NamedTuple):
    """A server that is spoken to by HTTP."""

    url: str
    headers: Mapping[str, str] = {}

    @property
    def secure(self) -> bool:
        """Whether TLS is asked for."""
        return urlsplit(self.url).scheme.lower() == "https"


def settled(target: Any, config: Config, server: str) -> Any:
    """Return what is to be connected to: what was given, else what ``[server.NAME]`` says.

    Raises:
        ConfigError: It is nothing that can be connected to, or not as the configuration wants this server reached.
    """
    found = _configured(config, server) if target is None else target
    if isinstance(found, str):
        if address.is_address(found):
            address.parse(found)
            found = Remote(found)
        else:
            found = Web(found)
    if not isinstance(found, Remote | Web | StdioServerParameters | Server | MCPServer | AbstractAsyncContextManager):
        raise ConfigError(
            f"cannot connect to {type(found).__name__}",
            hint="give StdioServerParameters, a URL, a Transport, or a Server",
        )
    options = config.server(server)
    if options is not None and options.transport == "https" and not isinstance(found, Web):
        raise ConfigError(
            f"{config.name}: [server.{server}] has transport 'https', and this is another one",
            hint="give it a url of https://, or take the transport out",
        )
    return found


def _configured(config: Config, server: str) -> Remote | Web | StdioServerParameters:
    options = config.server(server)
    if options is None:
        raise ConfigError(
            f"{config.name}: there is no server {server!r} (servers: {', '.join(config.servers) or 'none'})",
            hint="give what to connect to, or write it into [server.NAME]",
        )
    if options.command is not None:
        return StdioServerParameters(command=options.command, args=list(options.args), cwd=options.cwd)
    if options.url is not None and options.socket is None and not address.is_address(options.url):
        return Web(options.url, options.headers)
    if options.url is None and options.socket is None:
        raise ConfigError(
            f"{config.name}: [server.{server}] does not say how it is reached",
            hint="give it a command, a url or a socket",
        )
    return Remote(None)


def opened(target: Any) -> AbstractAsyncContextManager[Any]:
    """Return a transport to a target that is on this machine, or that is one itself."""
    if isinstance(target, Server | MCPServer):
        from hauberk.hosts._memory import in_process

        return in_process(target)
    transport: AbstractAsyncContextManager[Any] = target
    return transport


def shown(target: Any) -> str:
    """Return what is dialled, without anything that may be a secret."""
    if isinstance(target, StdioServerParameters):
        return target.command
    if isinstance(target, str):
        parts = urlsplit(target)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return str(getattr(target, "name", type(target).__name__))
