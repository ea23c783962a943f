"""How often a connection asks: a window of one minute that slides."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 60.0
"""Seconds."""


class Pace:
    """The questions of one connection that were let through."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: Final[deque[float]] = deque()

    def wait(self, now: float, most: int) -> float:
        """Return how long there is no room for another question (seconds); 0 counts this one.

        Args:
            now: Monotonic seconds.
            most: Questions in a window.
        """
        times = self._times
        while times and times[0] <= now - WINDOW:
            times.popleft()
        if len(times) < most:
            times.append(now)
            return 0.0
        return WINDOW - (now - times[-most]) if most else WINDOW
