"""Frames on their way in: what every carrier has in common, wherever its bytes come from.

Only LF ends a frame. A source can be held up, by several at once; what was read by then waits. The loop turns between
frames, however many come at once: signals, timers and the other side do not wait for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from hauberk.bounds import Bounds
from hauberk.edge import Framer, Overlong

OnFrame = Callable[[bytes | Overlong], object]
_SLICE: Final = 0.05
"""Seconds that frames are handed over without letting the event loop turn."""


def _nobody() -> None:
    """Do nothing."""


class Source:
    """Hands each frame to ``on_frame``, in order: bytes without their line feed, or an `Overlong`.

    ``on_end`` is called once, at the end of input or when reading fails. ``on_burst``, where it is set, is called with
    True before several frames are handed over in a row, and with False after them.
    """

    holds_pending = True
    """Whether frames that were read wait while the source is held up; else they are handed over all the same."""

    def __init__(self, on_frame: OnFrame, on_end: Callable[[], object], *, bounds: Bounds) -> None:
        self._on_frame = on_frame
        self._on_end = on_end
        self._framer: Final = Framer(bounds)
        self._loop: Final = asyncio.get_running_loop()
        self._pending: Final[deque[bytes | Overlong]] = deque()
        self._reasons = 0
        self.taken = 0
        """How often whole frames came."""
        self._finishing: asyncio.Event | None = None
        """Set once the last frame has been handed over; None before the end."""
        self.on_burst: Callable[[bool], object] | None = None
        self.ended = False

    def start(self) -> None:
        """Begin to read."""
        self._watch()

    def pause(self) -> None:
        """Stop reading until `resume`; calls are counted."""
        self._reasons += 1
        self._unwatch()

    def resume(self) -> None:
        """Go on reading, if nothing else holds it up."""
        self._reasons -= 1
        if not self._reasons and not self.ended:
            self._hand_over()
            self._watch()

    def stop(self) -> None:
        """Read no more; ``on_end`` is not called."""
        self.ended = True
        self._unwatch()
        if self._finishing is not None:
            self._finishing.set()
            self._finishing = None

    @property
    def waits(self) -> bool:
        """Whether a frame has begun and not ended, though nothing here holds it up."""
        return self._framer.partial and not (self._reasons or self._pending or self.ended)

    def _watch(self) -> None:
        """Let bytes come, unless it is held up or over."""
        raise NotImplementedError

    def _unwatch(self) -> None:
        """Let no bytes come."""
        raise NotImplementedError

    def _take(self, chunk: bytes) -> None:
        """Take the next bytes; none are the end of input."""
        if chunk:
            self._frames(self._framer.feed(chunk))
            return
        if (rest := self._framer.close()) is not None:
            self._pending.append(rest)
        self._hand_over()
        self._end()

    def _frames(self, frames: list[bytes | Overlong]) -> None:
        """Hand over frames, or let them wait."""
        if frames:
            self.taken += 1
        if len(frames) == 1 and not (self._pending or self._reasons):
            self._on_frame(frames[0])
            return
        self._pending.extend(frames)
        self._hand_over()

    def _hand_over(self) -> None:
        if not self._pending:
            return
        several = self.on_burst if len(self._pending) > 1 else None
        if several is not None:
            several(True)
        until = self._loop.time() + _SLICE
        while self._pending and not (self._reasons and self.holds_pending):
            self._on_frame(self._pending.popleft())
            if self._loop.time() > until and self._pending:
                self.pause()
                self._loop.call_soon(self.resume)
                break
        if several is not None:
            several(False)

    def _end(self) -> None:
        if self.ended:
            return
        self.stop()
        self._finishing = asyncio.Event()
        self._finish(self._finishing)

    def _finish(self, finishing: asyncio.Event) -> None:
        """Hand over the last frames, and let the loop turn between them here as well; then tell of the end."""
        if self._finishing is not finishing:
            return  # it was stopped meanwhile
        until = self._loop.time() + _SLICE
        while self._pending:
            self._on_frame(self._pending.popleft())
            if self._loop.time() > until and self._pending:
                self._loop.call_soon(self._finish, finishing)
                return
        self._on_end()
        finishing.set()

    async def finished(self) -> None:
        """Wait until all that came before the end has been handed over."""
        if self._finishing is not None:
            await self._finishing.wait()
