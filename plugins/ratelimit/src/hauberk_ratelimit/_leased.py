"""Permits of buckets that several hosts share, fetched several at once.

The rules:

1. Of a bucket in which this process holds no permit, several are fetched, as many as there are up to the lease, one
   request at a time.
2. What was fetched was taken from the store before it is used, so over the life of a bucket nothing is let pass above
   burst and rate; in any shorter time, no more than the lease less one for each process.
3. Permits that a process never uses are lost; it gives them back when it ends.
4. Credits are never leased.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, Final

from hauberk.refusals import Refused
from hauberk_ratelimit._charge import Marks, Paid
from hauberk_ratelimit._ledger import Local, Short
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._rules import Ref
from hauberk_ratelimit._shared import AT_ONCE, Exact, Taken


class Leased(Exact):
    """The store, asked for several permits at once."""

    def __init__(self, options: Options, guard: Any, local: Local) -> None:
        """As `Exact`."""
        super().__init__(options, guard, local)
        self._held: Final[dict[Ref, int]] = {}
        self._marks: Final[dict[Ref, float]] = {}
        """The mark of what was fetched last of each."""
        self._one: Final = asyncio.Lock()

    @property
    def held(self) -> int:
        """How many permits this process holds."""
        return sum(self._held.values())

    def spent(self, refs: Sequence[Ref], cost: int) -> bool:
        """Use permits that this process holds of each bucket; False where it lacks some, and none is used."""
        held = self._held
        for ref in refs:
            if held.get(ref, 0) < cost:
                return False
        for ref in refs:
            held[ref] -= cost
        return True

    async def charge(self, refs: Sequence[Ref], cost: int = 1, price: int = 1) -> Short | Refused | Paid:
        """Take from all of the buckets or from none; what is at hand is used at once."""
        if self.spent(refs, cost):
            return self._paid(refs, cost, price, Taken(cost, tuple([self._marks[ref] for ref in refs])))
        return await super().charge(refs, cost, price)

    async def _charged(self, refs: Sequence[Ref], cost: int, price: int) -> Short | Taken:
        if any(bucket.credit for bucket, _ in refs):
            return await self._charged_with(refs, cost, price)
        while not self.spent(refs, cost):
            async with self._one:
                lacking = [ref for ref in refs if self._held.get(ref, 0) < cost]
                if not lacking:
                    continue
                taken = await self.take(lacking, cost, max(self.options.lease, cost), price)
                if isinstance(taken, Short):
                    return taken
                for ref, mark in zip(lacking, taken.marks, strict=True):
                    self._hold(ref, self._held.get(ref, 0) + taken.permits, mark)
                if self.spent(refs, cost):  # before anybody else can
                    break
        if len(self._held) > self.options.max_ids:
            self._drop(refs)
        return Taken(cost, tuple([self._marks.get(ref, 0) for ref in refs]))

    async def _charged_with(self, refs: Sequence[Ref], cost: int, price: int) -> Short | Taken:
        """Charge what costs credits, too: these are taken in one step with the permits that this process lacks."""
        leased = [ref for ref in refs if not ref[0].credit]
        if self.spent(leased, cost):
            return await self._paid_with(refs, leased, cost, price)
        async with self._one:
            ready = [ref for ref in leased if self._held.get(ref, 0) >= cost]
            _ = self.spent(ready, cost)  # nobody else uses them meanwhile
            return await self._paid_with(refs, ready, cost, price)

    async def _paid_with(self, refs: Sequence[Ref], ready: Sequence[Ref], cost: int, price: int) -> Short | Taken:
        """Take what was not put aside."""
        asked = [ref for ref in refs if ref not in ready]
        try:
            taken = await self.take(asked, cost, max(self.options.lease, cost), price)
        except BaseException:
            self._again(ready, cost)
            raise
        if isinstance(taken, Short):
            self._again(ready, cost)
            return taken
        marks = dict(zip(asked, taken.marks, strict=True))
        for ref in asked:
            if not ref[0].credit:
                self._hold(ref, self._held.get(ref, 0) + taken.permits - cost, marks[ref])
        self._drop(refs)
        return Taken(cost, tuple(marks.get(ref, self._marks.get(ref, 0)) for ref in refs))

    def _again(self, refs: Sequence[Ref], cost: int) -> None:
        """Hold again what was put aside; what was forgotten meanwhile is lost."""
        for ref in refs:
            if ref in self._held:
                self._held[ref] += cost

    def refund(self, refs: Sequence[Ref], cost: int, marks: Marks, price: int = 1) -> None:
        """Hold again what was not used, no more than a lease leaves; the rest is lost. Credits go back to the store."""
        if spent := [(ref, mark) for ref, mark in zip(refs, marks, strict=True) if ref[0].credit]:
            paid, theirs = zip(*spent, strict=True)
            super().refund(paid, cost, theirs, price)
        for ref, mark in zip(refs, marks, strict=True):
            if ref[0].credit:
                continue
            held = self._held.get(ref, 0)
            self._hold(ref, max(held, min(held + cost, self.options.lease - 1)), max(mark, self._marks.get(ref, 0)))
        self._drop(refs)

    async def close(self) -> None:
        """Give back what is held, as far as the store answers in time."""
        by_count: dict[int, list[Ref]] = {}
        for ref, count in self._held.items():
            if count:
                by_count.setdefault(count, []).append(ref)
        self._held.clear()
        for count, refs in by_count.items():
            for at in range(0, len(refs), AT_ONCE):
                some = refs[at : at + AT_ONCE]
                Exact.refund(self, some, count, tuple(self._marks[ref] for ref in some))
        await super().close()

    def _hold(self, ref: Ref, permits: int, mark: float) -> None:
        self._held[ref] = permits
        self._marks[ref] = mark

    def _drop(self, but: Sequence[Ref]) -> None:
        """Forget what is held too many of, none of it of the present call: it is lost, which is on the safe side."""
        for ref in [*itertools.islice(self._held, max(0, len(self._held) - self.options.max_ids))]:
            if ref not in but:
                del self._held[ref], self._marks[ref]
