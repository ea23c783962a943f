"""What verify says of lines and files; the ways to tamper with them are in `test_tamper` (S3.5)."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.audit.tests.logs import KEY, breaks, chain, stream

from hauberk.refusals import ConfigError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit.verifying._verify import verify

GOOD = chain(10)
TWIN = chain(10, text="y")
"""Another chain of the same key."""
Lines = list[bytes]


def cut(*numbers: int) -> Lines:
    """Return the chain without the lines of these numbers."""
    return [line for number, line in enumerate(GOOD, 1) if number not in numbers]


def test_whole_chain_has_no_break() -> None:
    """A log that nobody changed has no break, whatever its length."""
    for count in range(1, 11):
        assert breaks(GOOD[:count]) == []


def test_end_cut_off_is_not_missed() -> None:
    """Entries cut from the end leave a chain that is whole: without an anchor this is not found (V1)."""
    assert breaks(GOOD[:7]) == []
    assert breaks([]) == []


def test_last_line_without_end_is_torn() -> None:
    """What stands after the last LF is a break, be it an entry or not."""
    assert breaks(GOOD[:4], torn=True) == [("torn", 5, 0)]


edits = st.one_of(
    st.tuples(st.just("delete"), st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.just("copy"), st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.just("move"), st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.just("flip"), st.integers(0, 30), st.integers(0, 30_000)),
    st.tuples(st.just("twin"), st.integers(0, 30), st.integers(0, 9)),
)


def apply(lines: Lines, kind: str, at: int, other: int) -> None:
    """Tamper with lines in one way."""
    if not lines:
        return
    at %= len(lines)
    if kind == "delete":
        del lines[at]
    elif kind == "copy":
        lines.insert(other % (len(lines) + 1), lines[at])
    elif kind == "move":
        lines.insert(other % len(lines), lines.pop(at))
    elif kind == "twin":
        lines.insert(at, TWIN[other])
    elif lines[at]:
        bit = other % (len(lines[at]) * 8)
        changed = bytearray(lines[at])
        changed[bit // 8] ^= 1 << bit % 8
        lines[at] = bytes(changed)


@given(st.lists(edits, max_size=6))
def test_only_what_was_written_is_whole(changes: list[tuple[str, int, int]]) -> None:
    """After any changes in any order there is a break, unless what is left is the beginning of what was written."""
    lines = list(GOOD)
    for change in changes:
        apply(lines, *change)
    whole = any(lines == written[: len(lines)] for written in (GOOD, TWIN))
    assert (breaks(lines) == []) == whole


@given(st.lists(st.sampled_from(GOOD) | st.binary(max_size=60)))
def test_no_bytes_stop_the_walk(lines: Lines) -> None:
    """Whatever stands in a log, verify reads it to the end, and is satisfied with the beginning of the chain alone."""
    assert (breaks(lines) == []) == (lines == GOOD[: len(lines)])


def test_runs_of_wrong_lines_are_one_break() -> None:
    """A log that was never signed, or with another key, is one break and not a million."""
    assert breaks([b'{"a":1}'] * 5000) == [("unsigned", 1, 0)]
    assert len(breaks([b'{"a":1}', b"x"] * 2000)) == 4000


def test_memory_does_not_grow_with_the_log() -> None:
    """Walking a log takes the same memory for 300 lines and for 6,000 (S3.10, A27)."""

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            assert breaks(stream(count)) == []
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(6000) < peak(300) + 16_384


# --- files ---


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Lines], Path]:
    """Return a function that writes lines to a file."""

    def write_lines(name: str, lines: Lines) -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write_lines


def kinds(path: Path) -> list[tuple[str, str, int]]:
    return [(Path(one.file).name, one.kind, one.line) for one in verify([path], KEY).breaks]


def test_report_counts_logs_and_entries(write: Callable[[str, Lines], Path]) -> None:
    """A report of a whole log says how many entries it has, the last number, and that its end is not anchored."""
    path = write("audit.jsonl", GOOD)
    report = verify([path], KEY)
    assert (report.status, report.entries, report.broken, report.anchored) == (0, 10, 0, False)
    assert [(log.file, log.entries, log.lines, log.last) for log in report.logs] == [(str(path), 10, 10, 10)]


def test_path_brings_its_siblings(write: Callable[[str, Lines], Path]) -> None:
    """A log and its numbered siblings are one set; each is a chain of its own."""
    base = write("audit.jsonl", GOOD)
    write("audit.1.jsonl", TWIN)
    write("audit.2.jsonl", chain(2, text="two"))
    write("audit.jsonl.torn-1", [b"half"])
    write("other.jsonl", [b"x"])
    assert [Path(log.file).name for log in verify([base], KEY).logs] == [
        "audit.jsonl",
        "audit.1.jsonl",
        "audit.2.jsonl",
    ]
    assert verify([base], KEY).status == 0


def test_directory_is_all_its_logs(write: Callable[[str, Lines], Path]) -> None:
    """A directory stands for every ``.jsonl`` in it, each in its set."""
    write("b.jsonl", chain(1, text="b"))
    write("audit.jsonl", GOOD)
    directory = write("audit.1.jsonl", TWIN).parent
    write("notes.txt", [b"x"])
    assert [Path(log.file).name for log in verify([directory], KEY).logs] == ["audit.jsonl", "audit.1.jsonl", "b.jsonl"]


@pytest.mark.parametrize("gone", ["audit.jsonl", "audit.1.jsonl"])
def test_log_deleted_from_a_set_is_missing(write: Callable[[str, Lines], Path], gone: str) -> None:
    """A log that is gone while one with a higher number is there is reported, by its file and by its directory."""
    for name in ("audit.2.jsonl", "audit.1.jsonl", "audit.jsonl"):
        base = write(name, chain(3, text=name))
    base.with_name(gone).unlink()
    assert kinds(base) == [(gone, "missing", 0)]
    assert kinds(base.parent) == [(gone, "missing", 0)]
    assert verify([base], KEY).status == 1


def test_copy_of_a_log_is_no_second_log(write: Callable[[str, Lines], Path]) -> None:
    """A sibling that was overwritten with another one is reported."""
    base = write("audit.jsonl", GOOD)
    write("audit.1.jsonl", GOOD[:4])
    assert kinds(base) == [("audit.1.jsonl", "copied", 1)]


def test_log_without_entries_is_nothing_to_verify(write: Callable[[str, Lines], Path]) -> None:
    """A log cut to nothing is not whole, alone or beside others; and a break weighs more (V1)."""
    base = write("audit.jsonl", [])
    assert verify([base], KEY).status == 2
    write("audit.1.jsonl", GOOD)
    report = verify([base], KEY)
    assert (report.status, report.empty) == (2, [str(base)])
    write("audit.1.jsonl", cut(4))
    assert verify([base], KEY).status == 1


def test_log_with_a_torn_line_alone_is_broken(tmp_path: Path) -> None:
    """A log that has no whole line, but some bytes, is broken."""
    (tmp_path / "audit.jsonl").write_bytes(GOOD[0])
    assert kinds(tmp_path / "audit.jsonl") == [("audit.jsonl", "torn", 1)]


def test_missing_path_is_an_error(tmp_path: Path) -> None:
    """A path of nothing, and a directory without logs, are errors and not whole."""
    with pytest.raises(ConfigError, match=r"nothing to verify.*no such file"):
        verify([tmp_path / "none.jsonl"], KEY)
    with pytest.raises(ConfigError, match=r"nothing to verify.*holds no file"):
        verify([tmp_path], KEY)


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    """A pipe in place of a log does not block verify."""
    os.mkfifo(tmp_path / "audit.jsonl")
    with pytest.raises(ConfigError, match="no regular file"):
        verify([tmp_path / "audit.jsonl"], KEY)


@pytest.mark.parametrize("size", [BOUNDS.line + 1, BOUNDS.chunk, 3 * BOUNDS.chunk + 5])
def test_line_without_end_is_bounded(tmp_path: Path, size: int) -> None:
    """A line longer than any entry is one break, and the next line is read as usual."""
    for long, kind in ((b"x" * size, "not_json"), (GOOD[3][:20] + b"x" * size + GOOD[3][20:], "inserted")):
        lines = [*GOOD[:3], long, *GOOD[3:]]
        (tmp_path / "audit.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        assert kinds(tmp_path / "audit.jsonl") == [("audit.jsonl", kind, 4)]


def test_lines_are_read_across_chunks(tmp_path: Path) -> None:
    """Where a chunk ends, in a line or between two, changes nothing."""
    count = BOUNDS.chunk // len(GOOD[0]) + 50
    (tmp_path / "audit.jsonl").write_bytes(b"".join(line + b"\n" for line in stream(count)))
    read: list[int] = []
    report = verify([tmp_path / "audit.jsonl"], KEY, progress=read.append)
    assert (report.status, report.entries) == (0, count)
    assert sum(read) == (tmp_path / "audit.jsonl").stat().st_size


def test_list_of_breaks_is_bounded(write: Callable[[str, Lines], Path]) -> None:
    """A log with more breaks than a report lists has them counted."""
    path = write("audit.jsonl", [b"x", b"{}"] * BOUNDS.breaks)
    report = verify([path], KEY)
    assert (len(report.breaks), report.broken) == (BOUNDS.breaks, 2 * BOUNDS.breaks)
