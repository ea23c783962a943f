"""When a file of a log is full, and what the entries say that close one file and begin the next.

The rules:

1. A file is closed by an ``audit.rotation`` entry. The next one begins with ``audit.continued``, which has the next
   number and follows that entry: the chain runs through all files.
2. The file that is written keeps its name; those that were closed are numbered from 1, and never renumbered.
3. A closed file may be compressed. Its entries stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from hauberk_audit.writing._state import Position

CLOSED: Final = "audit.rotation"
CONTINUED: Final = "audit.continued"
_CODE: Final = b'","code":"audit.rotation","id":"'

Say = Callable[[str, dict[str, Any]], bytes]
"""Makes the body of an entry of a code, with details."""


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[audit.rotation]``: a file that is over one of these is closed."""

    bytes: int | None = 100 * 1024 * 1024
    """Bytes of a file."""
    hours: float | None = None
    """Hours since it was begun."""
    entries: int | None = None
    """Entries of a file."""
    compress: bool = True
    """Whether files that are closed are compressed (gzip)."""
    keep: int | None = None
    """How many files that were closed stay; older ones are let go, and the log says so. Without it, all."""
    keep_days: float | None = None
    """Days for which a file that was closed stays, from its last entry on. Without it, for ever."""

    def __post_init__(self) -> None:
        for name in ("bytes", "hours", "entries"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"rotation.{name}: a file holds more than nothing")
        for name in ("keep", "keep_days"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"rotation.{name}: the last file that was closed always stays")

    @property
    def prunes(self) -> bool:
        """Whether files go by themselves."""
        return self.keep is not None or self.keep_days is not None

    def due(self, at: Position, size: int, now: float) -> str:
        """Return why a file is to be closed, or nothing."""
        if self.bytes is not None and size >= self.bytes:
            return "bytes"
        if self.entries is not None and at.sequence - at.first + 1 >= self.entries:
            return "entries"
        if self.hours is not None and now - at.began >= self.hours * 3600:
            return "hours"
        return ""


class Rotator(NamedTuple):
    """What a log needs to close one file and begin the next."""

    rotation: Rotation
    now: Callable[[], float]
    """Seconds since 1970."""
    say: Say


def closes(line: bytes) -> bool:
    """Whether a line, which is signed, closes its file."""
    return line[: line.find(b'"id":"') + len(b'"id":"')].endswith(_CODE)
