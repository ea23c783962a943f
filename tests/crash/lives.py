"""What a log goes through in one life, and what must be true of it afterwards, whatever went wrong.

The rules:

1. What was acknowledged is in the log, once, and in its order. What was refused may be: nobody was told that it is not.
2. Opened anew on a sound disk, the log goes on, and its chain is whole through all files.
3. Each file that was closed ends with the one entry that closes it.
4. Nothing is held any longer: neither the log, so that a sibling would be begun, nor a descriptor.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import orjson

from hauberk import files, keys
from hauberk.event import Event
from hauberk.refusals import HauberkError
from hauberk_audit._entry import render
from hauberk_audit._paths import closed_files
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing import _custody
from hauberk_audit.writing._log import Disk, Log
from hauberk_audit.writing._opened import opened
from hauberk_audit.writing._packing import compress
from hauberk_audit.writing._rotation import CLOSED, Rotation, Rotator

MINE: Final = "crash.event"
"""The code of what is acknowledged, or not."""
KEY_FILE: Final = "log.key"
SCRIPT: Final = (
    *(("append", 5), ("pack", 1), ("close", 0)),
    *(("append", 1), ("tear", 40), ("append", 1), ("batch", 3), ("flush", 0), ("drop", 0)),
    *(("append", 2), ("pack", 9), ("append", 1), ("close", 0)),
)
"""New; goes on; a torn line; several at once; killed in peace; each across files that are full and compressed."""


def said(code: str, details: dict[str, Any], severity: str = "info") -> bytes:
    """Return an entry of the log's own."""
    return render(Event(code=code, id="own", time=1.0, severity=severity, details=details))  # type: ignore[arg-type]


def open_log(path: Path, rotation: Rotation, *, sync: bool = True) -> Log:
    """Open a log as the plugin does, on a disk of the functions that stand in `os` now; its key is two floors above."""
    disk = Disk(os.write, os.ftruncate, getattr(os, "fdatasync", os.fsync))
    signing = _custody.load(path.parents[1] / KEY_FILE)
    log = Log.open(path, signing, sync=True, disk=disk, rotator=Rotator(rotation, lambda: 1000.0, said))
    try:
        for code, details, severity in opened(log):
            log.append(said(code, details, severity))
    except BaseException:
        drop(log)
        raise
    log.sync = sync
    return log


def make_key(folder: Path, *, ratchet: bool) -> bytes:
    """Make the key of a log in a folder, which is made; return what verifies it."""
    files.private_dir(folder)
    if not ratchet:
        return keys.create_key(folder / KEY_FILE, random=hashlib.shake_256(b"the same in each life").digest)
    _custody.make(folder / KEY_FILE, folder / "escrow.key")
    return keys.load_key(folder / "escrow.key")


def drop(log: Log) -> None:
    """Let go of a log as the system does of one whose process was killed."""
    for fd in (log._fd, log._state._fd):
        with suppress(OSError):
            os.close(fd)


class Ways(NamedTuple):
    """How a life is lived."""

    sync: bool = True
    """Whether what is acknowledged is on the disk."""
    entries: int = 3
    """Entries of a file."""
    ratchet: bool = False
    """Whether the key of the log goes forward."""


USUAL: Final = Ways()


@final
class Life:
    """A log that is written, closed, killed and opened anew, and what its writer was told."""

    def __init__(self, folder: Path, ways: Ways = USUAL, tell: Callable[[int], None] = lambda number: None) -> None:
        """Begin; nothing is written yet but a key.

        Args:
            folder: Where key and log are; it is made.
            ways: How it is lived.
            tell: Is told the number of each entry that was acknowledged.
        """
        self.key: Final = make_key(folder, ratchet=ways.ratchet)
        self.path: Final = folder / "log" / "audit.jsonl"
        self.acknowledged: Final[list[int]] = []
        self.refused: Final[list[BaseException]] = []
        self._given = 0
        self._sync: Final = ways.sync
        self._rotation: Final = Rotation(bytes=None, entries=ways.entries)
        self._tell: Final = tell
        self._log: Log | None = None

    def play(self, script: tuple[tuple[str, int], ...] = SCRIPT) -> None:
        """Go through a script, and let go of the log."""
        for step, count in script:
            self.take(step, count)
        self.take("drop")

    def take(self, step: str, count: int = 1) -> None:
        """Take one step; if it fails it is refused, and the next one can be taken."""
        try:
            getattr(self, f"_{step}")(count)
        except (OSError, HauberkError, KeyboardInterrupt) as error:
            self.refused.append(error)

    def _append(self, count: int) -> None:
        for _ in range(count):
            self.take("batch")

    def _batch(self, count: int) -> None:
        """Write entries at once."""
        numbers = range(self._given + 1, self._given + count + 1)
        self._given += count
        self._ready().extend([render(Event(code=MINE, id=str(number), time=1.0)) for number in numbers])
        for number in numbers:
            self.acknowledged.append(number)
            self._tell(number)

    def _ready(self) -> Log:
        """Return a log that can be written: as after a restart, where it could not go on."""
        if self._log is not None and not self._log.usable:
            self._close(0)
        if self._log is None:
            self._log = open_log(self.path, self._rotation, sync=self._sync)
        return self._log

    def _flush(self, _: int) -> None:
        self._ready().flush()

    def _pack(self, count: int) -> None:
        log = self._ready()
        for _ in range(min(count, len(log.closed))):
            compress(log.closed.pop(0))

    def _close(self, _: int) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def _drop(self, _: int) -> None:
        log, self._log = self._log, None
        if log is not None:
            drop(log)

    def _tear(self, size: int) -> None:
        """Be killed in the middle of a line."""
        self._drop(0)
        if self.path.exists():
            with self.path.open("ab") as file:
                file.write(said("a.torn", {})[:size])


def entries_of(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the entries of all files of a log, the oldest first."""
    for file in [*closed_files(path).values(), path]:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for line in data.splitlines():
            yield file, orjson.loads(line)


def wrong(path: Path, key: bytes, acknowledged: list[int]) -> list[str]:
    """Open a log anew, twice, write one more entry each time, and return what is not as it must be."""
    for _ in range(2):
        log = open_log(path, Rotation(bytes=None, entries=1000))
        log.append(said("a.last", {}))
        log.close()
    found = [f"{Path(one.file).name}:{one.line}: {one.kind}" for one in verify([path], key).breaks]
    entries = list(entries_of(path))
    mine = [int(entry["id"]) for _, entry in entries if entry["code"] == MINE]
    if lost := set(acknowledged) - set(mine):
        found.append(f"lost: {sorted(lost)}")
    if mine != sorted(set(mine)):
        found.append(f"order: {mine}")
    closing = [file for file, entry in entries if entry["code"] == CLOSED]
    if len(closing) != len(set(closing)):
        found.append(f"closed more than once: {[file.name for file in closing]}")
    if list(path.parent.glob("audit.1.*")):
        found.append("the log was still held")
    return found
