"""Follow a log that is being written, and let the tree of its lines grow.

The rules:

1. It is read up to where its writer says that it is on the disk, and no further: what stands behind that may be cut off
   again.
2. A file is known by its number, whatever its name is meanwhile: the one that is written is closed, then compressed,
   while it is being read.
3. There are as many lines as the writer has counted entries. Where there are not, somebody else was there.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple, cast, final

from hauberk.refusals import HauberkError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import closed, packed
from hauberk_audit.checkpoints._checkpoint import chain_of
from hauberk_audit.checkpoints._tree import Tree, leaf_hash
from hauberk_audit.writing._reached import Reached

_FLAGS: Final[int] = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_TRIES: Final = 5
Read = Callable[[bytes], None]


class LogChanged(HauberkError):
    """A log is not what its writer wrote."""


class Place(NamedTuple):
    """A place in a log."""

    file: int = 1
    """The number of the file."""
    offset: int = 0
    """Bytes of it before the place."""


@final
class Follower:
    """How far a log was read, and the tree of its lines up to there."""

    __slots__ = ("_path", "_pause", "chain", "file", "last", "offset", "tree")

    def __init__(
        self,
        path: Path,
        tree: Tree | None = None,
        *,
        chain: str = "",
        place: Place = Place(),  # noqa: B008 - immutable
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin at the beginning, or go on.

        Args:
            path: The log.
            tree: That of the lines before.
            chain: What names the chain (`chain_of`), if there are lines before.
            place: Where to go on.
            pause: Is called now and then: it lets others go on.
        """
        self._path: Final = path
        self._pause: Final = pause
        self.tree: Final = Tree() if tree is None else tree
        self.chain = chain
        self.file, self.offset = place
        self.last = b""
        """The last line that was read, without its LF."""

    def advance(self, to: Reached, read: Read = lambda _: None) -> None:
        """Read on.

        Args:
            to: How far the log goes.
            read: Gets the hash of each line.

        Raises:
            LogChanged: It is not what its writer wrote.
            OSError: The disk failed.
        """
        while self.file < to.file:
            self._lines(None, read)
            self.file, self.offset = self.file + 1, 0
        if self.file > to.file or self.offset > to.size:
            raise LogChanged(f"audit log {str(self._path)!r} is shorter than it was")
        self._lines(to.size - self.offset, read)
        if self.tree.size != to.sequence:
            raise LogChanged(
                f"audit log {str(self._path)!r} has {self.tree.size} lines, and {to.sequence} were written"
            )

    def end_file(self, read: Read = lambda _: None) -> None:
        """Read the rest of a file that was closed; go on with the next one."""
        self._lines(None, read)
        self.file, self.offset = self.file + 1, 0

    def _lines(self, size: int | None, read: Read) -> None:
        """Read lines: so many bytes of them, or to the end of a file that was closed."""
        if size == 0:
            return
        rest = b""
        with opened(self._path, self.file, written=size is not None) as file:
            if self.offset:
                file.seek(self.offset)
            for piece in pieces(file, size):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._take(line, read)
                if len(rest) > BOUNDS.line:
                    break
                self._pause()
        if rest:
            raise LogChanged(f"file {self.file} of audit log {str(self._path)!r} ends in the middle of a line")

    def _take(self, line: bytes, read: Read) -> None:
        leaf = leaf_hash(line)
        if not self.chain:
            self.chain = chain_of(line)
        self.tree.push(leaf)
        self.offset += len(line) + 1
        self.last = line
        read(leaf)


def pieces(file: IO[bytes], size: int | None) -> Iterator[bytes]:
    """Yield so many bytes of a file, or all of it.

    Raises:
        LogChanged: It cannot be decompressed.
        OSError: The disk failed.
    """
    while size is None or size > 0:
        try:
            piece = file.read(BOUNDS.piece if size is None else min(size, BOUNDS.piece))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LogChanged(f"a file of the audit log cannot be decompressed ({error})") from error
        if not piece:
            return
        size = None if size is None else size - len(piece)
        yield piece


def opened(path: Path, number: int, *, written: bool) -> IO[bytes]:
    """Open the file of a log that has a number.

    Args:
        path: The log.
        number: Of the file.
        written: Whether it may be the one that is written.

    Raises:
        FileNotFoundError: It is gone.
        OSError: It cannot be read.
    """
    plain, name = closed(path, number), packed(path, number)
    for _ in range(_TRIES):  # it can get another name between two lines of this
        if os.path.lexists(plain):
            found = _open(plain)
        elif os.path.lexists(name):
            found = _open(name)
        elif written:
            found = _open(path)
            if found is not None and (os.path.lexists(plain) or os.path.lexists(name)):
                found.close()  # perhaps it was closed before it was opened here, and this is the next one
                continue
        else:
            found = None
        if found is not None:
            return found
    raise FileNotFoundError(2, f"file {number} of it is gone", str(path))


def _open(name: Path) -> IO[bytes] | None:
    try:
        fd = os.open(name, _FLAGS)
    except FileNotFoundError:
        return None
    raw = os.fdopen(fd, "rb", buffering=0)
    return cast("IO[bytes]", _Unpacked(raw)) if name.suffix == ".gz" else raw


class _Unpacked(gzip.GzipFile):
    """A compressed file that closes the file beneath it."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__(fileobj=raw)
        self._raw: Final = raw

    def close(self) -> None:
        super().close()
        self._raw.close()
