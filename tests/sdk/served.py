"""As a program: a server behind a guard, over standard input and output."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server.stdio import stdio_server
from tests.core.harness import ring
from tests.sdk.everything import Everything

from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.verdict import Deny


def _hide(message: Any, connection: Any) -> Any:
    if message.method != "tools/list" or message.result is None:
        return None
    tools = [tool for tool in message.result["tools"] if tool["name"] == "echo"]
    return message.with_result({**message.result, "tools": tools})


async def main() -> None:
    """Serve one client."""
    judge = ring("only", on_send=_hide, on_tool_call=lambda c, _: None if c.name == "echo" else Deny("only.echo", "no"))
    guard, server = Guard(Config.from_toml(""), [judge]), Everything().server
    async with stdio_server() as streams, guard.serve(*streams) as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())
