"""A server as a child process.

It gets a session of its own, so that the whole of it can be ended: TERM, and KILL after a grace. When it exits, what it
has started is killed in that moment and never later: its number is its own only until the exit is collected.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, cast

GRACE: Final = 2.0
"""Seconds between the end of input, TERM, and KILL."""
_PIPE_BYTES: Final = 1024 * 1024


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
        executable: str | None = None,
    ) -> None:
        """Start it.

        Args:
            command: Its name, for the child itself too.
            args: Its arguments.
            env: Its whole environment; the command is looked for in its ``PATH``.
            cwd: Its working directory.
            stderr: A descriptor for its standard error.
            executable: The file to start, if it is known already.

        Raises:
            OSError: It cannot be started.
        """
        # The loop polls these pipes; the Popen object only keeps them open.
        self._process: Final = subprocess.Popen(  # noqa: S603 - to run the named command is what this is for
            [command, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            executable=executable,
            env=dict(env),
            cwd=cwd,
            bufsize=0,
            start_new_session=True,
        )
        self._input: Final = cast("IO[bytes]", self._process.stdin)
        self._output: Final = cast("IO[bytes]", self._process.stdout)
        self.stdin: Final = self._input.fileno()
        self.stdout: Final = self._output.fileno()
        self.pid: Final = self._process.pid
        self._exited: Final[asyncio.Future[int]] = asyncio.get_running_loop().create_future()
        for fd in (self.stdin, self.stdout):
            _widen(fd)
        self._watch_exit()

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        pidfd = _pidfd(self.pid)
        if pidfd is None:
            self._watch_in_thread(loop)
            return

        def exited() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            self._collect()

        loop.add_reader(pidfd, exited)

    def _watch_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        import threading

        def wait() -> None:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._collect)

        threading.Thread(target=wait, daemon=True, name="hauberk-child").start()

    def _collect(self) -> None:
        """Collect its exit, once what it has started is killed: until then nobody else can get its number."""
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        if not self._exited.done():
            self._exited.set_result(code)

    @property
    def running(self) -> bool:
        """Whether it has not exited."""
        return not self._exited.done()

    def on_exit(self, function: Callable[[], object]) -> None:
        """Call a function once it has exited."""
        self._exited.add_done_callback(lambda _: function())

    async def wait(self) -> int:
        """Return its exit status; minus the number of the signal that ended it."""
        return await asyncio.shield(self._exited)

    async def waited(self, seconds: float) -> bool:
        """Wait for its exit, up to ``seconds``."""
        await asyncio.wait([self._exited], timeout=seconds)
        return self._exited.done()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it started; once its exit is collected, to nobody."""
        if not self.running:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def end(self, *, grace: float = GRACE) -> int:
        """End it: TERM, and KILL after the grace; both reach all that it started."""
        if self.running:
            self.signal(signal.SIGTERM)
            if not await self.waited(grace):
                self.signal(signal.SIGKILL)
        return await self.wait()

    def close_input(self) -> None:
        """Close its standard input."""
        with contextlib.suppress(OSError):
            self._input.close()

    def close(self) -> None:
        """Close both pipes."""
        self.close_input()
        with contextlib.suppress(OSError):
            self._output.close()


def _pidfd(pid: int) -> int | None:
    """Return a descriptor that tells when a process exits; None on macOS, and where a sandbox has none."""
    try:
        return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return None


def _widen(fd: int) -> None:
    """Make a pipe hold more, so that a large message takes fewer turns (Linux)."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
