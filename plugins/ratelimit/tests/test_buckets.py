"""Buckets and quotas against a plain model, and against what another library says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hauberk_ratelimit._buckets import NEVER, Buckets, kept
from hauberk_ratelimit._charge import Paid
from hauberk_ratelimit._ledger import Local
from hauberk_ratelimit._quotas import Quotas, month_of, start_of
from hauberk_ratelimit._rates import Quota, Rate
from hauberk_ratelimit._rules import Bucket, Ref

GRID = 1 << 20
"""Parts of a second in which the clock of these tests goes, so that its own sums are exact."""
PLAIN = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- against another library ---


@PLAIN
@given(
    gaps=st.lists(st.integers(0, 3 * GRID // 2), min_size=1, max_size=120),
    count=st.integers(1, 8),
    burst=st.integers(1, 8),
)
def test_it_agrees_with_the_moving_window_of_limits(gaps: list[int], count: int, burst: int) -> None:
    """What a moving window of `limits` lets pass, a bucket of that burst does; what a bucket does, a wider window."""
    from limits import RateLimitItemPerSecond
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    with pytest.MonkeyPatch.context() as patch:
        clock = [1000.0]
        patch.setattr(time, "time", lambda: clock[0])
        window, wider = (MovingWindowRateLimiter(MemoryStorage()) for _ in range(2))
        narrow, wide = RateLimitItemPerSecond(count, 2), RateLimitItemPerSecond(count + burst, 2)
        full, own = (Buckets(Rate(count, 2, at_once), 1) for at_once in (count, burst))
        for gap in gaps:
            clock[0] += gap / GRID
            if window.hit(narrow, "x"):
                assert full.hit("x", clock[0]) is not None
            if own.hit("x", clock[0]) is not None:
                assert wider.hit(wide, "x")


@PLAIN
@given(
    gaps=st.lists(st.integers(0, GRID // 4), max_size=200),
    count=st.integers(1, 50),
    burst=st.integers(1, 20),
    cost=st.integers(1, 3),
)
def test_no_more_than_burst_and_rate(gaps: list[int], count: int, burst: int, cost: int) -> None:
    """In any time, no more is let pass than the burst and the rate times that time: the overshoot is 0 (S1.24)."""
    buckets, ticks, taken = Buckets(Rate(count, 1, burst), 1), 0, list[int]()
    for gap in gaps:
        ticks += gap
        now = ticks / GRID
        if cost == 1 and gap % 2:
            taken += [ticks] * (buckets.hit("x", now) is not None)
        elif buckets.wait("x", now, cost) == 0:
            buckets.take("x", now, cost)
            taken.append(ticks)
    for at, first in enumerate(taken):
        for number, last in enumerate(taken[at:], 1):
            assert number * cost <= burst + Fraction((last - first) * count, GRID)


@PLAIN
@given(
    steps=st.lists(st.integers(0, GRID) | st.sampled_from(["just before", "then"]), max_size=80),
    count=st.integers(1, 50),
    burst=st.integers(1, 5),
)
def test_a_permit_is_not_taken_a_moment_too_early(steps: list[int | str], count: int, burst: int) -> None:
    """The quick way to take one permit is as good as the other way: a microsecond too early is too early."""
    quick, other, now, wait = Buckets(Rate(count, 1, burst), 1), Buckets(Rate(count, 1, burst), 1), 0.0, 0.0
    for step in steps:
        if isinstance(step, int):
            now += step / GRID
        else:
            now += max(0.0, wait - 1e-6) if step == "just before" else wait
        wait = other.wait("x", now)
        assert quick.hit("x", now) == (None if wait else other.take("x", now))
        assert quick.left("x", now) == other.left("x", now)


def test_a_batch_of_ten_costs_ten() -> None:
    """What costs ten takes ten, and never passes where fewer may come at once (S1.24)."""
    buckets = Buckets(Rate(60, 60, 15), 1)
    assert buckets.wait("x", 0.0, 10) == 0
    buckets.take("x", 0.0, 10)
    assert buckets.left("x", 0.0) == (15, 5, 10.0)
    assert buckets.wait("x", 0.0, 10) == 5.0
    assert buckets.wait("x", 0.0, 16) == NEVER


@pytest.mark.parametrize("start", [0.1, 1000.0, 3.7e7])
def test_a_rate_is_kept_for_years(start: float) -> None:
    """Ten thousand permits after one another take as long as the rate says, to the last, however long it has run."""
    buckets, rate = Buckets(Rate(7, 1, 1), 1), Rate(7, 1, 1)
    now = start
    for _ in range(10_000):
        now += buckets.wait("x", now)
        assert buckets.hit("x", now) is not None
    assert now - start == pytest.approx(9_999 * rate.interval, abs=1e-6)


# --- clocks ---


def test_a_clock_that_goes_back_locks_nobody_out() -> None:
    """After a clock went back by a day, an empty bucket is full when its burst has filled it, and no sooner (A63)."""
    buckets = Buckets(Rate(1, 1, 5), 1)
    for _ in range(5):
        assert buckets.hit("x", 100_000.0) is not None
    assert (buckets.hit("x", 10.0), buckets.wait("x", 10.0)) == (None, 1.0)
    assert [buckets.hit("x", 11.0) is None for _ in range(2)] == [False, True]
    assert [buckets.hit("x", 100.0) is None for _ in range(6)] == [False] * 5 + [True]


def test_a_limit_of_nothing_lets_nothing_pass_after_another_one() -> None:
    """Of a limit that a reload has made 0, nobody who used the one before is ever let pass (S3.44, X.6)."""
    before, after = Buckets(Rate(10, 60, 10), 10), Buckets(Rate(0, 60, 0), 10)
    assert before.hit("x", 100.0) is not None
    after.inherit(before, 100.0)
    for now in (100.0, 161.0, 1e6):
        assert after.hit("x", now) is None
        assert after.wait("x", now) == NEVER


# --- quotas of months ---


def _at(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


def test_the_month_after_the_31st_of_january_is_february() -> None:
    """A quota that begins on 31 January ends with January, and February has one of its own (S1.24)."""
    quotas = Quotas(Quota(2), 10)
    last = _at(2027, 1, 31, 23, 59)
    for _ in range(2):
        assert quotas.wait("x", last) == 0
        quotas.take("x", last)
    assert quotas.wait("x", last) == 60.0
    assert quotas.left("x", last) == (2, 0, 60.0)
    for month in range(2, 13):
        now = _at(2027, month, 1)
        assert quotas.left("x", now)[1] == 2
        quotas.take("x", now)
        assert quotas.left("x", now)[1] == 1
    assert quotas.left("x", _at(2028, 2, 29))[1] == 2


@given(st.integers(0, 4_000_000_000))
def test_a_month_is_one_of_the_calendar(now: int) -> None:
    """Every moment is in the month that it is named after, and each month begins where the one before ends."""
    month = month_of(now)
    assert start_of(month) <= now < start_of(month + 1)
    moment = datetime.fromtimestamp(start_of(month), UTC)
    assert (moment.day, moment.hour, moment.minute, moment.second) == (1, 0, 0, 0)


def test_a_clock_that_goes_back_gives_no_second_quota() -> None:
    """Who has used up February gets nothing by setting the clock back to January."""
    quotas = Quotas(Quota(1), 10)
    quotas.take("x", _at(2027, 2, 1))
    assert quotas.wait("x", _at(2027, 1, 31)) > 0


def test_a_clock_that_was_years_ahead_locks_nobody_out() -> None:
    """After a clock was years ahead for a while, what was used counts for this month, and not for years (A63)."""
    quotas = Quotas(Quota(1), 10)
    quotas.take("x", _at(2037, 1, 1))
    assert 0 < quotas.wait("x", _at(2027, 1, 30)) <= 2 * 86_400
    assert quotas.wait("x", _at(2027, 2, 1)) == 0


def test_those_who_find_no_room_are_charged_once_for_one_call() -> None:
    """One call under many keys takes one permit of the bucket of the rest, and no more than there are."""
    table = Buckets(Rate(5, 86_400, 5), 1)
    bucket = Bucket("r", "r#0", table.rate, table, shared=False)
    local = Local(lambda: 1.0, lambda: 1.0)
    assert isinstance(local.charge([(bucket, "first")]), Paid)
    assert sum(isinstance(local.charge([(bucket, f"h{at}") for at in range(16)]), Paid) for _ in range(9)) == 5


# --- many identities (X.6) ---


def test_a_million_identities_stay_under_the_cap() -> None:
    """10^6 identities keep no more buckets than the cap, and get no more than those and the one that all share."""
    cap, burst = 4096, 3
    buckets = Buckets(Rate(1, 3600, burst), cap)
    let = sum(buckets.hit(f"client-{number}", 1.0) is not None for number in range(1_000_000))
    assert len(buckets) <= cap + 1
    assert let <= cap + burst
    assert buckets.crowded >= 1_000_000 - cap


def test_nobody_is_made_forgotten() -> None:
    """Who has used up his bucket has none again after others have come, however many, until it has filled (X.6)."""
    buckets = Buckets(Rate(60, 60, 5), 64)
    for _ in range(5):
        assert buckets.hit("victim", 0.0) is not None
    for number in range(10_000):
        buckets.hit(f"other-{number}", 0.5)
    assert (buckets.hit("victim", 0.5), buckets.wait("victim", 0.5)) == (None, 0.5)
    for number in range(10_000):
        buckets.hit(f"more-{number}", 3.0)
    assert buckets.left("victim", 3.0)[1] <= 3


@PLAIN
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, GRID)), max_size=200), st.integers(1, 8))
def test_nobody_gets_more_than_his_own_and_the_rest(events: list[tuple[int, int]], cap: int) -> None:
    """With too few buckets, each gets at most what is his, and all that is let pass besides is one bucket's."""
    rate = Rate(2, 1, 2)
    bounded, unbounded, rest = Buckets(rate, cap), Buckets(rate, 1000), Buckets(rate, 1)
    ticks = 0
    for who, gap in events:
        ticks += gap
        now, key = ticks / GRID, f"id-{who}"
        crowded = bounded.crowded
        passed = bounded.hit(key, now) is not None
        if bounded.crowded > crowded:
            assert passed == (rest.hit("rest", now) is not None)
        elif passed:
            assert unbounded.hit(key, now) is not None
        assert len(bounded) <= cap + 1


def test_who_was_idle_makes_room() -> None:
    """A newcomer gets a bucket of his own as soon as another one is full again, the oldest first."""
    buckets = Buckets(Rate(1, 1, 1), 2)
    buckets.hit("a", 0.0)
    buckets.hit("b", 0.5)
    assert buckets.hit("c", 0.6) is not None
    assert buckets.hit("d", 0.6) is None
    assert buckets.hit("d", 1.2) is not None
    assert buckets.hit("d", 1.3) is None
    assert buckets.wait("d", 1.3) == pytest.approx(0.9, abs=1e-6)
    assert len(buckets) == 3


def test_a_long_identity_is_kept_as_its_digest() -> None:
    """The key of a long identity has a length of its own, and two are not one; a lone surrogate is no error."""
    long = "x" * 10_000
    assert len(kept(long)) == 40
    assert kept(long) != kept(long + "y")
    assert kept("short") == "short"
    assert kept("\ud800" * 100)


def test_months_of_too_many_identities_share_one_count() -> None:
    """Who finds no room for a count shares one with all others who found none, until the month is over."""
    quotas, now = Quotas(Quota(3), 2), _at(2027, 5, 5)
    for who in ("a", "b", "c", "d", "e"):
        assert quotas.wait(who, now) == 0
        quotas.take(who, now)
    assert quotas.wait("f", now) > 0
    assert quotas.wait("a", now) == 0
    assert len(quotas) == 3


def test_a_refund_gives_no_second_burst() -> None:
    """What has come back by itself is not given back again, in whatever order charges are given back (X.6)."""
    for order in ((0, 1), (1, 0)):
        table = Buckets(Rate(1, 1, 10), 1)
        marks = [table.take("x", 0.0, 5) for _ in order]
        table.give("x", 0.0, 5, marks[order[0]])
        assert table.left("x", 5.0)[1] == 10
        table.take("x", 5.0, 10)
        table.give("x", 5.0, 5, marks[order[1]])
        assert table.wait("x", 5.0) > 0
    table = Buckets(Rate(1, 1, 10), 1)
    for mark in reversed([table.take("x", 0.0) for _ in range(10)]):
        table.give("x", 0.0, 1, mark)
    assert table.left("x", 0.0)[1] == 10  # and none of what was not sent is lost


def test_each_charge_is_given_back_after_others_were() -> None:
    """What was given back before takes nothing of what is given back of a later charge, whichever way it was taken."""
    for take in (Buckets.take, Buckets.hit):
        table = Buckets(Rate(1, 1, 10), 1)
        for _ in range(3):
            mark = take(table, "x", 0.0)
            assert mark is not None
            table.give("x", 0.0, 1, mark)
        assert table.left("x", 0.0)[1] == 10


def test_nothing_is_given_back_of_what_others_have_paid() -> None:
    """Who was charged to the bucket of those who find no room gets nothing of it back to one that he has later."""
    table = Buckets(Rate(1, 1, 10), 1)
    for who in ("a", "b"):
        mark = table.take(who, 0.0, 5)
    assert table.place("b", 20.0) == "b"
    table.take("b", 20.0, 5)
    table.give("b", 0.5, 5, mark)
    assert table.left("b", 20.0)[1] == 5


@pytest.mark.parametrize("up", [2.0**27 + 1.3, 2.0**28 + 0.7, 2.0**32 + 0.1])
def test_a_clock_of_many_years_holds_nobody_up(up: float) -> None:
    """However long the clock has run, a wait is found at once, and is long enough but for one step of the clock."""
    buckets = Buckets(Rate(600, 60, 50), 1)
    for number in range(2000):
        now = up + number / 1000
        if buckets.hit("x", now) is None:
            assert (wait := buckets.wait("x", now)) > 0
            assert buckets.wait("x", now + wait + 1e-5) == 0


# --- threads ---


def test_threads_get_no_more_than_there_is() -> None:
    """Eight threads at once are let pass as often as the burst says, from both buckets or from none."""
    import sys
    from concurrent.futures import ThreadPoolExecutor

    def let_pass() -> tuple[int, list[int]]:
        tables = [Buckets(Rate(1, 3600, burst), 1) for burst in (500, 700)]
        refs: list[Ref] = [(Bucket("r", "r#0", table.rate, table, shared=True), "") for table in tables]
        local = Local(lambda: 1.0, lambda: 1.0)
        with ThreadPoolExecutor(8) as pool:
            let = sum(pool.map(lambda _: isinstance(local.charge(refs), Paid), range(1500)))
        return let, [table.left("", 1.0)[1] for table in tables]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert [let_pass() for _ in range(5)] == [(500, [0, 200])] * 5
    finally:
        sys.setswitchinterval(before)
