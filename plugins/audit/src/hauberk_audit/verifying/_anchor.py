"""Compare logs with the checkpoints that were made of them: what was signed elsewhere must still be there.

The rules:

1. A checkpoint counts if a key that is trusted signed it. What is none, or is signed by nobody who is trusted, is a
   break of the file that it stands in.
2. A checkpoint is about the log that begins with the line that it names. As the lines of that log are read, the tree of
   them grows, and at each size of which there is a checkpoint its root must be the one that was signed.
3. A log that has fewer entries than a checkpoint of it lost some. One of which there are checkpoints and that is not
   among those that are read is missing.
4. A log of which files were let go is read from its cut on, if the cut is signed with a key of its checkpoints. A
   witness signs for many, so its signature counts with their origin. A cut counts only where its files are gone: what
   begins with entry 1 is compared from there, whatever stands beside it. Of files that a crash left before the cut the
   entries must lead to it, and are covered by nothing.
5. What stands behind the last checkpoint is covered by none. How many entries that are is said, and no more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, final

from hauberk.refusals import ConfigError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import rfc3339
from hauberk_audit.checkpoints import _note
from hauberk_audit.checkpoints._checkpoint import Checkpoint, Cut, Found, chain_of, notes_in
from hauberk_audit.checkpoints._note import NoteError, Verifier
from hauberk_audit.checkpoints._tree import Tree, leaf_hash
from hauberk_audit.verifying._heads import seconds
from hauberk_audit.verifying._leftover import Leftover, cut_note
from hauberk_audit.verifying._walk import Break
from hauberk_audit.writing._chain import Entry, read

_POINT: Final = struct.Struct(">Q32sd")
Maker = tuple[str, bytes, str]
"""The name and the number of a key that signed, and for a witness, which signs for many, the origin."""
Add = Callable[[Break, Path], None]
"""Takes a break, and the file that it is in."""


class Point(NamedTuple):
    """What a checkpoint says."""

    size: int
    root: bytes
    made: float
    """Seconds since 1970; 0 where it does not say."""

    @property
    def when(self) -> str:
        """When it was made, as a text."""
        return f"of {rfc3339(self.made)}" if self.made else "without a time"


class _Chain(NamedTuple):
    """The checkpoints of one chain, packed: there may be millions."""

    origin: str
    file: Path
    """Where the first of them was found."""
    points: set[bytes]
    makers: set[Maker]


@final
class Anchor:
    """Checkpoints that are trusted, and what became of the logs that they are about."""

    def __init__(self, trusted: Sequence[Verifier]) -> None:
        """Take the keys that are trusted."""
        self.trusted: Final = tuple(trusted)
        self.count = 0
        """Checkpoints that are trusted."""
        self.covered = 0
        """Entries up to the last checkpoint of each log."""
        self.newest = 0.0
        """When the newest checkpoint was made that a log bears out (seconds since 1970)."""
        self.uncovered: Final[list[str]] = []
        """Logs of which there is no checkpoint."""
        self._chains: Final[dict[str, _Chain]] = {}
        self._seen: Final[set[str]] = set()

    def load(self, path: Path, lines: Iterable[bytes], add: Add) -> None:
        """Take in the checkpoints of a file, given by its lines without their LF.

        Raises:
            ConfigError: There are more than anybody can have made.
        """
        for found in notes_in(lines):
            try:
                self._take(path, found)
            except NoteError as error:
                add(Break("unsigned_checkpoint", found.line, str(error)), path)
            if self.count > BOUNDS.checkpoints:
                raise ConfigError(f"{str(path)!r} has more than {BOUNDS.checkpoints} checkpoints")

    def _take(self, path: Path, found: Found) -> None:
        if found.fault:
            raise NoteError(found.fault)
        made, makers = self._opened(found.data)
        chain = self._chains.setdefault(made.chain, _Chain(made.origin, path, set(), set()))
        chain.makers.update(makers)
        point = _POINT.pack(made.size, made.root, seconds(made.time))
        self.count += point not in chain.points
        chain.points.add(point)

    def cut(self, data: bytes) -> Cut:
        """Return a cut that is signed as the checkpoints of its chain are.

        Raises:
            NoteError: It is none.
        """
        made, makers = self._opened(data)
        chain = self._chains.get(made.chain)
        if chain is not None and not chain.makers & makers:
            raise NoteError("it is not signed with the key of its checkpoints")
        return Cut.of(made)

    def _opened(self, data: bytes) -> tuple[Checkpoint, set[Maker]]:
        """Return a checkpoint that a trusted key signed, and who made it."""
        note = _note.parse(data)
        keys = _note.check_signed(note, self.trusted)
        made = Checkpoint.parse(note.text)
        return made, {(key.name, key.number, made.origin if key.kind == _note.WITNESS else "") for key in keys}

    def of(self, path: Path) -> Anchored:
        """Return what compares one log."""
        return Anchored(self, path)

    def points(self, chain: str) -> list[bytes]:
        """Return the checkpoints of a chain, packed, the smallest first; it is not missing then."""
        self._seen.add(chain)
        found = self._chains.get(chain)
        return [] if found is None else sorted(found.points)

    def missing(self, add: Add) -> None:
        """Say which chains are not among the logs that were read."""
        for name, chain in self._chains.items():
            if name not in self._seen:
                last = _unpacked(max(chain.points))
                detail = f"{chain.origin!r} (chain {name or 'without a name'}) is none of these logs: a checkpoint"
                add(Break("missing", 0, f"{detail} {last.when} has {last.size} entries", last.size), chain.file)


@final
class Anchored:
    """One log, as it is read."""

    def __init__(self, anchor: Anchor, path: Path) -> None:
        self.fault = ""
        """Why it cannot be compared."""
        self._anchor: Final = anchor
        self._path: Final = path
        self._points: list[bytes] = []
        """Those of the log."""
        self._at = 0
        """Which of them is next."""
        self._next = -1
        """Its size."""
        self._good = Point(0, b"", 0.0)
        """The last one that the log bears out."""
        self._wrong: list[Point] = []
        """Those after it that it does not."""
        self._found: Final[list[Break]] = []
        self._begun = False
        self._doubt = ""
        """Why the cut cannot be believed."""
        self._cut = self._trusted_cut()
        self._left: Leftover | None = None
        """What stands before the cut."""
        self._base = 0
        """How many entries are gone."""
        self._tree = Tree()

    @property
    def let_go(self) -> int:
        """The number of the last entry that was let go by who had the key; 0 if none was."""
        return 0 if self.fault else self._base

    def through(self, lines: Iterable[bytes], number: int = 1) -> Iterator[bytes]:
        """Pass on the lines of a file of a number, without their LF, and compare."""
        push, tree = self._tree.push, self._tree
        for line in lines:
            if not self._begun:
                self._begin(line, number)
                push, tree = self._tree.push, self._tree
            if self._left is not None and self._left.entries:
                self._left.take(line)
            else:
                push(leaf_hash(line))
                if tree.size == self._next:
                    self._compare()
            yield line

    def end(self) -> list[Break]:
        """Return what is wrong with the log; call it once, at its end."""
        self._tell()
        if self._left is not None:
            self.fault = self.fault or self._left.end()
        size, lost = self._tree.size, len(self._points) - self._at
        if lost:
            last, more = _unpacked(self._points[-1]), f" (and {lost - 1} more)" if lost > 1 else ""
            detail = f"it has {size} entries, and a checkpoint {last.when} has {last.size}{more}"
            self._found.append(Break("truncated", 0, detail, last.size))
        if self.fault:
            self._found.append(Break("missing", 0, self.fault))
        self._anchor.covered += max(self._good.size - self._base, 0)
        self._anchor.newest = max(self._anchor.newest, self._good.made)
        if size and not self._good.size:
            self._anchor.uncovered.append(str(self._path))
        return self._found

    def _trusted_cut(self) -> Cut | None:
        try:
            data = cut_note(self._path)
            return None if data is None else self._anchor.cut(data)
        except (NoteError, ConfigError) as error:
            self._doubt = f"it begins with a cut that nobody vouches for: {error}"
            return None

    def _begin(self, line: bytes, number: int) -> None:
        """Begin with the first line that is there, in a file of a number."""
        self._begun = True
        entry = read(line)
        chain = chain_of(line)
        if entry is not None and entry.sequence > 1:
            chain = self._begin_late(entry, number)
        self._points = self._anchor.points(chain) if chain else []
        while self._at < len(self._points) and self._point().size < self._tree.size:
            self._at += 1  # of what was signed before the cut nothing is left to be compared
        self._next = self._point().size if self._at < len(self._points) else -1
        if self._next == self._tree.size:
            self._compare()

    def _begin_late(self, entry: Entry, number: int) -> str:
        """Begin after a cut; return the chain that it is of, or nothing if that cannot be believed."""
        cut = self._cut
        if cut is None:
            nothing = f"it begins with entry {entry.sequence}, so it cannot be compared with its checkpoints"
            self.fault = self._doubt or nothing
            return ""
        self._left = Leftover(cut, entry, number)
        self.fault = self._left.fault
        if self.fault:
            return ""
        self._base, self._tree = cut.size, Tree(cut.size, cut.peaks)
        return cut.chain

    def _point(self) -> Point:
        return _unpacked(self._points[self._at])

    def _compare(self) -> None:
        """Compare the log with the checkpoints of its size."""
        root, wrong, good = self._tree.root(), [], None
        while self._at < len(self._points) and (point := self._point()).size == self._tree.size:
            self._at += 1
            if point.root == root:
                good = point
            else:
                wrong.append(point)
        self._next = self._point().size if self._at < len(self._points) else -1
        if good is None:
            self._wrong += wrong
            return
        self._tell()
        self._good = good
        for other in wrong:
            detail = f"a checkpoint {other.when} has another log of {other.size} entries: it was forked"
            self._found.append(Break("rewritten", 0, detail, other.size))

    def _tell(self) -> None:
        """Say which checkpoints the log did not bear out."""
        if self._wrong:
            first, more = self._wrong[0], f" (and {len(self._wrong) - 1} more)" if len(self._wrong) > 1 else ""
            which = f"entries {max(self._good.size, self._base) + 1} to {first.size} are not what"
            self._found.append(Break("rewritten", 0, f"{which} a checkpoint {first.when} says{more}", first.size))
            self._wrong = []


def _unpacked(point: bytes) -> Point:
    return Point(*_POINT.unpack(point))
