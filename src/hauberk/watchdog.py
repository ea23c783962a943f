"""A hook that never returns: nothing passes, and after a while the process ends with the stack of whoever is stuck.

Two clocks look at the event loop, because a hook can be stuck in two ways: a thread, for one that waits where signals
do not reach it, and a timer signal, for one that never lets go of the interpreter (a regular expression that
backtracks does not). Both count their own ticks and look at no clock: a process that was stopped and continued gets
one tick for all the time that it did not run, and is not stuck.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final, Self

STUCK: Final = 125
"""Exit status of a process that a hook has stopped."""
_STDERR: Final = 2
_TICKS: Final = 4
_NOTE: Final = b"hauberk: a hook has not returned, nothing can pass; the process ends here\n"


class Watchdog:
    """Ends the process when the event loop has not turned for a number of seconds."""

    def __init__(self, seconds: float, *, on_stuck: Callable[[], object] = lambda: None) -> None:
        """Set it up; it watches while it is entered.

        Args:
            seconds: How long the event loop may stand still (seconds); it may take a quarter longer to notice.
            on_stuck: Called before the process ends, in whatever thread noticed.
        """
        self._tick: Final = max(seconds / _TICKS, 0.05)
        self._on_stuck: Final = on_stuck
        self._turns = 0
        self._end: Final = threading.Event()
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._turn()
        threading.Thread(target=self._watch, daemon=True, name="hauberk-watchdog").start()
        self._signals = threading.current_thread() is threading.main_thread()
        if self._signals:
            self._count = _Count()
            signal.signal(signal.SIGALRM, self._alarm)
            signal.setitimer(signal.ITIMER_REAL, self._tick, self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._signals:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if self._handle is not None:
            self._handle.cancel()

    def _turn(self) -> None:
        self._turns += 1
        self._handle = self._loop.call_later(self._tick / 2, self._turn)

    def _watch(self) -> None:
        count = _Count()
        while not self._end.wait(self._tick):
            if count.missed(self._turns) > _TICKS:
                self._bite()

    def _alarm(self, _number: int, _frame: FrameType | None) -> None:
        if self._count.missed(self._turns) > _TICKS:
            self._bite()

    def _bite(self) -> None:
        with contextlib.suppress(Exception):
            self._on_stuck()
        with contextlib.suppress(OSError):
            # Standard error is a pipe that perhaps nobody reads; it must not keep us.
            blocking = os.get_blocking(_STDERR)
            os.set_blocking(_STDERR, False)
            with contextlib.suppress(OSError):
                os.write(_STDERR, _NOTE)
            faulthandler.dump_traceback(_STDERR, all_threads=True)
            os.set_blocking(_STDERR, blocking)
        os._exit(STUCK)


class _Count:
    """Ticks since the event loop has last turned."""

    def __init__(self) -> None:
        self._seen = -1
        self._ticks = 0

    def missed(self, turns: int) -> int:
        self._ticks = self._ticks + 1 if turns == self._seen else 0
        self._seen = turns
        return self._ticks
