"""Ask an index: where the entries are that a query wants, and how many there are of each kind.

The rules:

1. Entries are named in the order of their log, one after the other as they are asked for. What an answer costs depends
   on how many are wanted, not on how many there are: the member that the fewest entries have is looked up, the others
   are compared; each of its texts is a list in the order of the log, and the lists are merged.
2. Times are not looked up: rows of 4,096 entries say between which times these are, and so where to begin and to end.
"""

from __future__ import annotations

import datetime as dt
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from hauberk_audit._bounds import BOUNDS
from hauberk_audit.queries._index import LOOKUPS, Index, Unusable
from hauberk_audit.queries._index_rows import packed_id
from hauberk_audit.queries._query import Query, matches
from hauberk_audit.queries._reading import Found, count_of, text_of, time_of

COUNTED: Final = ("code", "server", "tool", "severity")
_DAY: Final = 86_400_000_000
"""Microseconds."""
_PROBE: Final = 10_000
"""Entries that are counted to tell which member the fewest have."""
_LISTS: Final = 64
"""Texts of one member that are looked up; more are compared."""
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_COLUMNS: Final = "n, file, line, offset, size"


class Place(NamedTuple):
    """Where an entry stands."""

    n: int
    """Its place among those of the log."""
    file: int
    line: int
    offset: int
    size: int
    """Bytes of its line, without LF."""


class Counts(msgspec.Struct):
    """How many entries there are; what happened often and is one entry counts as often as it says."""

    entries: int = 0
    events: int = 0
    first: int | None = None
    """Microseconds since 1970 of the earliest one."""
    last: int | None = None
    code: dict[str, int] = {}
    server: dict[str, int] = {}
    tool: dict[str, int] = {}
    severity: dict[str, int] = {}
    day: dict[str, int] = {}

    def add(self, other: Counts) -> None:
        """Add those of another log."""
        self.entries += other.entries
        self.events += other.events
        times = [time for time in (self.first, self.last, other.first, other.last) if time is not None]
        self.first, self.last = min(times, default=None), max(times, default=None)
        for name in (*COUNTED, "day"):
            setattr(self, name, dict(Counter(getattr(self, name)) + Counter(getattr(other, name))))


class _Where(NamedTuple):
    """A query, in numbers."""

    sets: dict[str, list[int]]
    """The numbers of the words that a member may be."""
    since: int | None
    until: int | None
    first: int
    """Of the rows."""
    last: int

    def clauses(self, *without: str) -> tuple[str, list[Any]]:
        """Return the conditions, as SQL, and their values; a plus keeps SQLite from looking up what it says."""
        found: list[tuple[str, Any]] = [("n >= ?", self.first), ("n <= ?", self.last)]
        found += [("time >= ?", self.since)] if self.since is not None else []
        found += [("time < ?", self.until)] if self.until is not None else []
        for name, numbers in self.sets.items():
            if name not in without:
                found.append((f"+{name} IN (SELECT value FROM json_each(?))", json.dumps(numbers)))  # noqa: S608 - as below
        return " AND ".join(clause for clause, _ in found), [value for _, value in found]


def places(index: Index, query: Query, *, newest: bool) -> Iterator[Place]:
    """Yield where the entries are that a query wants, in the order of the log or from its end.

    Raises:
        Unusable: The index is damaged.
    """
    with index.telling():
        where = _where(index, query)
        if where is None:
            return
        name = _fewest(index, where)
        clauses, values = where.clauses(name)
        order = "DESC" if newest else "ASC"
        source, rest = "entries", f"WHERE {clauses} ORDER BY n {order}"
        if name:
            source, rest = f"entries INDEXED BY by_{name}", f"WHERE {name} = ? AND {clauses} ORDER BY n {order}"
        heads: list[list[Any]] = [[number] for number in where.sets[name]] if name else [[]]
        command = f"SELECT {_COLUMNS} FROM {source} {rest}"  # noqa: S608 - names of columns
        rows = [map(_checked, index.db.execute(command, [*head, *values])) for head in heads]
        yield from heapq.merge(*rows, key=_n, reverse=newest)


def place_of(index: Index, *, id: str = "", sequence: int = 0) -> list[Place]:
    """Return where the entries of an id are, or of a number; there is one where nobody has changed the log.

    Raises:
        Unusable: The index is damaged.
    """
    if not _is_text(id):
        return []
    with index.telling():
        if id:
            rows = index.db.execute(f"SELECT {_COLUMNS} FROM entries WHERE id = ?", (packed_id(id),))  # noqa: S608
            return [_checked(row) for row in rows]
        found: list[Place] = []
        for first, last in index.db.execute(
            "SELECT first, last FROM spans WHERE lowest <= ? AND highest >= ?", (sequence, sequence)
        ):
            rows = index.db.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE n BETWEEN ? AND ? AND sequence = ?",  # noqa: S608
                (first, last, sequence),
            )
            found += [_checked(row) for row in rows]
        return sorted(set(found))


def counted(index: Index, query: Query) -> Counts:
    """Return how many entries there are that a query wants.

    Raises:
        Unusable: The index is damaged.
    """
    with index.telling():
        where = _where(index, query)
        if where is None:
            return Counts()
        clauses, values = where.clauses()
        sums = "count(*), coalesce(sum(count), 0), min(time), max(time)"
        counts = Counts(*index.db.execute(f"SELECT {sums} FROM entries WHERE {clauses}", values).fetchone())  # noqa: S608
        whole = [value for value in (counts.entries, counts.events, counts.first, counts.last) if value is not None]
        if not all(type(value) is int for value in whole):
            raise Unusable("a row of it makes no sense")
        try:
            for name in (*COUNTED, "day"):
                setattr(counts, name, dict(_grouped(index, name, clauses, values)))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise Unusable("a row of it makes no sense") from None
        return counts


def _grouped(index: Index, name: str, clauses: str, values: list[Any]) -> Iterator[tuple[str, int]]:
    """Yield how often each text of a member, or each day, is there."""
    group = f"time / {_DAY} - (time < 0 AND time % {_DAY} <> 0)" if name == "day" else name
    found = index.db.execute(f"SELECT {group}, sum(count) FROM entries WHERE {clauses} GROUP BY 1", values)  # noqa: S608
    words = {} if name == "day" else dict(index.db.execute("SELECT id, text FROM words"))
    for number, count in found:
        if name == "day" and number is not None:
            yield _date(number), count
        elif name != "day" and words[number]:
            yield words[number], count


def tally(entries: Iterable[Found]) -> Counts:
    """Count entries as `counted` does, where there is no index."""
    counts = Counts()
    counters: dict[str, Counter[str]] = {name: Counter() for name in (*COUNTED, "day")}
    for found in entries:
        count, time = count_of(found.entry), time_of(found.entry)
        counts.entries += 1
        counts.events += count
        for name in COUNTED:
            counters[name][text_of(found.entry, name)] += count
        if time is not None:
            counters["day"][_date(time // _DAY)] += count
            counts.first = time if counts.first is None else min(counts.first, time)
            counts.last = time if counts.last is None else max(counts.last, time)
    for name, counter in counters.items():
        setattr(counts, name, {text: count for text, count in counter.items() if text})
    return counts


def _where(index: Index, query: Query) -> _Where | None:
    """Return a query in numbers, or None if nothing can be what it wants."""
    sets = {}
    for name, patterns in query.names.items():
        if patterns:
            sets[name] = _numbers(index, patterns)
            if not sets[name]:
                return None
    span = "SELECT min(first), max(last) FROM spans"
    first, last = index.db.execute(
        f"{span} WHERE (? IS NULL OR latest >= ?) AND (? IS NULL OR earliest < ?)",
        (query.since, query.since, query.until, query.until),
    ).fetchone()
    return None if first is None else _Where(sets, query.since, query.until, first, last)


def _numbers(index: Index, patterns: tuple[str, ...]) -> list[int]:
    if not any("*" in pattern for pattern in patterns):
        command = "SELECT id FROM words WHERE text IN (SELECT value FROM json_each(?))"
        return [number for (number,) in index.db.execute(command, (json.dumps(patterns),))]
    return [number for number, text in index.db.execute("SELECT id, text FROM words") if matches(text, patterns)]


def _is_text(word: str) -> bool:
    """Whether a word can stand in a log; bytes of an argument that are no UTF-8 come as half a surrogate pair."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fewest(index: Index, where: _Where) -> str:
    """Return the member to look up, or nothing if there is none."""
    found = [
        (sum(_probe(index, name, number) for number in numbers), name)
        for name, numbers in where.sets.items()
        if name in LOOKUPS and len(numbers) <= _LISTS
    ]
    return min(found, default=(0, ""))[1]


def _probe(index: Index, name: str, number: int) -> int:
    command = f"SELECT count(*) FROM (SELECT 1 FROM entries WHERE {name} = ? LIMIT {_PROBE})"  # noqa: S608
    return int(index.db.execute(command, (number,)).fetchone()[0])


def _checked(row: tuple[Any, ...]) -> Place:
    if not all(type(value) is int and value >= 0 for value in row) or row[-1] > BOUNDS.line:
        raise Unusable("a row of it makes no sense")
    return Place(*row)


def _n(place: Place) -> int:
    return place.n


def _date(day: int) -> str:
    return dt.date.fromordinal(_EPOCH + day).isoformat()
