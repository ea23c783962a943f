"""Pipes: reading and writing frames on descriptors.

The rules:

- only LF ends a frame, in both directions;
- nothing blocks the event loop: a descriptor that can be polled is polled, a regular file is read in a thread;
- what a peer does not read is held up to a bound, then its source is not read any further;
- the loop turns between frames, however many come at once: signals, timers and the other side do not wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from hauberk.bounds import Bounds
from hauberk.carriers._source import OnFrame, Source

_CHUNK: Final = 64 * 1024
_CHUNK_MAX: Final = 1024 * 1024
_DRAIN_BYTES: Final = 2 * 1024 * 1024
_IOV: Final = 64


class Reader(Source):
    """Reads frames from one descriptor."""

    def __init__(self, fd: int, on_frame: OnFrame, on_end: Callable[[], object], *, bounds: Bounds) -> None:
        super().__init__(on_frame, on_end, bounds=bounds)
        self._fd: Final = fd
        self.holds_pending = _pollable(self._loop, fd)
        self._size = _CHUNK
        self._going: Final = asyncio.Event()
        self._reading = False
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Read no more; ``on_end`` is not called."""
        super().stop()
        if self._task is not None:
            self._task.cancel()

    def drain(self) -> None:
        """Read what is there now, and end. Whoever else holds the other end may go on writing; nobody reads it."""
        os.set_blocking(self._fd, False)
        left = _DRAIN_BYTES
        while not self.ended and left > 0 and (size := self._ready()):
            left -= size
        if not self.ended:
            self._take(b"")

    def _watch(self) -> None:
        if self.ended or self._reasons:
            return
        self._going.set()
        if self.holds_pending and not self._reading:
            self._loop.add_reader(self._fd, self._ready)
            self._reading = True
        elif not self.holds_pending and self._task is None:
            self._task = self._loop.create_task(self._read_file())

    def _unwatch(self) -> None:
        self._going.clear()
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def _ready(self) -> int:
        """Read once; return how many bytes came."""
        size = self._size
        try:
            chunk = os.read(self._fd, size)
        except BlockingIOError:
            return 0
        except OSError:
            chunk = b""
        if len(chunk) == size:
            self._size = min(size * 4, _CHUNK_MAX)
        elif size > _CHUNK:
            self._size = max(_CHUNK, size // 2)
        self._take(chunk)
        return len(chunk)

    async def _read_file(self) -> None:
        """Read a descriptor that cannot be polled: a regular file, which never blocks for long."""
        while not self.ended:
            await self._going.wait()
            if self._reasons:
                continue  # held up again before it was our turn
            try:
                chunk = await self._loop.run_in_executor(None, os.read, self._fd, _CHUNK)
            except OSError:
                chunk = b""
            self._take(chunk)


class Writer:
    """Writes frames to one descriptor; what cannot be written at once waits here.

    ``on_full`` is called when more than ``limit`` bytes wait, ``on_drained`` when half of that is left, ``on_broken``
    once when nobody reads any more.
    """

    bytes_only = True

    def __init__(
        self,
        fd: int,
        *,
        limit: int,
        on_full: Callable[[], object] = lambda: None,
        on_drained: Callable[[], object] = lambda: None,
        on_broken: Callable[[], object] = lambda: None,
    ) -> None:
        self._fd: Final = fd
        self._limit: Final = limit
        self._on_full: Final = on_full
        self._on_drained: Final = on_drained
        self._on_broken: Final = on_broken
        self._loop: Final = asyncio.get_running_loop()
        self._buffer: Final[deque[memoryview]] = deque()
        self._tail = bytearray()
        """What comes after the buffer: small frames in one piece. One by one they would take many times their size."""
        self._polled: Final = _pollable(self._loop, fd)
        self._was_blocking = True
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self.held = 0
        """Bytes that wait."""
        self.full = False
        self.broken = False
        self._closed = False
        if self._polled:
            self._was_blocking = os.get_blocking(fd)
            os.set_blocking(fd, False)

    def deliver(self, data: bytes, _ticket: Any) -> Awaitable[None] | None:
        """Write one frame and its line feed."""
        if self.broken:
            return None
        if self.held:
            self._hold(data)
            return None
        if not self._polled:
            self._write_file(memoryview(data + b"\n"))
            return None
        try:
            written = os.writev(self._fd, (data, b"\n"))
        except BlockingIOError:
            written = 0
        except OSError:
            self._break()
            return None
        if written <= len(data):
            self._hold(data[written:] if written else data)
        return None

    def _write_file(self, rest: memoryview) -> None:
        """Write to a descriptor that cannot be polled: a regular file, which never blocks for long."""
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            self._break()

    def unanswered(self, _ticket: Any) -> Awaitable[None] | None:
        """Say nothing: on a pipe a request without an answer needs no word."""

    @property
    def flooded(self) -> bool:
        """Whether more than twice the limit waits."""
        return self.held > 2 * self._limit

    def watch_reader(self) -> None:
        """Notice when nobody reads the other end, even while nothing is written. A terminal is read by whoever sits."""
        mode = os.fstat(self._fd).st_mode
        if self._polled and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            self._loop.add_reader(self._fd, self._gone)

    def _gone(self) -> None:
        self._loop.remove_reader(self._fd)
        poll = select.poll()
        poll.register(self._fd, 0)
        if poll.poll(0):  # else a socket has something to read, which is not for us
            self._break()

    def _hold(self, data: bytes) -> None:
        """Let a frame, or the rest of one, wait; its line feed comes after it."""
        if not self.held:
            self._idle.clear()
            self._loop.add_writer(self._fd, self._flush)
        if len(data) >= _CHUNK:
            self._seal()
            self._buffer.append(memoryview(data))
            self._tail += b"\n"
        else:
            self._tail += data
            self._tail += b"\n"
        self.held += len(data) + 1
        if self.held > self._limit and not self.full:
            self.full = True
            self._on_full()

    def _seal(self) -> None:
        if self._tail:
            self._buffer.append(memoryview(self._tail))
            self._tail = bytearray()

    def _flush(self) -> None:
        self._seal()
        try:
            parts = [self._buffer[i] for i in range(min(len(self._buffer), _IOV))]
            written = os.writev(self._fd, parts)
        except BlockingIOError:
            return
        except OSError:
            self._break()
            return
        self.held -= written
        while written:
            part = self._buffer.popleft()
            if written < len(part):
                self._buffer.appendleft(part[written:])
                break
            written -= len(part)
        if not self.held:
            self._loop.remove_writer(self._fd)
            self._idle.set()
        if self.full and self.held <= self._limit // 2:
            self.full = False
            self._on_drained()

    def _break(self) -> None:
        if self.broken:
            return
        self.broken = True
        if self.held:
            self._loop.remove_writer(self._fd)
        self._drop()
        if self.full:
            self.full = False
            self._on_drained()
        self._on_broken()

    def _drop(self) -> None:
        self._buffer.clear()
        self._tail = bytearray()
        self.held = 0
        self._idle.set()

    async def flushed(self) -> None:
        """Wait until nothing waits here."""
        await self._idle.wait()

    def close(self, *, close_fd: bool) -> None:
        """Let go of the descriptor; what still waits is lost. Called again, it does nothing.

        By then the number may be another's: of another connection of this process.
        """
        if self._closed:
            return
        self._closed = self.broken = True
        if self._polled:
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_writer(self._fd)
                self._loop.remove_reader(self._fd)
        self._drop()
        with contextlib.suppress(OSError):
            if close_fd:
                os.close(self._fd)
            elif self._polled and self._was_blocking:
                os.set_blocking(self._fd, True)


def _pollable(loop: asyncio.AbstractEventLoop, fd: int) -> bool:
    """Whether the event loop can wait for a descriptor: not for every device, nor for the end of a regular file."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return False
    try:
        loop.add_reader(fd, int)
    except OSError:
        return False
    loop.remove_reader(fd)
    return True
