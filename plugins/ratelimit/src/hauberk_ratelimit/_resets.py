"""What an operator has lifted, told to processes that keep their buckets in memory by a file in the state directory.

The rules:

1. ``hauberk limits reset`` adds an entry to a private file, which is replaced as a whole. Entries are numbered by the
   time (ms), so that those of a new file follow those of one that was removed, and at most the last 32 are kept.
2. A process looks at the file when it is about to refuse, at most once a second; what was there when it began is old.
3. A file that others could have written is not read: limits are lifted by who runs the host, and by nobody else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hauberk import files
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from hauberk_ratelimit._rules import Bucket

NAME: Final = "ratelimit-resets.json"
_KEPT: Final = 32
_MAX_BYTES: Final = 65_536
_LONGEST: Final = 1_024
"""Characters of an id."""
_APART: Final = 1.0
"""Seconds between two looks."""


class Entry(msgspec.Struct, frozen=True):
    """One reset."""

    number: int
    host: str
    rule: str
    """The rule; empty for all."""
    id: str | None = None
    """Whose bucket; None for everybody's."""

    def concerns(self, bucket: Bucket) -> bool:
        """Whether it is about this bucket."""
        return self.rule in ("", bucket.rule)


def read(path: Path) -> list[Entry]:
    """Return the entries of the file; none where there is none.

    Raises:
        ConfigError: It cannot be trusted, or read.
    """
    if not os.path.lexists(path):
        return []
    try:
        return msgspec.json.decode(files.read_private(path, max_bytes=_MAX_BYTES), type=list[Entry])
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{str(path)!r} is no list of resets", hint="remove it") from error


def add(path: Path, host: str, rule: str, id: str | None, *, now: Callable[[], float] = time.time) -> Entry:
    """Add a reset.

    Args:
        path: The file.
        host: Of which host.
        rule: Of which rule; empty for all.
        id: Whose bucket; None for everybody's.
        now: Seconds since 1970.

    Raises:
        ConfigError: The file or its directory cannot be used, or the id is too long.
    """
    files.private_dir(path.parent)
    before = read(path)
    if id is not None and len(id) > _LONGEST:
        raise ConfigError(f"an id has at most {_LONGEST} characters", hint="hauberk limits reset without --id")
    entry = Entry(max(before[-1].number + 1 if before else 1, int(now() * 1000)), host, rule, id)
    entries = [*before[1 - _KEPT :], entry]
    while len(data := msgspec.json.encode(entries)) > _MAX_BYTES:
        del entries[0]
    files.write_atomic(path, data)
    return entry


class Resets:
    """What was lifted since this process began."""

    def __init__(self, path: Path, host: str, clock: Callable[[], float]) -> None:
        """Take what is there for old."""
        self._path: Final = path
        self._host: Final = host
        self._clock: Final = clock
        self._stamp = self._stamped()
        self._looked = clock()
        self._seen = max((entry.number for entry in self._entries()), default=0)

    def new(self) -> list[Entry]:
        """Return what was lifted since the last look; nothing where that was less than a second ago."""
        now = self._clock()
        if now - self._looked < _APART:
            return []
        self._looked, before = now, self._stamp
        self._stamp = self._stamped()
        if self._stamp == before:
            return []
        found = [entry for entry in self._entries() if entry.number > self._seen]
        if found:
            self._seen = found[-1].number
        return [entry for entry in found if entry.host == self._host]

    def _entries(self) -> list[Entry]:
        try:
            return read(self._path)
        except ConfigError:
            return []  # nobody is let off by a file that cannot be trusted

    def _stamped(self) -> tuple[int, int] | None:
        try:
            info = self._path.stat(follow_symlinks=False)
        except OSError:
            return None
        return info.st_ino, info.st_mtime_ns
