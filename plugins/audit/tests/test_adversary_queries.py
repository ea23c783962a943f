"""What an adversary who writes into a log, or beside it, tried against queries, and what came of it."""

from __future__ import annotations

import gzip
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest
from plugins.audit.tests.test_commands import audit
from plugins.audit.tests.written import entry, files_of, ids, parsed, rotate, write

from hauberk_audit.queries import _parts
from hauberk_audit.queries._index_files import index_path
from hauberk_audit.queries._lookup import tally
from hauberk_audit.queries._queries import Logs
from hauberk_audit.queries._query import Query
from hauberk_audit.queries._reading import Reader, microseconds, time_text

pytestmark = pytest.mark.usefixtures("only_audit")
Capture = pytest.CaptureFixture[str]
WINDOW = 64 * 1024


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return where a log is to be."""
    return tmp_path / "log" / "audit.jsonl"


# --- stats ---


@pytest.mark.parametrize("more", [(), ("--no-index",)])
def test_stats_is_told_whatever_times_there_are(log: Path, capsys: Capture, more: tuple[str, ...]) -> None:
    """One line of a hostile log does not end ``stats`` for ever: what no date in UTC says is no time (S3.5)."""
    times = ("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59")
    write(log, [entry(n, time=text) for n, text in enumerate(times, 1)])
    said = audit(capsys, "stats", log, *more)
    assert said.status == 0
    assert "3 events in 3 entries\nfrom 9999-12-31T23:59:59.999999Z to 9999-12-31T23:59:59.999999Z\n" in said.out


def test_stats_of_a_sealed_log_is_told_whatever_times_there_are(log: Path) -> None:
    """Where there is no index either (S3.5)."""
    write(log, [entry(1, time="0001-01-01T00:00:00+23:59")])
    assert tally(Reader(log).forwards()).entries == 1


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"]
)
def test_time_that_is_read_is_written_so(text: str) -> None:
    """No time is rounded to one that no date has."""
    micros = microseconds(text)
    assert micros is not None
    assert time_text(micros) == text


def test_stats_is_told_whatever_counts_there_are(log: Path, capsys: Capture) -> None:
    """Counts whose sum is more than SQLite holds do not end ``stats`` (S3.5)."""
    write(log, [entry(n, count=2**63 - 1) for n in (1, 2)])
    said = audit(capsys, "stats", log)
    assert said.status == 0
    assert "2000000000 events in 2 entries" in said.out


@pytest.mark.parametrize("change", ["time = 'x'", "time = 9e18", "count = 'x'", "count = 9223372036854775807"])
def test_index_whose_rows_make_no_sense_is_made_anew(log: Path, capsys: Capture, change: str) -> None:
    """An index whose numbers are none is no index: it is made anew, and the answer is that of the log (S3.5)."""
    write(log, [entry(n) for n in range(1, 4)])
    told = audit(capsys, "stats", log).out
    with closing(sqlite3.connect(index_path(log))) as db:
        db.execute(f"UPDATE entries SET {change}")  # noqa: S608 - one of these
        db.commit()
    assert audit(capsys, "stats", log).out == told


# --- show ---


@pytest.mark.parametrize("more", [(), ("--no-index",)])
def test_show_of_a_name_that_is_no_text(log: Path, capsys: Capture, more: tuple[str, ...]) -> None:
    """Bytes of an argument that are no UTF-8 name no entry; they are no internal error (A25)."""
    write(log, [entry(1)])
    said = audit(capsys, "show", "\udcff", log, *more)
    assert (said.status, said.out) == (1, "")
    assert said.err == "there is no entry \\udcff\n"


# --- files that unpack to much ---


def test_compressed_bomb_does_not_fill_the_disk(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a closed file unpacks to, no more than a window of it is on the disk (S3.5)."""
    write(log, [entry(1)])
    bomb = log.with_name("audit.jsonl.1.gz")
    with gzip.open(bomb, "wb") as file:
        for _ in range(16):
            file.write(bytes(1 << 20))
    monkeypatch.setattr(_parts, "_WINDOW", WINDOW)
    most = _watched(monkeypatch)
    assert len(list(Reader(log).backwards())) == 1
    assert 0 < most[0] <= WINDOW


@pytest.mark.parametrize("windows", [1, 2, 8])
def test_windows_give_every_line_once(log: Path, monkeypatch: pytest.MonkeyPatch, windows: int) -> None:
    """A file of many windows is read back as one of a single window is, also lines that two of them share."""
    monkeypatch.setattr(_parts, "_WINDOW", windows * WINDOW)
    write(log, [entry(n, details={"reason": f"{n}" * 200}) for n in range(1, 1001)])
    rotate(log, pack=True)
    size = len(next(iter(files_of(log))))
    assert size > 8 * WINDOW
    most, loads, load = _watched(monkeypatch), [], _parts._Window._load

    def counting(window: _parts._Window, begin: int) -> None:
        loads.append(begin)
        load(window, begin)

    monkeypatch.setattr(_parts._Window, "_load", counting)
    assert ids(Reader(log).backwards()) == ids(parsed(log))[::-1]
    assert 0 < most[0] <= windows * WINDOW
    assert loads == [*range(0, size, windows * WINDOW)][-2::-1], "each is unpacked once more, but for the last one"


def _watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return what will hold the size of the largest temporary file."""
    most, make = [0], tempfile.TemporaryFile

    def made() -> IO[bytes]:
        file: Any = make()
        write_to = file.write

        class Watching:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

            def write(self, data: bytes) -> None:
                write_to(data)
                most[0] = max(most[0], file.tell())

        watching: Any = Watching()
        return watching  # type: ignore[no-any-return]

    monkeypatch.setattr(tempfile, "TemporaryFile", made)
    return most


# --- indexes that came with a log ---


def test_no_index_reads_the_log_alone(log: Path, capsys: Capture) -> None:
    """An index that hides entries, or names what is not there, hides nothing where it is not to be believed (S4.22)."""
    more: dict[str, Any] = {"action": "blocked", "severity": "critical"}
    write(log, [entry(n, **(more if n == 5 else {})) for n in range(1, 11)])
    asked = [("list", log, "--action", "blocked"), ("stats", log), ("show", "5", log)]
    told = [audit(capsys, *one).out for one in asked]
    with closing(sqlite3.connect(index_path(log))) as db:
        db.execute("UPDATE entries SET action = (SELECT id FROM words WHERE text = 'allowed')")
        db.execute("UPDATE words SET text = 'never_called' WHERE text = 'read_file'")
        db.execute("UPDATE spans SET lowest = 6")
        db.commit()
    before = index_path(log).read_bytes()
    assert [audit(capsys, *one, "--no-index").out for one in asked] == told
    assert index_path(log).read_bytes() == before


def test_no_index_sees_an_edit_in_the_file_that_is_written(log: Path, capsys: Capture) -> None:
    """An index is compared with the last line only; without one the log is read as it stands (S4.22)."""
    write(log, [entry(n, tool="aaaa") for n in range(1, 11)])
    asked = ("list", log, "--tool", "bbbb")
    assert audit(capsys, *asked).out == ""
    lines = log.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b"aaaa", b"bbbb")
    log.write_bytes(b"".join(lines))
    assert "#5 " in audit(capsys, *asked, "--no-index").out


def test_no_index_makes_none(log: Path, capsys: Capture) -> None:
    """With ``--no-index`` nothing is left beside the log."""
    write(log, [entry(1)])
    assert audit(capsys, "stats", log, "--no-index").status == 0
    assert [path.name for path in log.parent.iterdir()] == [log.name]


def test_no_index_of_a_sealed_log_is_asked_for(log: Path) -> None:
    """Where a log is sealed it is read from one end to the other."""

    def indexing(*_: object) -> None:
        pytest.fail("an index was asked for")

    write(log, [entry(1), entry(2, action="blocked")])
    readers = [Reader(log, opener=lambda one, _, **__: one)]
    with Logs(readers, indexing=indexing, beside=False) as logs:
        assert ids(logs.last(Query(names={"action": ("blocked",)}), 5)) == ids([entry(2)])


# --- lines that were moved ---


def test_opener_is_told_the_place_of_a_line(log: Path) -> None:
    """So that a sealed line can be compared with its place; from the end the number of a line is not known (S3.13)."""
    told: list[tuple[int, int | None, int | None]] = []

    def opener(
        one: dict[str, Any], _: Path, /, *, number: int | None = None, line: int | None = None
    ) -> dict[str, Any]:
        told.append((one["integrity"]["sequence"], number, line))
        return one

    write(log, [entry(1), entry(2)])
    rotate(log)
    write(log, [entry(3)])
    reader = Reader(log, opener=opener)
    list(reader.forwards())
    assert told == [(1, 1, 1), (2, 1, 2), (3, 2, 1)]
    told.clear()
    list(reader.backwards())
    assert told == [(3, None, None), (2, None, None), (1, None, None)]
