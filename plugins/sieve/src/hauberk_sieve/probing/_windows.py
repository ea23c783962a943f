"""Refusals counted in windows of time, by who was refused.

The rules:

1. An alarm is raised when the last ``refusals`` refusals of one key lie within one window, that is, less than
   ``window`` seconds lie between the first and the last of them (S1.5).
2. After an alarm there is none for that key for one window. What is refused meanwhile is counted in the next one.
3. An alarm says how many refusals there were since the last one, or since the last pause as long as a window.
4. There are as many keys as the bound; who was refused longest ago is forgotten first.

Pure: the clock is an argument.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final

from hauberk_sieve._limits import LIMITS, Limits


class _Row:
    """The refusals of one key."""

    __slots__ = ("count", "quiet_until", "times")

    def __init__(self, refusals: int) -> None:
        self.times: Final[deque[float]] = deque(maxlen=refusals)
        self.count = 0
        self.quiet_until = float("-inf")


class Windows:
    """The refusals of every key."""

    __slots__ = ("_limits", "_refusals", "_rows", "_window")

    def __init__(self, refusals: int, window: float, *, limits: Limits = LIMITS) -> None:
        """Begin with none.

        Args:
            refusals: So many raise an alarm.
            window: Within so long (seconds).
            limits: ``watched`` bounds the keys.
        """
        self._refusals: Final = refusals
        self._window: Final = window
        self._limits: Final = limits
        self._rows: Final[OrderedDict[Hashable, _Row]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def refused(self, key: Hashable, now: float) -> int:
        """Count one refusal; return the count of the alarm that it raises, or 0."""
        row = self._row(key)
        if row.times and now - row.times[-1] >= self._window:
            row.count = 0
        row.times.append(now)
        row.count += 1
        if now < row.quiet_until or len(row.times) < self._refusals or now - row.times[0] >= self._window:
            return 0
        count, row.count, row.quiet_until = row.count, 0, now + self._window
        return count

    def adopt(self, old: Windows) -> None:
        """Go on with what was counted before a reload."""
        for key, before in old._rows.items():
            row = self._row(key)
            row.times.extend(before.times)
            row.count, row.quiet_until = before.count, before.quiet_until

    def _row(self, key: Hashable) -> _Row:
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= self._limits.watched:
                self._rows.popitem(last=False)
            row = self._rows[key] = _Row(self._refusals)
        else:
            self._rows.move_to_end(key)
        return row
