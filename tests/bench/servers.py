"""Servers to measure with. As a program: one of the SDK's own over stdio."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolResult, ContentBlock, ListToolsResult, TextContent, Tool


async def _list(_context: Any, _params: Any) -> ListToolsResult:
    return ListToolsResult(tools=[Tool(name="echo", input_schema={"type": "object"})])


async def _call(_context: Any, params: Any) -> CallToolResult:
    arguments = params.arguments or {}
    content: list[ContentBlock] = [TextContent(type="text", text=arguments.get("text", ""))]
    return CallToolResult(content=content, structured_content=arguments if "rows" in arguments else None)


def echo() -> Server[Any]:
    """Return a server with one tool, which gives back its argument ``text``, or all of them where ``rows`` is one."""
    return Server("echo", on_list_tools=_list, on_call_tool=_call)


async def main() -> None:
    """Serve over standard input and output."""
    server = echo()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())
