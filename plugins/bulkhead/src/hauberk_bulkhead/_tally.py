"""How many events somebody caused within a window. Pure, and bounded: who was counted longest ago goes first.

Whoever goes that way begins anew, so the bound is far above the number of those that cause events at one time; each of
them needs an identity, a server's name or an address of his own to be counted apart at all.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

Name = tuple[str, str]
"""Whether it is a principal, a server or an address, and which."""


class Tally:
    """The counts."""

    __slots__ = ("_bound", "_seen")

    def __init__(self, bound: int) -> None:
        self._bound: Final = bound
        self._seen: Final[OrderedDict[Name, deque[float]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def count(self, name: Name, now: float, *, events: int, window: float, times: int = 1) -> bool:
        """Count events; return whether there were ``events`` of them within ``window`` seconds. Then it begins anew.

        Args:
            name: Who.
            now: Monotonic seconds.
            events: How many are too many.
            window: Seconds.
            times: How often it happened.
        """
        seen = self._seen.get(name)
        if seen is None:
            seen = self._seen[name] = deque()
            if len(self._seen) > self._bound:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(name)
        seen.extend([now] * min(times, events))
        while len(seen) > events:
            seen.popleft()
        if len(seen) < events or seen[0] <= now - window:
            return False
        del self._seen[name]
        return True

    def forget(self, name: Name) -> None:
        """Begin anew with somebody."""
        self._seen.pop(name, None)

    def clear(self) -> None:
        """Begin anew with everybody."""
        self._seen.clear()
