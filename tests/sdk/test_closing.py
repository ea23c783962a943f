"""A guard that is closed while clients are connected."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ListToolsResult, Tool

from hauberk.config import Config
from hauberk.guard import Guard

HANG = """
import sys, json
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        info = {"name": "s", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


async def _list(_context: Any, _params: Any) -> ListToolsResult:
    return ListToolsResult(tools=[Tool(name="hang", input_schema={"type": "object"})])


async def _hang(_context: Any, _params: Any) -> CallToolResult:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("child", [False, True])
async def test_callers_learn_that_the_guard_was_closed(*, child: bool) -> None:
    """A call in flight ends with an error when its guard is closed from another task; nobody hangs (A85)."""
    target: Any = Server("s", on_list_tools=_list, on_call_tool=_hang)
    if child:
        target = StdioServerParameters(command=sys.executable, args=["-c", HANG])
    guard = Guard(Config.default())
    async with Client(guard.wrap(target, server="s"), mode="legacy") as client:
        calling = asyncio.create_task(client.session.call_tool("hang", {}))
        for _ in range(50):
            await asyncio.sleep(0)
        await guard.close()
        with pytest.raises(MCPError, match=r"[Cc]losed"):
            await asyncio.wait_for(calling, 10)
