"""What of an event goes into the log: one line, bounded, safe to look at, nothing that nobody asked for."""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plugins.audit.tests.logs import KEY, NOW, event

from hauberk.event import Event
from hauberk_audit import _entry
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import Row, render, rfc3339, visible
from hauberk_audit.writing._chain import GENESIS, Chain

UNSAFE = [
    "\n",
    "\r",
    "\0",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\ufeff",
    "\ud800",
    "\udfff",
]
TEXTS = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(UNSAFE)
PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=9) | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(TEXTS | st.integers() | st.binary(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)
EVENTS = st.builds(
    Event,
    code=TEXTS,
    id=TEXTS,
    time=st.floats(),
    server=TEXTS,
    principal=TEXTS,
    tool=TEXTS,
    rule=TEXTS,
    count=st.integers(0, 2**63),
    probe=st.booleans(),
    sizes=st.dictionaries(TEXTS, st.integers(), max_size=3),
    details=st.dictionaries(TEXTS, ANYTHING, max_size=4),
)


def entry(made: Event) -> dict[str, Any]:
    """Return what is written for an event, parsed."""
    parsed: dict[str, Any] = orjson.loads(render(made) + b"}")
    return parsed


@given(EVENTS)
def test_any_event_is_one_safe_line_that_verifies(made: Event) -> None:
    """Whatever an event holds, it is one line of JSON that verifies, and no viewer acts on a character of it (A25)."""
    line, digest = Chain(KEY).seal(render(made), 1, GENESIS)
    assert line.count(b"\n") == 1
    assert len(line) <= BOUNDS.line
    assert Chain(KEY).follow(line[:-1], 1, GENESIS) == digest
    text = line[:-1].decode()
    assert text.isprintable()
    assert all(string.isprintable() for string in strings(orjson.loads(line)))


def test_members_are_those_of_the_event() -> None:
    """Each member of an event is in its entry, the time as RFC 3339 in UTC; what is empty is left out."""
    full = Event(
        code="sieve.denied",
        id="an-id",
        time=NOW,
        category="decision",
        severity="warning",
        action="blocked",
        host="desk",
        server="files",
        principal="host:desk",
        source="local",
        method="tools/call",
        tool="delete",
        exchange="a:1",
        digest="sha256:00",
        sizes={"request": 12},
        rule="*/delete",
        plugin="sieve",
        count=3,
        probe=True,
        details={"reason": "no"},
    )
    made = msgspec.to_builtins(full) | {"format": "hauberk-audit/1", "time": "2025-10-09T08:53:20.250000Z"}
    assert entry(full) == made
    assert entry(Event(code="a.b", time=NOW)) == {
        "format": "hauberk-audit/1",
        "time": "2025-10-09T08:53:20.250000Z",
        "code": "a.b",
        "id": "",
        "category": "policy",
        "severity": "info",
        "action": "logged",
        "count": 1,
    }


@given(
    st.builds(
        Event,
        **dict.fromkeys(("code", "id", "host", "server", "principal", "tool", "exchange", "digest", "rule"), PLAIN),
        time=st.floats(0, 2**33),
        count=st.integers(0, 2**63),
        probe=st.booleans(),
        sizes=st.dictionaries(PLAIN, st.integers(0, 2**40), max_size=2),
        details=st.dictionaries(PLAIN, st.integers(-9, 9) | st.booleans() | st.none() | PLAIN, max_size=3),
    )
)
def test_both_ways_write_the_same(made: Event) -> None:
    """What needs nothing made visible or cut is written in one go, in the very bytes of the way that looks at all."""
    assert render(made) == _entry._visible(made)


def test_no_member_of_an_event_is_forgotten() -> None:
    """An entry has a place for each member that an event has."""
    assert set(Row.__struct_fields__) == set(Event.__struct_fields__)


@given(st.integers(0, 2**34), st.integers(0, 999_999))
def test_time_is_rfc_3339_in_utc(seconds: int, micros: int) -> None:
    """A time is written as the date and time in UTC, to the microsecond as far as a float tells it."""
    written = rfc3339(seconds + micros / 1e6)
    parsed = dt.datetime.fromisoformat(written)
    assert len(written) == len("2025-10-09T08:53:20.250000Z")
    assert parsed.utcoffset() == dt.timedelta()
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    exact = epoch + dt.timedelta(seconds=seconds, microseconds=micros)
    assert abs(parsed - exact) <= dt.timedelta(microseconds=4)  # a double tells no more at 2**34 seconds


@given(st.integers(0, 2**32), st.lists(st.integers(-2_000_000, 2_000_000), min_size=2, max_size=20))
def test_time_does_not_depend_on_the_one_before(base: int, offsets: list[int]) -> None:
    """Times that come forwards and backwards over the ends of seconds are each written as what they are."""
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    for offset in offsets:
        micros = max(base * 1_000_000 + offset, 0)
        seconds = micros / 1e6
        exact = epoch + dt.timedelta(microseconds=int(seconds * 1e6 + 0.5))
        assert rfc3339(seconds) == exact.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), -float("inf"), 1e18])
def test_time_without_a_date_is_1970(seconds: float) -> None:
    """A time that RFC 3339 has no date for does not stop the record."""
    assert rfc3339(seconds) == "1970-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("unsafe", UNSAFE)
def test_what_cannot_be_seen_is_made_visible(unsafe: str) -> None:
    """Controls, separators, direction marks and lone surrogates are written so that they can be read (A25)."""
    made = entry(event(tool=f"read{unsafe}file", server=unsafe))
    assert made["tool"] == f"read{''.join(c if c.isprintable() else ascii(c)[1:-1] for c in unsafe)}file"
    assert made["tool"].isprintable()
    assert made["server"].isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=40))
@example("ファイルを読む")
def test_what_can_be_seen_is_kept(name: str) -> None:
    """Letters of any script are written as they are."""
    kept = "".join(c for c in name if unicodedata.category(c) != "Cn")
    assert entry(event(tool=kept)).get("tool", "") == kept


def test_long_strings_are_cut_and_counted() -> None:
    """A name of ten million characters takes no more than its bound, and the entry says how much is gone (A25)."""
    made = entry(event(tool="a" * 10_000_000))
    assert made["tool"] == "a" * BOUNDS.text + f"…[+{10_000_000 - BOUNDS.text} characters]"
    assert visible("b" * BOUNDS.text) == "b" * BOUNDS.text


def test_largest_entry_is_within_the_bound_of_a_line() -> None:
    """An event whose every member is as long and as unsafe as can be is still one line that the log takes."""
    worst = "\U000e0001" * (BOUNDS.text + 9)
    table = {f"{number}{worst}": worst for number in range(BOUNDS.nodes * 2)}
    texts = [name for name in Event.__struct_fields__ if Event(code="x").__getattribute__(name) in ("", "x")]
    made: Any = dict.fromkeys((*texts, "category", "severity", "action"), worst)
    tables: Any = {"sizes": table, "details": table}
    line, _ = Chain(KEY).seal(render(Event(**made, **tables)), 10**17, GENESIS)
    assert len(line) <= BOUNDS.line


def test_details_are_cut_and_say_so() -> None:
    """Details over the bound are replaced by their beginning."""
    made = entry(Event(code="a.b", details={"reason": ["x" * 1000] * 100}))
    assert list(made["details"]) == ["cut"]
    assert made["details"]["cut"].startswith('{"reason":["xxx')
    assert made["details"]["cut"].endswith("characters]")


def test_details_without_end_are_cut() -> None:
    """Details that hold themselves, or are too deep or too many, do not stop the record."""
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert '"…"' in render(Event(code="a.b", details=endless)).decode()
    many = entry(Event(code="a.b", details={"é": list(range(1000))}))["details"]["é"]
    assert len(many) < BOUNDS.nodes + 2
    assert many[-1].startswith("…[+")
    keys = entry(Event(code="a.b", details={f"é{number}": 1 for number in range(1000)}))["details"]
    assert len(keys) < BOUNDS.nodes + 2
    assert keys["…"].startswith("+")


def test_details_that_json_does_not_carry_are_named_by_type() -> None:
    """Bytes, objects and huge integers are named, so their content is not in the log by accident (X.14)."""
    canary = "hunter2"

    class Secret:
        def __repr__(self) -> str:
            return canary

    details = {"a": canary.encode(), "b": Secret(), "c": 10**5000, "d": {Secret(): 1}, "e": float("nan")}
    made = entry(Event(code="a.b", details=details))["details"]
    assert made == {"a": "<7 bytes>", "b": "<Secret>", "c": "<integer of 16610 bits>", "d": {"<Secret>": 1}, "e": None}
    assert canary.encode() not in render(Event(code="a.b", details=details))


def test_keys_that_are_equal_as_strings_are_one_key() -> None:
    """No entry has a key twice, whatever the keys of details are (V17)."""
    raw = render(Event(code="a.b", details={1: "x", "1": "y"}))  # type: ignore[dict-item]  # what a plugin may do
    assert raw.count(b'"1":') == 1


def strings(value: Any) -> list[str]:
    """Return each string in a JSON value, keys too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return []
