"""In process around the official SDK: its transports, with the guard in them.

The SDK's client and server talk through two streams of `SessionMessage`. Here both are wrapped: what is sent crosses
the guard in the sender's own task; what is received crosses it where it is read, and in a task of its own (the pump)
only where something may have to wait. A child process is run on the guard's own stdio transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import anyio.lowlevel
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCRequest

from hauberk import admission
from hauberk.hosts._ending import to_the_end
from hauberk.hosts._inbox import Inbox
from hauberk.hosts._prompt import prompt
from hauberk.hosts._reading import GuardedRead
from hauberk.hosts._targets import Remote, Web, opened, settled, shown
from hauberk.hosts._translate import Headers, from_sdk, headers_of, to_sdk
from hauberk.message import NO_HEADERS

if TYPE_CHECKING:
    from hauberk.connection import Connection, Role
    from hauberk.guard import Guard
    from hauberk.session import Session

Ticket = tuple[SessionMessage, Context | None]
"""What came with a message: the item that carried it and the sender's context."""


class Outbox:
    """The wire's side, where the SDK's own transport writes."""

    bytes_only = False

    def __init__(self, inner: Any, headers: Headers) -> None:
        self._inner: Final = prompt(inner)
        self._headers: Final = headers

    def deliver(self, data: dict[str, Any], ticket: Any) -> Awaitable[None] | None:
        """Return the write of one message; its headers are made again from what is written."""
        item = to_sdk(data, None if ticket is None else ticket[0])
        if item.metadata is not None:
            item = self._headers.renewed(item)
        sending: Awaitable[None] = self._inner.send(item)
        return sending

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:
        """Tell the transport that this request gets no answer, where it wants to know."""
        metadata = ticket[0].metadata if ticket is not None else None
        if isinstance(metadata, ServerMessageMetadata) and metadata.on_request_unanswered is not None:
            return metadata.on_request_unanswered()
        return None


class GuardedWrite:
    """What the SDK writes to."""

    def __init__(self, session: Session, inbox: Inbox, close: Any, room: Any = None) -> None:
        self._session: Final = session
        self._inbox: Final = inbox
        self._close: Final = close
        self._room: Final = room

    async def send(self, item: SessionMessage, /) -> None:
        """Take one message across the guard, in the sender's own task.

        Raises:
            MCPError: A request was refused; the SDK hands this to the caller as an error answer.
            anyio.ClosedResourceError: The session is over.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()  # from here on a message crosses, and is written
        session = self._session
        if session.closed:
            raise anyio.ClosedResourceError
        message = item.message
        headers = NO_HEADERS if item.metadata is None else headers_of(item)
        try:
            reply, waiting = session.pass_object(session.out, from_sdk(message), ticket=(item, None), headers=headers)
            if waiting is not None:
                reply = await waiting
            if reply is None:
                if self._room is not None or session.closed:
                    await self._passed()
                return
        except Exception:
            self._lose(message)
            raise
        if isinstance(message, JSONRPCRequest) and "error" in reply:
            error = reply["error"]
            raise MCPError(code=error["code"], message=error["message"], data=error.get("data"))
        self._inbox.deliver(reply, None)

    async def _passed(self) -> None:
        """Wait until the transport has room for more.

        Raises:
            anyio.ClosedResourceError: The session has closed meanwhile.
        """
        if self._session.closed:
            raise anyio.ClosedResourceError
        if self._room is not None:
            await self._room()

    def _lose(self, message: Any) -> None:
        """End the exchange of a request that the transport did not take."""
        way = self._session.out
        exchange = way.exchanges.find(message.id) if isinstance(message, JSONRPCRequest) else None
        if exchange is not None:
            exchange.lost = True
            self._session.end(exchange, way, "closed", tombstone=True)

    async def aclose(self) -> None:
        """Close the transport's own stream."""
        await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


Streams = tuple[GuardedRead, GuardedWrite]


class GuardedTransport:
    """A transport for the SDK's ``Client``; the guard is opened with the first of them and closed with the last.

    It can be entered again once it was left.
    """

    def __init__(self, guard: Guard, target: Any, server: str) -> None:
        self._guard: Final = guard
        self._target: Final = target
        self._server: Final = server
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> Streams:
        if self._stack is not None:
            raise RuntimeError(f"the transport to {self._server!r} is in use; wrap the target once for each client")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_open(self._guard))
            streams = await self._opened(stack, settled(self._target, self._guard.config, self._server))
            self._stack = stack.pop_all()
            return streams

    async def _opened(self, stack: AsyncExitStack, target: Any) -> Streams:
        guard, server = self._guard, self._server
        if isinstance(target, Remote):
            from hauberk.hosts import _stream

            return await stack.enter_async_context(_stream.run_stream(guard, server, target.address))
        if isinstance(target, StdioServerParameters):
            from hauberk.hosts import _child

            started = _child.program(guard, server, target)
            connection = await guard.connect(server, "client", target=shown(target), program=started)
            stack.enter_context(connection.ending())
            return await stack.enter_async_context(_child.run_child(guard, connection, target))
        if isinstance(target, Web):
            from hauberk.hosts import _https

            way = _https.opened(guard, server, target, shown(target.url))
            connection, read, write = await stack.enter_async_context(way)
        else:
            connection = await guard.connect(server, "client", target=shown(target))
            stack.enter_context(connection.ending())
            admission.proved(guard, connection)
            read, write = await stack.enter_async_context(opened(target))
        return await stack.enter_async_context(around(guard, connection, read, write))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        stack, self._stack = self._stack, None
        return await stack.__aexit__(kind, error, trace) if stack is not None else None


@asynccontextmanager
async def _open(guard: Guard) -> AsyncIterator[None]:
    """Hold the guard open; closing it records what happened, so it is done to its end."""
    await guard.__aenter__()
    try:
        yield
    finally:
        await to_the_end(guard.__aexit__(None, None, None))


@asynccontextmanager
async def around(guard: Guard, connection: Connection, read: Any, write: Any) -> AsyncIterator[Streams]:
    """Put the guard around two streams of an SDK transport."""
    inbox, headers = Inbox(), Headers(guard.bounds.embedded * 64)
    session = guard.session(connection, inbox, Outbox(write, headers))
    reader = GuardedRead(session, inbox, read, headers)

    async def over() -> None:
        inbox.end()
        await write.aclose()  # its peer ends then, and with it whoever reads

    session.on_close = over
    ending: list[asyncio.Task[None]] = []
    connection.watch(lambda: ending.append(asyncio.get_running_loop().create_task(_hang_up(session))))
    try:
        if session.agrees:
            reader.start_pump()
            await session.agree()
            await reader.stop_pump()
        yield reader, GuardedWrite(session, inbox, write.aclose)
    finally:
        await to_the_end(_close(reader, session, *ending))


async def _hang_up(session: Session) -> None:
    """End a connection on which nothing passes any more, once what is on its way has left."""
    with suppress(TimeoutError):
        await asyncio.wait_for(session.quiet(), session.bounds.deadline)
    await session.close()


async def _close(reader: GuardedRead, session: Session, *ending: asyncio.Task[None]) -> None:
    try:
        await reader.aclose()
        if ending:
            await asyncio.wait(ending)
    finally:
        await session.close()


def wrap(guard: Guard, target: Any, server: str) -> GuardedTransport:
    """Return a transport that takes what ``mcp.Client`` takes, guarded.

    Raises:
        ConfigError: The target is nothing that can be connected to.
    """
    settled(target, guard.config, server)
    return GuardedTransport(guard, target, server)


@asynccontextmanager
async def serve(guard: Guard, read: Any, write: Any, server: str) -> AsyncIterator[Streams]:
    """Stand in front of an SDK ``Server``: take the streams of its transport, give it guarded ones."""
    role: Role = "server"
    async with _open(guard):
        connection = await guard.connect(server, role)
        with connection.ending():
            admission.proved(guard, connection)
            async with around(guard, connection, read, write) as streams:
                yield streams
