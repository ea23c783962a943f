"""A hook that never returns: nothing passes, and after a while the process ends with the stack of whoever is stuck."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

_TICK: Final = 1.0
STUCK: Final = 125
"""Exit status of a process that a hook has stopped."""


class Watchdog:
    """Ends the process when the event loop has not turned for a number of seconds.

    Its own ticks are counted, not the clock: a process that was stopped and continued is not stuck.
    """

    def __init__(self, seconds: float, *, on_stuck: Callable[[], object] = lambda: None) -> None:
        self._ticks: Final = max(1, round(seconds / _TICK))
        self._on_stuck: Final = on_stuck
        self._turned = True
        self._end: Final = threading.Event()
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Watchdog:
        self._loop = asyncio.get_running_loop()
        self._turn()
        threading.Thread(target=self._watch, daemon=True, name="hauberk-watchdog").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._handle is not None:
            self._handle.cancel()

    def _turn(self) -> None:
        self._turned = True
        self._handle = self._loop.call_later(_TICK / 2, self._turn)

    def _watch(self) -> None:
        missed = 0
        while not self._end.wait(_TICK):
            missed = 0 if self._turned else missed + 1
            self._turned = False
            if missed >= self._ticks:
                self._bite()

    def _bite(self) -> None:
        sys.stderr.write("hauberk: a hook has not returned, nothing can pass; the process ends here\n")
        faulthandler.dump_traceback(all_threads=True)
        self._on_stuck()
        os._exit(STUCK)
