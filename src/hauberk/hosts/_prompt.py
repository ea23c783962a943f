"""Streams in memory, written to at once where they have room.

Their own `send` gives everybody else a turn of the event loop first, which is a good part of what a guarded call in
memory costs. The rules:

1. What is sent first is there first: while anything waits for room, all that comes later waits behind it.
2. What is sent is written, whatever becomes of who sent it: it may be sealed by then, and a sealed message that is
   missing ends its session. So whoever is being cancelled must be stopped before.
3. Into a stream with room for very many, each item is written in a turn of its own: who writes many in a row lets
   others run meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectSendStream

FEW: Final = 64
"""The most items that a stream may hold to be written to at once."""
_WRAPPER: Final = ("mcp.shared._context_streams", "ContextSendStream")
"""What the SDK has round such a stream; it adds the sender's context to each item."""


class Prompt:
    """A stream in memory, for who sends."""

    __slots__ = ("_few", "_stream", "_waiting")

    def __init__(self, stream: MemoryObjectSendStream[Any]) -> None:
        self._stream: Final = stream
        self._few: Final = stream.statistics().max_buffer_size <= FEW
        self._waiting: Final[set[asyncio.Task[None]]] = set()
        """What waits for room, until it has some or the stream is closed."""

    async def send(self, item: Any) -> None:
        """Send one item; wait while there is no room.

        Raises:
            anyio.ClosedResourceError: This end was closed.
            anyio.BrokenResourceError: The other end was closed.
        """
        if self._few and not self._waiting:
            try:
                self._stream.send_nowait(item)
            except anyio.WouldBlock:
                pass
            else:
                return
        task = asyncio.get_running_loop().create_task(self._stream.send(item))
        self._waiting.add(task)
        task.add_done_callback(self._over)
        await asyncio.shield(task)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        if not task.cancelled():
            task.exception()  # whoever sent it may be gone


def prompt(stream: Any) -> Any:
    """Return what sends into a stream at once where it can; the stream itself where it is of any other kind."""
    kind = type(stream)
    inner = getattr(stream, "_inner", None) if (kind.__module__, kind.__name__) == _WRAPPER else stream
    if type(inner) is not MemoryObjectSendStream:
        return stream
    return Prompt(inner) if inner is stream else kind(Prompt(inner))
