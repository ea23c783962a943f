"""Quotas of calendar months.

The rules:

1. A month is one of the calendar in UTC: it is named by its year and number, never counted on from a date, so the 31st
   of January is followed by February.
2. What was used counts until the month is over. A clock that goes back to the month before begins none: its requests
   count in the month that was seen last. One that goes back further was wrong before: what was counted counts in the
   month that it shows now, so that nobody waits for years.
3. Their number is bounded; who finds no room shares one count with all others who found none, until the month is over.

Times are seconds since 1970.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from hauberk_ratelimit._buckets import NEVER, REST, Left
from hauberk_ratelimit._rates import Quota

_MONTHS: Final = 12
_FAR: Final = 62 * 86_400
"""Two months at most (seconds)."""


def month_of(now: float) -> int:
    """Return the number of a month: twelve times the year, and the month from 0."""
    moment = datetime.fromtimestamp(now, UTC)
    return moment.year * _MONTHS + moment.month - 1


def start_of(month: int) -> float:
    """Return when a month begins (seconds since 1970)."""
    year, place = divmod(month, _MONTHS)
    return datetime(year, place + 1, 1, tzinfo=UTC).timestamp()


class Quotas:
    """What was used of one quota in the current month, by identity; not for several threads without a lock."""

    __slots__ = ("_cap", "_month", "_until", "_used", "crowded", "quota")

    def __init__(self, quota: Quota, cap: int) -> None:
        self.quota: Final = quota
        self._cap: Final = cap
        self._month = 0
        self._until = 0.0
        self._used: dict[str, int] = {}
        self.crowded = 0
        """How many requests found no room for a count."""

    def __len__(self) -> int:
        return len(self._used)

    def wait(self, key: str, now: float, cost: int = 1) -> float:
        """Return 0 if so many are left, else how long until the month is over (seconds)."""
        if cost > self.quota.count:
            return NEVER
        key = self._key(key, now)  # first: it may begin a month, with counts of its own
        used = self._used.get(key, 0)
        return 0.0 if used + cost <= self.quota.count else self._until - now

    def take(self, key: str, now: float, cost: int = 1) -> float:
        """Count; return the mark of the charge: its month."""
        key = self._key(key, now)
        self._used[key] = self._used.get(key, 0) + cost
        return self._month

    def give(self, key: str, now: float, cost: int, mark: float) -> None:
        """Count back what was counted in a month (``mark``), if it is not over."""
        key = self._key(key, now)
        if key in self._used and mark >= self._month:
            self._used[key] = max(0, self._used[key] - cost)

    def place(self, key: str, now: float) -> str:
        """Return under which key somebody is counted: his own, or that of those who find no room."""
        return self._key(key, now)

    def learn(self, key: str, now: float, used: int) -> None:
        """Count what all have used, where several count."""
        self._used[self._key(key, now)] = used

    def left(self, key: str, now: float) -> Left:
        """Return how a count stands."""
        key = self._key(key, now)  # first: it may begin a month, with counts of its own
        used = self._used.get(key, 0)
        return self.quota.count, max(0, self.quota.count - used), self._until - now

    def forget(self, key: str | None = None) -> int:
        """Let one count be 0, or all; return how many were there."""
        if key is not None:
            return int(self._used.pop(key, None) is not None)
        count = len(self._used)
        self._used.clear()
        return count

    def inherit(self, old: Quotas) -> None:
        """Go on with what was counted under the policy before."""
        self._month, self._until, self._used = old._month, old._until, dict(old._used)

    def _key(self, key: str, now: float) -> str:
        """Begin a new month if there is one; return under which key something is counted."""
        if now >= self._until and (month := month_of(now)) > self._month:
            self._month, self._until = month, start_of(month + 1)
            self._used = {}
        elif now < self._until - _FAR:
            self._month = month_of(now)
            self._until = start_of(self._month + 1)
        if key in self._used or len(self._used) < self._cap:
            return key
        self.crowded += 1
        return REST
