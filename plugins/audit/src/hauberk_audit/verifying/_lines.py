"""The lines of a file that verify reads, plain or compressed, in bounded memory."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, final

from hauberk.refusals import ConfigError
from hauberk_audit._bounds import BOUNDS

_RETRIES: Final = 3
_FLAGS: Final[int] = sum(getattr(os, flag, 0) for flag in ("O_RDONLY", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def first_line(path: Path) -> bytes:
    """Return the first line of a file without its LF, or nothing."""
    lines = Lines(open_log(path), None, packed=path.suffix == ".gz")
    try:
        return next(iter(lines), b"")
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""
    finally:
        lines.close()


def open_log(path: Path) -> int:
    """Open a file to read it.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {(error.strerror or '').lower()}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"cannot read {str(path)!r}: it is no regular file")
    return fd


@final
class Lines:
    """The lines of a file without their LF, in bounded memory. ``rest`` is what stands after the last LF."""

    def __init__(self, fd: int, progress: Callable[[int], None] | None, *, packed: bool) -> None:
        self.rest = b""
        self._raw: Final = os.fdopen(fd, "rb", buffering=0)
        self._file: Final = gzip.GzipFile(fileobj=self._raw) if packed else self._raw
        self._progress: Final = progress
        self._told = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines that are there; again, those that were written since."""
        for chunk in self._chunks():
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            yield from lines
            # No entry is as long as what is kept here, so what is dropped from a longer line cannot make it one.
            self.rest = self.rest[: BOUNDS.line + 1]
            if self._progress is not None:
                self._progress(self._raw.tell() - self._told)
                self._told = self._raw.tell()

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
