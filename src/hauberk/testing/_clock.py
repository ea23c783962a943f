"""A clock that only a test turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime


class Clock:
    """Seconds that only a test turns: the guard's monotonic clock and its time of day at once.

    >>> clock = Clock()
    >>> clock.turn(5)
    >>> clock()
    1005.0
    """

    def __init__(self, time: float = 1000.0) -> None:
        self.time = time

    @classmethod
    def at(cls, moment: datetime) -> Self:
        """Return a clock that stands at a moment; without a time zone, it is in local time."""
        return cls(moment.timestamp())

    def __call__(self) -> float:
        return self.time

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds
