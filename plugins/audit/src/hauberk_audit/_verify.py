"""Read logs, and report each place where one is not what its writer wrote.

The rules:

1. A log is its closed files, the oldest first, and the one that is written: one chain through all of them
   (`hauberk_audit._walk`), and none is missing.
2. A log that ends before the state beside it says lost its end. Without that state, or if both were put back to an
   older pair, what was cut from the end cannot be missed: nothing else says how long the log was.
3. A log without any line is reported as nothing to verify, never as whole.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, final

import msgspec

from hauberk.refusals import ConfigError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._chain import Chain
from hauberk_audit._paths import closed, closed_files, log_set, state_path
from hauberk_audit._state import Position, seen
from hauberk_audit._walk import Break, Walk

_RETRIES: Final = 3
_FLAGS: Final[int] = sum(getattr(os, flag, 0) for flag in ("O_RDONLY", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_MISSING: Final = (Break("missing", 0, "it is gone, and a log with a higher number is there"),)


class Checked(msgspec.Struct, frozen=True):
    """One log, read to its end."""

    file: str
    entries: int
    """Signed lines."""
    lines: int
    last: int
    """The number of its last entry."""
    breaks: int


class Report(msgspec.Struct):
    """What the logs are."""

    key_id: str
    logs: list[Checked] = []
    breaks: list[Break] = []
    """The first of them (`Bounds.breaks`)."""
    broken: int = 0
    """How many there are."""
    anchored: bool = False
    """Whether something outside the logs says how long they are."""

    @property
    def entries(self) -> int:
        """How many signed entries were read."""
        return sum(log.entries for log in self.logs)

    @property
    def empty(self) -> list[str]:
        """The logs without any line."""
        return [log.file for log in self.logs if not log.lines and not log.breaks and not log.last]

    @property
    def status(self) -> int:
        """0: whole; 1: broken; 2: there is a log with nothing to verify, or none at all."""
        if self.broken:
            return 1
        return 2 if self.empty or not self.logs else 0


def verify(paths: Iterable[Path], key: bytes, *, progress: Callable[[int], None] | None = None) -> Report:
    """Read logs and return what is wrong with them.

    Args:
        paths: Logs, each with its numbered siblings, and directories of logs.
        key: The key of the key file (32 bytes).
        progress: Is told how many bytes were read.

    Raises:
        ConfigError: A path is nothing that can be read.
        OSError: The disk failed.
    """
    chain = Chain(key)
    report = Report(chain.key_id.decode())
    begun: dict[bytes, Path] = {}
    for path in dict.fromkeys(log for name in paths for log in log_set(name)):
        _verify_log(path, Walk(chain), report, begun, progress)
    return report


def _verify_log(
    path: Path,
    walk: Walk,
    report: Report,
    begun: dict[bytes, Path],
    progress: Callable[[int], None] | None,
) -> None:
    """Read the files of one log, and add what is wrong with them to the report."""
    state, fault = seen(state_path(path), walk.state_key)  # first: a log that is being written is never behind it
    files = _files_of(path)
    for place, name in enumerate(files):
        before, entries, walk.lines = report.broken, walk.entries, 0
        last = place == len(files) - 1
        if os.path.lexists(name):
            found: Iterable[Break] = _breaks(name, walk, progress, last=last)
        else:
            found = () if last and place and state.sequence == walk.sequence else _MISSING
        for one in found:
            _add(report, one, name)
        if place == 0 and (twin := begun.setdefault(walk.first, path) if walk.first else path) != path:
            _add(report, Break("copied", 1, f"it begins as {str(twin)!r} does", 1), name)
        if last and not fault:
            for one in _behind(walk, state):
                _add(report, one, name)
        report.logs.append(
            Checked(str(name), walk.entries - entries, walk.lines, walk.sequence, report.broken - before)
        )


def _add(report: Report, found: Break, path: Path) -> None:
    report.broken += 1
    if len(report.breaks) < BOUNDS.breaks:
        report.breaks.append(msgspec.structs.replace(found, file=str(path)))


def _files_of(path: Path) -> list[Path]:
    """Return the files of a log, the oldest first, those that are missing among them included."""
    there = closed_files(path)
    return [*(there.get(number, closed(path, number)) for number in range(1, max(there, default=0) + 1)), path]


def _behind(walk: Walk, state: Position) -> Iterator[Break]:
    """Yield what a log lost since its state was written."""
    if state.sequence > walk.sequence:
        which = f"entries {walk.sequence + 1} to {state.sequence} are gone from its end"
        yield Break("truncated", 0, f"{which}, as the state beside it says", state.sequence)


def _breaks(path: Path, walk: Walk, progress: Callable[[int], None] | None, *, last: bool) -> Iterator[Break]:
    lines = _Lines(_open(path), progress, packed=path.suffix == ".gz")
    try:
        yield from walk.feed(lines)
        walk.lines = walk.line
        yield from walk.finish(torn=bool(lines.rest))
        if not last:
            yield from walk.turn()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield Break("edited", walk.line + 1, "what follows cannot be decompressed")
    finally:
        lines.close()


def _open(path: Path) -> int:
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {(error.strerror or '').lower()}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"cannot read {str(path)!r}: it is no regular file")
    return fd


@final
class _Lines:
    """The lines of a file without their LF, in bounded memory. ``rest`` is what stands after the last LF."""

    def __init__(self, fd: int, progress: Callable[[int], None] | None, *, packed: bool) -> None:
        self.rest = b""
        self._raw: Final = os.fdopen(fd, "rb", buffering=0)
        self._file: Final = gzip.GzipFile(fileobj=self._raw) if packed else self._raw
        self._progress: Final = progress

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        for chunk in self._chunks():
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            yield from lines
            # No entry is as long as what is kept here, so what is dropped from a longer line cannot make it one.
            self.rest = self.rest[: BOUNDS.line + 1]
            if self._progress is not None:
                self._progress(self._raw.tell() - read)
                read = self._raw.tell()

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()

    def _chunks(self) -> Iterator[bytes]:
        ends = 0
        while ends < _RETRIES:
            chunk = self._file.read(BOUNDS.chunk)
            if chunk:
                yield chunk
            elif self.rest:  # a line that a writer is in the middle of is there in full a moment later
                ends += 1
            else:
                return
