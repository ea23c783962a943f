"""The entries of logs in their order: over files and their compression, while they are written, from either end."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.audit.tests.written import by_time, entry, ids, line, parsed, rotate, write

from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import closed
from hauberk_audit.queries._parts import _BACK, LONGEST, Part
from hauberk_audit.queries._reading import Reader, entries, microseconds, parse, time_of
from hauberk_audit.writing._packing import compress


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the path of a log that is not there yet."""
    return tmp_path / "log" / "audit.jsonl"


def three_files(log: Path) -> None:
    """Write nine entries to three files, of which the first is compressed."""
    for first, pack in ((1, True), (4, False), (7, None)):
        write(log, [entry(number) for number in range(first, first + 3)])
        if pack is not None:
            rotate(log, pack=pack)


# --- one log ---


def test_files_are_read_in_their_order(log: Path) -> None:
    """Closed files, compressed or not, come before the one that is written; each entry says where it stands."""
    three_files(log)
    found = list(Reader(log).forwards())
    assert [one.sequence for one in found] == list(range(1, 10))
    assert [(one.file.name, one.line) for one in found] == [
        (name, number) for name in ("audit.jsonl.1.gz", "audit.jsonl.2", "audit.jsonl") for number in (1, 2, 3)
    ]
    assert [one.sequence for one in Reader(log).backwards()] == list(range(9, 0, -1))


def test_what_is_no_entry_is_skipped_and_counted(log: Path) -> None:
    """Lines that are no JSON objects are counted; the last line of a writer at work is no line yet (S3.3)."""
    write(log, [entry(1)])
    with log.open("ab") as file:
        file.write(b'no json\n[1]\n\n"text"\n\xff\n')
    rotate(log, pack=True)
    write(log, [entry(2)])
    with log.open("ab") as file:
        file.write(b'{"format":"haub')
    for name in ("forwards", "backwards"):
        reader = Reader(log)
        assert sorted(one.sequence for one in getattr(reader, name)()) == [1, 2]
        assert reader.skipped == 5, name


def test_depth_that_cannot_be_written_is_no_entry() -> None:
    """An entry that is so deep that nothing could print it is none."""
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    assert parse(deep) is None
    assert parse(b'{"a":[' + b"[]," * 100 + b"[]]}") is not None


def test_line_that_is_longer_than_any_entry_fills_no_memory(log: Path) -> None:
    """Of an endless line only a beginning is kept, from whichever end it is read."""
    write(log, [entry(1)])
    with log.open("ab") as file:
        file.write(b'{"a":"' + b"x" * (3 * BOUNDS.line) + b'"}\n')
    write(log, [entry(2)])
    for name in ("forwards", "backwards"):
        reader = Reader(log)
        assert sorted(one.sequence for one in getattr(reader, name)()) == [1, 2]
        assert reader.skipped == 1
    with Part(log, 1) as part:
        assert max(len(text) for _, text in part.lines()) == LONGEST
        assert max(len(text) for _, text in part.back()) == LONGEST


def test_entry_has_a_largest_size() -> None:
    """A line of as many bytes as an entry may have is one; with one more it is none, whatever stands in it."""
    text = b'{"a":"%s"}' % (b"x" * (BOUNDS.line - 8))
    assert len(text) == BOUNDS.line
    assert parse(text) is not None
    assert parse(text.replace(b'"a"', b'"aa"')) is None


def test_endless_line_fills_no_memory(log: Path) -> None:
    """Memory does not grow with a line that has no end (X.6)."""
    log.parent.mkdir()
    log.write_bytes(b"x" * (24 * 1024 * 1024))
    with Part(log, 1) as part:
        for lines in (part.lines, part.back):
            tracemalloc.start()
            assert list(lines()) == []
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 8 * 1024 * 1024


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"-")), max_size=30), st.binary(max_size=9))
def test_lines_are_the_same_from_either_end(lines: list[bytes], rest: bytes) -> None:
    """Whatever stands in a file, its lines and their offsets are the same forwards, backwards and by offset."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(b"".join(one + b"\n" for one in lines) + rest.replace(b"\n", b"-"))
        with Part(path, 1) as part:
            found = list(part.lines())
            assert [text for _, text in found] == lines
            assert list(part.back()) == found[::-1]
            assert [part.line_at(offset, len(text)) for offset, text in found] == lines
            assert list(part.lines(found[-1][0] if found else 0)) == found[-1:]
            assert part.end == sum(len(one) + 1 for one in lines)


@pytest.mark.parametrize("size", [_BACK - 1, _BACK, _BACK + 1, 2 * _BACK, 5 * _BACK + 7])
def test_lines_over_the_borders_of_what_is_read_at_once(tmp_path: Path, size: int) -> None:
    """Lines that stand across two pieces of a file are found whole from its end."""
    text = b"".join(b"%d %s\n" % (number, b"y" * (number % 700)) for number in range(size // 350))
    path = tmp_path / "a.jsonl"
    path.write_bytes((b"x" * (size - len(text) - 1) + b"\n" if size > len(text) else b"") + text)
    with Part(path, 1) as part:
        assert list(part.back())[::-1] == list(part.lines())


def test_damaged_file_is_counted(log: Path) -> None:
    """A compressed file that is cut off gives what can be read of it, and counts as one line that is no entry."""
    three_files(log)
    packed = log.with_name("audit.jsonl.1.gz")
    packed.write_bytes(packed.read_bytes()[:-12])
    for name in ("forwards", "backwards"):
        reader = Reader(log)
        assert {4, 5, 6, 7, 8, 9} <= {one.sequence for one in getattr(reader, name)()}
        assert reader.skipped == 1


def test_what_is_no_file_is_refused(log: Path) -> None:
    """A pipe or a directory in the place of a log is an error, and nobody waits for it."""
    log.parent.mkdir()
    os.mkfifo(log)
    with pytest.raises(ConfigError, match="no regular file"):
        list(Reader(log).forwards())


# --- while it is written ---


def test_entry_is_read_once_while_files_are_closed(log: Path) -> None:
    """Whoever reads on while the log is rotated and compressed reads each entry once (S4.23)."""
    write(log, [entry(1), entry(2)])
    rotate(log)
    write(log, [entry(3)])
    reading = Reader(log).forwards()
    found = list(islice(reading, 1))
    compress(closed(log, 1))
    rotate(log, pack=True)
    write(log, [entry(4)])
    rotate(log)
    write(log, [entry(5)])
    found += reading
    assert [one.sequence for one in found] == [1, 2, 3, 4, 5]


def test_reading_ends_with_the_file_that_was_written(log: Path) -> None:
    """Whoever has opened the file that is written reads that to its end, so no entry in between is left out."""
    write(log, [entry(1), entry(2)])
    reading = Reader(log).forwards()
    found = list(islice(reading, 1))
    rotate(log)
    write(log, [entry(3)])
    assert [one.sequence for one in [*found, *reading]] == [1, 2]


class Closing(Reader):  # type: ignore[misc]  # final, but for this test
    """A log that is rotated between two steps of a reader."""

    __slots__ = ("then",)
    then: Iterator[Any]

    def is_closed(self, number: int) -> bool:
        next(self.then, None)
        return super().is_closed(number)


def test_file_that_is_closed_while_it_is_opened_is_not_taken_for_the_next(log: Path) -> None:
    """A log that is rotated just when its file was opened is opened again."""
    write(log, [entry(1)])

    def then() -> Iterator[None]:
        rotate(log)
        write(log, [entry(2)])
        yield

    reader = Closing(log)
    reader.then = then()
    part = reader.part(1)
    assert part is not None
    with part:
        assert (part.path, [text for _, text in part.lines()]) == (closed(log, 1), [line(entry(1))[:-1]])


# --- several logs ---


def test_logs_are_merged_by_time(tmp_path: Path) -> None:
    """Entries of logs come in the order of their times; each log keeps its own order, whatever its clock did."""
    one, two = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write(one, [entry(number, second) for number, second in ((1, 0), (2, 4), (3, 8))])
    write(two, [entry(number, second) for number, second in ((11, 1), (12, 4), (13, 9))])
    assert ids(entries([Reader(one), Reader(two)])) == ids(by_time(one, two))
    write(two, [entry(14, 2)])
    found = [found.sequence for found in entries([Reader(one), Reader(two)])]
    assert [number for number in found if number > 10] == [11, 12, 13, 14]
    assert sorted(found) == [1, 2, 3, 11, 12, 13, 14]


# --- what is sealed ---


def test_sealed_entries_are_opened(log: Path) -> None:
    """What opens entries gets each, and what it cannot open is skipped and counted (S3.13)."""
    write(log, [entry(1), entry(2, sealed="x"), entry(3, sealed="y")])

    def opener(found: dict[str, Any], path: Path, **_: object) -> dict[str, Any]:
        assert path == log
        if found.get("sealed") == "y":
            raise HauberkError("no key")
        return {**found, "code": "opened"} if "sealed" in found else found

    reader = Reader(log, opener=opener)
    found = list(reader.forwards())
    assert [one.entry["code"] for one in found] == ["core.allowed", "opened"]
    assert [one.raw for one in found] == [line(parsed(log)[0])[:-1], b""]
    assert reader.skipped == 1


# --- times ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01.5z", 1.5),
        ("1970-01-01 01:00:00+01:00", 0),
        ("1969-12-31T23:59:59Z", -1),
        ("2025-10-09T12:00:00.000001Z", 1_760_011_200.000001),
    ],
)
def test_times_are_those_of_rfc_3339(text: str, seconds: float) -> None:
    """A time is read to the microsecond, in whatever zone it is given (RFC 3339 section 5.6)."""
    assert microseconds(text) == round(seconds * 1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2025-10-09",
        "2025-10-09T12:00:00",
        "2025-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "20251009T120000Z",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    """An entry without a time that RFC 3339 knows has none."""
    assert microseconds(text) is None
    assert time_of({"time": text}) is None
    assert time_of({"time": 5}) is None
