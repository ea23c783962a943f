"""Logs that are verified in part: of which the first files were let go, or without their key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, final

from hauberk_audit.checkpoints._pruned import says
from hauberk_audit.verifying._walk import Break, Walk
from hauberk_audit.writing._chain import Entry
from hauberk_audit.writing._rotation import closes


@final
class Claim:
    """That the first files of a log were let go: what its first line says, and whether an entry says so, too."""

    def __init__(self, walk: Walk | Count) -> None:
        self.before = 0
        """How many entries are missing."""
        self.hash = ""
        """The hash of the last of them, as the first line says."""
        self.said = 0
        """The number of the entry that says so."""
        self._walk: Final = walk

    def through(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on lines, without their LF, and look for the entry: one that is signed and in its place."""
        for line in lines:
            at = self._walk.sequence
            yield line
            named = says(line)
            in_place = self._walk.last is line and self._walk.sequence == at + 1
            if named is not None and in_place and self._is_covered(*named):
                self.said = self._walk.sequence

    def _is_covered(self, sequence: int, digest: str) -> bool:
        """Whether what was to go is all that is missing, or more: a crash leaves files that were to go."""
        return sequence > self.before or (sequence, digest) == (self.before, self.hash)


@final
class Count:
    """Stands for a walk where the key of the log is not at hand: what is not in a checkpoint is not looked at."""

    def __init__(self) -> None:
        self.entries = 0
        self.line = 0
        self.lines = 0
        self.first = b""
        """The first line."""
        self.last = b""
        """The last line."""
        self.mark = 0
        self.marked = b""
        self.sequence = 0
        """The number of the last line."""

    def begin(self, entry: Entry) -> None:
        """Begin in the midst of a chain."""
        self.sequence = entry.sequence - 1

    def feed(self, lines: Iterable[bytes]) -> Iterator[Break]:
        """Take the lines of a file without their LF."""
        self.line = 0
        for line in lines:
            self.line += 1
            self.first = self.first or line
            self.last = line
        self.entries += self.line
        self.sequence += self.line
        return iter(())

    def turn(self) -> Iterator[Break]:
        """Go on with the next file."""
        if not self.line or not closes(self.last):
            yield Break("unclosed", self.line, "it is not closed, and another file follows it", self.sequence)

    def finish(self, *, torn: bool = False) -> Iterator[Break]:
        """Yield what is wrong with the end of a file."""
        if torn:
            yield Break("torn", self.line + 1, "it has no end")
