"""Charging: from all buckets or from none.

The rules:

1. What a request needs is looked for in each of its buckets first, and taken from each only if all have it (S3.44).
2. A refusal tells the longest wait, since a retry passes once the last bucket has what it needs, and of that bucket
   what its limit is, what remains, and when all of it will be there again. The wait is exact to the microsecond.
3. What a limit could never grant has no wait: it lets nothing pass, or one call costs more than its burst.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from hauberk.refusals import LIMITS, POLICY, Refused
from hauberk.verdict import Deny
from hauberk_ratelimit._buckets import NEVER, REST, Buckets
from hauberk_ratelimit._rules import Bucket, Ref

Marks = tuple[float, ...]
"""Of each bucket of a charge, what tells how much of it can be given back."""
EXCEEDED: Final = "ratelimit.exceeded"
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
    def reason(self) -> str:
        """Say it."""
        if self.wait != NEVER:
            return f"the limit {self.bucket.rule} of {self.bucket.part} is used up"
        if self.limit == 0:
            return f"the limit {self.bucket.rule} of {self.bucket.part} lets nothing pass"
        return f"this call costs {self.cost}, and the limit {self.bucket.rule} of {self.bucket.part} never has as much"

    @property
    def retry_after(self) -> float | None:
        """Return the wait, rounded up to the microsecond; None where no time helps."""
        return None if self.wait == NEVER else up(self.wait)

    @property
    def hint(self) -> str:
        """Say what to do."""
        if self.wait == NEVER:
            return f"change {self.bucket.rule} in [ratelimit], if this is to pass"
        return "call again after that time, or raise the limit in [ratelimit]"

    @property
    def data(self) -> dict[str, float]:
        """Return what the answer tells besides."""
        return {"limit": self.limit, "remaining": self.remaining, "reset": up(self.reset)}

    @property
    def details(self) -> dict[str, bool]:
        """Return what the event tells besides: whether nobody but the caller can have used the limit up."""
        return {"own": self.bucket.own and self.key != REST}

    def deny(self) -> Deny:
        """Return the verdict."""
        return Deny(
            EXCEEDED,
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

    def charge(self, refs: Sequence[Ref], cost: int = 1) -> Short | None:
        """Take from all of the buckets, and return None; or take nothing, and return why."""
        clock = self._clock()
        longest, short = 0.0, None
        with self._lock:
            if cost == 1 and len(refs) == 1 and isinstance(table := refs[0][0].table, Buckets):
                longest = table.hit(refs[0][1], clock)
                if not longest:
                    return None
                bucket, key = refs[0]
                return Short(bucket, 1, longest, *table.left(key, clock), table.place(key, clock))
            if len({bucket for bucket, _ in refs}) < len(refs):  # those who find no room are one
                refs = self._placed(refs)
            for ref in refs:
                bucket, key = ref
                wait = bucket.table.wait(key, self._now() if bucket.monthly else clock, cost)
                if wait > longest:
                    longest, short = wait, ref
            if short is None:
                for bucket, key in refs:
                    bucket.table.take(key, self._now() if bucket.monthly else clock, cost)
                return None
            bucket, key = short
            now = self._now() if bucket.monthly else clock
            return Short(bucket, cost, longest, *bucket.table.left(key, now), bucket.table.place(key, now))

    def marks(self, refs: Sequence[Ref]) -> Marks:
        """Return what a charge that was made just now is remembered by, for who may give it back."""
        with self._lock:
            return tuple(bucket.table.mark(key) for bucket, key in refs)

    def refund(self, refs: Sequence[Ref], cost: int, marks: Marks) -> None:
        """Give back what was taken from each, as far as it has not come back by itself."""
        clock = self._clock()
        with self._lock:
            for (bucket, key), mark in zip(refs, marks, strict=True):
                bucket.table.give(key, self._now() if bucket.monthly else clock, cost, mark)

    def places(self, refs: Sequence[Ref]) -> tuple[Ref, ...]:
        """Return the buckets under the keys that there is room for, each once."""
        with self._lock:
            return self._placed(refs)

    def _placed(self, refs: Sequence[Ref]) -> tuple[Ref, ...]:
        clock, now = self._clock(), self._now()
        placed = ((bucket, bucket.table.place(key, now if bucket.monthly else clock)) for bucket, key in refs)
        return tuple(dict.fromkeys(placed))

    def note(self, refs: Sequence[Ref], cost: int) -> None:
        """Note what was taken elsewhere, whatever is left here."""
        clock, now = self._clock(), self._now()
        with self._lock:
            for bucket, key in refs:
                bucket.table.take(key, now if bucket.monthly else clock, cost)

    def behind(self, bucket: Bucket, key: str, seconds: float) -> None:
        """Let a bucket be full no earlier than so many seconds from now."""
        with self._lock:
            if isinstance(bucket.table, Buckets):
                bucket.table.behind(key, self._clock(), seconds)
