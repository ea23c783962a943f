"""Alerts that do not flood: one of a kind every so often, with how many there were."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from hauberk_bulkhead._limits import LIMITS

_REST: Final = ("", "")


class Alerts:
    """When each kind was told of last."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: Final[OrderedDict[tuple[str, str], list[float]]] = OrderedDict()

    def due(self, kind: str, about: str, now: float) -> int:
        """Return how often it happened, if it is to be told now; else 0, and it is counted.

        Args:
            kind: What happened.
            about: To whom.
            now: Monotonic seconds.
        """
        name = (kind, about)
        if name not in self._kinds and len(self._kinds) >= LIMITS.alerts:
            name = _REST
        found = self._kinds.get(name)
        if found is None:
            self._kinds[name] = [now, 0]
            return 1
        if now - found[0] < LIMITS.alert_seconds:
            found[1] += 1
            return 0
        times, found[:] = int(found[1]) + 1, [now, 0]
        return times
