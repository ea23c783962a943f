"""The writer: the one process that appends to a log, and what it does when the disk or the last run failed.

The rules:

1. The files are private (`hauberk.files`), and the state beside the log is locked from open to close. A log that
   another writer holds is left to it: the next number is taken (``audit.1.jsonl``, …), which is a chain of its own.
2. An entry is written whole or not at all. What part of it reached the file before an error is cut off again, so the
   next entry goes on where the chain stands. If that fails too, nothing more is written until the log is opened anew.
3. At open the chain goes on from where it stands (`hauberk_audit._resume`). What the last run left of a line is moved
   to a file beside, and the caller records that.
4. The state is written after the entries that it is about, and on the disk no earlier.
5. A file that is full is closed before the next entry (`hauberk_audit._rotation`); a step of that which fails is taken
   again before the next entry, or by the next run.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Self, final

from msgspec.structs import replace

from hauberk import advisory, files
from hauberk.refusals import PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._chain import GENESIS, Chain
from hauberk_audit._paths import closed, quarantine, sibling, state_path
from hauberk_audit._resume import Resumed, resume
from hauberk_audit._rotation import CLOSED, CONTINUED, Rotator
from hauberk_audit._state import Fault, State


class Disk(NamedTuple):
    """What the writer asks of the system."""

    write: Callable[[int, bytes], int] = os.write
    truncate: Callable[[int, int], None] = os.ftruncate
    sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class Torn(NamedTuple):
    """The last line of a run that was stopped while it wrote."""

    size: int
    """Bytes."""
    path: Path
    """Where it was moved to."""


@final
class Log:
    """One log, open and locked. Make it by `open`."""

    __slots__ = (
        "_at",
        "_chain",
        "_disk",
        "_ended",
        "_failed",
        "_fd",
        "_rotator",
        "_size",
        "_state",
        "closed",
        "crashed",
        "fault",
        "path",
        "sync",
        "torn",
    )

    def __init__(
        self, path: Path, fd: int, chain: Chain, state: State, *, sync: bool, disk: Disk, rotator: Rotator | None
    ) -> None:
        self.path: Final = path
        self.torn: Torn | None = None
        self.sync = sync
        """Whether an entry is on the disk when `append` returns."""
        self.closed: list[Path] = []
        """Files that were closed since it was opened."""
        self._fd = fd
        self._chain: Final = chain
        self._disk: Final = disk
        self._state: Final = state
        self._rotator: Final = rotator
        self._failed: OSError | None = None
        found = resume(path, fd, chain, state.at, state.fault)
        self.crashed: Final = state.at.running
        """Whether the last run did not close it."""
        self.fault: Final[Fault] = state.fault if found.at.sequence else ""
        """Whether its state was not there, or could not be believed."""
        self._at, self._size, self._ended = found.at, found.size, found.ended
        self._begin(found)

    @classmethod
    def open(
        cls,
        path: Path,
        chain: Chain,
        *,
        sync: bool,
        disk: Disk = Disk(),  # noqa: B008 - immutable
        rotator: Rotator | None = None,
    ) -> Self:
        """Open the log, or the first sibling of it that no other writer holds, and go on with its chain.

        Args:
            path: The log; a directory that is missing is made with mode 0700.
            chain: The key.
            sync: Whether an entry is on the disk when `append` returns.
            disk: What writes.
            rotator: When a file is closed, and what is said of it; without it never.

        Raises:
            ConfigError: A file is not private, or its directory cannot hold a private file.
            PluginError: All siblings are held, or the chain cannot go on from what is there.
            OSError: The disk failed.
        """
        if not os.path.lexists(path.parent):
            files.private_dir(path.parent)
        for number in range(BOUNDS.siblings + 1):
            candidate = sibling(path, number)
            state = State.take(state_path(candidate), chain.state_key)
            if state is None:
                continue
            try:
                return cls._opened(candidate, chain, state, sync=sync, disk=disk, rotator=rotator)
            except BaseException:
                state.close()
                raise
        raise PluginError(
            f"cannot open audit log {str(path)!r}: it and its {BOUNDS.siblings} siblings are held by other processes",
            hint="end those that are no longer needed, or give this host a path of its own in [audit]",
        )

    @classmethod
    def _opened(
        cls, path: Path, chain: Chain, state: State, *, sync: bool, disk: Disk, rotator: Rotator | None
    ) -> Self:
        fd = files.append_private(path)
        try:
            _hold(path, fd)
            return cls(path, fd, chain, state, sync=sync, disk=disk, rotator=rotator)
        except BaseException:
            os.close(fd)
            raise

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
        try:
            first = self._turn()
            self._add([*first, *bodies])
            if self.sync:
                self._keep()
        except OSError as error:
            self._cannot_write(error)

    def flush(self) -> None:
        """Bring what was written to the disk.

        Raises:
            OSError: The disk failed.
        """
        if self._fd >= 0:
            self._disk.sync(self._fd)
            self._keep()

    def close(self) -> None:
        """Bring what was written to the disk, and let go of the log.

        Raises:
            OSError: The disk failed.
        """
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        broken, self._failed = self._failed, OSError(errno.EBADF, "it is closed")
        try:
            self._disk.sync(fd)
            if broken is None:
                self._state.write(self._at)
        finally:
            os.close(fd)
            self._state.close()

    def _add(self, bodies: Sequence[bytes]) -> None:
        """Write entries; if that fails none of them stays."""
        sequence, digest = self._at.sequence, self._at.hash.encode() or GENESIS
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
        except BaseException:  # an interrupt must not leave half a line, or a line that the chain does not know of
            self._undo()
            raise
        self._at, self._size = replace(self._at, sequence=sequence, hash=digest.decode()), self._size + len(data)

    def _keep(self) -> None:
        self._state.write(replace(self._at, running=True))

    # --- files that are full ---

    def _turn(self) -> list[bytes]:
        """Close a file that is full; return what begins the next one."""
        if self._rotator is None:
            return []
        now = self._rotator.now()
        if not self._ended and (reason := self._rotator.rotation.due(self._at, self._size, now)):
            entries = self._at.sequence - self._at.first + 2
            details = {"file": closed(self.path, self._at.file).name, "entries": entries, "reason": reason}
            self._add([self._rotator.say(CLOSED, details)])
            self._disk.sync(self._fd)
            self._ended = True
        if self._ended:
            self._next(now)
        if self._size or not self._at.sequence:
            return []
        before = closed(self.path, self._at.file - 1).name
        details = {"file": before, "sequence": self._at.sequence, "hash": self._at.hash}
        return [self._rotator.say(CONTINUED, details)]

    def _next(self, now: float) -> None:
        """Give the file that was closed its number, and begin the next one."""
        name = closed(self.path, self._at.file)
        if not os.path.lexists(name):
            self.path.rename(name)
            files.sync_directory(self.path.parent)
        fd = files.append_private(self.path)
        try:
            _hold(self.path, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd, self._size, self._ended = fd, 0, False
        self.closed.append(name)
        self._at = replace(self._at, file=self._at.file + 1, began=now, first=self._at.sequence + 1)

    def _write(self, data: bytes) -> None:
        done = 0
        while done < len(data):
            count = self._disk.write(self._fd, data[done:] if done else data)
            if count <= 0:
                raise OSError(errno.EIO, "nothing was written")
            done += count

    def _undo(self) -> None:
        try:
            self._disk.truncate(self._fd, self._size)
        except OSError as error:
            self._failed = error

    def _cannot_write(self, error: OSError) -> NoReturn:
        broken = "; nothing more is written to it" if self._failed is not None else ""
        raise PluginError(
            f"cannot write to audit log {str(self.path)!r}: {(error.strerror or type(error).__name__).lower()}{broken}",
            hint="make the disk writable again" + (" and restart the host" if broken else ""),
        ) from error

    # --- at open ---

    def _begin(self, found: Resumed) -> None:
        """Set aside what the last run left of a line, and say that the log is written."""
        if found.torn:
            path = quarantine(self.path)
            files.write_new(path, found.torn)  # before the log is cut: a crash between the two loses nothing
            self._disk.truncate(self._fd, self._size)
            self._disk.sync(self._fd)
            self.torn = Torn(len(found.torn), path)
        if not self._at.began and self._rotator is not None:
            self._at = replace(self._at, began=self._rotator.now())
        self._keep()


def _hold(path: Path, fd: int) -> None:
    """Lock a file of the log as well: its state may have been taken away from under another writer.

    Raises:
        PluginError: Another writer holds it.
    """
    if not advisory.take(fd):
        raise PluginError(
            f"cannot open audit log {str(path)!r}: another process writes it, and its state file was taken away",
            hint="end that process",
        )


def _check_size(lines: Iterable[bytes]) -> None:
    if max(map(len, lines), default=0) > BOUNDS.line:
        raise OSError(errno.EFBIG, f"an entry has at most {BOUNDS.line} bytes")
