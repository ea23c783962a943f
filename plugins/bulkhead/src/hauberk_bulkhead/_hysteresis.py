"""When load is shed, and when not any more. Pure.

A use sheds once it has been at its threshold, or above, for some looks in a row; it stops shedding once it has been
below the threshold less the margin for as many. Between the two nothing changes: load that hovers round a threshold
does not switch it on and off.
"""

from __future__ import annotations

from typing import Final


class Level:
    """One use of the machine, in percent."""

    __slots__ = ("_agreeing", "_high", "_looks", "_low", "sheds")

    def __init__(self, high: float, margin: float, looks: int) -> None:
        """Say when it sheds.

        Args:
            high: From here on (percent).
            margin: So far below ``high`` it must fall (percent).
            looks: In a row.
        """
        self._high: Final = high
        self._low: Final = high - margin
        self._looks: Final = looks
        self._agreeing = 0
        self.sheds = False

    def see(self, value: float) -> bool:
        """Take one look; return whether that changed what is done."""
        against = value < self._low if self.sheds else value >= self._high
        self._agreeing = self._agreeing + 1 if against else 0
        if self._agreeing < self._looks:
            return False
        self._agreeing = 0
        self.sheds = not self.sheds
        return True
