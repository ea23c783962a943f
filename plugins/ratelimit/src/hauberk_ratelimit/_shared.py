"""Buckets that several hosts share, in Redis or Valkey.

The rules:

1. A call is charged to all of its buckets in one script, which is one round trip; or to none.
2. *exact*: the store is asked for each call. In any time, no more is let pass by all hosts than burst and rate allow.
3. *lease*: of a bucket in which this process holds no permit, several are fetched at once, as many as there are up to
   the lease, one request at a time. What was fetched was taken from the store before it is used, so over the life of a
   bucket nothing is let pass above burst and rate; in any shorter time, no more than the lease less one for each
   process. Permits that a process never uses are lost; it gives them back when it ends.
4. While the store is down, calls are refused (``ratelimit.store_down``), or held to the same limits by this process
   alone, as the configuration says: never let pass without a limit (S1.43, A63). A charge whose answer was lost may
   have been made; nobody gets it back.
5. Each process keeps the buckets of its own callers too, as far as there is room: who finds none here shares one bucket
   in the store with all others who found none, so that the store holds no more than its hosts do (X.6).
6. A store that is configured to throw out keys when it is full would give fresh budgets: a host does not start with it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from hauberk.event import Event
from hauberk.refusals import LIMITS, PluginError, Refused
from hauberk.shared import Line, Script, SharedStore, StoreDown, StoreRefused
from hauberk_ratelimit import _scripts
from hauberk_ratelimit._buckets import NEVER, Given
from hauberk_ratelimit._ledger import Local, Marks, Short
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._rules import Bucket, Ref

DOWN: Final = "ratelimit.store_down"
LOST: Final = "ratelimit.store_lost"
FOUND: Final = "ratelimit.store_found"
_MICRO: Final = 1_000_000
_SOON: Final = 1.0
"""When to come again, told while the store is down (seconds)."""
_APART: Final = 5.0
"""How long no error is told before the store is said to do better (seconds)."""
_WAIT: Final = 5.0
"""What giving back may take when a host ends (seconds)."""
AT_ONCE: Final = 100
"""Buckets of one script, at most, where there may be many."""
Giving = Callable[[], None]
"""Gives a charge back."""


def name_of(host: str, bucket: Bucket, key: str) -> bytes:
    """Return the key of a bucket in the store."""
    return f"hauberk:ratelimit:{host}:{bucket.id}:{key}".encode("utf-8", "surrogatepass")


class Exact:
    """The store, asked for each call."""

    def __init__(self, options: Options, guard: Any, local: Local) -> None:
        """Read the address; nothing is reached yet."""
        self.options: Final = options
        self.host: Final = guard.host
        self.local: Final = local
        self._emit: Final[Callable[[Event], None]] = guard.emit
        self._now: Final[Callable[[], float]] = guard.now
        self._clock: Final[Callable[[], float]] = guard.clock
        self.store: Final = SharedStore(
            options.store or "",
            timeout=options.store_timeout,
            on_change=lambda found, why: self._changed(why, found=found),
            on_reached=self._forgets_nothing,
        )
        self._giving: Final[set[asyncio.Task[None]]] = set()
        self._given: Final = Given(options.max_ids)
        """What this process gave back to each bucket (µs)."""
        self._faulty = False
        """Whether the store answered a charge with an error, and has not been seen to do better since."""
        self._erred = -math.inf
        """When it was said last that it did (s)."""

    async def open(self) -> None:
        """Reach the store.

        Raises:
            PluginError: It cannot be reached; the host does not start.
        """
        await self.store.open()

    async def close(self) -> None:
        """Give back what was never used, and let go of the store."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_WAIT):
                await asyncio.gather(*self._giving)
        await self.store.close()

    async def charge(self, refs: Sequence[Ref], cost: int) -> Short | Refused | Giving:
        """Take from all of the buckets, and return what gives it back; or take nothing, and return why."""
        for bucket, _ in refs:
            if cost > (limit := bucket.terms[1]):
                return Short(bucket, cost, NEVER, limit, limit, 0.0)
        refs = self.local.places(refs)
        try:
            marks, short = await self._charged(refs, cost)
        except StoreDown as error:
            if isinstance(error, StoreRefused):
                self._fails(error.message)
            return self._alone(refs, cost) if self.options.on_store_failure == "local" else down()
        if short is not None:
            return short
        self._works()
        self.local.note(refs, cost)
        return self._giver(refs, cost, marks)

    def _fails(self, why: str) -> None:
        """Say that the store answers with errors, once until it has done better for a while."""
        if not self._faulty:
            self._changed(why, found=False)
        self._faulty, self._erred = True, self._clock()

    def _works(self) -> None:
        """Say that the store does better, once it has written and told no error for a while."""
        if self._faulty and self._clock() - self._erred >= _APART:
            self._faulty = False
            self._changed("", found=True)

    def _giver(self, refs: Sequence[Ref], cost: int, marks: Marks) -> Giving:
        here = self.local.marks(refs)

        def give() -> None:
            self.local.refund(refs, cost, here)
            self.refund(refs, cost, marks)

        return give

    def _alone(self, refs: Sequence[Ref], cost: int) -> Short | Giving:
        """Hold the limits in this process, while the store is down."""
        if (short := self.local.charge(refs, cost)) is not None:
            return short
        marks = self.local.marks(refs)
        return lambda: self.local.refund(refs, cost, marks)

    async def _charged(self, refs: Sequence[Ref], cost: int) -> tuple[Marks, Short | None]:
        _, marks, short = await self.take(refs, cost, cost)
        return marks, short

    async def take(self, refs: Sequence[Ref], need: int, want: int) -> tuple[int, Marks, Short | None]:
        """Run the script; return how many permits there were of each, their marks, and why there were none.

        One that is cancelled while it runs is given back once it has run.
        """
        script = _scripts.TAKE if any(bucket.monthly for bucket, _ in refs) else _scripts.TAKE_RATES
        task = asyncio.ensure_future(self._run(script, refs, need, want))
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._give_taken(done, refs))
            raise
        if answer[0]:
            return answer[0], self._marked(refs, answer), None
        _, wait, place, left, again = answer
        bucket, key = refs[place - 1]
        return 0, (), Short(bucket, need, wait / _MICRO, bucket.terms[1], max(0, left), again / _MICRO, key)

    def _give_taken(self, done: asyncio.Future[Any], refs: Sequence[Ref]) -> None:
        if not done.cancelled() and done.exception() is None and done.result()[0]:
            self.refund(refs, done.result()[0], self._marked(refs, done.result()))

    def _marked(self, refs: Sequence[Ref], answer: Sequence[int]) -> Marks:
        return tuple(self._given.mark(ref, fills) for ref, fills in zip(refs, answer[1:], strict=True))

    def refund(self, refs: Sequence[Ref], cost: int, marks: Marks) -> None:
        """Give back what was taken and not used; a store that is down keeps it."""
        fills = [int(self._given.fills(ref, mark)) for ref, mark in zip(refs, marks, strict=True)]
        for ref, mark in zip(refs, marks, strict=True):
            if not ref[0].monthly:
                self._given.add(ref, mark, cost * ref[0].terms[0])
        task = asyncio.ensure_future(self._give(refs, cost, fills))
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)

    async def _give(self, refs: Sequence[Ref], cost: int, marks: Sequence[int]) -> None:
        keys = tuple(name_of(self.host, bucket, key) for bucket, key in refs)
        args = (value for (bucket, _), mark in zip(refs, marks, strict=True) for value in (bucket.terms[0], mark))
        with suppress(StoreDown):
            await self.store.run(_scripts.GIVE, keys, (cost, *args))

    async def _run(self, script: Script, refs: Sequence[Ref], one: int, other: int) -> Any:
        keys = tuple(name_of(self.host, bucket, key) for bucket, key in refs)
        return await self.store.run(script, keys, (one, other, *(term for bucket, _ in refs for term in bucket.terms)))

    async def _forgets_nothing(self, line: Line) -> None:
        """Check that the store keeps what it is told.

        Raises:
            PluginError: It throws out keys when it is full: who makes it full gets a fresh budget.
        """
        said = (await line.command("INFO", "memory")).decode("utf-8", "replace")
        facts = dict(fact.split(":", 1) for fact in said.splitlines() if ":" in fact)
        policy = facts.get("maxmemory_policy", "noeviction")
        if facts.get("maxmemory", "0") != "0" and policy != "noeviction":
            raise PluginError(
                f"the shared store {self.store.where} has maxmemory-policy {policy!r}: it forgets what was used",
                hint="set maxmemory-policy noeviction, or give the limits a store of their own",
            )

    def _changed(self, why: str, *, found: bool) -> None:
        """Say that the store is lost, or there again."""
        details = {"store": self.store.where, "on_store_failure": self.options.on_store_failure}
        if found:
            self._emit(Event(code=FOUND, category="system", plugin="ratelimit", details=details))
            return
        details["reason"] = why
        self._emit(Event(code=LOST, category="system", severity="critical", plugin="ratelimit", details=details))


def down() -> Refused:
    """Return the refusal while the store is down."""
    return Refused(
        DOWN,
        "the store of the limits is down, so nobody can tell what is left of them",
        hint="see the log for why; on_store_failure = 'local' holds the limits in each process meanwhile",
        retry_after=_SOON,
        jsonrpc=LIMITS,
        public=True,
    )


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

    async def _charged(self, refs: Sequence[Ref], cost: int) -> tuple[Marks, Short | None]:
        while not self.spent(refs, cost):
            async with self._one:
                lacking = [ref for ref in refs if self._held.get(ref, 0) < cost]
                if not lacking:
                    continue
                got, marks, short = await self.take(lacking, cost, max(self.options.lease, cost))
                if short is not None:
                    return (), short
                for ref, mark in zip(lacking, marks, strict=True):
                    self._hold(ref, self._held.get(ref, 0) + got, mark)
                if self.spent(refs, cost):  # before anybody else can
                    break
        self._drop(refs)
        return tuple(self._marks.get(ref, 0) for ref in refs), None

    def refund(self, refs: Sequence[Ref], cost: int, marks: Marks) -> None:
        """Hold again what was not used, no more than a lease leaves; the rest is lost."""
        for ref, mark in zip(refs, marks, strict=True):
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
