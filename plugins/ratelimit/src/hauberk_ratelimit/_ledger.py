"""Charging: from all buckets or from none.

The rules:

1. What a request needs is looked for in each of its buckets first, and taken from each only if all have it (S3.44).
2. A refusal tells the longest wait, since a retry passes once the last bucket has what it needs, and of that bucket
   what its limit is, what remains, and when all of it will be there again. The wait is exact to the microsecond.
3. What a limit could never grant has no wait: it lets nothing pass, or one call costs more than its burst.
4. Rates and quotas are looked at before credits (S1.41): only what every one of them lets pass is told that it lacks
   credits. That has no wait, since no time but the next month brings any.
5. What is counted by the month, quotas and credits, is given back of a call that fails, too (S1.41(c)). Rates are not:
   they are for load, and a call that failed was one.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from hauberk.refusals import LIMITS, POLICY, Refused
from hauberk.verdict import Deny
from hauberk_ratelimit._buckets import NEVER, REST, Buckets, Left
from hauberk_ratelimit._rules import Bucket, Ref

Marks = tuple[float, ...]
"""Of each bucket of a charge, what tells how much of it can be given back."""
EXCEEDED: Final = "ratelimit.exceeded"
BROKE: Final = "ratelimit.insufficient_credits"
_FORBIDDEN: Final = 403
_MICRO: Final = 1_000_000


class Short(NamedTuple):
    """Why a request is not let pass."""

    bucket: Bucket
    cost: int
    wait: float
    """Seconds; `NEVER` where no time helps."""
    limit: int
    remaining: int
    reset: float
    """Seconds until all of the limit is there again."""
    key: str = ""
    """Under which key it was charged."""

    @property
    def code(self) -> str:
        """Return the code of the refusal."""
        return BROKE if self.bucket.credit else EXCEEDED

    @property
    def reason(self) -> str:
        """Say it."""
        if self.bucket.credit:
            return f"this call costs {self.cost} of the credits of {self.bucket.rule}, and {self.remaining} are left"
        if self.wait != NEVER:
            return f"the limit {self.bucket.rule} of {self.bucket.part} is used up"
        if self.limit == 0:
            return f"the limit {self.bucket.rule} of {self.bucket.part} lets nothing pass"
        return f"this call costs {self.cost}, and the limit {self.bucket.rule} of {self.bucket.part} never has as much"

    @property
    def retry_after(self) -> float | None:
        """Return the wait, rounded up to the microsecond; None where no time helps."""
        return None if self.wait == NEVER or self.bucket.credit else up(self.wait)

    @property
    def hint(self) -> str:
        """Say what to do."""
        if self.bucket.credit:
            return "buy credits: `hauberk limits credit`; or wait for those of the next month"
        if self.wait == NEVER:
            return f"change {self.bucket.rule} in [ratelimit], if this is to pass"
        return "call again after that time, or raise the limit in [ratelimit]"

    @property
    def data(self) -> dict[str, float]:
        """Return what the answer tells besides."""
        if self.bucket.credit:
            return {"httpStatus": _FORBIDDEN, "balance": self.remaining, "cost": self.cost, "reset": up(self.reset)}
        return {"limit": self.limit, "remaining": self.remaining, "reset": up(self.reset)}

    @property
    def details(self) -> dict[str, bool]:
        """Return what the event tells besides: whether nobody but the caller can have used the limit up."""
        return {"own": "principal" in self.bucket.each and self.key != REST}

    def deny(self) -> Deny:
        """Return the verdict."""
        return Deny(
            self.code,
            self.reason,
            self.bucket.rule,
            self.hint,
            self.retry_after,
            public=True,
            data=self.data,
            details=self.details,
        )

    def refused(self) -> Refused:
        """Return the refusal."""
        return Refused(
            EXCEEDED,
            self.reason,
            rule=self.bucket.rule,
            hint=self.hint,
            retry_after=self.retry_after,
            jsonrpc=POLICY if self.wait == NEVER else LIMITS,
            public=True,
            data=self.data,
            details=self.details,
        )


def up(seconds: float) -> float:
    """Round up to the microsecond: not earlier, or it would be refused again."""
    return math.ceil(seconds * _MICRO) / _MICRO


class Local:
    """The buckets of this process; for any thread."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        """Keep them by these clocks.

        Args:
            clock: Monotonic seconds.
            now: Seconds since 1970.
        """
        self._clock: Final = clock
        self._now: Final = now
        self._lock: Final = threading.Lock()

    def charge(self, refs: Sequence[Ref], cost: int = 1, price: int = 1) -> Short | None:
        """Take from all of the buckets, and return None; or take nothing, and return why.

        Args:
            refs: The buckets.
            cost: How many permits.
            price: How many credits.
        """
        clock = self._clock()
        with self._lock:
            if cost == 1 and len(refs) == 1:
                ((bucket, key),) = refs
                if isinstance(table := bucket.table, Buckets):
                    if not (wait := table.hit(key, clock)):
                        return None
                    return Short(bucket, 1, wait, *table.left(key, clock), table.place(key, clock))
            longest, short, broke = 0.0, None, None
            if len({bucket for bucket, _ in refs}) < len(refs):  # those who find no room are one
                refs = self._placed(refs)
            for ref in refs:
                bucket, key = ref
                need = price if bucket.credit else cost
                wait = bucket.table.wait(key, self._now() if bucket.monthly else clock, need)
                if wait and bucket.credit:
                    broke = broke or ref
                elif wait > longest:
                    longest, short = wait, ref
            short = short or broke
            if short is None:
                self._take(refs, clock, cost, price)
                return None
            bucket, key = short
            now = self._now() if bucket.monthly else clock
            need = price if bucket.credit else cost
            return Short(bucket, need, longest, *bucket.table.left(key, now), bucket.table.place(key, now))

    def pay(self, refs: Sequence[Ref], cost: int = 1, price: int = 1) -> Short | Paid:
        """Charge likewise; return what gives it back, or why not."""
        return self.charge(refs, cost, price) or Paid(self, refs, cost, price, self.marks(refs))

    def marks(self, refs: Sequence[Ref]) -> Marks:
        """Return what a charge that was made just now is remembered by, for who may give it back."""
        with self._lock:
            return tuple([bucket.table.mark(key) for bucket, key in refs])

    def refund(self, refs: Sequence[Ref], cost: int, marks: Marks, price: int = 1) -> None:
        """Give back what was taken from each, as far as it has not come back by itself."""
        clock = self._clock()
        with self._lock:
            for (bucket, key), mark in zip(refs, marks, strict=True):
                now = self._now() if bucket.monthly else clock
                bucket.table.give(key, now, price if bucket.credit else cost, mark)

    def places(self, refs: Sequence[Ref]) -> Sequence[Ref]:
        """Return the buckets under the keys that there is room for, each once."""
        with self._lock:
            if len(refs) > 1:
                return self._placed(refs)
            bucket, key = refs[0]
            there = bucket.table.place(key, self._now() if bucket.monthly else self._clock())
            return refs if there == key else ((bucket, there),)

    def _placed(self, refs: Sequence[Ref]) -> tuple[Ref, ...]:
        clock, now = self._clock(), self._now()
        placed = ((bucket, bucket.table.place(key, now if bucket.monthly else clock)) for bucket, key in refs)
        return tuple(dict.fromkeys(placed))

    def left(self, refs: Sequence[Ref]) -> list[Left]:
        """Return how each bucket stands."""
        clock, now = self._clock(), self._now()
        with self._lock:
            return [bucket.table.left(key, now if bucket.monthly else clock) for bucket, key in refs]

    def noted(self, refs: Sequence[Ref], cost: int, price: int = 1) -> Marks:
        """Note what was taken elsewhere, whatever is left here; return what it is remembered by."""
        clock = self._clock()
        with self._lock:
            self._take(refs, clock, cost, price)
            return tuple([bucket.table.mark(key) for bucket, key in refs])

    def _take(self, refs: Sequence[Ref], clock: float, cost: int, price: int) -> None:
        for bucket, key in refs:
            if bucket.monthly:
                bucket.table.take(key, self._now(), price if bucket.credit else cost)
            else:
                bucket.table.take(key, clock, cost)

    def behind(self, bucket: Bucket, key: str, seconds: float) -> None:
        """Let a bucket be full no earlier than so many seconds from now."""
        with self._lock:
            if isinstance(bucket.table, Buckets):
                bucket.table.behind(key, self._clock(), seconds)


class Paid:
    """A charge that was made in this process; gives it back when it is called."""

    __slots__ = ("_cost", "_local", "_marks", "price", "refs")

    def __init__(self, local: Local, refs: Sequence[Ref], cost: int, price: int, marks: Marks) -> None:
        self._local: Final = local
        self._cost: Final = cost
        self._marks: Final = marks
        self.refs: Final = refs
        """What was charged."""
        self.price: Final = price
        """How many credits."""

    def __call__(self, *, failed: bool = False) -> None:
        """Give it back; of a call that was sent and ``failed``, what is counted by the month."""
        if not failed:
            self._local.refund(self.refs, self._cost, self._marks, self.price)
        elif due := [(ref, mark) for ref, mark in zip(self.refs, self._marks, strict=True) if ref[0].monthly]:
            refs, marks = zip(*due, strict=True)
            self._local.refund(refs, self._cost, marks, self.price)

    def left(self) -> list[Left]:
        """Return how each bucket stands after it."""
        return self._local.left(self.refs)
