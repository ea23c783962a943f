"""Buckets of each process by itself, which tells a store now and then what was used, and learns what all have (S1.24).

The rules:

1. Between two times that it tells, a process holds the limits alone: so many processes may together let pass as many
   times as much. When it tells, its buckets become as empty as those of all: what was let pass too much is held back
   before anything more passes, up to ten of these times.
2. So with n processes no more is let pass, in any time, than burst and rate allow, and n - 1 times the burst and what
   the rate gives in one such time: of two, never more than twice as much (an overshoot of 100 %).
3. A store that is down is told later; each process holds the limits meanwhile. So it does of a bucket whose key holds
   something else: the others are told all the same.
4. Credits are not kept so: two processes would spend one credit twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from hauberk.shared import StoreDown, StoreRefused
from hauberk_ratelimit import _scripts
from hauberk_ratelimit._charge import Marks, Paid
from hauberk_ratelimit._ledger import Local, Short
from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._quotas import Quotas
from hauberk_ratelimit._rates import Rate
from hauberk_ratelimit._rules import Ref
from hauberk_ratelimit._shared import AT_ONCE, Exact, name_of

_MICRO: Final = 1_000_000


class Counted(Local):
    """The buckets of this process, with what was used of each since the store was told."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float], cap: int) -> None:
        """As `Local`; of so many buckets (``cap``) it is known what was used of them."""
        super().__init__(clock, now)
        self._cap: Final = cap
        self.used: dict[Ref, int] = {}

    def charge(self, refs: Sequence[Ref], cost: int = 1, price: int = 1) -> Short | Paid:
        """Take from all of the buckets or from none; who is refused wants to know what all have used, too."""
        paid = super().charge(refs, cost, price)
        self._count(self.places(refs), 0 if isinstance(paid, Short) else cost)
        return paid

    def refund(self, refs: Sequence[Ref], cost: int, marks: Marks, price: int = 1) -> None:
        """Give back what was taken, where the store has not been told of it."""
        for ref, mark in zip(refs, marks, strict=True):
            if self.used.get(ref, 0) >= cost:
                super().refund((ref,), cost, (mark,), price)
                self.used[ref] -= cost

    def _count(self, refs: Sequence[Ref], cost: int) -> None:
        for ref in refs:
            if ref in self.used or len(self.used) < self._cap:
                self.used[ref] = self.used.get(ref, 0) + cost


class Synced(Exact):
    """The store, told now and then."""

    def __init__(self, options: Options, guard: Any, local: Counted) -> None:
        """As `hauberk_ratelimit._shared.Exact`."""
        super().__init__(options, guard, local)
        self._counted: Final = local
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Reach the store, and begin to tell it."""
        await super().open()
        self._task = asyncio.get_running_loop().create_task(self._go_on(), name="hauberk-ratelimit-sync")

    async def close(self) -> None:
        """Tell it a last time."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.tell()
        await super().close()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self.options.sync_seconds)
            await self.tell()

    async def tell(self) -> None:
        """Tell what was used of each bucket, and learn what all have; what the store does not hear is told again."""
        used, self._counted.used = self._counted.used, {}
        refs = list(used)
        for at in range(0, len(refs), AT_ONCE):
            some = refs[at : at + AT_ONCE]
            try:
                answers = await self._told(some, [used[ref] for ref in some])
            except StoreDown as error:
                if isinstance(error, StoreRefused):
                    self._fails(error.message)
                self._again(refs[at:], used)
                return
            odd = [ref for ref, answer in zip(some, answers, strict=True) if answer < 0]
            if odd:
                self._fails(f"a key of the limit {odd[0][0].rule} holds something else")
                self._again(odd, used)
            for ref, answer in zip(some, answers, strict=True):
                if answer >= 0:
                    self._learn(ref, answer)
        if refs:
            self._works()

    def _again(self, refs: Sequence[Ref], used: dict[Ref, int]) -> None:
        for ref in refs:
            self._counted.used[ref] = self._counted.used.get(ref, 0) + used[ref]

    async def _told(self, refs: Sequence[Ref], used: Sequence[int]) -> Any:
        keys = tuple(name_of(self.host, bucket, key) for bucket, key in refs)
        args: list[int] = []
        for (bucket, _), count in zip(refs, used, strict=True):
            interval, most = bucket.terms
            args += (interval, interval * most + LIMITS.debts * int(self.options.sync_seconds * _MICRO), count)
        return await self.store.run(_scripts.TELL, keys, tuple(args))

    def _learn(self, ref: Ref, answer: int) -> None:
        """Let a bucket be as all have left it, less what was used here while the store was told."""
        bucket, key = ref
        since = self._counted.used.get(ref, 0)
        if isinstance(bucket.part, Rate):
            self._counted.behind(bucket, key, answer / _MICRO + since * bucket.part.interval)
        elif isinstance(bucket.table, Quotas):
            bucket.table.learn(key, self._now(), answer + since)
