"""What a scene is: something that is said on one connection, under one configuration."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from contrib.docs import rings

Side = Literal["client", "server"]
Line = tuple[Side, Any]
"""Who says something, and what: a message, or the bytes of a line."""


class Scene(NamedTuple):
    """What is said on one connection to the server ``files``, under which configuration, with which plugins."""

    lines: tuple[Line, ...]
    toml: str = ""
    plugins: tuple[type[rings.Ring], ...] = ()
    role: Literal["client", "server"] = "client"
    then: str | None = None
    """The configuration to which the guard is told to change at the end."""


def request(method: str, params: Any = None, id: Any = 1) -> Line:
    """Return a request of the client."""
    body = {"jsonrpc": "2.0", "id": id, "method": method}
    return "client", body if params is None else {**body, "params": params}


def call(tool: str, id: Any = 1, **arguments: Any) -> Line:
    """Return a call of a tool."""
    return request("tools/call", {"name": tool, "arguments": arguments}, id)


def answer(result: Any, id: Any = 1) -> Line:
    """Return an answer of the server."""
    return "server", {"jsonrpc": "2.0", "id": id, "result": result}
