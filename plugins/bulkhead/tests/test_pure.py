"""What is pure and small: bytes held, shape, hysteresis, counts, suspensions, addresses, blame."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hauberk.event import Event
from hauberk_bulkhead._account import Account
from hauberk_bulkhead._addresses import address_of
from hauberk_bulkhead._alerts import Alerts
from hauberk_bulkhead._hysteresis import Level
from hauberk_bulkhead._isolation import Blame, Culprit
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._options import Isolating
from hauberk_bulkhead._shape import fault
from hauberk_bulkhead._state import Met
from hauberk_bulkhead._suspended import Suspended, Suspension
from hauberk_bulkhead._tally import Tally

# --- bytes held ---


class Accounts(RuleBasedStateMachine):
    """Bytes held are the sum of what was taken and not given, and never above either limit (S4.18)."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account()
        self.held: list[tuple[str, int]] = []

    @rule(connection=st.sampled_from("abc"), size=st.integers(1, 60))
    def take(self, connection: str, size: int) -> None:
        own = sum(held for who, held in self.held if who == connection)
        total = sum(held for _, held in self.held)
        expected = "connection" if own + size > 100 else "total" if total + size > 200 else None
        assert self.account.take(connection, size, most=100, total=200) == expected
        if expected is None:
            self.held.append((connection, size))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give(self, data: Any) -> None:
        one = data.draw(st.sampled_from(self.held))
        self.held.remove(one)
        self.account.give(*one)

    @invariant()
    def sums_hold(self) -> None:
        assert self.account.total == sum(size for _, size in self.held)
        assert len(self.account) == len({who for who, _ in self.held})
        for who in "abc":
            assert self.account.of(who) == sum(size for name, size in self.held if name == who)


TestAccounts = Accounts.TestCase

# --- shape ---

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(['[{"', "\\", '"', ",,,", "]}"]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=6),
    max_leaves=40,
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def width_of(value: Any) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return max([len(inner), *map(width_of, inner)])


@given(VALUES, st.integers(1, 5), st.integers(1, 6), st.booleans(), st.booleans())
def test_shape_is_what_a_parser_finds(value: Any, depth: int, width: int, plain: bool, spaced: bool) -> None:
    """What the bytes say of depth and width is what the parsed value says, whatever stands in strings (S4.18)."""
    text = json.dumps(value, ensure_ascii=plain, separators=(", ", ": ") if spaced else (",", ":"))
    found = fault(text.encode(errors="surrogatepass"), depth, width)
    deep, wide = depth_of(value) > depth, width_of(value) > width
    assert (found is not None) is (deep or wide)
    assert found is None or (found == "depth" and deep) or (found == "width" and wide)


@given(st.binary(max_size=200), st.integers(1, 3), st.integers(1, 3))
def test_shape_of_what_is_no_json(data: bytes, depth: int, width: int) -> None:
    """Bytes that are no JSON raise nothing: the parser refuses them."""
    assert fault(data, depth, width) in {None, "depth", "width"}


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"[" * 10**6, "depth"), (b"[" + b"1," * 200_000 + b"1]", "width"), (b'["' + b"[," * 10**6 + b'"]', None)],
    ids=["deep", "wide", "text"],
)
def test_hostile_shapes(data: bytes, found: str | None) -> None:
    """A bomb of brackets or commas is refused before it is parsed; the same in a string is a string (S4.18)."""
    assert fault(data, 64, 100_000) == found


# --- hysteresis ---


def test_load_switches_once() -> None:
    """Load that hovers round a threshold switches nothing on and off; it takes looks in a row, both ways (S4.19)."""
    level = Level(80.0, 10.0, 3)
    assert not any(level.see(value) for value in (81, 81, 79, 81, 81, 79))
    assert [level.see(80.0) for _ in range(3)] == [False, False, True]
    assert level.sheds
    assert not any(level.see(value) for value in (79, 71, 70, 69, 69, 75, 69, 69))
    assert level.see(69.0)
    assert not level.sheds


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 4))
def test_load_sheds_only_with_a_reason(looks: list[float], needed: int) -> None:
    """It sheds only after looks at or above the threshold, and ends only after looks below the lower one."""
    level, agreeing = Level(80.0, 10.0, needed), 0
    for value in looks:
        before = level.sheds
        agreeing = agreeing + 1 if (value < 70.0 if before else value >= 80.0) else 0
        assert level.see(value) is (agreeing == needed)
        if agreeing == needed:
            agreeing = 0


# --- counts ---


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from((0.0, 1.0, 30.0, 61.0))), max_size=40))
def test_counts_are_those_of_the_window(steps: list[tuple[str, float]]) -> None:
    """Somebody has caused too much exactly when so many events lie within the window; then he begins anew (S0.39)."""
    tally, now = Tally(10), 0.0
    seen: dict[str, list[float]] = {"a": [], "b": []}
    for who, seconds in steps:
        now += seconds
        seen[who].append(now)
        recent = [at for at in seen[who] if at > now - 60.0]
        assert tally.count(("principal", who), now, events=3, window=60.0) is (len(recent) >= 3)
        if len(recent) >= 3:
            seen[who].clear()


def test_count_of_many_at_once() -> None:
    """An event that stands for many counts as many."""
    assert Tally(1).count(("address", "192.0.2.1"), 0.0, events=50, window=60.0, times=70)


def test_a_million_names_keep_the_bound() -> None:
    """10⁶ principals with an event each are counted within the bound; who is counted now is not pushed out (X.6)."""
    tally, victim = Tally(LIMITS.counted), ("principal", "victim")
    for number in range(10**6):
        tally.count(("principal", str(number)), 0.0, events=50, window=60.0)
        if number % 4000 == 0 and number // 4000 < 49:
            tally.count(victim, 0.0, events=50, window=60.0)
    assert len(tally) <= LIMITS.counted
    gc.collect()
    assert sys.getsizeof(tally._seen) < 2 * 1024 * 1024


# --- suspensions ---


def one(name: str, until: float = 0.0, by: str = "guard") -> Suspension:
    return Suspension("principal", name, 0.0, until, "", by)


def test_suspension_ends_by_itself_or_by_hand() -> None:
    """It holds until its time, or until it is lifted where it has none (S0.39)."""
    suspended = Suspended(10)
    suspended.take([one("ann", 10.0), one("bob")], 0.0)
    assert suspended.find("principal", "ann", 9.9)
    assert suspended.find("principal", "ann", 10.0) is None
    assert suspended.find("principal", "bob", 1e9)
    assert suspended.find("server", "bob", 0.0) is None


def test_what_the_book_does_not_have_yet_holds() -> None:
    """Who was suspended a moment ago is so before it is written, and after the book is read without it."""
    suspended = Suspended(10)
    suspended.add(one("ann", 10.0), 0.0)
    suspended.take([one("bob")], 0.0)
    assert {found.name for found in suspended.all(0.0)} == {"ann", "bob"}
    news = suspended.news
    suspended.written(news)
    suspended.take([*news], 0.0)
    assert (suspended.news, [found.name for found in suspended.all(0.0)]) == ([], ["ann"])


def test_what_a_person_did_stays() -> None:
    """Past the bound the oldest of what guards did goes, though it has no end (X.6)."""
    suspended = Suspended(3)
    suspended.take([one("person", 5.0, "operator"), one("ever")], 0.0)
    for number in range(1000):
        suspended.add(one(f"p{number}", 100.0 + number), 0.0)
    assert {found.name for found in suspended.all(0.0)} == {"person", "p998", "p999"}


# --- alerts ---


def test_alerts_do_not_flood() -> None:
    """One alert of a kind each ten seconds, with how many there were; a thousand kinds are bounded (S0.39)."""
    alerts = Alerts()
    assert alerts.due("size", "files", 0.0) == 1
    assert [alerts.due("size", "files", 1.0) for _ in range(99)] == [0] * 99
    assert alerts.due("size", "files", 10.0) == 100
    told = sum(bool(alerts.due(f"kind{number}", "files", 0.0)) for number in range(10_000))
    assert told <= LIMITS.alerts + 1


# --- who it was ---


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1:4000", "192.0.2.1"),
        ("[2001:db8::1]:4000", "2001:db8::/64"),
        ("[2001:db8::ffff:1]:1", "2001:db8::/64"),
        ("[::ffff:192.0.2.1]:9", "192.0.2.1"),
        ("[fe80::1%eth0]:9", "fe80::/64"),
        ("192.0.2.1", "192.0.2.1"),
        ("/run/hauberk/files.sock", ""),
        ("evil.example:80", ""),
        ("", ""),
    ],
)
def test_address_is_who_counts_as_one(peer: str, address: str) -> None:
    """Another port, or another address of the same /64, is the same one (A62)."""
    assert address_of(peer) == address


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    """No peer's name raises, and what is found is a canonical address."""
    found = address_of(text)
    assert found == "" or address_of(found.removesuffix("/64")) == found


BLAME = Blame(Isolating())
MET = {"c1": Met("files", "client", ""), "s1": Met("files", "server", "192.0.2.1")}


@pytest.mark.parametrize(
    ("code", "exchange", "principal", "culprit"),
    [
        ("tls.untrusted", "c1", "", Culprit("server", "files")),
        ("replay.detected", "c1.4", "host:default", Culprit("server", "files")),
        ("ratelimit.exceeded", "c1.4", "host:default", None),
        ("ratelimit.exceeded", "s1.4", "uid:1000", Culprit("principal", "uid:1000")),
        ("replay.detected", "s1", "anonymous", Culprit("address", "192.0.2.1")),
        ("tls.untrusted", "s1", "", Culprit("address", "192.0.2.1")),
        ("sieve.denied", "s1.4", "uid:1000", None),
        ("bulkhead.suspended", "s1.4", "uid:1000", None),
        ("ratelimit.exceeded", "s1.4", "hauberk-doctor", Culprit("principal", "hauberk-doctor")),
    ],
)
def test_blame(code: str, exchange: str, principal: str, culprit: Culprit | None) -> None:
    """In front of a server nothing is on the server, so nobody who calls it can have it taken from others (S0.39)."""
    event = Event(code, action="blocked", server="files", exchange=exchange, principal=principal, details={"own": True})
    assert BLAME.of(event, MET) == culprit


def test_nothing_is_on_anybody_that_passed_or_that_the_doctor_did() -> None:
    """An event of what passed, a probe, and whatever concerns the doctor's server count for nobody."""
    event = Event("ratelimit.exceeded", action="blocked", server="files", exchange="c1", principal="ann")
    for change in ({"action": "logged"}, {"probe": True}, {"server": "hauberk-doctor"}):
        fields = {name: getattr(event, name) for name in Event.__struct_fields__} | change
        assert BLAME.of(Event(**fields), MET) is None
