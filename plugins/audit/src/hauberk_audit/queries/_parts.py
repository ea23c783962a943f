"""One file of a log, open: its lines from any place on, or from its end back, in bounded memory.

The rules:

1. A line ends with LF; what stands after the last one is no line yet. Of a line that is longer than an entry can be,
   the beginning is given, so that its reader can tell.
2. Offsets are those of the file as it was written, also where it is compressed.
   However much a compressed file unpacks to, no more than a window of it is on the disk at once.
3. A file is read from the one descriptor that was opened. It is a regular file, and opening it never blocks.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, final

from hauberk.refusals import ConfigError
from hauberk_audit._bounds import BOUNDS

Progress = Callable[[int], object]
"""Is told how many bytes of files were read."""
LONGEST: Final = BOUNDS.line + 1
"""Bytes of a line that are kept."""

_FLAGS: Final[int] = sum(
    getattr(os, flag, 0) for flag in ("O_RDONLY", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")
)
_BACK: Final = 64 * 1024
"""Bytes that are read at once from the end of a file."""
_WINDOW: Final = 256 * 1024 * 1024
"""Bytes of an unpacked file that are on the disk at once; a multiple of `_BACK`."""
_DAMAGE: Final = (EOFError, zlib.error, gzip.BadGzipFile)


@final
class Part:
    """One file of a log. Make it with the path of a file that is there."""

    __slots__ = ("_plain", "_progress", "_raw", "_told", "damaged", "end", "number", "path")

    def __init__(self, path: Path, number: int, progress: Progress | None = None) -> None:
        """Open it.

        Raises:
            FileNotFoundError: It is not there.
            ConfigError: It is no file, or cannot be read.
        """
        self.path: Final = path
        self.number: Final = number
        """Its place in the log, from 1."""
        self.end = 0
        """The offset after the last line that was given."""
        self.damaged = False
        """Whether some of it cannot be decompressed."""
        self._raw: Final = os.fdopen(_open(path), "rb", buffering=0)
        self._plain: Final = gzip.GzipFile(fileobj=self._raw) if path.suffix == ".gz" else self._raw
        self._progress: Final = progress
        self._told = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._plain.close()
        self._raw.close()

    @property
    def stamp(self) -> str:
        """What is another one when the file is another one, or was written to."""
        info = os.fstat(self._raw.fileno())
        return f"{info.st_ino}:{info.st_size}:{info.st_mtime_ns}"

    @property
    def inode(self) -> int:
        """What names the file while it is renamed."""
        return os.fstat(self._raw.fileno()).st_ino

    @property
    def size(self) -> int:
        """Bytes of the file as it is on the disk."""
        return os.fstat(self._raw.fileno()).st_size

    def lines(self, offset: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the lines from an offset on, without LF, each with the offset at which it begins."""
        self.end = start = position = offset
        rest = b""
        try:
            self._plain.seek(offset)
            self._told = self._raw.tell()
            while chunk := self._plain.read(BOUNDS.chunk):
                *whole, tail = chunk.split(b"\n")
                at = position
                for piece in whole:
                    at += len(piece) + 1
                    line, rest = rest + piece, b""
                    begin, start = start, at
                    self.end = at
                    yield begin, line[:LONGEST]
                rest = (rest + tail)[:LONGEST]
                position += len(chunk)
                self._tell()
        except _DAMAGE:
            self.damaged = True

    def back(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines as `lines` does, the last one first."""
        if self._plain is self._raw:
            yield from _back(self._raw, self.size)
            return
        with tempfile.TemporaryFile() as unpacked:
            window = _Window(self._plain, unpacked)
            size = window.fill()
            self.damaged = window.damaged
            yield from _back(window, size)

    def line_at(self, offset: int, size: int) -> bytes | None:
        """Return the line of so many bytes that begins at an offset, or None if none does."""
        try:
            self._plain.seek(offset)
            line = _read(self._plain, size + 1)
        except _DAMAGE:
            return None
        return line[:-1] if len(line) == size + 1 and line.endswith(b"\n") else None

    def _tell(self) -> None:
        if self._progress is not None:
            at = self._raw.tell()
            self._progress(at - self._told)
            self._told = at


@final
class _Window:
    """Reads a compressed file at any place. What is far before the last place is unpacked once more."""

    __slots__ = ("_at", "_begin", "_file", "_packed", "damaged")

    def __init__(self, packed: gzip.GzipFile | io.FileIO, file: IO[bytes]) -> None:
        """Take the compressed file, and an empty one for the window."""
        self.damaged = False
        self._packed: Final = packed
        self._file: Final = file
        self._begin = self._at = 0

    def fill(self) -> int:
        """Unpack to the end, what is before its window is let go; return how many bytes there are."""
        size = 0
        try:
            while chunk := _read(self._packed, _BACK):
                if size // _WINDOW != self._begin // _WINDOW:
                    self._clear(size)
                self._file.write(chunk)
                size += len(chunk)
        except _DAMAGE:
            self.damaged = True
        return size

    def seek(self, offset: int) -> None:
        """Go to an offset of the file as it was written."""
        self._at = offset

    def read(self, count: int) -> bytes:
        """Return so many bytes, or those to the end of the window."""
        begin = self._at - self._at % _WINDOW
        if begin != self._begin:
            self._load(begin)
        self._file.seek(self._at - begin)
        data = self._file.read(min(count, begin + _WINDOW - self._at))
        self._at += len(data)
        return data

    def _load(self, begin: int) -> None:
        self._clear(begin)
        try:
            self._packed.seek(begin)
            for _ in range(0, _WINDOW, _BACK):
                self._file.write(_read(self._packed, _BACK))
        except _DAMAGE:
            self.damaged = True

    def _clear(self, begin: int) -> None:
        self._begin = begin
        self._file.seek(0)
        self._file.truncate()


def _open(path: Path) -> int:
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {(error.strerror or '').lower()}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"cannot read {str(path)!r}: it is no regular file")
    return fd


def _read(stream: io.FileIO | gzip.GzipFile | _Window, count: int) -> bytes:
    """Return so many bytes, or what there is."""
    chunks = []
    while count > 0 and (chunk := stream.read(count)):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def _back(stream: io.FileIO | _Window, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of the first bytes of a file, the last one first, each with the offset at which it begins."""
    begin, line, whole = size, b"", False
    while begin > 0:
        count = begin % _BACK or _BACK  # so that no block is in two windows
        begin -= count
        stream.seek(begin)
        block = _read(stream, count)
        start = begin + block.rfind(b"\n") + 1
        pieces = block.split(b"\n")
        line = (pieces.pop() + line)[:LONGEST]
        while pieces:
            if whole:
                yield start, line
            line, whole = pieces.pop(), True
            start -= len(line) + 1
    if whole:
        yield 0, line
