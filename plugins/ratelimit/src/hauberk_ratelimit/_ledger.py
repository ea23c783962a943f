"""Charging: from all buckets or from none.

The rules:

1. What a request needs is looked for in each of its buckets first, and taken from each only if all have it (S3.44).
2. A refusal tells the longest wait, since a retry passes once the last bucket has what it needs, and of that bucket
   what its limit is, what remains, and when all of it will be there again. The wait is exact to the microsecond.
3. What a limit could never grant has no wait: it lets nothing pass, or one call costs more than its burst.
4. Rates and quotas are looked at before credits (S1.41): only what every one of them lets pass is told that it lacks
   credits. That has no wait, since no time but the next month brings any.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from hauberk.refusals import LIMITS, POLICY, Refused
from hauberk.verdict import Deny
from hauberk_ratelimit._buckets import NEVER, REST, Buckets, Left
from hauberk_ratelimit._charge import Marks, Paid
from hauberk_ratelimit._rules import Bucket, Ref

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

    def charge(self, refs: Sequence[Ref], cost: int = 1, price: int = 1) -> Short | Paid:
        """Take from all of the buckets, and return what gives it back; or take nothing, and return why.

        Args:
            refs: The buckets.
            cost: How many permits.
            price: How many credits.
        """
        clock = self._clock()
        with self._lock:
            if cost == 1 and len(refs) == 1:  # of one bucket all is as good as none: it is looked at and taken in one
                ((bucket, key),) = refs
                if isinstance(table := bucket.table, Buckets) and (mark := table.hit(key, clock)) is not None:
                    return Paid(self, refs, (mark,))
            return self._charge(refs, clock, cost, price)

    def _charge(self, refs: Sequence[Ref], clock: float, cost: int, price: int) -> Short | Paid:
        longest, short, broke = 0.0, None, None
        if len(dict(refs)) < len(refs):  # those who find no room are one
            refs = self._placed(refs)
        for ref in refs:
            bucket, key = ref
            if not bucket.monthly:
                wait = bucket.table.wait(key, clock, cost)
            else:
                wait = bucket.table.wait(key, self._now(), price if bucket.credit else cost)
            if not wait:
                continue
            if bucket.credit:
                broke = broke or ref
            elif wait > longest:
                longest, short = wait, ref
        short = short or broke
        if short is None:
            return Paid(self, refs, self._take(refs, clock, cost, price), cost, price)
        bucket, key = short
        now = self._now() if bucket.monthly else clock
        need = price if bucket.credit else cost
        return Short(bucket, need, longest, *bucket.table.left(key, now), bucket.table.place(key, now))

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
            return self._take(refs, clock, cost, price)

    def _take(self, refs: Sequence[Ref], clock: float, cost: int, price: int) -> Marks:
        marks = []
        for bucket, key in refs:
            if not bucket.monthly:
                marks.append(bucket.table.take(key, clock, cost))
            else:
                marks.append(bucket.table.take(key, self._now(), price if bucket.credit else cost))
        return tuple(marks)

    def behind(self, bucket: Bucket, key: str, seconds: float) -> None:
        """Let a bucket be full no earlier than so many seconds from now."""
        with self._lock:
            if isinstance(bucket.table, Buckets):
                bucket.table.behind(key, self._clock(), seconds)
