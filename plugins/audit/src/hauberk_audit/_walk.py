"""One log, line by line: each place where it is not what its writer wrote.

The rules:

1. A log is whole if each line is signed, has the number after the line before it, and names that line's hash, from
   number 1 and 64 zeros on. Whatever else there is, is a break. There is nothing that is skipped.
2. A line is read once, and memory does not grow with the log. Lines in a row that are wrong in one way are one break.
3. Each file but the last ends with the entry that closes it.

The kinds of breaks:

- ``edited``: the line is not what was signed. ``inserted``: the same, and the chain is whole without it.
- ``unsigned``: it has no integrity. ``not_json``: it is no JSON. ``wrong_key``: it names another key.
- ``gap``: entries before it are missing. ``reordered``: it is one of those that were missing before.
- ``duplicated``: an entry of its number stands before it. ``restarted``: it begins a new chain.
- ``forked``: it has the right number and follows another entry.
- ``torn``: the last line has no LF.
- ``missing``: a file is gone, and one with a higher number is there. ``copied``: two logs are one chain.
- ``truncated``: the state beside the log says that there were more entries.
- ``unclosed``: a file ends without the entry that closes it, and another one follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, final

import msgspec
import orjson

from hauberk_audit._bounds import BOUNDS
from hauberk_audit._chain import GENESIS, Chain, Entry
from hauberk_audit._rotation import closes

Kind = Literal[
    "edited",
    "inserted",
    "unsigned",
    "not_json",
    "wrong_key",
    "gap",
    "reordered",
    "duplicated",
    "restarted",
    "forked",
    "torn",
    "missing",
    "copied",
    "unclosed",
    "truncated",
]

_MEMORY: Final = 1024
"""Gaps, and runs of wrong lines, that a walk remembers."""


class Break(msgspec.Struct, frozen=True):
    """One place where a log is not whole."""

    kind: Kind
    line: int
    """From 1; 0 where it is the log as a whole."""
    detail: str
    sequence: int = 0
    """The number that the line names, or that it should have; 0 where none is known."""
    lines: int = 1
    """How many lines in a row."""
    file: str = ""


@final
class Walk:
    """One log, line by line; it does no I/O."""

    def __init__(self, chain: Chain) -> None:
        self.entries = 0
        """Lines that are signed."""
        self.line = 0
        """Lines read of a file."""
        self.lines = 0
        """Lines of the last file that was read to its end."""
        self.state_key: Final = chain.state_key
        self.first = b""
        """The hash of the first signed line."""
        self.last = b""
        """The last line that is in its place."""
        self._chain: Final = chain
        self._next = 1
        self._hash = GENESIS
        self._wrong: list[Break] = []
        self._wrong_lines = 0
        self._gaps: Final[deque[range]] = deque(maxlen=_MEMORY)
        self._aside: tuple[int, int, bytes] | None = None
        """Line, number and hash of an entry out of its place."""

    def feed(self, lines: Iterable[bytes]) -> Iterator[Break]:
        """Take lines without their LF, and yield breaks as they become clear."""
        follow = self._chain.follow
        for line in lines:
            self.line += 1
            digest = follow(line, self._next, self._hash)
            if digest is None:
                yield from self._out_of_place(line)
            else:
                if self._wrong:
                    yield from self._flush(inserted=True)
                self.entries += 1
                self._next += 1
                self._hash, self.last = digest, line
                if not self.first:
                    self.first = digest

    def turn(self) -> Iterator[Break]:
        """Go on with the next file; yield what is left to say of this one."""
        yield from self._flush()
        if not closes(self.last):
            yield Break("unclosed", self.line, "it is not closed, and another file follows it", self._next - 1)
        self.line, self._aside = 0, None

    def finish(self, *, torn: bool = False) -> Iterator[Break]:
        """Yield what is left to say at the end, where a line without LF may stand."""
        yield from self._flush()
        if torn:
            yield Break(
                "torn", self.line + 1, "it has no end: its writer was stopped in the middle of it, or it was cut"
            )

    @property
    def sequence(self) -> int:
        """The number of the last entry in its place."""
        return self._next - 1

    def _out_of_place(self, line: bytes) -> Iterator[Break]:
        entry = self._chain.read(line)
        if entry is None:
            yield from self._note_wrong(*_malformed(line), 0)
        elif entry.key_id != self._chain.key_id:
            detail = f"it names key {entry.key_id.decode()}, and this is {self._chain.key_id.decode()}"
            yield from self._note_wrong("wrong_key", detail, entry.sequence)
        elif not entry.signed:
            yield from self._note_wrong("edited", "it is not what was signed", entry.sequence)
        else:
            self.entries += 1
            yield from self._place(entry, line)

    def _note_wrong(self, kind: Kind, detail: str, sequence: int) -> Iterator[Break]:
        """Hold back a wrong line: the next entry tells whether it stands in for another one."""
        self._wrong_lines += 1
        last = self._wrong[-1] if self._wrong else None
        if last is not None and (last.kind, last.detail, last.line + last.lines) == (kind, detail, self.line):
            self._wrong[-1] = msgspec.structs.replace(last, lines=last.lines + 1)
            return
        if len(self._wrong) >= _MEMORY:
            yield self._wrong.pop(0)
        self._wrong.append(Break(kind, self.line, detail, sequence))

    def _flush(self, *, inserted: bool = False) -> Iterator[Break]:
        for wrong in self._wrong:
            if inserted and wrong.kind == "edited":
                detail = "it is not signed, and the entries around it follow one another"
                yield msgspec.structs.replace(wrong, kind="inserted", detail=detail)
            else:
                yield wrong
        self._wrong.clear()
        self._wrong_lines = 0

    def _place(self, entry: Entry, line: bytes) -> Iterator[Break]:
        """Say what is wrong with the place of a signed entry, and go on from it."""
        wrong = self._wrong_lines
        linked = (entry.sequence, entry.prev_hash) == (self._next, self._hash)
        yield from self._flush(inserted=linked)
        if not linked and self._aside != (self.line - 1, entry.sequence - 1, entry.prev_hash):
            found = self._misplaced(entry, wrong)
            if found is not None:
                yield Break(found[0], self.line, found[1], entry.sequence)
        if linked or entry.sequence >= self._next or _begins(entry):
            self._next, self._hash = entry.sequence + 1, entry.hash
            self.last = line
        self._aside = (self.line, entry.sequence, entry.hash)
        self.first = self.first or entry.hash

    def _misplaced(self, entry: Entry, wrong: int) -> tuple[Kind, str] | None:
        """Return what is wrong, if wrong lines before the entry do not say it already."""
        sequence = entry.sequence
        missing = sequence - self._next
        if _begins(entry):
            self._gaps.clear()
            return "restarted", f"a new chain begins here, after entry {self._next - 1}"
        if missing > 0:
            self._gaps.append(range(self._next, sequence))
            if missing <= wrong:
                return None
            which = f"{self._next} to {sequence - 1}" if missing > 1 else f"{self._next}"
            count = f" ({missing - wrong} of them)" if wrong else ""
            return "gap", f"{'entries' if missing > 1 else 'entry'} {which}{count} should stand before it"
        if missing == 0:
            return "forked", "it follows another entry than the one before it"
        if any(sequence in gap for gap in self._gaps):
            return "reordered", f"it stands after entry {self._next - 1}"
        return "duplicated", f"an entry of this number stands before it, and so does entry {self._next - 1}"


def _begins(entry: Entry) -> bool:
    return entry.sequence == 1 and entry.prev_hash == GENESIS


def _malformed(line: bytes) -> tuple[Kind, str]:
    """Return what a line is that does not end as an entry does."""
    if len(line) > BOUNDS.line:
        return "not_json", f"it is longer than {BOUNDS.line} bytes"
    try:
        value: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return "not_json", "it is no JSON"
    integrity = value.get("integrity") if isinstance(value, dict) else None
    if isinstance(integrity, dict) and "entry_hash" in integrity:
        return "edited", "it is not what was signed"
    return "unsigned", "it has no integrity"
