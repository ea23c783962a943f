"""A hostile server as a transport of the SDK: its face of objects. Imported only by `HostileServer.transport`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from mcp.shared.memory import create_client_server_memory_streams
from mcp.shared.message import SessionMessage
from mcp_types.jsonrpc import jsonrpc_message_adapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from hauberk.testing._hostile import HostileServer


class Transport:
    """What ``mcp.Client`` and ``guard.wrap`` take."""

    def __init__(self, server: HostileServer) -> None:
        self._server: Final = server
        self._more: Final = asyncio.Event()

    async def __aenter__(self) -> Any:
        self._context = self._connected()
        return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._context.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        async with create_client_server_memory_streams() as (near, (read, write)), asyncio.TaskGroup() as group:
            self._server.wake = self._more.set
            self._more.set()
            tasks = group.create_task(self._hear(read)), group.create_task(self._speak(write))
            try:
                yield near
            finally:
                for task in tasks:
                    task.cancel()

    async def _hear(self, read: Any) -> None:
        async for item in read:
            self._server.hear(item.message.model_dump(mode="json", by_alias=True, exclude_unset=True))

    async def _speak(self, write: Any) -> None:
        while await self._more.wait():
            self._more.clear()
            while self._server.outbox:
                said = self._server.outbox.popleft()
                await write.send(said if isinstance(said, Exception) else _item(said))


def _item(said: Any) -> SessionMessage:
    return SessionMessage(jsonrpc_message_adapter.validate_python(said))
