"""The tamper suite: each way to tamper with a log, and what verify must say of it (S3.5, S3.11).

Lines first, of a chain with one key and of one whose key goes forward; then the files of a log, and what stands beside.
"""

from __future__ import annotations

import gzip
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import orjson
import pytest
from plugins.audit.tests.logs import KEY, NOW, OTHER_KEY, Found, breaks, chain, event

from hauberk.event import Event
from hauberk_audit._entry import render
from hauberk_audit._paths import state_path
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing._chain import GENESIS, Chain
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._packing import compress
from hauberk_audit.writing._ratchet import first_root
from hauberk_audit.writing._rotation import Rotation, Rotator

Lines = list[bytes]
CAFE: Final = unicodedata.normalize("NFC", "café")


@final
class Kit:
    """A chain of ten entries, and others to tamper with."""

    def __init__(self, good: Lines, twin: Lines, foreign: Lines, after: Callable[[Lines, int], Lines]) -> None:
        self.good: Final = good
        self.twin: Final = twin
        """Another chain of the same key."""
        self.foreign: Final = foreign
        """A chain of another key."""
        self.after: Final = after
        """Go on from the end of a chain with so many other entries, as its writer would."""

    def cut(self, *numbers: int) -> Lines:
        """Return the chain without the lines of these numbers."""
        return [line for number, line in enumerate(self.good, 1) if number not in numbers]

    def put(self, at: int, *lines: bytes, instead: int = 1) -> Lines:
        """Return the chain with these lines in place of line ``at``, and of those after it."""
        return [*self.good[: at - 1], *lines, *self.good[at - 1 + instead :]]

    def insert(self, after: int, *lines: bytes) -> Lines:
        """Return the chain with further lines after one."""
        return self.put(after + 1, *lines, instead=0)

    def edit(self, at: int, old: bytes, new: bytes) -> Lines:
        """Return the chain with one line changed."""
        assert old in self.good[at - 1]
        return self.put(at, self.good[at - 1].replace(old, new, 1))


def body(number: int, text: str) -> bytes:
    """Return an entry with a number, a list and a name in it that can be spelt in other ways."""
    details = {"n": 1_000_000, "half": 0.5, "names": [CAFE, "a"]}
    return render(Event(**{**_fields(event(number, rule=text)), "details": details}))


def _fields(one: Event) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def linked(count: int, signer: Callable[[int], Chain], *, after: Lines | None = None, text: str = "x") -> Lines:
    """Return lines that are tied to one another; ``signer`` has the key of each number."""
    lines = list(after or ())
    digest = lines[-1][-67:-3] if lines else GENESIS
    for number in range(len(lines) + 1, len(lines) + count + 1):
        line, digest = signer(number).seal(body(number, text), number, digest)
        lines.append(line[:-1])
    return lines


def plain() -> Kit:
    """Return a kit whose chains have one key each."""
    mine, other = Chain(KEY), Chain(OTHER_KEY)

    def after(lines: Lines, count: int) -> Lines:
        return linked(count, lambda _: mine, after=lines, text="z")

    return Kit(linked(10, lambda _: mine), linked(10, lambda _: mine, text="y"), linked(10, lambda _: other), after)


def forward() -> Kit:
    """Return a kit whose chains have a key for each entry, which goes forward."""
    root = first_root(KEY)
    mine, other = (_rungs(each) for each in (root, root.next()))
    foreign = _rungs(first_root(OTHER_KEY))

    def after(lines: Lines, count: int) -> Lines:
        return linked(count, mine, after=lines, text="z")

    return Kit(linked(10, mine), linked(10, other, text="y"), linked(10, foreign), after)


def _rungs(root: Any) -> Callable[[int], Chain]:
    rungs = [root.first()]
    for _ in range(30):
        rungs.append(rungs[-1].next())
    return lambda number: rungs[number - 1].signer()


KITS: Final = {"one key": plain(), "a key that goes forward": forward()}


# --- lines ---


def without_integrity(line: bytes) -> bytes:
    return line[: line.index(b',"integrity"')] + b"}"


def with_integrity_of(line: bytes, other: bytes) -> bytes:
    """Return a line with the integrity of another."""
    return without_integrity(line)[:-1] + other[other.index(b',"integrity"') :]


def reordered(line: bytes) -> bytes:
    """Return a line with two of its keys in another order."""
    value = orjson.loads(line)
    return orjson.dumps({"format": value.pop("format"), "code": value.pop("code"), **value})


class Row(NamedTuple):
    """One way to tamper with lines."""

    name: str
    lines: Callable[[Kit], Lines]
    found: list[Found]
    """Kind, line and number of each break that must be reported."""
    forward: list[Found] | None = None
    """The same, if it is another one where the key goes forward."""


ROWS: Final = (
    Row("delete the first", lambda k: k.cut(1), [("gap", 1, 2)]),
    Row("delete in the middle", lambda k: k.cut(5), [("gap", 5, 6)]),
    Row("delete a range", lambda k: k.cut(4, 5, 6), [("gap", 4, 7)]),
    Row("delete two places", lambda k: k.cut(3, 8), [("gap", 3, 4), ("gap", 7, 9)]),
    Row(
        "swap two neighbours",
        lambda k: k.put(4, k.good[4], k.good[3], instead=2),
        [("gap", 4, 5), ("reordered", 5, 4)],
    ),
    Row(
        "swap two far apart",
        lambda k: k.put(3, k.good[7], *k.good[3:7], k.good[2], instead=6),
        [("gap", 3, 8), ("reordered", 4, 4), ("reordered", 8, 3)],
    ),
    Row("move the first to the end", lambda k: [*k.good[1:], k.good[0]], [("gap", 1, 2), ("restarted", 10, 1)]),
    Row("duplicate", lambda k: k.insert(5, k.good[4]), [("duplicated", 6, 5)]),
    Row("duplicate the last", lambda k: k.insert(10, k.good[9]), [("duplicated", 11, 10)]),
    Row("duplicate a range", lambda k: k.insert(6, *k.good[3:6]), [("duplicated", 7, 4)]),
    Row("insert a forged line", lambda k: k.insert(5, k.good[5].replace(b"files", b"filez")), [("inserted", 6, 6)]),
    Row(
        "insert two forged lines",
        lambda k: k.insert(5, *[k.good[5].replace(b"files", b"x")] * 2),
        [("inserted", 6, 6)],
    ),
    Row("insert a line of another key", lambda k: k.insert(5, k.foreign[5]), [("wrong_key", 6, 6)]),
    Row("insert a line without integrity", lambda k: k.insert(5, b'{"code":"a.b"}'), [("unsigned", 6, 0)]),
    Row("insert a blank line", lambda k: k.insert(5, b""), [("not_json", 6, 0)]),
    Row("insert what is no JSON", lambda k: k.insert(5, b"hello", b"world"), [("not_json", 6, 0)]),
    Row("append a forged line", lambda k: k.insert(10, k.good[9].replace(b"files", b"z")), [("edited", 11, 10)]),
    Row("change a field", lambda k: k.edit(5, b"read_file", b"list_file"), [("edited", 5, 5)]),
    Row("change the time", lambda k: k.edit(5, b"2025-", b"2024-"), [("edited", 5, 5)]),
    Row(
        "change two lines in a row",
        lambda k: k.put(5, *[b"x" + line for line in k.good[4:6]], instead=2),
        [("edited", 5, 5)],
    ),
    Row("change the last", lambda k: k.edit(10, b"read_file", b"list_file"), [("edited", 10, 10)]),
    Row("change the first", lambda k: k.edit(1, b"read_file", b"list_file"), [("edited", 1, 1)]),
    Row("change the sequence number", lambda k: k.edit(5, b'"sequence":5', b'"sequence":6'), [("edited", 5, 6)]),
    Row("change the previous hash", lambda k: k.put(5, with_integrity_of(k.good[4], k.twin[4])), [("edited", 5, 5)]),
    Row("change the key's id", lambda k: k.edit(5, b'"key_id":"', b'"key_id":"0'), [("edited", 5, 0)]),
    Row(
        "copy the integrity of another line",
        lambda k: k.put(7, with_integrity_of(k.good[6], k.good[4])),
        [("edited", 7, 5)],
    ),
    Row("copy a line over another", lambda k: k.put(7, k.good[4]), [("duplicated", 7, 5), ("gap", 8, 8)]),
    Row("change one and delete the next", lambda k: k.put(5, b"{}", instead=2), [("unsigned", 5, 0), ("gap", 6, 7)]),
    Row("change the order of keys", lambda k: k.put(5, reordered(k.good[4])), [("edited", 5, 5)]),
    Row("parse and write again, spaced", lambda k: k.put(5, k.good[4].replace(b'":', b'": ')), [("edited", 5, 0)]),
    Row("end each line with CR LF", lambda k: [line + b"\r" for line in k.good], [("edited", 1, 0)]),
    Row("end a line with CR LF", lambda k: k.put(5, k.good[4] + b"\r"), [("edited", 5, 0)]),
    Row("end a line with a blank", lambda k: k.put(5, k.good[4] + b" "), [("edited", 5, 0)]),
    Row("begin a line with a blank", lambda k: k.put(5, b" " + k.good[4]), [("edited", 5, 5)]),
    Row("begin with a byte order mark", lambda k: k.put(1, b"\xef\xbb\xbf" + k.good[0]), [("edited", 1, 1)]),
    Row(
        "integrity is null",
        lambda k: k.put(5, without_integrity(k.good[4])[:-1] + b',"integrity":null}'),
        [("unsigned", 5, 0)],
    ),
    Row("integrity is missing", lambda k: k.put(5, without_integrity(k.good[4])), [("unsigned", 5, 0)]),
    Row(
        "integrity is missing everywhere",
        lambda k: [without_integrity(line) for line in k.good],
        [("unsigned", 1, 0)],
    ),
    Row("integrity has another member", lambda k: k.edit(5, b'"key_id"', b'"x":1,"key_id"'), [("edited", 5, 0)]),
    Row(
        "integrity stands twice",
        lambda k: k.put(5, k.good[4][:-1] + k.good[4][k.good[4].index(b',"integ') :]),
        [("edited", 5, 5)],
    ),
    Row("a key stands twice (V17)", lambda k: k.edit(5, b'"tool":', b'"tool":"ls","tool":'), [("edited", 5, 5)]),
    Row("a key stands twice, deep", lambda k: k.edit(5, b'"half":', b'"half":1,"half":'), [("edited", 5, 5)]),
    Row("a number that is none (V17)", lambda k: k.edit(5, b"0.5", b"NaN"), [("edited", 5, 5)]),
    Row("half of a character (V17)", lambda k: k.edit(5, b'"a"]', b'"\\ud800"]'), [("edited", 5, 5)]),
    Row("a field more", lambda k: k.edit(5, b'"tool":', b'"more":1,"tool":'), [("edited", 5, 5)]),
    Row("an integer as a fraction", lambda k: k.edit(5, b'"count":1', b'"count":1.0'), [("edited", 5, 5)]),
    Row("an integer with an exponent", lambda k: k.edit(5, b"1000000", b"1e6"), [("edited", 5, 5)]),
    Row("a fraction with more digits", lambda k: k.edit(5, b"0.5", b"0.50"), [("edited", 5, 5)]),
    Row("a string escaped in another way", lambda k: k.edit(5, b"files", b"file\\u0073"), [("edited", 5, 5)]),
    Row(
        "a string in another normal form",
        lambda k: k.edit(5, CAFE.encode(), unicodedata.normalize("NFD", CAFE).encode()),
        [("edited", 5, 5)],
    ),
    Row(
        "hash in capitals",
        lambda k: k.put(5, k.good[4][:-67] + k.good[4][-67:-3].upper() + b'"}}'),
        [("edited", 5, 0)],
    ),
    Row("hash cut short", lambda k: k.put(5, k.good[4][:-4] + b'"}}'), [("edited", 5, 0)]),
    Row("two lines in one", lambda k: k.put(5, k.good[4] + k.good[5], instead=2), [("edited", 5, 6), ("gap", 6, 7)]),
    Row("a line in two", lambda k: k.put(5, k.good[4][:60], k.good[4][60:]), [("not_json", 5, 0), ("edited", 6, 5)]),
    Row("wrong key", lambda k: k.foreign, [("wrong_key", 1, 1)]),
    Row("a line of another chain", lambda k: k.put(5, k.twin[4]), [("forked", 5, 5), ("forked", 6, 6)]),
    Row("two logs merged, one after the other", lambda k: k.good + k.twin, [("restarted", 11, 1)]),
    Row("two logs merged, cut in", lambda k: [*k.good[:5], *k.twin[5:]], [("forked", 6, 6)]),
    Row(
        "two logs merged, line by line",
        lambda k: [line for pair in zip(k.good[:2], k.twin[:2], strict=True) for line in pair],
        [("restarted", 2, 1), ("forked", 3, 2), ("duplicated", 4, 2)],
    ),
    Row("gone on with after an old state", lambda k: k.good + k.after(k.good[:7], 8)[7:], [("duplicated", 11, 8)]),
    Row("put back to an old state, another end", lambda k: k.good[:7] + k.twin[7:], [("forked", 8, 8)]),
    Row("deleted, begun anew", lambda k: k.after([], 3) + k.good[3:], [("forked", 4, 4)]),
)


@pytest.mark.parametrize("kit", KITS.values(), ids=KITS)
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_tampering_with_lines_is_found_and_named(row: Row, kit: Kit) -> None:
    """Each way to tamper is reported as its kind, with the line and the number of the entry (S3.11, A21)."""
    expected = row.found if kit is KITS["one key"] or row.forward is None else row.forward
    assert breaks(row.lines(kit)) == expected


@pytest.mark.parametrize("kit", KITS.values(), ids=KITS)
def test_every_byte_is_signed(kit: Kit) -> None:
    """Whichever byte of an entry is changed, verify names its line first (A21)."""
    line = kit.good[4]
    for at in range(len(line)):
        for bit in (0x01, 0x20):
            changed = line[:at] + bytes([line[at] ^ bit]) + line[at + 1 :]
            (first, *rest) = breaks(kit.put(5, changed))
            assert first[1] == 5, (at, bit)
            assert not rest or rest == [("gap", 6, 6)], (at, bit)


FULL: Final = Event(
    code="core.allowed",
    id="00000000-0000-8000-8000-000000000001",
    time=NOW,
    category="decision",
    severity="warning",
    action="allowed",
    host="default",
    server="files",
    principal="host:default",
    source="local",
    method="tools/call",
    tool="read_file",
    exchange="a323a9e86144.7",
    digest="sha256:" + "5" * 64,
    sizes={"request": 243},
    rule="files/read_*",
    plugin="sieve",
    count=2,
    probe=True,
    details={"why": ["because", 1]},
)


def other_value(value: Any) -> Any:
    """Return a value of the same type that is not the same."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value[:-1] + ("x" if value[-1] != "x" else "y")
        case list():
            return value[:-1]
        case _:
            return {key: other_value(inner) for key, inner in value.items()}


@pytest.mark.parametrize("name", orjson.loads(render(FULL) + b"}"))
@pytest.mark.parametrize("how", ["changed", "removed", "emptied"])
def test_every_field_is_signed(name: str, how: str) -> None:
    """A field that is changed, removed or made null is found, whichever it is (S3.11)."""
    signer = Chain(KEY)
    line, _ = signer.seal(render(FULL), 1, GENESIS)
    assert breaks([line[:-1]]) == []
    value = orjson.loads(line)
    if how == "removed":
        del value[name]
    else:
        value[name] = other_value(value[name]) if how == "changed" else None
    assert breaks([orjson.dumps(value)]) == [("edited", 1, 1)]


INTEGRITY: Final = {"sequence": 2, "prev_hash": "hmac-sha256:" + "1" * 64, "key_id": "0" * 16, "entry_hash": "0" * 76}


@pytest.mark.parametrize("name", INTEGRITY)
@pytest.mark.parametrize("how", ["changed", "removed", "emptied"])
def test_every_part_of_the_integrity_is_signed(name: str, how: str) -> None:
    """So is every part of what ties an entry to the one before it (S3.11)."""
    value = orjson.loads(KITS["one key"].good[0])
    if how == "removed":
        del value["integrity"][name]
    else:
        value["integrity"][name] = INTEGRITY[name] if how == "changed" else None
    (found,) = breaks([orjson.dumps(value)])
    assert found[:2] in {("edited", 1), ("wrong_key", 1), ("unsigned", 1)}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"method": "SET", "tool": "a|b", "rule": "cli"}, {"method": "SET", "tool": "a", "rule": "b|cli"}),
        ({"tool": 'a","rule":"b', "rule": "c"}, {"tool": "a", "rule": "b"}),
        ({"tool": "a", "rule": ""}, {"tool": "", "rule": "a"}),
        ({"tool": "a\\", "rule": "b"}, {"tool": "a", "rule": "\\b"}),
        ({"tool": "a\n"}, {"tool": "a"}),
        ({"tool": "a\0b"}, {"tool": "ab"}),
    ],
)
def test_no_two_events_are_signed_alike(one: dict[str, str], two: dict[str, str]) -> None:
    """Fields whose texts run into one another when they are joined are different entries (V2)."""
    signer = Chain(KEY)
    lines = [signer.seal(render(event(1, **fields)), 1, GENESIS) for fields in (one, two)]
    assert lines[0][0] != lines[1][0]
    assert lines[0][1] != lines[1][1]
    assert all(line.count(b"\n") == 1 for line, _ in lines)
    assert orjson.loads(lines[0][0])["integrity"]["entry_hash"] != orjson.loads(lines[1][0])["integrity"]["entry_hash"]


LONG: Final = chain(1000)
PLACES: Final = (1, 2, 499, 500, 998, 999)
OPERATIONS: Final[dict[str, tuple[Callable[[Lines, int], None], str, int]]] = {
    "delete": (lambda lines, at: lines.__delitem__(at), "gap", 0),
    "duplicate": (lambda lines, at: lines.insert(at + 1, lines[at]), "duplicated", 1),
    "swap": (lambda lines, at: lines.__setitem__(slice(at - 1, at + 1), [lines[at], lines[at - 1]]), "gap", -1),
    "edit a byte": (lambda lines, at: lines.__setitem__(at, lines[at].replace(b"files", b"filez")), "edited", 0),
    "insert": (lambda lines, at: lines.insert(at, lines[at].replace(b"files", b"filez")), "inserted", 0),
    "blank": (lambda lines, at: lines.__setitem__(at, b""), "not_json", 0),
}


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_first_bad_record_of_a_thousand_is_named(name: str, at: int) -> None:
    """Wherever in a log of 1,000 entries one thing is done to it, the first break is its very line (A21)."""
    lines = list(LONG)
    act, kind, shift = OPERATIONS[name]
    act(lines, at)
    found = breaks(lines)
    if name == "delete" and at == len(LONG) - 1:
        assert found == []  # of a chain without its last entry, that is for the state: see the files below
        return
    assert found[0][:2] == (kind, at + 1 + shift)
    assert len(found) <= 3


# --- files ---

THREE: Final = Rotation(bytes=None, entries=3)


@final
class Files:
    """A log of four closed files and the one that is written, nineteen entries in all; another log of its key."""

    def __init__(self, folder: Path) -> None:
        self.log: Final = folder / "log" / "audit.jsonl"
        self.other: Final = folder / "other" / "audit.jsonl"
        write(self.log, range(11), THREE)
        write(self.other, range(100, 115), THREE)

    def file(self, number: int, *, of: Path | None = None) -> Path:
        """Return a file that was closed; the fifth is the one that is written."""
        log = of or self.log
        return log.with_name(f"{log.name}.{number}") if number < 5 else log

    def lines(self, number: int) -> Lines:
        """Return the lines of a file, each with its LF."""
        return self.file(number).read_bytes().splitlines(keepends=True)

    def delete(self, *numbers: int) -> None:
        """Delete files."""
        for number in numbers:
            self.file(number).unlink()

    def join(self, one: int, two: int) -> None:
        """Let a file be the beginning of another."""
        self.move(one, slice(None), two)
        self.delete(one)

    def move(self, number: int, which: slice, to: int) -> None:
        """Move some of the lines of a file to the end of one before it, or to the beginning of one after."""
        lines = self.lines(number)
        moved = b"".join(lines[which])
        del lines[which]
        self.file(number).write_bytes(b"".join(lines))
        there = self.file(to).read_bytes()
        self.file(to).write_bytes(moved + there if to > number else there + moved)

    def keep(self, number: int, which: slice) -> None:
        """Leave only some of the lines of a file."""
        self.file(number).write_bytes(b"".join(self.lines(number)[which]))

    def pack(self, number: int, change: Callable[[bytes], bytes]) -> None:
        """Compress a file, and change what is compressed."""
        packed = compress(self.file(number))
        packed.write_bytes(change(packed.read_bytes()))


def write(path: Path, numbers: Iterable[int], rotation: Rotation) -> None:
    """Write a log that is closed in peace."""

    def say(code: str, details: dict[str, Any]) -> bytes:
        return render(Event(code=code, id="x", time=NOW, details=details))

    with closing(Log.open(path, Chain(KEY), sync=True, rotator=Rotator(rotation, lambda: NOW, say))) as log:
        for number in numbers:
            log.append(render(event(number)))


def swap(one: Path, two: Path) -> None:
    """Let two files change their names."""
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def zipped(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: gzip.compress(change(gzip.decompress(data)))


class FileRow(NamedTuple):
    """One way to tamper with the files of a log."""

    name: str
    tamper: Callable[[Files], object]
    found: list[tuple[str, str, int, int]]
    """File, kind, line and number of each break that must be reported."""


FILE_ROWS: Final = (
    # the end: found by the state beside the log (V1, A17, A18)
    FileRow("delete the last entry", lambda f: f.keep(5, slice(-1)), [("audit.jsonl", "truncated", 0, 19)]),
    FileRow("cut off the end", lambda f: f.keep(5, slice(1)), [("audit.jsonl", "truncated", 0, 19)]),
    FileRow("empty the file that is written", lambda f: f.keep(5, slice(0)), [("audit.jsonl", "truncated", 0, 19)]),
    FileRow(
        "delete the file that is written",
        lambda f: f.delete(5),
        [("audit.jsonl", "missing", 0, 0), ("audit.jsonl", "truncated", 0, 19)],
    ),
    FileRow(
        "delete the file that is written, and put the one before in its place",
        lambda f: f.file(4).rename(f.file(5)),
        [("audit.jsonl", "truncated", 0, 19)],
    ),
    FileRow(
        "delete all files",
        lambda f: f.delete(1, 2, 3, 4, 5),
        [("audit.jsonl", "missing", 0, 0), ("audit.jsonl", "truncated", 0, 19)],
    ),
    # closed files (A22)
    FileRow("delete the oldest file", lambda f: f.delete(1), [("audit.jsonl.1", "missing", 0, 0)]),
    FileRow(
        "delete the two oldest",
        lambda f: f.delete(1, 2),
        [("audit.jsonl.1", "missing", 0, 0), ("audit.jsonl.2", "missing", 0, 0)],
    ),
    FileRow(
        "delete a file in the middle",
        lambda f: f.delete(2),
        [("audit.jsonl.2", "missing", 0, 0), ("audit.jsonl.3", "gap", 1, 9)],
    ),
    FileRow("delete the youngest closed file", lambda f: f.delete(4), [("audit.jsonl", "gap", 1, 17)]),
    FileRow(
        "swap two files",
        lambda f: swap(f.file(2), f.file(3)),
        [("audit.jsonl.2", "gap", 1, 9), ("audit.jsonl.3", "reordered", 1, 5)],
    ),
    FileRow(
        "swap a closed file and the one that is written",
        lambda f: swap(f.file(4), f.file(5)),
        [("audit.jsonl.4", "gap", 1, 17), ("audit.jsonl.4", "unclosed", 3, 19), ("audit.jsonl", "reordered", 1, 13)],
    ),
    FileRow(
        "copy a file over another",
        lambda f: shutil.copyfile(f.file(2), f.file(3)),
        [("audit.jsonl.3", "duplicated", 1, 5), ("audit.jsonl.4", "gap", 1, 13)],
    ),
    FileRow(
        "give a file another number",
        lambda f: f.file(3).rename(f.file(4).with_name("audit.jsonl.6")),
        [
            ("audit.jsonl.3", "missing", 0, 0),
            ("audit.jsonl.4", "gap", 1, 13),
            ("audit.jsonl.5", "missing", 0, 0),
            ("audit.jsonl.6", "reordered", 1, 9),
        ],
    ),
    FileRow(
        "join two files",
        lambda f: f.join(2, 3),
        [("audit.jsonl.2", "missing", 0, 0)],
    ),
    FileRow(
        "splice in a file of another log",
        lambda f: shutil.copyfile(f.file(3, of=f.other), f.file(3)),
        [("audit.jsonl.3", "forked", 1, 9), ("audit.jsonl.4", "forked", 1, 13)],
    ),
    FileRow(
        "splice in the end of another log",
        lambda f: shutil.copyfile(f.file(5, of=f.other), f.file(5)),
        [("audit.jsonl", "gap", 1, 25)],
    ),
    FileRow(
        "take off the entry that closes a file",
        lambda f: f.keep(2, slice(-1)),
        [("audit.jsonl.2", "unclosed", 3, 7), ("audit.jsonl.3", "gap", 1, 9)],
    ),
    FileRow(
        "take off the entry that begins a file", lambda f: f.keep(2, slice(1, None)), [("audit.jsonl.2", "gap", 1, 6)]
    ),
    FileRow(
        "empty a closed file",
        lambda f: f.keep(2, slice(0)),
        [("audit.jsonl.2", "unclosed", 0, 4), ("audit.jsonl.3", "gap", 1, 9)],
    ),
    FileRow(
        "cut a closed file in the middle of a line",
        lambda f: f.file(1).write_bytes(f.file(1).read_bytes()[:-10]),
        [("audit.jsonl.1", "torn", 4, 0), ("audit.jsonl.1", "unclosed", 3, 3), ("audit.jsonl.2", "gap", 1, 5)],
    ),
    FileRow(
        "move an entry over the border of two files",
        lambda f: f.move(3, slice(1), 2),
        [("audit.jsonl.2", "unclosed", 5, 9)],
    ),
    # compressed files
    FileRow(
        "cut off a compressed file",
        lambda f: f.pack(2, lambda data: data[:-20]),
        [("audit.jsonl.2.gz", "edited", 1, 0), ("audit.jsonl.3", "gap", 1, 9)],
    ),
    FileRow(
        "change the bytes of a compressed file",
        lambda f: f.pack(2, lambda data: data[:40] + bytes(9) + data[49:]),
        [("audit.jsonl.2.gz", "edited", 1, 0), ("audit.jsonl.3", "gap", 1, 9)],
    ),
    FileRow(
        "put something after what is compressed",
        lambda f: f.pack(2, lambda data: data + b"junk"),
        [("audit.jsonl.2.gz", "edited", 1, 0), ("audit.jsonl.3", "gap", 1, 9)],
    ),
    FileRow(
        "compress another line behind",
        lambda f: f.pack(2, lambda data: data + gzip.compress(b"x\n")),
        [("audit.jsonl.2.gz", "not_json", 5, 0)],
    ),
    FileRow(
        "change an entry and compress again",
        lambda f: f.pack(2, zipped(lambda data: data.replace(b"read_file", b"list_file", 1))),
        [("audit.jsonl.2.gz", "edited", 2, 6)],
    ),
    FileRow(
        "compress a file of another log",
        lambda f: f.pack(2, lambda data: gzip.compress(f.file(2, of=f.other).read_bytes())),
        [("audit.jsonl.2.gz", "forked", 1, 5), ("audit.jsonl.3", "forked", 1, 9)],
    ),
    # siblings
    FileRow(
        "copy a log to be a sibling",
        lambda f: shutil.copyfile(f.file(1), f.log.with_name("audit.1.jsonl")),
        [("audit.1.jsonl", "copied", 1, 1)],
    ),
    FileRow(
        "have a sibling lost",
        lambda f: shutil.copyfile(f.file(5, of=f.other), f.log.with_name("audit.2.jsonl")),
        [("audit.1.jsonl", "missing", 0, 0), ("audit.2.jsonl", "gap", 1, 25)],
    ),
)


@pytest.mark.parametrize("row", FILE_ROWS, ids=[row.name for row in FILE_ROWS])
def test_tampering_with_files_is_found_and_named(row: FileRow, tmp_path: Path) -> None:
    """Each way to tamper is reported as its kind, with file, line and number (S2.38, S3.5, S3.11, A17, A22)."""
    files = Files(tmp_path)
    assert verify([files.log], KEY).status == 0
    row.tamper(files)
    report = verify([files.log], KEY)
    assert [(Path(one.file).name, one.kind, one.line, one.sequence) for one in report.breaks] == row.found
    assert report.status == 1


@pytest.mark.parametrize("put_back", [False, True], ids=["closed files stay", "the last file is put in its place"])
@pytest.mark.parametrize("count", range(1, 20))
def test_end_of_any_length_is_missed(tmp_path: Path, count: int, put_back: bool) -> None:
    """However many entries are cut off from the end, over files, verify says how many there were (V1, A17)."""
    files, left = Files(tmp_path), count
    for number in range(5, 0, -1):
        lines = files.lines(number)
        kept, left = lines[: max(0, len(lines) - left)], max(0, left - len(lines))
        files.file(number).write_bytes(b"".join(kept))
        if kept:
            if put_back and number < 5:
                files.file(number).rename(files.file(5))
            break
        files.delete(number)
    report = verify([files.log], KEY)
    assert report.status == 1
    assert ("truncated", 19) in [(one.kind, one.sequence) for one in report.breaks]


def test_other_log_in_place_of_a_shorter_one_is_found(tmp_path: Path) -> None:
    """A log that was replaced, whole, by a longer one of the same key is another one than its state describes (A18)."""
    files = Files(tmp_path)
    shutil.copytree(files.other.parent, files.log.parent, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.chain"))
    assert verify([files.log], KEY).status == 1


@pytest.mark.parametrize("damage", [b"x" * 512, b"{}", None])
def test_state_that_cannot_be_believed_is_told(tmp_path: Path, damage: bytes | None) -> None:
    """Who cuts the end off and damages the state, or puts another log's there, is told of (A17)."""
    files = Files(tmp_path)
    files.keep(5, slice(-1))
    state = state_path(files.log)
    state.write_bytes(damage if damage is not None else keyed_state(tmp_path, OTHER_KEY))
    assert [(one.kind, one.line) for one in verify([files.log], KEY).breaks] == [("unsigned_state", 0)]


def keyed_state(folder: Path, key: bytes) -> bytes:
    """Return a state that another key signed."""
    path = folder / "foreign" / "audit.jsonl"
    with closing(Log.open(path, Chain(key), sync=True)) as log:
        log.append(render(event()))
    return state_path(path).read_bytes()
