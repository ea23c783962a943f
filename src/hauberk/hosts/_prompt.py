"""Streams in memory, written to at once where they have room.

Their own `send` gives everybody else a turn of the event loop first, which is a good part of what a guarded call in
memory costs. Where there is no room, and where who sends is being cancelled, it is their own `send` that is called.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectSendStream

FEW: Final = 64
"""The most items that a stream may hold to be written to so: with room for more, whoever writes many in a row would let
nobody else run meanwhile."""
_WRAPPER: Final = ("mcp.shared._context_streams", "ContextSendStream")
"""What the SDK has round such a stream; it adds the sender's context to each item."""


class Prompt:
    """A stream in memory, for who sends."""

    __slots__ = ("_stream",)

    def __init__(self, stream: MemoryObjectSendStream[Any]) -> None:
        self._stream: Final = stream

    async def send(self, item: Any) -> None:
        """Send one item; wait while there is no room.

        Raises:
            anyio.ClosedResourceError: This end was closed.
            anyio.BrokenResourceError: The other end was closed.
        """
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            try:
                self._stream.send_nowait(item)
            except anyio.WouldBlock:
                pass
            else:
                return
        await self._stream.send(item)


def prompt(stream: Any) -> Any:
    """Return what sends into a stream at once where it can; the stream itself where it is of any other kind."""
    kind = type(stream)
    inner = getattr(stream, "_inner", None) if (kind.__module__, kind.__name__) == _WRAPPER else stream
    if type(inner) is not MemoryObjectSendStream or inner.statistics().max_buffer_size > FEW:
        return stream
    return Prompt(inner) if inner is stream else kind(Prompt(inner))
