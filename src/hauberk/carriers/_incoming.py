"""Frames from a socket: the event loop's transport reads, and no more is held of a stranger than is good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hauberk.carriers._source import OnFrame, Source


class StreamReader(Source):
    """Frames from a transport of the event loop, which does the reading."""

    _transport: asyncio.Transport | None = None
    _started = False
    most: int | None = None
    """So much of a frame is held before `on_long` is asked (bytes); None for as much as the bounds allow."""
    on_long: Callable[[], object] | None = None
    """Called once so much has come; from then on the bounds hold, unless it holds the reader up."""

    def made(self, transport: asyncio.Transport) -> None:
        """Take the transport."""
        self._transport = transport
        if self._reasons or not self._started:
            transport.pause_reading()

    def start(self) -> None:
        """Begin to read: not before that, so that a peer which nobody has looked at has nothing read."""
        self._started = True
        super().start()

    def took(self, buffer: bytearray, view: memoryview, size: int) -> None:
        """Take what the transport read; nothing once it is over."""
        if self.ended:
            return
        if self._pending or self._reasons or (line := self._framer.only(buffer, view, size)) is None:
            self._frames(self._framer.take(buffer, view, size))
            self._ask()
        else:
            self.taken += 1
            self._on_frame(line)

    def bound(self, most: int | None, on_long: Callable[[], object]) -> None:
        """Hold no more of a frame than so much without asking."""
        self.most, self.on_long = most, on_long
        self._ask()

    @property
    def room(self) -> int | None:
        """How much may be read at once (bytes), where `most` bounds it; None for as much as there is."""
        return None if self.most is None else max(1, self.most - self._framer.held)

    def _ask(self) -> None:
        if self.most is not None and self.on_long is not None and self._framer.held >= self.most:
            self.most = None
            self.on_long()

    def over(self) -> None:
        """Take the end of input."""
        if not self.ended:
            self._take(b"")

    def lost(self) -> None:
        """Let go of the transport: one of TLS that has ended cannot be held up any more."""
        self._transport = None

    def hand_to(self, on_frame: OnFrame, on_end: Callable[[], object]) -> None:
        """Hand frames to somebody else from now on."""
        self._on_frame, self._on_end = on_frame, on_end

    def _watch(self) -> None:
        if self._transport is not None and not (self.ended or self._reasons):
            self._transport.resume_reading()

    def _unwatch(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
