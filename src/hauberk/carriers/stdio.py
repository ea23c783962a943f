"""Pipes: reading and writing frames on descriptors, and a server as a child process.

The rules:

- only LF ends a frame, in both directions;
- nothing blocks the event loop: a descriptor that can be polled is polled, a regular file is read in a thread;
- what a peer does not read is held up to a bound, then its source is not read any further;
- a child gets a session of its own, so that the whole of it can be ended: TERM, and KILL after a grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import stat
import subprocess
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hauberk.bounds import Bounds
from hauberk.edge import Framer, Overlong

_CHUNK: Final = 64 * 1024
_CHUNK_MAX: Final = 1024 * 1024
_PIPE_BYTES: Final = 1024 * 1024
_IOV: Final = 64
GRACE: Final = 2.0
"""Seconds between the end of input, TERM, and KILL."""


class Reader:
    """Reads frames from one descriptor and hands each to ``on_frame``, in order.

    ``on_frame`` gets bytes without their line feed, or an `Overlong`. ``on_end`` is called once, at the end of input or
    when reading fails.
    """

    def __init__(
        self,
        fd: int,
        on_frame: Callable[[bytes | Overlong], object],
        on_end: Callable[[], object],
        *,
        bounds: Bounds,
    ) -> None:
        self._fd: Final = fd
        self._on_frame: Final = on_frame
        self._on_end: Final = on_end
        self._framer: Final = Framer(bounds)
        self._loop: Final = asyncio.get_running_loop()
        self._polled: Final = _pollable(fd)
        self._size = _CHUNK
        self._reasons = 0
        self._reading = False
        self._pending: deque[bytes | Overlong] = deque()
        self._task: asyncio.Task[None] | None = None
        self.ended = False

    def start(self) -> None:
        """Begin to read."""
        if self._polled:
            self._watch()
        else:
            self._task = self._loop.create_task(self._read_file())

    def pause(self) -> None:
        """Stop reading until `resume`; calls are counted."""
        self._reasons += 1
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def resume(self) -> None:
        """Go on reading, if nothing else holds it up."""
        self._reasons -= 1
        if not self._reasons and not self.ended:
            self._hand_over()
            if self._polled:
                self._watch()

    def stop(self) -> None:
        """Read no more; ``on_end`` is not called."""
        self.ended = True
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False
        if self._task is not None:
            self._task.cancel()

    def drain(self) -> None:
        """Read what is there now, without waiting for more."""
        os.set_blocking(self._fd, False)
        while not self.ended:
            self._ready()

    def _watch(self) -> None:
        if not self._reading and not self.ended and not self._reasons:
            self._loop.add_reader(self._fd, self._ready)
            self._reading = True

    def _ready(self) -> None:
        try:
            chunk = os.read(self._fd, self._size)
        except BlockingIOError:
            return
        except InterruptedError:
            return
        except OSError:
            chunk = b""
        self._size = min(self._size * 4, _CHUNK_MAX) if len(chunk) == self._size else max(_CHUNK, self._size // 2)
        self._take(chunk)

    async def _read_file(self) -> None:
        """Read a descriptor that cannot be polled: a regular file, which never blocks for long."""
        while not self.ended:
            while self._reasons:
                await asyncio.sleep(0.01)
            try:
                chunk = await self._loop.run_in_executor(None, os.read, self._fd, _CHUNK)
            except OSError:
                chunk = b""
            self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        if chunk:
            self._pending.extend(self._framer.feed(chunk))
        elif (rest := self._framer.close()) is not None:
            self._pending.append(rest)
        self._hand_over()
        if not chunk:
            self._end()

    def _hand_over(self) -> None:
        while self._pending and not (self._reasons and self._polled):
            self._on_frame(self._pending.popleft())

    def _end(self) -> None:
        if self.ended:
            return
        self.stop()
        while self._pending:
            self._on_frame(self._pending.popleft())
        self._on_end()


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
        self._buffer: deque[memoryview] = deque()
        self._polled: Final = _pollable(fd)
        self._was_blocking = True
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self.held = 0
        """Bytes that wait."""
        self.full = False
        self.broken = False
        if self._polled:
            self._was_blocking = os.get_blocking(fd)
            os.set_blocking(fd, False)

    def deliver(self, data: bytes, _ticket: Any) -> Awaitable[None] | None:
        """Write one frame and its line feed."""
        if self.broken:
            return None
        if self._buffer:
            self._hold(memoryview(data), memoryview(b"\n"))
            return None
        try:
            written = os.writev(self._fd, (data, b"\n"))
        except (BlockingIOError, InterruptedError):
            written = 0
        except OSError:
            self._break()
            return None
        if written <= len(data):
            rest = data[written:] + b"\n" if written else data + b"\n"
            self._hold(memoryview(rest))
        return None

    def unanswered(self, _ticket: Any) -> Awaitable[None] | None:
        """Say nothing: on a pipe a request without an answer needs no word."""

    def watch_reader(self) -> None:
        """Notice when nobody reads the other end, even while nothing is written."""
        if self._polled:
            with contextlib.suppress(OSError):
                self._loop.add_reader(self._fd, self._gone)

    def _gone(self) -> None:
        self._loop.remove_reader(self._fd)
        self._break()

    def _hold(self, *parts: memoryview) -> None:
        if not self._buffer:
            self._idle.clear()
            self._loop.add_writer(self._fd, self._flush)
        for part in parts:
            self._buffer.append(part)
            self.held += len(part)
        if self.held > self._limit and not self.full:
            self.full = True
            self._on_full()

    def _flush(self) -> None:
        try:
            parts = [self._buffer[i] for i in range(min(len(self._buffer), _IOV))]
            written = os.writev(self._fd, parts)
        except (BlockingIOError, InterruptedError):
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
        if not self._buffer:
            self._loop.remove_writer(self._fd)
            self._idle.set()
        if self.full and self.held <= self._limit // 2:
            self.full = False
            self._on_drained()

    def _break(self) -> None:
        if self.broken:
            return
        self.broken = True
        if self._buffer:
            self._loop.remove_writer(self._fd)
        self._buffer.clear()
        self.held = 0
        self._idle.set()
        if self.full:
            self.full = False
            self._on_drained()
        self._on_broken()

    async def flushed(self) -> None:
        """Wait until nothing waits here."""
        await self._idle.wait()

    def close(self, *, close_fd: bool) -> None:
        """Let go of the descriptor; what still waits is lost."""
        self.broken = True
        if self._polled:
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_writer(self._fd)
                self._loop.remove_reader(self._fd)
        self._buffer.clear()
        self._idle.set()
        with contextlib.suppress(OSError):
            if close_fd:
                os.close(self._fd)
            elif self._polled and self._was_blocking:
                os.set_blocking(self._fd, True)


class Child:
    """A server as a child process, with its standard error left where ours goes."""

    def __init__(
        self,
        command: str,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | Path | None = None,
        stderr: int | None = None,
    ) -> None:
        """Start it.

        Raises:
            OSError: It cannot be started.
        """
        # The loop polls these pipes; the Popen object only keeps them open.
        self._process: Final = subprocess.Popen(  # noqa: S603 - to run the named command is what this is for
            [command, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=dict(env),
            cwd=cwd,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin: Final = self._process.stdin.fileno()
        self.stdout: Final = self._process.stdout.fileno()
        self.pid: Final = self._process.pid
        self._exited: Final[asyncio.Future[int]] = asyncio.get_running_loop().create_future()
        for fd in (self.stdin, self.stdout):
            _widen(fd)
        self._watch_exit()

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        if hasattr(os, "pidfd_open"):
            pidfd = os.pidfd_open(self.pid)

            def exited() -> None:
                loop.remove_reader(pidfd)
                os.close(pidfd)
                self._note_exit(self._process.wait())

            loop.add_reader(pidfd, exited)
        else:  # macOS
            import threading  # noqa: PLC0415 - only where the kernel has no pidfd

            def wait() -> None:
                code = self._process.wait()
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._note_exit, code)

            threading.Thread(target=wait, daemon=True, name="hauberk-child").start()

    def _note_exit(self, code: int) -> None:
        if not self._exited.done():
            self._exited.set_result(code)

    @property
    def running(self) -> bool:
        """Whether it has not exited."""
        return not self._exited.done()

    async def wait(self) -> int:
        """Return its exit status; minus the number of the signal that ended it."""
        return await asyncio.shield(self._exited)

    async def waited(self, seconds: float) -> bool:
        """Wait for its exit, up to ``seconds``."""
        await asyncio.wait([self._exited], timeout=seconds)
        return self._exited.done()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def end(self, *, grace: float = GRACE) -> int:
        """End it: TERM, and KILL after the grace; both reach all that it started."""
        if self.running:
            self.signal(signal.SIGTERM)
            if not await self.waited(grace):
                self.signal(signal.SIGKILL)
        code = await self.wait()
        self.signal(signal.SIGKILL)
        return code

    def close_input(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """Close both pipes."""
        self.close_input()
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdout.close()


def _pollable(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode) and os.fstat(fd).st_rdev != _null_device()


def _null_device() -> int:
    return os.stat(os.devnull).st_rdev


def _widen(fd: int) -> None:
    """Make a pipe hold more, so that a large message takes fewer turns (Linux)."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
