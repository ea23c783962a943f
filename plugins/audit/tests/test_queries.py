"""Queries: they give what the plainest of filters gives, from an index or without one, and cost what they must."""

from __future__ import annotations

import fnmatch
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins.audit.tests.written import NOON, by_time, entry, ids, parsed, rotate, time_text, write

from hauberk.refusals import ConfigError
from hauberk_audit._paths import sibling
from hauberk_audit.queries._index import Unusable
from hauberk_audit.queries._index_files import index_path, take
from hauberk_audit.queries._lookup import Counts
from hauberk_audit.queries._queries import Logs
from hauberk_audit.queries._query import FIELDS, Query, moment
from hauberk_audit.queries._reading import Found, Reader, time_of

SECOND = 1_000_000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of sixty entries in three files, of which the first is compressed."""
    path = tmp_path / "log" / "audit.jsonl"
    for first, pack in ((1, True), (21, False), (41, None)):
        codes = {0: "core.allowed", 1: "sieve.denied", 2: "pins.changed"}
        write(path, [entry(n, code=codes[n % 3], tool=f"tool{n % 7}") for n in range(first, first + 20)])
        if pack is not None:
            rotate(path, pack=pack)
    return path


def of(**names: str | tuple[str, ...]) -> Query:
    """Return a query by members."""
    return Query(names={name: (text,) if isinstance(text, str) else text for name, text in names.items()})


def asked(query: Query, *logs: Path, limit: int = 1000) -> list[str]:
    """Return the ids of the last entries that a query wants, the newest first."""
    with Logs(map(Reader, logs)) as found:
        return ids(found.last(query, limit))


# --- the same as the plainest of filters ---


def naive(query: Query, one: dict[str, Any]) -> bool:
    """Whether an entry is wanted, by other means than those that are tested."""
    for name, patterns in query.names.items():
        globs = [pattern.replace("[", "[[]").replace("?", "[?]") for pattern in patterns]
        value = one[name] if isinstance(one.get(name), str) else ""  # what is no text is as if it were not there
        if patterns and not any(fnmatch.fnmatchcase(value, glob) for glob in globs):
            return False
    time = one.get("time", "")
    if query.since is None and query.until is None:
        return True
    texts = [time_text((at - NOON) // SECOND) if at is not None else None for at in (query.since, query.until)]
    since, until = texts  # the times of these logs are of one form, so that they compare as texts
    return bool(time) and (since is None or time >= since) and (until is None or time < until)


NAMES = st.sampled_from(["a", "b", "a.b", "a*", "[x]", "", "å", "a\\b", "x" * 300])
PATTERNS = st.one_of(NAMES, st.sampled_from(["*", "a*", "*b", "*.*", "[x]", "?", "**", "å*"]))


@st.composite
def some_entries(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw entries of a log whose clock does not go back."""
    found: list[dict[str, Any]] = []
    second = 0
    for number in range(1, draw(st.integers(0, 12)) + 1):
        second += draw(st.integers(0, 3))
        more: dict[str, Any] = {name: draw(NAMES) for name in FIELDS}
        more["count"] = draw(st.sampled_from([1, 1, 7]))
        if draw(st.integers(0, 9)) == 0:
            more[draw(st.sampled_from(FIELDS))] = draw(st.sampled_from([None, 5, ["a"], {"a": 1}]))
        found.append(entry(number, second, **more))
    return found


SECONDS = st.one_of(st.none(), st.integers(-2, 30).map(lambda second: NOON + second * SECOND))
QUERIES = st.builds(
    Query,
    SECONDS,
    SECONDS,
    st.dictionaries(st.sampled_from(FIELDS), st.lists(PATTERNS, max_size=3).map(tuple), max_size=3),
)


def lay(folder: Path, drawn: list[list[dict[str, Any]]], cuts: list[int]) -> list[Path]:
    """Write logs, each rotated some times."""
    logs = []
    for number, lines in enumerate(drawn):
        log = sibling(folder / "audit.jsonl", number)
        for place, one in enumerate(lines, 1):
            write(log, [{**one, "id": f"{number}-{place}"}])
            if place in cuts:
                rotate(log, pack=place % 2 == 0)
        write(log, [])
        logs.append(log)
    return logs


@settings(max_examples=120, deadline=None)
@given(st.lists(some_entries(), min_size=1, max_size=3), st.lists(st.integers(1, 12)), QUERIES, st.integers(1, 9))
def test_query_gives_what_a_filter_gives(
    drawn: list[list[dict[str, Any]]], cuts: list[int], query: Query, limit: int
) -> None:
    """What a query finds, and how much it counts, is what a filter over the lines finds (S4.22)."""
    with tempfile.TemporaryDirectory() as folder:
        logs = lay(Path(folder), drawn, cuts)
        wanted = [one for one in by_time(*logs) if naive(query, one)]
        with Logs(map(Reader, logs)) as found:
            assert ids(found.entries(query)) == ids(wanted)
            assert ids(found.entries(query, newest=True, page=2)) == ids(wanted)[::-1]
            assert ids(found.last(query, limit)) == ids(wanted)[::-1][:limit]
            check(found.counts(query), wanted)
        with Logs([Reader(log, opener=lambda one, _, **__: one) for log in logs]) as sealed:
            assert ids(sealed.entries(query, newest=True)) == ids(wanted)[::-1]
            assert plain(sealed.counts(query)) == plain(found_counts(logs, query))


def found_counts(logs: list[Path], query: Query) -> Counts:
    with Logs(map(Reader, logs)) as found:
        return found.counts(query)


def plain(counts: Counts) -> dict[str, Any]:
    return {name: getattr(counts, name) for name in counts.__struct_fields__}


def check(counts: Counts, wanted: list[dict[str, Any]]) -> None:
    """Compare counts with what a plain count gives."""
    assert (counts.entries, counts.events) == (len(wanted), sum(one["count"] for one in wanted))
    for name in ("code", "server", "tool", "severity"):
        expected: Counter[str] = Counter()
        for one in wanted:
            if isinstance(one[name], str) and one[name]:
                expected[one[name]] += one["count"]
        assert getattr(counts, name) == dict(expected)
    assert counts.day == ({"2025-10-09": counts.events} if wanted else {})
    times = [time_of(one) for one in wanted]
    assert (counts.first, counts.last) == ((times[0], times[-1]) if wanted else (None, None))


def test_days_are_those_of_utc(tmp_path: Path) -> None:
    """Entries are counted by the day of their time in UTC; those without a time by none."""
    log = tmp_path / "audit.jsonl"
    times = [
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00Z",
        "2024-02-29T23:30:00-01:00",
        "never",
        "1969-12-31T00:00:00Z",
    ]
    write(log, [entry(number) | {"time": time} for number, time in enumerate(times, 1)])
    expected = {"1969-12-31": 2, "1970-01-01": 1, "2024-03-01": 1}
    assert found_counts([log], Query()).day == expected
    with Logs([Reader(log, opener=lambda one, _, **__: one)]) as sealed:
        assert sealed.counts(Query()).day == expected


def test_times_are_compared_to_the_microsecond(log: Path) -> None:
    """The first and the last entry are found at their very times: the beginning is wanted, the end is not."""
    first, last = NOON + SECOND, NOON + 60 * SECOND
    assert asked(Query(since=last), log) == [entry(60)["id"]]
    assert asked(Query(since=last + 1), log) == []
    assert asked(Query(until=first + 1), log) == [entry(1)["id"]]
    assert asked(Query(until=first), log) == []


# --- times that are given ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 910),
        ("2m", 880),
        ("0h", 1000),
        ("1d", 1000 - 86_400),
        ("1w", 1000 - 604_800),
        ("1970-01-02", 86_400),
        ("1970-01-01T00:00:00.5Z", 0.5),
        ("1970-01-01T02:00:00+02:00", 0),
    ],
)
def test_times_are_absolute_or_ago(text: str, seconds: float) -> None:
    """A time is a date and time, a date in UTC, or how long ago."""
    assert moment(text, 1000.0) == seconds * SECOND


@pytest.mark.parametrize("text", ["", "yesterday", "7", "2 h", "-2h", "2y", "1970-1-1", "1970-01-01T00:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """What cannot be told for a time is an error with examples, and never another time."""
    with pytest.raises(ConfigError, match="is no time") as caught:
        moment(text, 1000.0)
    assert "2h" in str(caught.value.hint)


# --- one entry ---


def test_entry_is_found_by_id_and_by_number(log: Path) -> None:
    """An entry is found by its id, or its number, in whatever file it stands."""
    with Logs([Reader(log)]) as logs:
        for number in (1, 20, 21, 60):
            (one,) = logs.named(sequence=number)
            assert (one.sequence, one.line) == (number, (number - 1) % 20 + 1)
            assert logs.named(id=one.entry["id"]) == [one]
        assert logs.named(sequence=61) == logs.named(id="no") == logs.named(sequence=1, log="other") == []
    with Logs([Reader(log, opener=lambda one, _, **__: one)]) as sealed:
        assert ids(sealed.named(sequence=33)) == ids(sealed.named(id=entry(33)["id"])) == [entry(33)["id"]]


# --- the index is not believed ---


def change(log: Path, command: str) -> None:
    with closing(sqlite3.connect(index_path(log), isolation_level=None)) as db:
        db.execute(command)


@pytest.mark.parametrize(
    "command",
    [
        "UPDATE entries SET offset = offset + 1",
        "UPDATE entries SET size = size + 5",
        "UPDATE entries SET size = 1 << 40",
        "UPDATE entries SET offset = 'x'",
        "UPDATE entries SET file = 7",
        "UPDATE entries SET code = (SELECT id FROM words WHERE text = 'sieve.denied')",
        "UPDATE entries SET sequence = 33",
        "UPDATE entries SET id = (SELECT id FROM entries WHERE sequence = 33)",
        "UPDATE entries SET tool = 999, time = 1 << 62",
        "DROP TABLE spans",
    ],
)
def test_index_that_lies_is_made_anew(log: Path, command: str) -> None:
    """An index that leads elsewhere than it says is deleted, and what is found is what the log holds (S3.5)."""
    query = of(code="sieve.denied")
    expected = ids(one for one in by_time(log) if one["code"] == "sieve.denied")[::-1]
    for ask, answer in (
        (lambda logs: ids(logs.last(query, 100)), expected),
        (lambda logs: ids(logs.named(sequence=33)), [entry(33)["id"]]),
        (lambda logs: ids(logs.named(id=entry(33)["id"])), [entry(33)["id"]]),
        (lambda logs: logs.counts(Query()).entries, 60),
    ):
        assert asked(query, log) == expected
        change(log, command)
        with Logs([Reader(log)]) as logs:
            assert ask(logs) == answer
    assert asked(query, log) == expected


def test_index_that_lies_ends_an_export(log: Path) -> None:
    """Where entries are given one after the other, an index that lies ends that, and the next one is a new one."""
    query = of(code="sieve.denied")
    expected = asked(query, log)
    change(log, "UPDATE entries SET offset = offset + 1")
    with Logs([Reader(log)]) as logs, pytest.raises(Unusable, match="not what the log holds") as caught:
        list(logs.entries(query))
    assert "ask again" in str(caught.value.hint)
    assert asked(query, log) == expected


def test_index_that_lies_and_is_used_is_not_asked(log: Path) -> None:
    """Where another command uses the index that lies, one without a name is asked."""
    query = of(code="sieve.denied")
    expected = asked(query, log)
    change(log, "UPDATE entries SET offset = offset + 1")
    lock = take(log)
    assert lock is not None
    try:
        assert asked(query, log) == expected
        assert index_path(log).exists()
    finally:
        os.close(lock)


# --- what a query costs ---


def read_by(ask: Callable[[], object]) -> int:
    """Return how many bytes this process reads while it asks, by whatever means."""
    counter = Path("/proc/self/io")
    before = int(counter.read_text().split()[1])
    ask()
    return int(counter.read_text().split()[1]) - before


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return logs of 200, 2,000 and 40,000 entries, the last one in files."""
    logs = []
    for count in (200, 2_000, 40_000):
        log = tmp_path_factory.mktemp("logs") / "audit.jsonl"
        for first in range(0, count, 10_000):
            last = min(first + 10_000, count)
            write(
                log,
                (
                    entry(n, n % 3000, code="sieve.denied" if n % 500 == 0 else "core.allowed")
                    for n in range(first, last)
                ),
            )
            if last < count:
                rotate(log, pack=True)
        logs.append(log)
    return logs


linux = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what is read")


@linux
def test_last_entries_cost_the_same_in_every_log(sizes: list[Path]) -> None:
    """What the last twenty entries cost to read does not grow with the log (issue, point 4)."""
    costs = [read_by(lambda log=log: asked(Query(), log, limit=20)) for log in sizes]  # type: ignore[misc]  # mypy
    assert max(costs) - min(costs) <= 64 * 1024
    assert max(costs) <= 256 * 1024


def test_no_index_is_made_where_none_is_needed(log: Path) -> None:
    """A query that takes every entry makes no index."""
    assert len(asked(Query(), log)) == 60
    assert not index_path(log).exists()


def test_log_that_is_gone_gets_no_index(log: Path) -> None:
    """A log that is not there, and has a sibling, is asked like one without entries, and nothing is made for it."""
    other = sibling(log, 1)
    assert len(asked(of(code="core.*"), other, log)) == 20
    assert not index_path(other).exists()


@linux
def test_files_before_are_read_only_if_they_are_needed(tmp_path: Path) -> None:
    """A compressed file is opened where the entries after it are too few."""
    log = tmp_path / "audit.jsonl"
    write(log, (entry(n) for n in range(5000)))
    rotate(log, pack=True)
    write(log, (entry(n) for n in range(5000, 5010)))
    few, more = (read_by(lambda limit=limit: asked(Query(), log, limit=limit)) for limit in (10, 11))  # type: ignore[misc]
    assert few < 16 * 1024 < more
    assert len(asked(Query(), log, limit=5010)) == 5010


@linux
def test_rare_entries_cost_little_once_the_index_is_made(sizes: list[Path]) -> None:
    """With an index that is up to date, a query reads what it finds, and not the log (issue, point 4)."""
    log = sizes[-1]
    query = Query(names={"code": ("sieve.*",), "server": ("files",)})
    expected = asked(query, log)
    assert len(expected) == 80
    live = len(log.read_bytes())
    assert read_by(lambda: asked(query, log, limit=5)) < live // 4
    last = Query(since=NOON + 2990 * SECOND, names={"code": ("sieve.denied",)})
    assert asked(last, log) == ids(one for one in parsed(log)[::-1] if naive(last, one))


def test_entries_come_as_they_are_found(log: Path) -> None:
    """Who asks for the first of many entries gets it before the others are read."""

    def counting(reader: Reader) -> Iterator[Found]:
        for found in reader.forwards():
            seen.append(found.sequence)
            yield found

    seen: list[int] = []
    assert [one.sequence for one in islice(counting(Reader(log)), 2)] == [1, 2]
    assert seen == [1, 2]
