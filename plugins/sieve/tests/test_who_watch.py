"""How long what is known of people holds, whatever becomes of its source."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hauberk.refusals import ConfigError
from hauberk.testing import Clock
from hauberk_sieve._limits import LIMITS
from hauberk_sieve.who._register import Register
from hauberk_sieve.who._watch import Watch

TTL = 300.0
TOLD = ["sieve.people_loaded"]


class Source:
    """A source that a test changes, and breaks in each way."""

    def __init__(self) -> None:
        self.serial = 0
        self.text = "v0"
        self.is_gone = self.is_broken = False
        self.reads = 0

    def put(self, text: str, *, seen: bool = True) -> None:
        self.text = text
        self.serial += seen

    def mark(self) -> Hashable:
        if self.is_gone:
            raise FileNotFoundError(2, "No such file or directory")
        return self.serial

    def read(self) -> Register:
        self.reads += 1
        if self.is_gone or self.is_broken:
            raise ConfigError("it cannot be read")
        return Register({}, self.text)


class Case:
    """A source that is watched, a clock, and what was told."""

    def __init__(self, ttl: float = TTL) -> None:
        self.source, self.clock = Source(), Clock()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.watch = Watch(
            self.source, self.clock, ttl=ttl, tell=lambda what, details: self.told.append((what, details))
        )

    def now(self) -> str | None:
        register = self.watch.current()
        return None if register is None else register.version

    @property
    def words(self) -> list[str]:
        return [what for what, _ in self.told]


@pytest.fixture
def case() -> Case:
    """Return a source that was read."""
    case = Case()
    case.watch.open()
    return case


def test_change_holds_at_once(case: Case) -> None:
    """What is written holds for the very next decision (S1.8)."""
    assert case.now() == "v0"
    case.source.put("v1")
    assert case.now() == "v1"
    assert case.told[-1] == ("sieve.people_loaded", {"version": "v1", "people": 0, "before": "v0"})


def test_unchanged_source_is_not_read_again(case: Case) -> None:
    """A source whose mark stays is read once, and once more after a while, however often somebody asks."""
    for _ in range(100):
        case.now()
        case.clock.turn(1)
    assert case.source.reads == 2
    assert case.words == TOLD


def test_change_that_the_mark_hides_is_found(case: Case) -> None:
    """A change within what the file system counts in, and so without another mark, holds a little later."""
    case.source.put("v1", seen=False)
    assert case.now() == "v0"
    case.clock.turn(LIMITS.people_settle)
    assert case.now() == "v1"


@pytest.mark.parametrize("how", ["is_gone", "is_broken"])
def test_last_copy_holds_for_its_time(case: Case, how: str) -> None:
    """While the source is down what was read last holds for its time, and then nothing does (S1.8)."""
    case.now()
    case.source.put("v1")
    setattr(case.source, how, True)
    case.clock.turn(TTL - 1)
    assert case.now() == "v0"
    case.clock.turn(1)
    assert case.now() is None
    assert case.words == [*TOLD, "sieve.people_unreadable", "sieve.people_expired"]


@pytest.mark.parametrize("how", ["is_gone", "is_broken"])
def test_failure_does_not_begin_the_time_anew(case: Case, how: str) -> None:
    """Asking again and again while the source is down makes nothing hold longer (S1.8)."""
    case.source.put("v1")
    setattr(case.source, how, True)
    lasted = 0
    while case.now() is not None:
        lasted += 1
        case.clock.turn(1)
    assert lasted == TTL


def test_time_counts_from_when_the_source_was_seen_last(case: Case) -> None:
    """A source that nobody looked at for long, and that is gone then, leaves nothing that holds."""
    case.clock.turn(TTL)
    case.source.is_gone = True
    assert case.now() is None
    assert case.words == [*TOLD, "sieve.people_expired"]


def test_seeing_the_source_unchanged_counts_as_reading_it(case: Case) -> None:
    """While the source stands there unchanged what was read goes on holding."""
    for _ in range(10):
        case.clock.turn(TTL)
        assert case.now() == "v0"
    case.source.is_gone = True
    case.clock.turn(TTL - 1)
    assert case.now() == "v0"


def test_recovery_is_told_once(case: Case) -> None:
    """When the source can be read again it counts at once, and that is told once."""
    case.source.is_gone = True
    case.clock.turn(TTL)
    case.now()
    case.source.is_gone = False
    case.source.put("v1")
    assert [case.now(), case.now()] == ["v1", "v1"]
    assert case.words == [*TOLD, "sieve.people_expired", "sieve.people_loaded", "sieve.people_readable"]


def test_source_that_comes_back_as_it_was_is_known(case: Case) -> None:
    """A source that could not be looked at for a moment, and did not change, need not be read."""
    case.source.is_gone = True
    case.now()
    case.source.is_gone = False
    assert case.now() == "v0"
    assert case.source.reads == 1
    assert case.words == [*TOLD, "sieve.people_unreadable", "sieve.people_readable"]


def test_broken_source_is_not_read_at_each_decision(case: Case) -> None:
    """A source that is broken and does not change is read again now and then, not each time somebody asks."""
    case.source.put("v1")
    case.source.is_broken = True
    for _ in range(100):
        case.now()
    assert case.source.reads == 2
    case.clock.turn(LIMITS.people_retry)
    case.now()
    assert case.source.reads == 3


def test_source_that_was_never_read_is_expired() -> None:
    """Nothing holds before anything was read."""
    case = Case()
    case.source.is_gone = True
    assert case.now() is None
    case.source.is_gone = False
    assert case.now() == "v0"


def test_without_a_time_nothing_is_held() -> None:
    """With ttl = 0 a source that is down is a refusal at once."""
    case = Case(ttl=0.0)
    case.watch.open()
    assert case.now() == "v0"
    case.source.is_gone = True
    assert case.now() is None


def test_source_that_cannot_be_read_does_not_open() -> None:
    """A watch does not begin with what cannot be read."""
    for how in ("is_gone", "is_broken"):
        case = Case()
        setattr(case.source, how, True)
        with pytest.raises(ConfigError):
            case.watch.open()


class Staleness(RuleBasedStateMachine):
    """The watch beside a model that remembers only what was seen when."""

    def __init__(self) -> None:
        super().__init__()
        self.case = Case()
        self.case.watch.open()
        self.source, self.clock = self.case.source, self.case.clock
        self.known, self.seen_at = self.source.text, self.clock()
        self.failed_at, self.expired = 0.0, False

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0, 50.0, 149.0, 150.0, 299.0, 300.0]))
    def wait(self, seconds: float) -> None:
        self.clock.turn(seconds)

    @rule(number=st.integers(0, 3))
    def write(self, number: int) -> None:
        self.source.put(f"v{number}")

    @rule(gone=st.booleans(), broken=st.booleans())
    def breakage(self, gone: bool, broken: bool) -> None:
        self.source.is_gone, self.source.is_broken = gone, broken

    @rule()
    def ask(self) -> None:
        """What holds is the newest that could be read, and nothing beyond its time."""
        got, now, source = self.case.now(), self.clock(), self.source
        usable = not (source.is_gone or source.is_broken)
        if self.case.watch.state == "fresh":
            assert got == source.text or source.is_broken
            self.known, self.seen_at = str(got), now
        else:
            assert not usable or now - self.failed_at < LIMITS.people_retry
            assert got == (self.known if now - self.seen_at < TTL and not self.expired else None)
        self.expired = got is None
        self.failed_at = self.failed_at if usable else now

    @invariant()
    def states_are_told_in_turn(self) -> None:
        words = [word for word in self.case.words if word != "sieve.people_loaded"]
        for before, after in zip(["sieve.people_readable", *words], words, strict=False):
            assert (before, after) in {
                ("sieve.people_readable", "sieve.people_unreadable"),
                ("sieve.people_readable", "sieve.people_expired"),
                ("sieve.people_unreadable", "sieve.people_expired"),
                ("sieve.people_unreadable", "sieve.people_readable"),
                ("sieve.people_expired", "sieve.people_readable"),
            }


TestStaleness = Staleness.TestCase
