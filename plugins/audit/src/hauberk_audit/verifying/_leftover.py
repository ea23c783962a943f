"""How a log begins of which files were let go: at its cut, or with what a crash left before that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, final

from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import pruned_path
from hauberk_audit.checkpoints._checkpoint import Cut
from hauberk_audit.verifying._lines import open_log
from hauberk_audit.writing._chain import Entry, read


def cut_note(path: Path) -> bytes | None:
    """Return the note beside a log that says where it begins, or None if there is none.

    Raises:
        ConfigError: It cannot be read.
    """
    name = pruned_path(path)
    if not os.path.lexists(name):
        return None
    with os.fdopen(open_log(name), "rb") as file:
        return file.read(BOUNDS.note)


@final
class Leftover:
    """The entries before a cut that are still there: they went the oldest first, so the rest leads to the cut."""

    def __init__(self, cut: Cut, first: Entry, number: int) -> None:
        """Take the first entry of the log that is there, after number 1, and the number of its file."""
        self.entries = max(cut.size + 1 - first.sequence, 0)
        """How many of them are to come."""
        self.fault = ""
        """Why the log does not begin as its cut says."""
        self._cut: Final = cut
        self._hash = first.prev_hash
        """Of the entry before the next one."""
        in_place = 1 < number <= cut.file if self.entries else number == cut.file + 1
        if first.sequence > cut.size + 1:
            self.fault = f"it begins with entry {first.sequence}, and its cut is after entry {cut.size}"
        elif not in_place:
            self.fault = f"its cut is after file {cut.file}, and its file {number} begins with entry {first.sequence}"
        elif not self.entries and first.prev_hash.decode() != cut.hash:
            self.fault = f"its entry {first.sequence} follows another entry than the last one of its cut"

    def take(self, line: bytes) -> None:
        """Take the next line before the cut."""
        entry, sequence = read(line), self._cut.size + 1 - self.entries
        self.entries -= 1
        if entry is None or (entry.sequence, entry.prev_hash) != (sequence, self._hash):
            self.fault = self.fault or f"what stands before its cut is not entry {sequence}"
        elif not self.entries and entry.hash.decode() != self._cut.hash:
            self.fault = self.fault or f"its entry {sequence} is another one than the last one of its cut"
        self._hash = b"" if entry is None else entry.hash

    def end(self) -> str:
        """Return why the log does not begin as its cut says, or nothing; call it at the end of the log."""
        return self.fault or (f"it ends before its cut, which is after entry {self._cut.size}" if self.entries else "")
