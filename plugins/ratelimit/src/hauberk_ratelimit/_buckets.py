"""Local buckets: one number for each identity, by the generic cell rate algorithm (GCRA).

The rules (ITU-T I.371, annex A, in its virtual scheduling form):

1. Of each identity the theoretical arrival time is kept: when its bucket will be full again. One that is not later than
   now says nothing, and need not be kept.
2. A request of cost n is let pass if ``max(tat, now) + n * interval - now <= burst * interval``; then ``tat`` is
   ``max(tat, now) + n * interval``. In any time t no more than ``burst + t / interval`` are let pass.
3. A time further off than a whole burst is cut to one: a limit that was made smaller, or a clock that went back, locks
   nobody out for longer than an empty bucket does.
4. The number of buckets is bounded. A newcomer who finds no room takes the place of one whose bucket is full, looked
   for from the oldest on; where there is none among those looked at, he shares one bucket with all others who found
   none. So nobody gets a fresh budget by being forgotten, or by making others forgotten (X.6).

5. What is given back of a charge is what of it has not filled again: nobody can save a charge up, and have it back on
   top of a full bucket. A charge is remembered by its mark, the time at which it would have filled.

Times are of a monotonic clock (seconds). With intervals on the grid of `_rates` each sum is exact for 2^27 s, 4 years.
Buckets are kept in many small dictionaries: growing a large one would hold everything up for milliseconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from hashlib import blake2b
from typing import Final

from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._rates import Rate

NEVER: Final = math.inf
_IDLE: Final = -math.inf
REST: Final = "\0rest"
"""The key of the bucket of those who found no room; it stands in a dictionary of its own."""
Left = tuple[int, int, float]
"""Limit, what remains of it, and when all of it will be there again (seconds from now)."""


def kept(identity: str) -> str:
    """Return an identity as a key: a long one is its digest, so that keys cost no more than their number says."""
    if len(identity) <= LIMITS.key:
        return identity
    return "blake2b:" + blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Given:
    """What was given back of each bucket (rule 5).

    A mark is the time at which a charge would have filled, and all that was given back of its bucket before. So marks
    of one bucket never go back; and a charge fills earlier than its mark by all that was given back of those before it.
    """

    __slots__ = ("_cap", "_floor", "_later", "sums")

    def __init__(self, cap: int) -> None:
        self._cap: Final = cap
        self.sums: Final[dict[Hashable, float]] = {}
        """Of each bucket, all that was given back. While there is none, a mark is the time itself."""
        self._later: Final[dict[Hashable, deque[tuple[float, float]]]] = {}
        self._floor: float = 0

    def mark(self, key: Hashable, fills: float) -> float:
        """Return the mark of a charge that fills then."""
        return fills + self.sums.get(key, self._floor)

    def fills(self, key: Hashable, mark: float) -> float:
        """Return when a charge fills, at the earliest."""
        later = sum(amount for other, amount in self._later.get(key, ()) if other > mark)
        return mark - self.sums.get(key, self._floor) + later

    def add(self, key: Hashable, mark: float, amount: float) -> None:
        """Note what was given back of a charge."""
        if key not in self.sums and len(self.sums) >= self._cap:
            self._floor = max(self.sums.values())
            self.sums.clear()
            self._later.clear()
        self.sums[key] = self.sums.get(key, self._floor) + amount
        self._later.setdefault(key, deque(maxlen=LIMITS.given)).append((mark, amount))

    def less(self, key: Hashable, mark: float, amount: float) -> None:
        """Take back that so much was given back, for all charges with an earlier mark: it had filled by then."""
        if key in self.sums:
            self._later[key].append((mark, amount))


class Buckets:
    """The buckets of one rate; not for several threads without a lock."""

    __slots__ = (
        "_deepest",
        "_given",
        "_mask",
        "_rest",
        "_room",
        "_shards",
        "_slack",
        "crowded",
        "full",
        "interval",
        "rate",
    )

    def __init__(self, rate: Rate, cap: int, *, debt: float = 0.0) -> None:
        """Make them.

        Args:
            rate: What each lets pass.
            cap: How many there may be.
            debt: How much longer than an empty bucket one may take to be full, because others have used it (seconds).
        """
        shards = 1 << max(0, math.ceil(math.log2(max(cap, 1) / LIMITS.shard)))
        self._shards: Final[list[dict[str, float]]] = [{} for _ in range(shards)]
        self._mask: Final = shards - 1
        self._room: Final = max(1, cap // shards)
        self._rest: Final[dict[str, float]] = {}
        self._given = Given(LIMITS.known)
        self.rate: Final = rate
        self.interval: Final = rate.interval
        self.full: Final = rate.burst * rate.interval
        """What an empty bucket takes to be full (seconds)."""
        self._deepest: Final = self.full + debt
        self._slack: Final = self.full - self.interval if rate.burst else -math.inf
        """What may be lacking of a bucket that a permit is taken from (seconds)."""
        self.crowded = 0
        """How many requests found no room for a bucket."""

    def __len__(self) -> int:
        return sum(map(len, self._shards)) + len(self._rest)

    def hit(self, key: str, now: float) -> float | None:
        """Take one permit; return the mark of the charge, or None where there is none (`wait` says until when)."""
        shard = self._shards[hash(key) & self._mask]
        tat = shard.get(key)
        if tat is None:
            return self._hit_first(key, now)
        if tat - now > self._slack:
            return None
        shard[key] = tat = (tat if tat > now else now) + self.interval  # noqa: FURB136 - `max` would double the time
        return self._given.mark(key, tat) if self._given.sums else tat

    def _hit_first(self, key: str, now: float) -> float | None:
        """Take one permit for somebody who has no bucket yet."""
        if not self.rate.burst:
            return None
        shard, key = self._place(key, now)
        return None if shard.get(key, _IDLE) - now > self._slack else self.take(key, now)

    def wait(self, key: str, now: float, cost: int = 1) -> float:
        """Return 0 if so many permits are there, else how long until they are (seconds); `NEVER` above the burst."""
        if cost > self.rate.burst:
            return NEVER
        shard = self._shards[hash(key) & self._mask]
        tat = shard.get(key)
        if tat is None:
            shard, key = self._place(key, now)
            tat = shard.get(key, _IDLE)
        slack = self.full - cost * self.interval
        if tat - now <= slack:
            return 0.0
        if tat - now > self._deepest:
            shard[key] = tat = now + self._deepest
        wait = tat - now - slack
        if tat - (now + wait) > slack:  # the sum was rounded: by less than one step of the clock
            wait += math.ulp(now + wait)
        return wait

    def take(self, key: str, now: float, cost: int = 1) -> float:
        """Take permits, as `wait` said that there are; return the mark of the charge."""
        shard = self._shards[hash(key) & self._mask]
        tat = shard.get(key)
        if tat is None:
            shard, key = self._place(key, now)
            tat = shard.get(key, _IDLE)
        shard[key] = tat = max(tat, now) + cost * self.interval
        if shard is self._rest:
            return _IDLE  # nobody can tell whose it was, so nothing of it is given back
        return self._given.mark(key, tat) if self._given.sums else tat

    def give(self, key: str, now: float, cost: int, mark: float) -> None:
        """Give permits of a charge back; to one whose bucket was forgotten, or had none, nothing is owed."""
        shard = self._shards[hash(key) & self._mask]
        tat = shard.get(key)
        back = min(cost * self.interval, self._given.fills(key, mark) - now)
        if tat is not None and back > 0:
            shard[key] = tat - back
            self._given.add(key, mark, back)

    def place(self, key: str, now: float) -> str:
        """Return under which key somebody is charged: his own, or that of those who find no room."""
        return self._place(key, now)[1]

    def left(self, key: str, now: float) -> Left:
        """Return how a bucket stands."""
        shard, key = self._place(key, now)
        ahead = min(max(shard.get(key, _IDLE) - now, 0.0), self.full)
        return self.rate.burst, int((self.full - ahead) / self.interval), ahead

    def behind(self, key: str, now: float, seconds: float) -> None:
        """Let a bucket be full so many seconds from now, and not earlier: others have taken from it."""
        shard, key = self._place(key, now)
        shard[key] = now + seconds

    def forget(self, key: str | None = None) -> int:
        """Let one bucket be full, or all; return how many were there."""
        if key is not None:
            return sum(shard.pop(key, None) is not None for shard in self._shards)
        count = len(self)
        for shard in (*self._shards, self._rest):
            shard.clear()
        return count

    def inherit(self, old: Buckets, now: float) -> None:
        """Take over what others have used, from the buckets of the policy before."""
        for shard in old._shards:
            for key, tat in shard.items():
                if tat > now:
                    place, name = self._place(key, now)
                    place[name] = max(place.get(name, _IDLE), min(tat, now + self.full))
        self._given = old._given
        if old._rest:
            self._rest.update(old._rest)

    def _place(self, key: str, now: float) -> tuple[dict[str, float], str]:
        """Return where a key is kept, which for one that finds no room is the bucket of the rest."""
        if key == REST:
            return self._rest, REST
        shard = self._shards[hash(key) & self._mask]
        if key in shard or len(shard) < self._room or self._make_room(shard, now):
            return shard, key
        self.crowded += 1
        return self._rest, REST

    def _make_room(self, shard: dict[str, float], now: float) -> bool:
        """Let go of a bucket that is full; what was looked at and is not goes to the end."""
        for _ in range(min(LIMITS.looked_at, len(shard))):
            key = next(iter(shard))
            tat = shard.pop(key)
            if tat <= now:
                return True
            shard[key] = tat
        return False
