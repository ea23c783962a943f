"""An entry where there is no other, so that silence shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, final

HEARTBEAT: Final = "audit.heartbeat"
EVERY: Final = 300.0
"""Seconds, where the log is required and nothing else is said."""


@final
class Heartbeat:
    """Has an entry written where none was for some time."""

    def __init__(
        self, seconds: float, wrote: Callable[[], float], clock: Callable[[], float], beat: Callable[[], None]
    ) -> None:
        """Nothing is said before `start`.

        Args:
            seconds: After how long.
            wrote: When something was written last, by the clock.
            clock: Seconds that only go on.
            beat: Has an entry written.
        """
        self._seconds: Final = seconds
        self._wrote: Final = wrote
        self._clock: Final = clock
        self._beat: Final = beat
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, in the event loop that runs."""
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self.look)

    def stop(self) -> None:
        """Say nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Have an entry written if it is time for one, and look again when it may be."""
        left = self._wrote() + self._seconds - self._clock()
        if left <= 0:
            self._beat()
            left = self._seconds
        self._timer = asyncio.get_running_loop().call_later(left, self.look)
