"""News of a connection, thinned out: the first of its kind at once, then the last of what came since, once in a while.

The rules:

1. News of one kind says one thing: ask again. Two in a row say no more than one, if the one is the later.
2. The first passes. What comes within ``every`` seconds of what passed last is held, and takes the place of what was
   held before; when the time is over what is held passes. So nobody who listens misses that something changed.
3. Kinds that are told apart at once have a bound. News of further ones is refused: a server that has changed more
   resources than that in a second may say that its list has.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Any, Final, Literal

from hauberk_sieve._limits import LIMITS

Answer = Literal["pass", "hold", "drop"]


class Pace:
    """The news of one connection."""

    __slots__ = ("_held", "_until")

    def __init__(self) -> None:
        self._until: Final[dict[Hashable, float]] = {}
        """When news of a kind may pass again (monotonic seconds)."""
        self._held: Final[dict[Hashable, Any]] = {}

    def take(self, kind: Hashable, news: Any, now: float, every: float) -> Answer:
        """Say what becomes of news.

        Args:
            kind: What it is about.
            news: What passes later, if it is held.
            now: Monotonic seconds.
            every: How far apart two of a kind are (seconds).
        """
        self._forget(now)
        if kind in self._until:
            self._held[kind] = news
            return "hold"
        if len(self._until) >= LIMITS.streams:
            return "drop"
        self._until[kind] = now + every
        self._held.pop(kind, None)  # it is late, and this is later
        return "pass"

    def due(self, now: float, every: float) -> list[Any]:
        """Return the news that was held long enough; it passes now."""
        self._forget(now)
        kinds = [kind for kind in self._held if kind not in self._until]
        self._until.update(dict.fromkeys(kinds, now + every))
        return [self._held.pop(kind) for kind in kinds]

    def next(self) -> float | None:
        """Return when something is due next (monotonic seconds), or None."""
        return min((self._until.get(kind, -inf) for kind in self._held), default=None)

    def _forget(self, now: float) -> None:
        """Forget what passed long ago; what is held since is due."""
        until = self._until
        while until and until[first := next(iter(until))] <= now:
            del until[first]
