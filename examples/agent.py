"""An agent of one's own: the SDK's client, with the guard in its transport.

usage: python examples/agent.py FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from mcp import Client, MCPError, StdioServerParameters

from hauberk import Guard

HERE = Path(__file__).parent


async def main(folder: str) -> None:
    """Show what a guarded client sees, and what becomes of a call that no rule allows."""
    guard = Guard.load(HERE / "hauberk.toml")
    params = StdioServerParameters(command=sys.executable, args=[str(HERE / "notes_server.py"), folder])
    async with Client(guard.wrap(params, server="notes")) as client:
        print("tools:", *(tool.name for tool in (await client.list_tools()).tools))
        print("notes:", (await client.call_tool("list_notes")).structured_content)
        try:
            await client.call_tool("delete_all")
        except MCPError as error:
            print("refused:", error)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
