"""A breaker against a plain model, its table under attack, and what counts as a failure."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hauberk.exchange import Exchange, Outcome
from hauberk.principal import ANONYMOUS
from hauberk_bulkhead._breaker import Breaker, Permit, Terms
from hauberk_bulkhead._breakers import Breakers, Key, Pass
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._verdicts import is_failure, verdict

TERMS = Terms(failures=5, window=60.0, minimum=5, open_seconds=30.0, probes=1, successes=3, slow=30.0)
KEY = Key("files", "read", "ann")


def allowed(breaker: Breaker, now: float) -> Permit:
    permit = breaker.allow(now)
    assert permit is not None
    return permit


def state(breaker: Breaker) -> str:
    return breaker.state


def broken(now: float = 0.0, terms: Terms = TERMS) -> Breaker:
    """Return one that has just opened."""
    breaker = Breaker(terms, now)
    for _ in range(terms.failures):
        breaker.fail(allowed(breaker, now), now)
    assert state(breaker) == "open"
    return breaker


# --- the rules, one by one ---


def test_five_failures_in_a_minute_open_it() -> None:
    """The fifth failure within 60 s opens it, and nothing passes from then on (S4.20)."""
    breaker = Breaker(TERMS, 0.0)
    for second in range(4):
        breaker.fail(allowed(breaker, second), float(second))
    assert state(breaker) == "closed"
    breaker.fail(allowed(breaker, 59.0), 59.0)
    assert state(breaker) == "open"
    assert breaker.allow(60.0) is None
    assert breaker.again_in(60.0) == 29.0


def test_old_failures_do_not_count() -> None:
    """The window slides: four failures a minute ago and one now are one."""
    breaker = Breaker(TERMS, 0.0)
    for _ in range(4):
        breaker.fail(allowed(breaker, 0.0), 0.0)
    breaker.fail(allowed(breaker, 60.0), 60.0)
    assert state(breaker) == "closed"


def test_few_requests_open_nothing() -> None:
    """Below the least number of requests it stays closed, however many of them fail (S4.20)."""
    breaker = Breaker(TERMS._replace(failures=2, minimum=5), 0.0)
    for _ in range(4):
        breaker.fail(allowed(breaker, 0.0), 0.0)
    assert state(breaker) == "closed"
    breaker.fail(allowed(breaker, 0.0), 0.0)
    assert state(breaker) == "open"


def test_half_open_lets_a_bounded_number_try() -> None:
    """A thousand requests that come when it half-opens are one probe: there is no stampede (S4.20, A66)."""
    breaker = broken()
    permits = [breaker.allow(30.0) for _ in range(1000)]
    assert sum(permit is not None for permit in permits) == 1
    assert state(breaker) == "half-open"


def test_three_successes_close_it_and_one_failure_does_not() -> None:
    """Three probes that are answered close it; one that fails opens it for the whole time again (S4.20)."""
    breaker = broken()
    for _ in range(2):
        breaker.succeed(allowed(breaker, 30.0), 30.0)
    breaker.fail(allowed(breaker, 31.0), 31.0)
    assert (breaker.state, breaker.again_in(31.0)) == ("open", 30.0)
    for _ in range(3):
        breaker.succeed(allowed(breaker, 61.0), 61.0)
    assert state(breaker) == "closed"


def test_probe_that_says_nothing_gives_its_place_back() -> None:
    """A probe that was a client's own mistake counts for nothing, and the next one is tried at once (S4.20)."""
    breaker = broken()
    for _ in range(100):
        breaker.forget(allowed(breaker, 30.0))
    assert state(breaker) == "half-open"
    assert breaker.allow(30.0) is not None


def test_probe_without_an_end_has_failed() -> None:
    """A probe that is never answered does not keep the breaker half-open for ever."""
    breaker = broken()
    allowed(breaker, 30.0)
    assert breaker.allow(59.0) is None
    assert state(breaker) == "half-open"
    assert breaker.allow(60.0) is None
    assert state(breaker) == "open"


def test_late_answer_says_nothing_about_now() -> None:
    """A request from before it opened neither closes it nor counts as a probe, and its end is counted once."""
    breaker = Breaker(TERMS, 0.0)
    early = allowed(breaker, 0.0)
    for _ in range(5):
        breaker.fail(allowed(breaker, 0.0), 0.0)
    probe = allowed(breaker, 30.0)
    for _ in range(3):
        breaker.succeed(early, 30.0)
    assert state(breaker) == "half-open"
    for _ in range(3):
        breaker.succeed(probe, 30.0)
    assert state(breaker) == "half-open"


# --- a plain model ---


class Model:
    """All that happened, and the rules read from it."""

    def __init__(self, terms: Terms) -> None:
        self.terms, self.state, self.since, self.age = terms, "closed", 0.0, 0
        self.ended: list[tuple[float, bool]] = []
        self.probes: dict[int, float] = {}
        self.good = 0

    def turn(self, state: str, now: float) -> None:
        self.state, self.since, self.age = state, now, self.age + 1
        self.ended, self.probes, self.good = [], {}, 0

    def allow(self, number: int, now: float) -> bool:
        if self.state == "open" and now >= self.since + self.terms.open_seconds:
            self.turn("half-open", now)
        if self.state == "half-open":
            if any(now - begun >= self.terms.slow for begun in self.probes.values()):
                self.turn("open", now)
            elif len(self.probes) < self.terms.probes:
                self.probes[number] = now
                return True
            return False
        return self.state == "closed"

    def end(self, number: int, age: int, how: str, now: float) -> None:
        if age != self.age or (self.state == "half-open" and number not in self.probes):
            return
        if self.state == "half-open":
            del self.probes[number]
            self.good += how == "ok"
            if how == "failed":
                self.turn("open", now)
            elif self.good >= self.terms.successes:
                self.turn("closed", now)
        elif how != "nothing":
            self.ended.append((now, how == "failed"))
            failures = sum(bad and at > now - self.terms.window for at, bad in self.ended)
            part = int(now * 10 // self.terms.window)
            requests = sum(int(at * 10 // self.terms.window) > part - 10 for at, _ in self.ended)
            if how == "failed" and failures >= self.terms.failures and requests >= self.terms.minimum:
                self.turn("open", now)


class Breaking(RuleBasedStateMachine):
    """The breaker does what the model does (issue 8, point 1)."""

    @initialize(
        failures=st.integers(1, 4),
        minimum=st.integers(1, 6),
        probes=st.integers(1, 3),
        successes=st.integers(1, 3),
    )
    def begin(self, failures: int, minimum: int, probes: int, successes: int) -> None:
        terms = Terms(failures, 60.0, minimum, 30.0, probes, successes, 20.0)
        self.now = 0.0
        self.breaker, self.model = Breaker(terms, 0.0), Model(terms)
        self.going: dict[int, tuple[Permit, int]] = {}
        self.numbers = itertools.count(1)

    @rule()
    def ask(self) -> None:
        number = next(self.numbers)
        expected = self.model.allow(number, self.now)
        permit = self.breaker.allow(self.now)
        assert (permit is not None) is expected
        if permit is not None:
            self.going[number] = permit, self.model.age

    @precondition(lambda self: self.going)
    @rule(data=st.data(), how=st.sampled_from(("ok", "failed", "failed", "nothing")), twice=st.booleans())
    def end(self, data: Any, how: str, twice: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.going)))
        permit, age = self.going.pop(number)
        for _ in range(1 + (twice and bool(permit.number))):
            self.model.end(number, age, how, self.now)
            if how == "ok":
                self.breaker.succeed(permit, self.now)
            elif how == "failed":
                self.breaker.fail(permit, self.now)
            else:
                self.breaker.forget(permit)

    @rule(seconds=st.sampled_from((0.1, 5.0, 20.0, 30.0, 61.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def they_agree(self) -> None:
        if hasattr(self, "breaker"):
            assert (self.breaker.state, self.breaker.since) == (self.model.state, self.model.since)


TestBreaking = Breaking.TestCase


# --- the table ---


def told() -> tuple[Breakers, list[tuple[Key, str, str]]]:
    changes: list[tuple[Key, str, str]] = []
    return Breakers(lambda *change: changes.append(change)), changes


def fail(table: Breakers, key: Key, now: float = 0.0, terms: Terms = TERMS) -> None:
    passed = table.allow(key, terms, now)
    assert isinstance(passed, Pass)
    table.fail(passed, now)


def test_one_tenant_does_not_open_it_for_another() -> None:
    """Failures that one tenant brings about close the tool to that tenant, and to nobody else (A66)."""
    table, changes = told()
    for _ in range(5):
        fail(table, KEY)
    assert table.allow(KEY, TERMS, 1.0) == KEY
    assert isinstance(table.allow(KEY._replace(tenant="bob"), TERMS, 1.0), Pass)
    assert isinstance(table.allow(KEY._replace(tool="write"), TERMS, 1.0), Pass)
    assert changes == [(KEY, "closed", "open")]


def test_breaker_is_made_at_the_first_failure() -> None:
    """A million tools that work, or are not there, make no breaker (X.6)."""
    table, _ = told()
    for number in range(10**6):
        passed = table.allow(Key("files", f"t{number}", "ann"), TERMS, 0.0)
        assert isinstance(passed, Pass)
        table.succeed(passed, 0.0)
    assert len(table) == 0


def test_many_breakers_close_none() -> None:
    """Who makes a million fail keeps the table bounded, and the one that is open stays open (X.6)."""
    table, _ = told()
    for _ in range(5):
        fail(table, KEY)
    overflown = 0
    for number in range(10**5):
        passed = table.allow(Key("files", f"t{number % 7}", f"evil{number}"), TERMS, 1.0)
        if isinstance(passed, Pass):
            table.fail(passed, 1.0)
        else:
            overflown += 1
    assert len(table) <= 3 * LIMITS.breakers
    assert table.allow(KEY, TERMS, 2.0) == KEY
    assert overflown > 0, "past the bound, failures count together"


def test_what_knows_nothing_any_more_goes() -> None:
    """A breaker without a recent failure is let go of; one that is open is not."""
    table, _ = told()
    fail(table, KEY._replace(tool="once"))
    for _ in range(5):
        fail(table, KEY)
    table.tidy(61.0)
    assert [key for key, _ in table.items()] == [KEY]


def test_one_that_stays_open_holds_up_nothing() -> None:
    """Behind one that is open since long, those that know nothing any more go all the same; so the table has room."""
    table, _ = told()
    for _ in range(5):
        fail(table, KEY)
    for number in range(100):
        fail(table, KEY._replace(tenant=f"t{number}"), 1000.0 * number)
    table.tidy(1e6)
    assert [key for key, _ in table.items()] == [KEY]


def test_refused_request_gives_other_probes_back() -> None:
    """Where one of two breakers refuses, the probe that the other gave is not lost."""
    table, _ = told()
    whole = Key("files", "", "")
    table.open(KEY, TERMS, 0.0)
    table.open(whole, TERMS, 20.0)
    assert table.allow(KEY, TERMS, 30.0) == whole
    assert isinstance(table.allow(KEY, TERMS, 50.0), Pass)


def test_reset_closes_all() -> None:
    """A person can close them, all or those of one server, and each is told."""
    table, changes = told()
    for _ in range(5):
        fail(table, KEY)
        fail(table, KEY._replace(server="web"))
    table.reset(1.0, "web")
    assert isinstance(table.allow(KEY._replace(server="web"), TERMS, 1.0), Pass)
    assert table.allow(KEY, TERMS, 1.0) == KEY
    table.reset(1.0)
    assert isinstance(table.allow(KEY, TERMS, 1.0), Pass)
    assert [change[2] for change in changes] == ["open", "open", "closed", "closed"]


# --- what counts ---


@pytest.mark.parametrize("code", [-32603, -32000, -32001, -32005, -32007, -32099, 500, 503, 599])
def test_servers_own_errors_are_failures(code: int) -> None:
    """An internal error, no room and a vain wait are the server's (S4.20: opened by exhaustion, too)."""
    assert is_failure(code)


@pytest.mark.parametrize(
    "code", [-32700, -32600, -32601, -32602, -32002, -32003, -32004, -32006, -32042, 400, 403, 404, 429, 0, 1, -1]
)
def test_clients_errors_and_denials_are_none(code: int) -> None:
    """What whoever calls can bring about at will does not count, so he cannot open it (S4.20, A66)."""
    assert not is_failure(code)


@pytest.mark.parametrize(
    ("outcome", "error", "failed", "seconds", "counted", "said"),
    [
        ("answered", 0, False, 1.0, False, "succeeded"),
        ("answered", 0, False, 31.0, False, "failed"),
        ("answered", 0, True, 1.0, False, "nothing"),
        ("answered", 0, True, 1.0, True, "failed"),
        ("error", -32603, False, 1.0, False, "failed"),
        ("error", -32602, False, 1.0, False, "nothing"),
        ("timed_out", 0, False, 1.0, False, "failed"),
        ("cancelled", 0, False, 1.0, False, "nothing"),
        ("cancelled", 0, False, 31.0, False, "failed"),
        ("refused", 0, False, 1.0, False, "nothing"),
        ("closed", 0, False, 99.0, False, "nothing"),
    ],
)
def test_end_of_a_request_says(
    outcome: Outcome, error: int, failed: bool, seconds: float, counted: bool, said: str
) -> None:
    """An error in a result is neither success nor failure unless it is said that it counts (A66)."""
    exchange = Exchange(1, 1, "tools/call", ANONYMOUS, 0.0, 1, sent=True, error=error, failed=failed)
    assert verdict(exchange, outcome, seconds, slow=30.0, tool_errors=counted) == said
    exchange.sent = False
    assert verdict(exchange, outcome, seconds, slow=30.0, tool_errors=counted) == "nothing"
