"""The writer: the one process that appends to a log, and what it does when the disk or the last run failed.

The rules:

1. The file is private (`hauberk.files`) and locked from open to close. A log that another writer holds is left to it:
   the next number is taken (``audit.1.jsonl``, …), which is a chain of its own.
2. An entry is written whole or not at all. What part of it reached the file before an error is cut off again, so the
   next entry goes on where the chain stands. If that fails too, nothing more is written until the log is opened anew.
3. At open the chain goes on from the last line, which must be signed with the key at hand. A last line without LF was
   never acknowledged: it is moved to a file beside, and the caller records that.
4. What can be none of this is never overwritten and never skipped: the log does not open.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Self, final

from hauberk import advisory, files
from hauberk.refusals import PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._chain import GENESIS, Chain
from hauberk_audit._paths import quarantine, sibling


class Disk(NamedTuple):
    """What the writer asks of the system."""

    write: Callable[[int, bytes], int] = os.write
    truncate: Callable[[int, int], None] = os.ftruncate
    sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class _Position(NamedTuple):
    """Where the chain stands: the last entry's number and hash, and the size of the file (bytes)."""

    sequence: int
    hash: bytes
    size: int


class Torn(NamedTuple):
    """The last line of a run that was stopped while it wrote."""

    size: int
    """Bytes."""
    path: Path
    """Where it was moved to."""


@final
class Log:
    """One log, open and locked. Make it by `open`."""

    __slots__ = ("_at", "_chain", "_disk", "_failed", "_fd", "path", "sync", "torn")

    def __init__(self, path: Path, fd: int, chain: Chain, *, sync: bool, disk: Disk) -> None:
        self.path: Final = path
        self.torn: Torn | None = None
        self._fd = fd
        self._chain: Final = chain
        self.sync = sync
        """Whether an entry is on the disk when `append` returns."""
        self._disk: Final = disk
        self._failed: OSError | None = None
        self._at = _Position(0, GENESIS, 0)
        self._resume()

    @classmethod
    def open(cls, path: Path, chain: Chain, *, sync: bool, disk: Disk = Disk()) -> Self:  # noqa: B008 - immutable
        """Open the log, or the first sibling of it that no other writer holds, and go on with its chain.

        Args:
            path: The log; a directory that is missing is made with mode 0700.
            chain: The key.
            sync: Whether an entry is on the disk when `append` returns.
            disk: What writes.

        Raises:
            ConfigError: The file is not private, or its directory cannot hold a private file.
            PluginError: All siblings are held, or the chain cannot go on from what is there.
            OSError: The disk failed.
        """
        if not os.path.lexists(path.parent):
            files.private_dir(path.parent)
        for number in range(BOUNDS.siblings + 1):
            candidate = sibling(path, number)
            fd = files.append_private(candidate)
            try:
                if advisory.take(fd):
                    return cls(candidate, fd, chain, sync=sync, disk=disk)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise PluginError(
            f"cannot open audit log {str(path)!r}: it and its {BOUNDS.siblings} siblings are held by other processes",
            hint="end those that are no longer needed, or give this host a path of its own in [audit]",
        )

    @property
    def usable(self) -> bool:
        """Whether it is open, and no error has ended it."""
        return self._failed is None

    @property
    def sequence(self) -> int:
        """The number of the last entry; 0 where there is none."""
        return self._at.sequence

    def append(self, body: bytes) -> None:
        """Write one entry, given as `hauberk_audit._entry.render` returns it.

        Raises:
            PluginError: It could not be written; the log is as it was before, or broken until it is opened anew.
        """
        self.extend((body,))

    def extend(self, bodies: Iterable[bytes]) -> None:
        """Write some entries at once, or none of them, as `append`."""
        if self._failed is not None:
            self._cannot_write(self._failed)
        sequence, digest, size = self._at
        lines = []
        for body in bodies:
            sequence += 1
            line, digest = self._chain.seal(body, sequence, digest)
            lines.append(line)
        data = b"".join(lines)
        try:
            _check_size(lines)
            self._write(data)
            if self.sync:
                self._disk.sync(self._fd)
            self._at = _Position(sequence, digest, size + len(data))
        except OSError as error:
            self._undo()
            self._cannot_write(error)
        except BaseException:  # an interrupt must not leave half a line, or a line that the chain does not know of
            self._undo()
            raise

    def flush(self) -> None:
        """Bring what was written to the disk.

        Raises:
            OSError: The disk failed.
        """
        if self._fd >= 0:
            self._disk.sync(self._fd)

    def close(self) -> None:
        """Bring what was written to the disk, and let go of the log.

        Raises:
            OSError: The disk failed.
        """
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        self._failed = OSError(errno.EBADF, "it is closed")
        try:
            self._disk.sync(fd)
        finally:
            os.close(fd)

    def _write(self, data: bytes) -> None:
        done = 0
        while done < len(data):
            count = self._disk.write(self._fd, data[done:] if done else data)
            if count <= 0:
                raise OSError(errno.EIO, "nothing was written")
            done += count

    def _undo(self) -> None:
        try:
            self._disk.truncate(self._fd, self._at.size)
        except OSError as error:
            self._failed = error

    def _cannot_write(self, error: OSError) -> NoReturn:
        broken = "; nothing more is written to it" if self._failed is not None else ""
        raise PluginError(
            f"cannot write to audit log {str(self.path)!r}: {(error.strerror or type(error).__name__).lower()}{broken}",
            hint="make the disk writable again" + (" and restart the host" if broken else ""),
        ) from error

    # --- at open ---

    def _resume(self) -> None:
        size = os.fstat(self._fd).st_size
        tail = _read_from(self._fd, max(0, size - 2 * BOUNDS.line))
        end = tail.rfind(b"\n") + 1
        start = tail.rfind(b"\n", 0, max(0, end - 1)) + 1
        torn = tail[end:]
        if len(torn) > BOUNDS.line or (start == 0 and len(tail) < size):
            self._refuse(f"its last line is longer than {BOUNDS.line} bytes")
        if end:
            self._continue(tail[start : end - 1], size - len(torn))
        if torn:
            self._set_aside(torn)

    def _continue(self, line: bytes, size: int) -> None:
        entry = self._chain.read(line)
        if entry is None:
            self._refuse("its last line is no entry")
        if entry.key_id != self._chain.key_id:
            self._refuse(f"it was written with key {entry.key_id.decode()}, and this is {self._chain.key_id.decode()}")
        if not entry.signed:
            self._refuse("its last entry was changed")
        self._at = _Position(entry.sequence, entry.hash, size)

    def _set_aside(self, torn: bytes) -> None:
        path = quarantine(self.path)
        files.write_new(path, torn)  # before the log is cut: a crash between the two loses nothing
        self._disk.truncate(self._fd, self._at.size)
        self._disk.sync(self._fd)
        self.torn = Torn(len(torn), path)

    def _refuse(self, reason: str) -> NoReturn:
        import shlex  # only for an error

        name = shlex.quote(str(self.path))
        raise PluginError(
            f"cannot continue audit log {str(self.path)!r}: {reason}",
            hint=f"see hauberk audit verify {name}; name its key in [audit] key_file, or keep it and begin a new one: "
            f"mv {name} {shlex.quote(f'{self.path}.old')}",
        )


def _check_size(lines: Iterable[bytes]) -> None:
    if max(map(len, lines), default=0) > BOUNDS.line:
        raise OSError(errno.EFBIG, f"an entry has at most {BOUNDS.line} bytes")


def _read_from(fd: int, offset: int) -> bytes:
    """Return what a file holds from an offset on."""
    os.lseek(fd, offset, os.SEEK_SET)
    chunks = []
    while chunk := os.read(fd, BOUNDS.chunk):
        chunks.append(chunk)
    return b"".join(chunks)
