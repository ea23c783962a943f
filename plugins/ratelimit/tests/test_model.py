"""Charges of rates, quotas and credits against a plain model, in this process and in a real store."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.redis_server import RedisServer

from hauberk.shared import Script
from hauberk_ratelimit import _scripts
from hauberk_ratelimit._buckets import NEVER, Buckets
from hauberk_ratelimit._charge import Paid
from hauberk_ratelimit._ledger import Local, Short
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._quotas import Quotas
from hauberk_ratelimit._rates import Credit, Quota, Rate
from hauberk_ratelimit._rules import Bucket, Ref
from hauberk_ratelimit._shared import Exact, name_of

PLAIN = settings(deadline=None, suppress_health_check=list(HealthCheck), stateful_step_count=30)
START = int(datetime(2027, 1, 31, 23, 59, 50, tzinfo=UTC).timestamp())


class Plain:
    """A bucket that holds permits, in exact numbers: what a textbook says."""

    def __init__(self, rate: Rate, interval: Fraction) -> None:
        self.burst, self.interval = rate.burst, interval
        self.owed: list[list[Any]] = []
        self.last = Fraction(0)

    @property
    def level(self) -> Fraction:
        return self.burst - sum((owed for _, owed in self.owed), Fraction(0))

    def fill(self, now: Fraction) -> None:
        """Fill what was taken, the first charge first."""
        permits, self.last = (now - self.last) / self.interval, now
        while self.owed and permits:
            filled = min(permits, self.owed[0][1])
            permits -= filled
            self.owed[0][1] -= filled
            if not self.owed[0][1]:
                del self.owed[0]

    def wait(self, now: Fraction, cost: int) -> Fraction | None:
        """Return how long until so many are there; None for never."""
        self.fill(now)
        return None if cost > self.burst else max(Fraction(0), (cost - self.level) * self.interval)

    def take(self, now: Fraction, cost: int, paid: Paid) -> None:
        self.owed.append([paid, Fraction(cost)])

    def back(self, now: Fraction, paid: Paid) -> None:
        """Give back what has not filled of a charge."""
        self.fill(now)
        self.owed = [one for one in self.owed if one[0] is not paid]

    def stands(self, now: Fraction) -> int:
        self.fill(now)
        return math.floor(self.level)


def month(now: Fraction) -> tuple[int, int]:
    moment = datetime.fromtimestamp(START + float(now), UTC)
    return moment.year, moment.month


class PlainQuota:
    """A count for each month, by its name."""

    def __init__(self, quota: Quota) -> None:
        self.count, self.used = quota.count, dict[tuple[int, int], int]()
        self.charges: dict[int, tuple[tuple[int, int], int]] = {}

    def stands(self, now: Fraction) -> int:
        return self.count - self.used.get(month(now), 0)

    def wait(self, now: Fraction, cost: int) -> Fraction | None:
        if cost > self.count:
            return None
        year, place = month(now)
        following = int(datetime(year + place // 12, place % 12 + 1, 1, tzinfo=UTC).timestamp())
        return Fraction(0) if cost <= self.stands(now) else following - START - now

    def take(self, now: Fraction, cost: int, paid: Paid) -> None:
        self.used[month(now)] = self.used.get(month(now), 0) + cost
        self.charges[id(paid)] = month(now), cost

    def back(self, now: Fraction, paid: Paid) -> None:
        when, cost = self.charges.pop(id(paid))
        self.used[when] -= cost


class PlainCredit:
    """What is given for each month, by its name, and what was bought."""

    def __init__(self, credit: Credit) -> None:
        self.count, self.bought = credit.count, 0
        self.used: dict[tuple[int, int], int] = {}
        self.charges: dict[int, tuple[tuple[int, int], int, int]] = {}

    def given(self, now: Fraction) -> int:
        return self.count - self.used.get(month(now), 0)

    def stands(self, now: Fraction) -> int:
        return self.given(now) + self.bought

    def take(self, now: Fraction, cost: int, paid: Paid) -> None:
        given = min(cost, self.given(now))
        self.used[month(now)] = self.used.get(month(now), 0) + given
        self.bought -= cost - given
        self.charges[id(paid)] = month(now), given, cost - given

    def back(self, now: Fraction, paid: Paid) -> None:
        when, given, bought = self.charges.pop(id(paid))
        self.used[when] -= given
        self.bought += bought


RATES = st.builds(
    Rate, st.sampled_from([1, 2, 3, 7, 10, 60, 1000]), st.sampled_from([1, 60, 3600]), st.integers(1, 12)
) | st.just(Rate(0, 60, 0))


class Charging(RuleBasedStateMachine):
    """Charges of several rates, quotas and balances, all or none, with refunds, as time goes on."""

    grid: ClassVar[int] = 1 << 20
    """Parts of a second in which the clock goes, so that the sums of what is tested are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0
        self.paid: list[tuple[list[int], str, Any]] = []

    @initialize(rates=st.lists(RATES, min_size=1, max_size=3), quota=st.integers(1, 4), credit=st.integers(0, 6))
    def make(self, rates: list[Rate], quota: int, credit: int) -> None:
        self.parts: list[Rate | Quota] = [*rates, Quota(quota), Credit(credit)]
        self.buckets = [
            Bucket(f"rule{at}", f"rule{at}#0", part, _table(part), shared=False) for at, part in enumerate(self.parts)
        ]
        self.plain: dict[tuple[int, str], Any] = {}
        self.opened()

    @property
    def now(self) -> Fraction:
        return Fraction(self.ticks, self.grid)

    def model(self, at: int, key: str) -> Any:
        if (at, key) not in self.plain:
            part = self.parts[at]
            self.plain[at, key] = (
                Plain(part, self.interval(part))
                if isinstance(part, Rate)
                else PlainCredit(part)
                if isinstance(part, Credit)
                else PlainQuota(part)
            )
        return self.plain[at, key]

    # --- what is tested ---

    def opened(self) -> None:
        self.local = Local(lambda: 100 + self.ticks / self.grid, lambda: START + self.ticks / self.grid)

    def interval(self, rate: Rate) -> Fraction:
        return Fraction(rate.interval)

    def charged(self, refs: list[Ref], cost: int, price: int) -> Any:
        return self.local.charge(refs, cost, price)

    def refunded(self, paid: Any, *, failed: bool) -> None:
        paid.give(failed=failed)

    def left(self, at: int, key: str) -> int:
        ((_, remaining, _),) = self.local.left([(self.buckets[at], key)])
        return remaining

    # --- what happens ---

    @rule(seconds=st.integers(0, 40), more=st.integers(0, (1 << 20) - 1))
    def turn(self, seconds: int, more: int) -> None:
        self.ticks += seconds * self.grid + more % self.grid

    @rule()
    def turn_to_the_next_month(self) -> None:
        self.ticks += 29 * 86_400 * self.grid

    @rule(data=st.data(), key=st.sampled_from("ab"), cost=st.integers(1, 5), price=st.integers(1, 5))
    def charge(self, data: st.DataObject, key: str, cost: int, price: int) -> None:
        every = list(range(len(self.parts)))
        ats = data.draw(st.just(every) | st.lists(st.sampled_from(every), min_size=1, unique=True))
        models = [self.model(at, key) for at in ats]
        timed = [(at, model) for at, model in zip(ats, models, strict=True) if not isinstance(model, PlainCredit)]
        waits = [model.wait(self.now, cost) for _, model in timed]
        broke = [model for model in models if isinstance(model, PlainCredit) and model.stands(self.now) < price]
        answer = self.charged([(self.buckets[at], key) for at in ats], cost, price)
        if None in waits:
            assert (answer.wait, answer.retry_after) == (NEVER, None)
        elif any(waits):
            self.exactly(answer, [at for at, _ in timed], key, cost, float(max(waits)))
        elif broke:
            assert (answer.code, answer.cost, answer.retry_after) == ("ratelimit.insufficient_credits", price, None)
            assert answer.remaining == broke[0].stands(self.now)
        else:
            assert isinstance(answer, Paid)
            self.paid.append((ats, key, answer))
            for model in models:
                model.take(self.now, price if isinstance(model, PlainCredit) else cost, answer)

    def exactly(self, short: Short, ats: list[int], key: str, cost: int, wait: float) -> None:
        """A retry at the time that was told passes, and one just before it does not."""
        assert short.wait == pytest.approx(wait, abs=1e-9)
        assert short.retry_after is not None
        assert 0 <= short.retry_after - wait < 2e-6
        tables = [self.buckets[at].table for at in ats if isinstance(self.parts[at], Rate)]
        if len(tables) < len(ats):
            return  # to look at the next month begins it
        late = 100 + self.ticks / self.grid + short.retry_after
        early = 100 + self.ticks / self.grid + max(0.0, wait - 2e-6)
        assert max(table.wait(key, late, cost) for table in tables) == 0
        assert max(table.wait(key, early, cost) for table in tables) > 0

    @precondition(lambda self: self.paid)
    @rule(data=st.data(), failed=st.booleans())
    def refund(self, data: st.DataObject, failed: bool) -> None:
        ats, key, paid = self.paid.pop(data.draw(st.integers(0, len(self.paid) - 1)))
        self.refunded(paid, failed=failed)
        for at in ats:
            if not (failed and isinstance(self.parts[at], Rate)):
                self.model(at, key).back(self.now, paid)

    @invariant()
    def what_is_left_is_told(self) -> None:
        for (at, key), model in getattr(self, "plain", {}).items():
            assert self.left(at, key) == model.stands(self.now), self.parts[at]


def _table(part: Rate | Quota) -> Buckets | Quotas:
    return Quotas(part, 1000) if isinstance(part, Quota) else Buckets(part, 1000)


TestCharging = Charging.TestCase
TestCharging.__doc__ = "All-or-none charges, waits, refunds, months and credits are a plain model's (S3.44, S1.41)."
TestCharging.settings = settings(PLAIN, max_examples=200)


# --- the same in a store ---


class There(Charging):
    """The same, of a real store by a clock of the test; where credits can be bought."""

    grid = 1_000_000
    uri: ClassVar[str]
    loop: ClassVar[asyncio.AbstractEventLoop]
    usage: ClassVar[bool] = False

    def opened(self) -> None:
        options = Options(store=self.uri, store_timeout=2, usage=self.usage)
        clock, now = (lambda: 100 + self.ticks / self.grid), (lambda: START + self.ticks / self.grid)
        guard = SimpleNamespace(host="test", emit=lambda _: None, clock=clock, now=now)
        self.exact = Exact(options, guard, Local(clock, now))
        self.loop.run_until_complete(self.exact.open())
        self.loop.run_until_complete(self.exact.store.command("FLUSHALL"))

    def teardown(self) -> None:
        if hasattr(self, "exact"):
            self.loop.run_until_complete(self.exact.close())

    def interval(self, rate: Rate) -> Fraction:
        return Fraction(rate.micros, 1_000_000)

    def done(self, what: Any) -> Any:
        """Do something at the time of the test."""
        seconds, micros = divmod(self.ticks, self.grid)

        async def at_that_time() -> Any:
            await self.exact.store.command("HSET", "clock", "s", START + seconds, "us", micros)
            return await what

        return self.loop.run_until_complete(at_that_time())

    def charged(self, refs: list[Ref], cost: int, price: int) -> Any:
        answer = self.done(self.exact.charge(refs, cost, price))
        if self.usage and isinstance(answer, Paid):
            assert [left for _, left, _ in answer.left()] == [
                self.left(self.buckets.index(of), key) for of, key in refs
            ]
        return answer

    def refunded(self, paid: Any, *, failed: bool) -> None:
        async def give() -> None:
            paid.give(failed=failed)
            await asyncio.gather(*self.exact._giving)

        self.done(give())

    def left(self, at: int, key: str) -> int:
        bucket = self.buckets[at]
        interval, most = bucket.terms
        (answer,) = self.done(self.exact.store.run(_scripts.LOOK, (name_of("test", bucket, key),), bucket.terms))
        if interval > 0:
            return int((interval * most - answer) // interval)
        return int(answer) if interval else most - int(answer)

    def exactly(self, short: Short, ats: list[int], key: str, cost: int, wait: float) -> None:
        assert short.wait == pytest.approx(wait, abs=1e-9)

    @rule(key=st.sampled_from("ab"), more=st.integers(1, 5))
    def buy(self, key: str, more: int) -> None:
        bucket, model = self.buckets[-1], self.model(len(self.parts) - 1, key)
        model.bought += more
        name = (name_of("test", bucket, key),)
        assert self.done(self.exact.store.run(_scripts.BUY, name, (more, 10**9))) == model.bought


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return a loop that goes on between the steps of a machine."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts of a store go by a clock that the test turns."""
    for name in ("TAKE_RATES", "TAKE", "GIVE", "LOOK", "BUY"):
        source = getattr(_scripts, name).source.replace("call('TIME')", "call('HMGET', 'clock', 's', 'us')")
        # Nothing is forgotten by the store's own clock, which goes on while that of the test stands still.
        monkeypatch.setattr(_scripts, name, Script(source.replace("'PX', ", "'PX', 9000000000 + ")))


@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")
@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.usefixtures("turned")
def test_a_store_charges_as_a_plain_model_does(loop: asyncio.AbstractEventLoop, *, usage: bool) -> None:
    """The scripts of a store, by a clock that the test turns, do as the model; so does what they tell is left."""
    with RedisServer() as server:
        machine = type("Machine", (There,), {"uri": server.uri, "loop": loop, "usage": usage})
        run_state_machine_as_test(machine, settings=settings(PLAIN, max_examples=60))


@pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")
@pytest.mark.usefixtures("turned")
def test_what_had_filled_takes_nothing_from_the_next_refund(loop: asyncio.AbstractEventLoop) -> None:
    """A charge that had filled again, all of it or half, is no reason to give less back of a later one."""
    rate = Rate(1, 1, 2)
    with RedisServer() as server:
        there = type("Machine", (There,), {"uri": server.uri, "loop": loop})()
        there.opened()
        refs = [(Bucket("r", "r#0", rate, Buckets(rate, 100), shared=False), "a")]
        for ticks in (30_000_000, 1_500_000):
            there.ticks = 0
            loop.run_until_complete(there.exact.store.command("FLUSHALL"))
            first = there.charged(refs, 2, 1)
            there.ticks = ticks
            second = there.charged(refs, 1, 1)
            for paid in (first, second):
                there.refunded(paid, failed=False)
            there.buckets = [refs[0][0]]
            assert there.left(0, "a") == 2, ticks
        there.teardown()
