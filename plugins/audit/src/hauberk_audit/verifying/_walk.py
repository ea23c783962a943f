"""One log, line by line: each place where it is not what its writer wrote.

The rules:

1. A log is whole if each line is signed, has the number after the line before it, and names that line's hash, from
   number 1 and 64 zeros on. Whatever else there is, is a break. There is nothing that is skipped.
2. A line is read once, and memory does not grow with the log. Lines in a row that are wrong in one way are one break.
3. Each file but the last ends with the entry that closes it.
4. Where the key goes forward, a chain begins with the first rung and leaves none out.

The kinds of breaks:

- ``edited``: the line is not what was signed. ``inserted``: the same, and the chain is whole without it.
- ``unsigned``: it has no integrity. ``not_json``: it is no JSON. ``wrong_key``: it names another key.
- ``gap``: entries before it are missing. ``reordered``: it is one of those that were missing before.
- ``duplicated``: an entry of its number stands before it. ``restarted``: it begins a new chain.
- ``forked``: it has the right number and follows another entry.
- ``skipped``: it is in its place and signed with a later rung than it can be: with what was left of the key when the
  entries that stood there were cut off.
- ``torn``: the last line has no LF.
- ``missing``: a file is gone, and one with a higher number is there. ``copied``: two logs are one chain.
- ``truncated``: the state beside the log, or a checkpoint of it, says that there were more entries.
- ``unclosed``: a file ends without the entry that closes it, and another one follows.
- ``rewritten``: the log has another entry than its state says, or others than when a checkpoint was made of it.
- ``unsigned_checkpoint``: it is none, or nobody signed it who is trusted (`verifying._anchor`).
- ``unsigned_state``: the state beside the log cannot be believed, so nothing says whether its end is there.
- ``silent``: nothing was written for longer than was asked for (`verifying._silence`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, final

import msgspec
import orjson

from hauberk_audit._bounds import BOUNDS
from hauberk_audit.writing._chain import GENESIS, Chain, Entry, read
from hauberk_audit.writing._ratchet import Ladder, named
from hauberk_audit.writing._rotation import closes

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
    "skipped",
    "torn",
    "missing",
    "copied",
    "unclosed",
    "truncated",
    "rewritten",
    "unsigned_state",
    "unsigned_checkpoint",
    "silent",
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

    def __init__(self, ladder: Ladder) -> None:
        self.entries = 0
        """Lines that are signed."""
        self.line = 0
        """Lines read of a file."""
        self.lines = 0
        """Lines of the last file that was read to its end."""
        self.first = b""
        """The hash of the first signed line."""
        self.last = b""
        """The last line that is in its place."""
        self.mark = 0
        """The number of an entry whose hash is asked for."""
        self.marked = b""
        """Its hash."""
        self._ladder: Final = ladder
        self._chain: Chain = ladder.plain
        """What signed the last entry."""
        self._next = 1
        self._hash = GENESIS
        self._wrong: list[Break] = []
        self._wrong_lines = 0
        self._gaps: Final[deque[range]] = deque(maxlen=_MEMORY)
        self._aside: tuple[int, int, bytes] | None = None
        """Line, number and hash of an entry out of its place."""
        self._turned = False
        """Whether another key signs from here on."""

    def begin(self, entry: Entry) -> None:
        """Begin with an entry in the midst of a chain, with the key that it names: the files before it were let go."""
        self._next, self._hash = entry.sequence, entry.prev_hash
        self._chain = self._ladder.enter(entry.key_id, entry.sequence) or self._chain

    def feed(self, lines: Iterable[bytes]) -> Iterator[Break]:
        """Take lines without their LF, and yield breaks as they become clear."""
        follow, mark = self._chain.follow, self.mark
        for line in lines:
            self.line += 1
            digest = follow(line, self._next, self._hash) or self._climb(line)
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
                if self._next - 1 == mark:
                    self.marked = digest
            if self._turned:
                follow, self._turned = self._chain.follow, False

    def turn(self) -> Iterator[Break]:
        """Go on with the next file; yield what is left to say of this one."""
        yield from self._flush()
        if not self.line or not closes(self.last):
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

    def _climb(self, line: bytes) -> bytes | None:
        """Return the hash of a line in its place that is signed with the next rung, or None."""
        entry = read(line)
        if entry is None or not self._may_follow(entry.key_id):
            return None
        signer = self._ladder.signer(entry.key_id)
        digest = None if signer is None else signer.follow(line, self._next, self._hash)
        if signer is not None and digest is not None:
            self._go_on_with(signer)
        return digest

    def _may_follow(self, key_id: bytes) -> bool:
        """Whether a key is that of the next rung."""
        name, last = named(key_id), named(self._chain.key_id)
        if name is None or self._next == 1:
            return name is not None and name.step == 1
        return last is not None and name == last._replace(step=last.step + 1)

    def _go_on_with(self, signer: Chain) -> None:
        self._chain, self._turned = signer, True

    def _out_of_place(self, line: bytes) -> Iterator[Break]:
        entry = read(line)
        if entry is None:
            yield from self._note_wrong(*_malformed(line), 0)
            return
        signer = self._ladder.signer(entry.key_id)
        if signer is None:
            yield from self._note_wrong("wrong_key", self._foreign(entry.key_id.decode()), entry.sequence)
        elif not signer.signed(line):
            yield from self._note_wrong("edited", "it is not what was signed", entry.sequence)
        else:
            self.entries += 1
            yield from self._place(entry, line, signer)

    def _foreign(self, name: str) -> str:
        """Say which key a line names; its rung only where that is the wrong one, so that a run of them is one break."""
        mine, theirs = self._ladder.plain.key_id.decode(), name.partition(".")[0]
        return f"it names key {name if theirs == mine else theirs}, and this is {mine}"

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

    def _place(self, entry: Entry, line: bytes, signer: Chain) -> Iterator[Break]:
        """Say what is wrong with the place of a signed entry, and go on from it."""
        wrong = self._wrong_lines
        linked = (entry.sequence, entry.prev_hash) == (self._next, self._hash)
        yield from self._flush(inserted=linked)
        if linked and signer.key_id != self._chain.key_id and not self._may_follow(entry.key_id):
            yield Break("skipped", self.line, self._skipped(entry.key_id), entry.sequence)
        if not linked and self._aside != (self.line - 1, entry.sequence - 1, entry.prev_hash):
            found = self._misplaced(entry, wrong)
            if found is not None:
                yield Break(found[0], self.line, found[1], entry.sequence)
        if linked or entry.sequence >= self._next or _begins(entry):
            self._next, self._hash = entry.sequence + 1, entry.hash
            self.marked = entry.hash if entry.sequence == self.mark else self.marked
            self._go_on_with(signer)
            self.last = line
        self._aside = (self.line, entry.sequence, entry.hash)
        self.first = self.first or entry.hash

    def _skipped(self, key_id: bytes) -> str:
        before = self._chain.key_id.decode() if self._next > 1 else "nothing"
        return f"it is signed with key {key_id.decode()}, after {before}"

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
