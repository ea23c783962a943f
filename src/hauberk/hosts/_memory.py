"""A server in the host's own process, on streams of the guard's own.

They do what the SDK's in-memory streams do, the sender's context included. What is sent while there is room is there at
once, without a turn of the event loop for each message, so a guarded server answers about as fast as a bare one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any, Final, Self

import anyio
from mcp.server import Server
from mcp.server.mcpserver import MCPServer

ROOM: Final = 16
"""Messages that may wait to be received before who sends has to wait."""
GRACE: Final = 2.0
"""Seconds that a server may take to end by itself once its input has ended."""


class Stream:
    """One direction: what was sent and not received yet, and who waits."""

    __slots__ = ("_items", "_receiver", "_senders", "ended", "last_context", "left")

    def __init__(self) -> None:
        self._items: Final[deque[tuple[Context, Any]]] = deque()
        self._receiver: asyncio.Future[None] | None = None
        self._senders: Final[deque[asyncio.Future[None]]] = deque()
        self.ended = False
        """Whether nothing more is sent."""
        self.left = False
        """Whether nobody receives any more."""
        self.last_context: Context | None = None
        """The context in which the last message was sent; the SDK runs its handler in it."""

    async def put(self, item: Any) -> None:
        """Send one item; wait while there is no room.

        Raises:
            anyio.ClosedResourceError: This end was closed.
            anyio.BrokenResourceError: The other end was closed.
        """
        while len(self._items) >= ROOM and not (self.ended or self.left):
            room = asyncio.get_running_loop().create_future()
            self._senders.append(room)
            try:
                await room
            except asyncio.CancelledError:
                if room.done():
                    self._let_send()  # the room that it was told of is another's now
                raise
        if self.ended:
            raise anyio.ClosedResourceError
        if self.left:
            raise anyio.BrokenResourceError
        self._items.append((copy_context(), item))
        if self._receiver is not None:
            _wake(self._receiver)

    async def take(self) -> Any:
        """Receive one item.

        Raises:
            anyio.ClosedResourceError: This end was closed.
            anyio.EndOfStream: The other end was closed, and everything was received.
        """
        while not self._items:
            if self.left:
                raise anyio.ClosedResourceError
            if self.ended:
                raise anyio.EndOfStream
            self._receiver = asyncio.get_running_loop().create_future()
            await self._receiver
        if self.left:
            raise anyio.ClosedResourceError
        self.last_context, item = self._items.popleft()
        if self._senders:
            self._let_send()
        return item

    def end(self) -> None:
        """Let nothing more be sent."""
        self.ended = True
        self._wake_all()

    def leave(self) -> None:
        """Let nothing more be received; what waits is lost."""
        self.left = True
        self._items.clear()
        self._wake_all()

    def _let_send(self) -> None:
        while self._senders:
            waiting = self._senders.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def _wake_all(self) -> None:
        if self._receiver is not None:
            _wake(self._receiver)
        for waiting in self._senders:
            _wake(waiting)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _End:
    """One end of a stream, as the SDK uses it."""

    __slots__ = ("_stream", "close")

    def __init__(self, stream: Stream, close: Callable[[], None]) -> None:
        self._stream: Final = stream
        self.close: Final = close

    async def aclose(self) -> None:
        """Close this end."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Sending(_End):
    """Where items go in."""

    __slots__ = ("send",)

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, stream.end)
        self.send: Final = stream.put


class Receiving(_End):
    """Where items come out."""

    __slots__ = ("receive",)

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, stream.leave)
        self.receive: Final = stream.take

    @property
    def last_context(self) -> Context | None:
        """Return the context in which the last item was sent."""
        return self._stream.last_context

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.take()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


def in_process(server: Server[Any] | MCPServer) -> AbstractAsyncContextManager[tuple[Receiving, Sending]]:
    """Return a transport that runs a server and gives the streams of its client."""
    return _run(server._lowlevel_server if isinstance(server, MCPServer) else server)  # noqa: SLF001 - it has no other name


@asynccontextmanager
async def _run(server: Server[Any]) -> AsyncIterator[tuple[Receiving, Sending]]:
    there, back, done = Stream(), Stream(), asyncio.Event()

    async def serve() -> None:
        try:
            await server.run(Receiving(there), Sending(back), server.create_initialization_options())
        finally:
            there.leave()
            back.end()
            done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        try:
            yield Receiving(back), Sending(there)
        finally:
            # The end of its input ends a server, and what it still has in hand; one that does not end is cancelled.
            there.end()
            back.end()
            with anyio.move_on_after(GRACE):
                await done.wait()
            if not done.is_set():
                group.cancel_scope.cancel()
    back.leave()
