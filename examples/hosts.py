"""Three hosts for the demonstration: each holds, in a program of one's own, the place of the model.

Two are made with the official SDK: one has its server in the same process, one speaks to it over stdio. The third knows
no SDK: it writes lines of JSON and takes the next answer for its own, as simple programs do.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, cast

from mcp import Client, MCPError, StdioServerParameters


class Answer(NamedTuple):
    """What came of one call: a text, or an error."""

    text: str = ""
    code: str = ""
    """Which refusal it was, as hauberk names it."""
    rule: str = ""


class Host(Protocol):
    """What every host can do."""

    async def tools(self) -> list[str]:
        """Return the names of the tools that its model is shown."""

    async def call(self, tool: str, **arguments: str) -> Answer:
        """Call a tool."""


class SdkHost:
    """A host made with the official SDK."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tools(self) -> list[str]:
        """Return the names of the tools that its model is shown."""
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, **arguments: str) -> Answer:
        """Call a tool."""
        try:
            result = await self._client.call_tool(tool, arguments)
        except MCPError as error:
            return failed(error.error.model_dump())
        return Answer("".join(getattr(part, "text", "") for part in result.content))


class PlainHost:
    """A host without any SDK."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = 0

    async def greet(self) -> None:
        """Shake hands, as the protocol asks."""
        info = {"name": "plain", "version": "1"}
        await self._ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        self._write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    async def tools(self) -> list[str]:
        """Return the names of the tools that its model is shown."""
        return [tool["name"] for tool in (await self._ask("tools/list"))["result"]["tools"]]

    async def call(self, tool: str, **arguments: str) -> Answer:
        """Call a tool."""
        return _answer(await self._ask("tools/call", name=tool, arguments=arguments))

    async def call_raw(self, params: bytes) -> Answer:
        """Call a tool, with parameters that are written as they are."""
        self._sent += 1
        self._write(b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":%b}' % (self._sent, params))
        return _answer(await self._next())

    async def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        request = {"jsonrpc": "2.0", "id": self._sent, "method": method, "params": params}
        self._write(json.dumps(request).encode())
        return await self._next()

    def _write(self, line: bytes) -> None:
        self._writer.write(line + b"\n")

    async def _next(self) -> dict[str, Any]:
        while line := await self._reader.readline():
            message: dict[str, Any] = json.loads(line)
            if "method" not in message:
                return message
        raise EOFError("the server has gone")


def _answer(reply: dict[str, Any]) -> Answer:
    if "error" in reply:
        return failed(reply["error"])
    return Answer("".join(part.get("text", "") for part in reply["result"]["content"]))


def failed(error: dict[str, Any]) -> Answer:
    """Return the answer that an error is."""
    data = error.get("data") or {}
    return Answer(code=data.get("code", error["message"]), rule=data.get("rule", ""))


@asynccontextmanager
async def beside(target: Any) -> AsyncIterator[SdkHost]:
    """Yield an SDK host of whatever the SDK's client takes."""
    async with Client(target) as client:
        yield SdkHost(client)


@asynccontextmanager
async def over_stdio(*command: str) -> AsyncIterator[SdkHost]:
    """Yield an SDK host of a command."""
    async with beside(StdioServerParameters(command=command[0], args=list(command[1:]))) as host:
        yield host


@asynccontextmanager
async def plain(*command: str) -> AsyncIterator[PlainHost]:
    """Yield a host without SDK of a command."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    reader, writer = cast("StreamReader", process.stdout), cast("StreamWriter", process.stdin)
    host = PlainHost(reader, writer)
    try:
        await host.greet()
        yield host
    finally:
        writer.close()
        await process.wait()
