"""What the SDK reads from: messages cross the guard where they are read, or in a task of its own, the pump.

The pump reads ahead only while something may have to wait: for the guard's own request, for a write, for a hook.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from mcp.shared.message import ServerMessageMetadata, SessionMessage

from hauberk.hosts._inbox import Inbox
from hauberk.hosts._translate import Headers, from_sdk, headers_of
from hauberk.message import NO_HEADERS

if TYPE_CHECKING:
    from hauberk.session import Session


class GuardedRead:
    """What the SDK reads from: the inbox, filled by the carrier, by a pump, or by the very call that reads."""

    def __init__(self, session: Session, inbox: Inbox, inner: Any = None, headers: Headers | None = None) -> None:
        self._session: Final = session
        self._inbox: Final = inbox
        self._inner: Final = inner
        self._headers: Final = headers
        self._pump: asyncio.Task[None] | None = None
        self._stays = inner is None
        """Whether what comes is read for good by somebody else: the carrier, or the pump."""
        self._closed = False
        self.last_context: Context | None = None
        """The context in which the last message was sent; the SDK runs its handler in it."""

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message that may pass.

        Raises:
            anyio.EndOfStream: The connection is over.
            anyio.ClosedResourceError: This end was closed.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def __anext__(self) -> SessionMessage | Exception:
        inbox, session = self._inbox, self._session
        while not self._closed:
            if inbox.items:
                item, self.last_context = inbox.take()
                return item
            if inbox.ended:
                raise StopAsyncIteration
            if self._stays or self._pump is not None or session.may_wait:
                await self._wait()
                continue
            # One message from the transport, unless the guard itself has something to say meanwhile.
            inbox.reading = asyncio.current_task()
            if inbox.idle is not None:
                inbox.came_back()
            try:
                got = await self._inner.receive()
            except anyio.EndOfStream:
                raise StopAsyncIteration from None
            except asyncio.CancelledError:
                if not inbox.was_interrupted():
                    raise
                self._stays = True  # what the guard has to say is read at once from now on
                self.start_pump()
                continue
            finally:
                inbox.reading = None
            self._cross(got)
        raise anyio.ClosedResourceError

    async def _wait(self) -> None:
        """Let the carrier or a pump read, for as long as something may have to wait."""
        if self._stays or self._session.may_wait:
            self.start_pump()
            await self._inbox.wait()
        else:
            await self.stop_pump()

    def _cross(self, item: SessionMessage | Exception) -> None:
        """Hand one message from the transport to the guard."""
        session, headers = self._session, NO_HEADERS
        if isinstance(item, Exception):
            session.noise()  # it holds the peer's raw text, and goes no further
            return
        if type(item.metadata) is ServerMessageMetadata:
            item = _once(item)
        elif item.metadata is not None:
            headers = headers_of(item)
        context = getattr(self._inner, "last_context", None)
        if self._headers is not None and self._headers.used:
            self._headers.learn(item)
        _ = session.receive_object(
            session.inn, from_sdk(item.message), ticket=(item, context), headers=headers, context=context
        )

    def start_pump(self) -> None:
        """Read the transport in a task of its own, until `stop_pump`."""
        if self._pump is not None or self._inner is None:
            return
        self._pump = asyncio.get_running_loop().create_task(self._pumping(), name="hauberk-pump")

    async def stop_pump(self) -> None:
        """Leave the transport to whoever reads; what the pump has been handed crosses first."""
        pump = self._pump
        while pump is not None and not pump.done():
            waiter = getattr(pump, "_fut_waiter", None)
            if waiter is not None and not waiter.done():  # else it holds a message, which would be lost with it
                self._pump = None
                pump.cancel()
                await asyncio.wait([pump])
                return
            await asyncio.sleep(0)

    async def _pumping(self) -> None:
        try:
            while True:
                self._cross(await self._inner.receive())
                await self._inbox.room()
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            await self._session.quiet()
        finally:
            if self._pump is not None:  # else there is more to come
                self._inbox.end()

    async def aclose(self) -> None:
        """Close this end and the transport's own."""
        self._closed = True
        self._inbox.end()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        if self._inner is not None:
            await self._inner.aclose()

    def close(self) -> None:
        """Close this end."""
        self._closed = True
        self._inbox.end()

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _once(item: SessionMessage) -> SessionMessage:
    """Return the item with a word for its transport that is said at most once: the SDK's server says it too."""
    metadata = item.metadata
    if not isinstance(metadata, ServerMessageMetadata) or metadata.on_request_unanswered is None:
        return item
    words = [metadata.on_request_unanswered]

    async def unanswered() -> None:
        if words:
            await words.pop()()

    return SessionMessage(item.message, replace(metadata, on_request_unanswered=unanswered))
