"""Buckets that several hosts share, in Redis or Valkey.

The rules:

1. A call is charged to all of its buckets in one script, which is one round trip; or to none.
2. *exact*: the store is asked for each call. In any time, no more is let pass by all hosts than burst and rate allow.
3. *lease*: several permits are fetched at once (`hauberk_ratelimit._leased`).
4. While the store is down, calls are refused (``ratelimit.store_down``), or held to the same limits by this process
   alone, as the configuration says: never let pass without a limit (S1.43, A63). A charge whose answer was lost may
   have been made; nobody gets it back.
5. Each process keeps the buckets of its own callers too, as far as there is room: who finds none here shares one bucket
   in the store with all others who found none, so that the store holds no more than its hosts do (X.6). What somebody
   has bought is his own all the same: it is looked at where the bucket that they share lacks credits.
6. A store that is configured to throw out keys when it is full would give fresh budgets: a host does not start with it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from hauberk.event import Event
from hauberk.refusals import LIMITS, PluginError, Refused
from hauberk.shared import Line, SharedStore, StoreDown, StoreRefused
from hauberk_ratelimit import _scripts
from hauberk_ratelimit._buckets import NEVER, REST, Given, Left
from hauberk_ratelimit._charge import Marks, Paid
from hauberk_ratelimit._ledger import Local, Short
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._quotas import Quotas, start_of
from hauberk_ratelimit._rates import Credit
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
_BOUGHT: Final = 1 << 32
"""What the mark of a charge of credits has its month times."""


def name_of(host: str, bucket: Bucket, key: str) -> bytes:
    """Return the key of a bucket in the store."""
    return f"hauberk:ratelimit:{host}:{bucket.account}:{key}".encode("utf-8", "surrogatepass")


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
        self._purses: Final[dict[Bucket, Bucket]] = {}
        """Of each balance, one of which nothing is given: for what somebody has bought who has no bucket."""
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

    async def charge(self, refs: Sequence[Ref], cost: int = 1, price: int = 1) -> Short | Refused | Paid:
        """Take from all of the buckets, and return what gives it back; or take nothing, and return why."""
        for bucket, _ in refs:
            if cost > (limit := bucket.terms[1]) and not bucket.credit:
                return Short(bucket, cost, NEVER, limit, limit, 0.0)
        wanted, refs = refs, self.local.places(refs)
        try:
            taken = await self._charged(refs, cost, price)
            short = taken
            while isinstance(taken, Short) and (own := self._owned(wanted, refs, taken)):
                taken, refs = await self._charged(own, cost, price), own
        except StoreDown as error:
            if isinstance(error, StoreRefused):
                self._fails(error.message)
            return self.local.charge(refs, cost, price) if self.options.on_store_failure == "local" else down()
        if isinstance(taken, Short):
            return short if isinstance(short, Short) else taken
        if self._faulty:
            self._works()
        return self._paid(refs, cost, price, taken)

    def _paid(self, refs: Sequence[Ref], cost: int, price: int, taken: Taken) -> PaidThere:
        marks = self.local.noted(refs, cost, price)
        return PaidThere(self.local, refs, marks, cost, price, store=self, taken=taken)

    def _owned(self, wanted: Sequence[Ref], refs: Sequence[Ref], short: Short) -> Sequence[Ref] | None:
        """Return the buckets with what the caller has bought in the place of what he shares; None where he does not."""
        bucket = short.bucket
        if not bucket.credit or bucket.each != ("principal",) or short.key != REST:
            return None
        (key,) = {key for one, key in wanted if one is bucket}
        if (purse := self._purses.get(bucket)) is None:
            part = Credit(0)
            account = bucket.account
            purse = Bucket(bucket.rule, bucket.id, part, Quotas(part, 1), bucket.shared, bucket.each, account)
            self._purses[bucket] = purse
        return tuple((purse, key) if one is bucket else (one, at) for one, at in refs)

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

    async def _charged(self, refs: Sequence[Ref], cost: int, price: int) -> Short | Taken:
        return await self.take(refs, cost, cost, price)

    async def take(self, refs: Sequence[Ref], need: int, want: int, price: int) -> Short | Taken:
        """Run the script; return what was taken of each, or why nothing was.

        One that is cancelled while it runs is given back once it has run.
        """
        script = _scripts.TAKE if self.options.usage else _scripts.TAKE_RATES
        keys, args = list[bytes](), [need, want]
        for bucket, key in refs:
            keys.append(name_of(self.host, bucket, key))
            args += bucket.terms
            if bucket.monthly:
                script = _scripts.TAKE
        args.append(price)
        answer = await self.store.run(script, tuple(keys), tuple(args), partial(self._give_taken, refs, price))
        if answer[0]:
            return Taken(answer[0], self._marked(refs, answer), answer)
        _, wait, place, left, again = answer
        bucket, key = refs[place - 1]
        need = price if bucket.credit else need
        return Short(bucket, need, wait / _MICRO, bucket.terms[1], max(0, left), again / _MICRO, key)

    def _give_taken(self, refs: Sequence[Ref], price: int, answer: Sequence[int]) -> None:
        if answer[0]:
            self.refund(refs, answer[0], self._marked(refs, answer), price)

    def _marked(self, refs: Sequence[Ref], answer: Sequence[int]) -> Marks:
        marks = zip(refs, answer[1:], strict=False)
        return tuple([mark if ref[0].monthly else self._given.mark(ref, mark) for ref, mark in marks])

    def refund(self, refs: Sequence[Ref], cost: int, marks: Marks, price: int = 1) -> None:
        """Give back what was taken and not used; a store that is down keeps it."""
        args: list[int] = []
        noted: list[tuple[int, Ref, float, int]] = []
        for place, (ref, mark) in enumerate(zip(refs, marks, strict=True)):
            bucket = ref[0]
            fills = mark if bucket.monthly else self._given.fills(ref, mark)
            args += (bucket.terms[0], int(fills), price if bucket.credit else cost)
            if not bucket.monthly:  # all of it, until the store has said how much
                noted.append((2 * place, ref, self._given.mark(ref, 0), cost * bucket.terms[0]))
                self._given.add(ref, mark, cost * bucket.terms[0])
        keys = tuple(name_of(self.host, bucket, key) for bucket, key in refs)
        task = asyncio.ensure_future(self._give(keys, tuple(args), noted))
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)

    async def _give(
        self, keys: tuple[bytes, ...], args: tuple[int, ...], noted: Sequence[tuple[int, Ref, float, int]]
    ) -> None:
        with suppress(StoreDown):
            answer = await self.store.run(_scripts.GIVE, keys, args)
            for at, ref, before, amount in noted:
                if answer[at + 1] < amount:  # the marks of earlier charges are not above this, those of later ones are
                    self._given.less(ref, before + answer[at] + 0.5, amount - answer[at + 1])

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


class Taken(NamedTuple):
    """What the store let have."""

    permits: int
    """How many of each bucket."""
    marks: Marks
    """Of each bucket, what tells how much of it can be given back."""
    answer: Sequence[int] = ()
    """All that it said."""


class PaidThere(Paid, kw_only=True):
    """A charge that the store made; this process notes it, and gives back both."""

    store: Exact
    taken: Taken

    def give(self, *, failed: bool = False) -> None:
        """Give it back, here and there."""
        super().give(failed=failed)
        due = list(zip(self.refs, self.taken.marks, strict=True))
        if failed:
            due = [(ref, mark) for ref, mark in due if ref[0].monthly]
        if due:
            refs, marks = zip(*due, strict=True)
            self.store.refund(refs, self.cost, marks, self.price)

    def left(self) -> list[Left]:
        """Return how each bucket of the store stood after it."""
        count, answer = len(self.refs), self.taken.answer
        now, found = answer[count + 1] / _MICRO, list[Left]()
        for (bucket, _), mark, left in zip(self.refs, answer[1:], answer[count + 2 :], strict=False):
            month = mark // _BOUGHT if bucket.credit else mark
            full = start_of(month + 1) if bucket.monthly else mark / _MICRO
            found.append((bucket.terms[1], left, full - now))
        return found


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
