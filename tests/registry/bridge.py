"""A server of the SDK that shows what another one shows: what speaks an older revision is had in all of the SDK's.

As a program: ``python bridge.py COMMAND ARGS…``, over standard input and output.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import mcp_types as mt
from mcp import Client, StdioServerParameters
from mcp.server import Server
from mcp.server.stdio import stdio_server

OWN: Final = frozenset({"LC_CTYPE", "__CF_USER_TEXT_ENCODING"})
"""Variables that Python and macOS set for themselves."""
Handler = Callable[[Any, Any], Awaitable[Any]]


def _pages(listing: Callable[..., Awaitable[Any]]) -> Handler:
    async def handler(_: Any, params: mt.PaginatedRequestParams | None) -> Any:
        return await listing(cursor=params.cursor if params is not None else None)

    return handler


def bridged(client: Client) -> Server[Any]:
    """Return a server that asks this client whatever it is asked, and says what it has of what the client's has."""

    async def call(_: Any, params: mt.CallToolRequestParams) -> Any:
        return await client.call_tool(params.name, params.arguments)

    async def get(_: Any, params: mt.GetPromptRequestParams) -> Any:
        return await client.get_prompt(params.name, params.arguments)

    async def read(_: Any, params: mt.ReadResourceRequestParams) -> Any:
        return await client.read_resource(params.uri)

    async def complete(_: Any, params: mt.CompleteRequestParams) -> Any:
        return await client.complete(params.ref, params.argument.model_dump())

    has, info = client.server_capabilities, client.server_info
    handlers: dict[str, Any] = {}
    if has.tools is not None:
        handlers |= {"on_list_tools": _pages(client.list_tools), "on_call_tool": call}
    if has.prompts is not None:
        handlers |= {"on_list_prompts": _pages(client.list_prompts), "on_get_prompt": get}
    if has.resources is not None:
        handlers |= {"on_list_resources": _pages(client.list_resources), "on_read_resource": read}
        handlers["on_list_resource_templates"] = _pages(client.list_resource_templates)
    if has.completions is not None:
        handlers["on_completion"] = complete
    name, title, version = (info.name, info.title, info.version) if info is not None else ("bridge", None, "0")
    more: dict[str, Any] = {"title": title, "version": version, "instructions": client.instructions}
    return Server(name, **more, **handlers)


@asynccontextmanager
async def bridge(inner: StdioServerParameters) -> AsyncIterator[Server[Any]]:
    """Start a server, and give one that shows what it shows."""
    async with Client(inner, mode="legacy") as client:
        yield bridged(client)


async def main() -> None:
    """Serve until standard input ends."""
    command, *args = sys.argv[1:]
    env = {name: value for name, value in os.environ.items() if name not in OWN}
    inner = StdioServerParameters(command=command, args=args, env=env)
    async with bridge(inner) as server, stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())
