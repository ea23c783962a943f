"""What the SDK will read next, on the host's side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from contextvars import Context
from typing import Any, Final

from mcp.shared.message import SessionMessage

from hauberk.hosts._translate import to_sdk

AHEAD: Final = 64
"""Messages that may wait to be read by the SDK before their source is read no further."""


class Inbox:
    """The host's side: what the SDK will read next."""

    bytes_only = False

    def __init__(self) -> None:
        self.items: deque[tuple[SessionMessage, Context | None]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._full: asyncio.Event | None = None
        """So many messages wait that their source waits too, for this."""
        self.idle: asyncio.Event | None = None
        """Somebody waits until the SDK has come back for more."""
        self.reading: asyncio.Task[Any] | None = None
        """The task that reads the transport itself, and waits there and not here."""
        self._interrupted: int | None = None
        self.ended = False

    def __len__(self) -> int:
        return len(self.items)

    def deliver(self, data: dict[str, Any], ticket: Any) -> Awaitable[None] | None:
        """Put one message where the SDK reads."""
        if ticket is None:
            self.items.append((to_sdk(data, None), None))
        else:
            self.items.append((to_sdk(data, ticket[0]), ticket[1]))
        if self._full is None and len(self.items) >= AHEAD:
            self._full = asyncio.Event()
        if self._waiter is not None:
            self._wake()
        elif self.reading is not None:
            self._interrupt()
        return None

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:
        """Say nothing: the SDK's own caller has gone."""

    def end(self) -> None:
        """Let the reader see the end once everything has been read."""
        self.ended = True
        self._wake()
        self.came_back()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self) -> tuple[SessionMessage, Context | None]:
        """Take the next message."""
        item = self.items.popleft()
        if self._full is not None and len(self.items) < AHEAD // 2:
            self._full.set()
            self._full = None
        return item

    async def wait(self) -> None:
        """Wait until there is a message, or the end."""
        while not self.items and not self.ended:
            self._waiter = asyncio.get_running_loop().create_future()
            self.came_back()
            await self._waiter

    async def flushed(self) -> None:
        """Wait until the SDK has taken everything and has come back for more."""
        while not self.ended and (self.items or (self.reading is None and not self._waits)):
            self.idle = self.idle or asyncio.Event()
            await self.idle.wait()

    def came_back(self) -> None:
        """Let go on who waits for that, in `flushed`."""
        if self.idle is not None:
            self.idle.set()
            self.idle = None

    @property
    def _waits(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _interrupt(self) -> None:
        """Call the reader away from the transport: what the guard itself has to say does not come from there.

        As anyio's own scopes do, it is not cancelled where it has been handed a message and has not run since: that
        message would be lost. It comes here by itself then.
        """
        task = self.reading
        if task is None or not self.items:
            return
        waiter = getattr(task, "_fut_waiter", None)
        if waiter is None or waiter.done():
            asyncio.get_running_loop().call_soon(self._interrupt)
            return
        self._interrupted = task.cancelling()
        task.cancel()

    def was_interrupted(self) -> bool:
        """Whether a cancellation of the reader was the inbox's own, and no one else's beside it."""
        before, self._interrupted = self._interrupted, None
        return before is not None and self.reading is not None and self.reading.uncancel() <= before

    async def room(self) -> None:
        """Wait until the SDK has read most of what is here."""
        if self._full is not None:
            await self._full.wait()
