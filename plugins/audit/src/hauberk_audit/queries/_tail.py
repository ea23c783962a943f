"""What is added to logs while somebody looks.

The rules:

1. Each entry is given once, in the order of its log, also over the end of a file and its compression. A log that
   appears is given from its beginning.
2. A log that was put away, and begun anew, is followed from its new beginning.
3. Between two looks nothing is done. A look costs what was added, and a few files that are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, final

from hauberk_audit.queries._parts import Part
from hauberk_audit.queries._reading import Found, Reader, merged

INTERVAL: Final = 0.5
"""Seconds between two looks."""


class _Cursor(NamedTuple):
    """How far a log was read."""

    number: int = 0
    inode: int = 0
    offset: int = 0


@final
class Follower:
    """Follows logs."""

    def __init__(self, readers: Callable[[], list[Reader]]) -> None:
        """Take what returns the readers of the logs that there are now."""
        self.skipped = 0
        """Lines that are no entries, of those that were added."""
        self._readers: Final = readers
        self._cursors: Final[dict[Path, _Cursor]] = {}

    def skip(self) -> None:
        """Go to the end of what there is."""
        for reader in self._readers():
            for number in reversed(reader.numbers()):
                part = reader.part(number)
                if part is not None:
                    with part:
                        self._cursors[reader.log] = _Cursor(number, part.inode, _end(part))
                    break

    def is_new(self, found: Found) -> bool:
        """Whether an entry is still to come, or has come, from `added`."""
        cursor = self._cursors.get(found.log, _Cursor())
        return (found.number, found.offset) >= (cursor.number, cursor.offset)

    def added(self) -> Iterator[Found]:
        """Yield what was added since the last time.

        Raises:
            ConfigError: A log cannot be read.
        """
        yield from merged([self._added(reader) for reader in self._readers()])

    def _added(self, reader: Reader) -> Iterator[Found]:
        cursor = self._cursors.get(reader.log, _Cursor())
        if self._is_another(reader, cursor):
            cursor = _Cursor()
        for part in reader.parts(cursor.number):
            inode = part.inode
            for offset, raw in part.lines(cursor.offset if part.number == cursor.number else 0):
                found = reader.found(part, 0, offset, raw)
                if found is not None:
                    yield found
                self.skipped += found is None
            self._cursors[reader.log] = _Cursor(part.number, inode, part.end)

    @staticmethod
    def _is_another(reader: Reader, cursor: _Cursor) -> bool:
        """Whether another log stands there now."""
        if cursor.number > reader.numbers()[-1]:
            return True
        part = reader.part(cursor.number) if cursor.number else None
        if part is None:
            return False
        with part:
            packed = part.path.suffix == ".gz"  # a compressed file is another one, with the same entries
            return not packed and (part.inode != cursor.inode or part.size < cursor.offset)


def _end(part: Part) -> int:
    """Return the offset after the last line."""
    for offset, _ in part.back():
        for _ in part.lines(offset):
            pass
        return part.end
    return 0
