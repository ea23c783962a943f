"""The writer: the one process that appends to a log, and what it does when the disk or the last run failed.

The rules:

1. The files are private (`hauberk.files`), and the state beside the log is locked from open to close. A log that
   another writer holds is left to it: the next number is taken (``audit.1.jsonl``, …), which is a chain of its own.
2. An entry is written whole or not at all. What part of it reached the file before an error is cut off again, so the
   next entry goes on where the chain stands. If that fails too, nothing more is written until the log is opened anew.
3. At open the chain goes on from where it stands (`writing._resume`). What the last run left of a line is moved
   to a file beside, and the caller records that.
4. The state is written after the entries that it is about, and on the disk no earlier. Where the key goes forward, it
   goes on by a rung then: what was committed was signed with a key that is gone.
5. A file that is full is closed before the next entry (`writing._rotation`); a step of that which fails is taken
   again before the next entry, or by the next run.
6. Where the log is encrypted at rest, an entry is sealed first and signed then (`sealing._sealer`).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, Self, final

from msgspec.structs import replace

from hauberk import advisory, files
from hauberk.refusals import PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import closed, quarantine, sibling, state_path
from hauberk_audit.sealing._sealer import Sealing
from hauberk_audit.writing._chain import GENESIS, Chain
from hauberk_audit.writing._custody import Signing
from hauberk_audit.writing._ratchet import Rung
from hauberk_audit.writing._reached import Reached
from hauberk_audit.writing._resume import Resumed, pieces, resume
from hauberk_audit.writing._rotation import CLOSED, CONTINUED, Rotator
from hauberk_audit.writing._state import Fault, Seen, State


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
        "_check",
        "_disk",
        "_ended",
        "_failed",
        "_fd",
        "_rotator",
        "_rung",
        "_sealer",
        "_signed",
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
        self,
        path: Path,
        fd: int,
        signing: Signing,
        state: State,
        *,
        sync: bool,
        disk: Disk,
        rotator: Rotator | None,
        sealing: Sealing | None,
    ) -> None:
        self.path: Final = path
        self.torn: Torn | None = None
        self.sync = sync
        """Whether an entry is on the disk when `append` returns."""
        self.closed: list[Path] = []
        """Files that were closed since it was opened."""
        self._fd = fd
        self._rung: Rung | None
        self._disk: Final = disk
        self._state: Final = state
        self._rotator: Final = rotator
        self._failed: OSError | None = None
        found = resume(path, fd, signing, Seen(state.at, state.fault, state.rung))
        self._sealer: Final = None if sealing is None else sealing(path)
        if self._sealer is not None:
            self._sealer.begin(found.at.file, found.at.sequence - found.at.first + 1)
        if isinstance(signing, Chain):
            self._rung, self._chain = None, signing
        else:
            self._rung = found.rung or signing.take()
            self._chain = self._rung.signer()
        self._signed = False
        """Whether an entry is signed with this rung."""
        self._check = found.at.check
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
        signing: Signing,
        *,
        sync: bool,
        disk: Disk = Disk(),  # noqa: B008 - immutable
        rotator: Rotator | None = None,
        sealing: Sealing | None = None,
    ) -> Self:
        """Open the log, or the first sibling of it that no other writer holds, and go on with its chain.

        Args:
            path: The log; a directory that is missing is made with mode 0700.
            signing: Its key, or the roots of it.
            sync: Whether an entry is on the disk when `append` returns.
            disk: What writes.
            rotator: When a file is closed, and what is said of it; without it never.
            sealing: What seals entries; without it they are written in clear.

        Raises:
            ConfigError: A file is not private, its directory cannot hold a private file, or a data key is damaged.
            PluginError: All siblings are held, or the chain cannot go on from what is there.
            OSError: The disk failed.
        """
        if not os.path.lexists(path.parent):
            files.private_dir(path.parent)
        key = signing.state_key if isinstance(signing, Chain) else None
        for number in range(BOUNDS.siblings + 1):
            candidate = sibling(path, number)
            state = State.take(state_path(candidate), key)
            if state is None:
                continue
            try:
                how = {"sync": sync, "disk": disk, "rotator": rotator, "sealing": sealing}
                return cls._opened(candidate, signing, state, **how)
            except BaseException:
                state.close()
                raise
        raise PluginError(
            f"cannot open audit log {str(path)!r}: it and its {BOUNDS.siblings} siblings are held by other processes",
            hint="end those that are no longer needed, or give this host a path of its own in [audit]",
        )

    @classmethod
    def _opened(cls, path: Path, signing: Signing, state: State, **how: Any) -> Self:
        fd = files.append_private(path)
        try:
            _hold(path, fd)
            return cls(path, fd, signing, state, **how)
        except BaseException:
            os.close(fd)
            raise

    @property
    def usable(self) -> bool:
        """Whether it is open, and no error has ended it."""
        return self._failed is None

    @property
    def rung(self) -> Rung | None:
        """What signs next, where the key goes forward."""
        return self._rung

    @property
    def sequence(self) -> int:
        """The number of the last entry; 0 where there is none."""
        return self._at.sequence

    @property
    def reached(self) -> Reached:
        """How far it is: after `flush`, on the disk."""
        return Reached(self._at.file, self._size, self._at.sequence)

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

    def close(self, *, whole: bool = True) -> None:
        """Bring what was written to the disk, and let go of the log.

        Args:
            whole: Whether it says all that it should; otherwise the next run finds a log that was not closed.

        Raises:
            OSError: The disk failed.
        """
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        broken, self._failed = self._failed, OSError(errno.EBADF, "it is closed")
        try:
            self._disk.sync(fd)
            if broken is None and whole:
                self._commit(running=False)
        finally:
            os.close(fd)
            self._state.close()

    def _add(self, bodies: Sequence[bytes]) -> None:
        """Write entries; if that fails none of them stays."""
        sequence, digest = self._at.sequence, self._at.hash.encode() or GENESIS
        lines, digest = self._chain.seal_all(self._sealed(bodies), sequence + 1, digest)
        data, sequence = b"".join(lines), sequence + len(lines)
        try:
            _check_size(lines)
            self._write(data)
            if self.sync:
                self._disk.sync(self._fd)
        except BaseException:  # an interrupt must not leave half a line, or a line that the chain does not know of
            self._undo()
            raise
        self._at, self._size = replace(self._at, sequence=sequence, hash=digest.decode()), self._size + len(data)
        if self._rung is not None and lines:
            self._signed, self._check = True, hashlib.sha256(lines[-1][:-1]).hexdigest()

    def _sealed(self, bodies: Sequence[bytes]) -> Sequence[bytes]:
        """Return bodies as they are written."""
        if self._sealer is None:
            return bodies
        seal, file, first = self._sealer.seal, self._at.file, self._at.sequence - self._at.first + 2
        return [seal(body, file, line) for line, body in enumerate(bodies, first)]

    def _keep(self) -> None:
        self._commit(running=True)

    def _commit(self, *, running: bool) -> None:
        """Say in the state where the chain stands; where the key goes forward, go on by a rung."""
        if self._rung is not None and self._signed:
            self._rung = self._rung.next()
            self._chain, self._signed = self._rung.signer(), False
        self._state.write(replace(self._at, running=running, check=self._check), self._rung)

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
            self._ended = True  # whatever fails from here on, a file is closed once
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
            self._disk.sync(self._fd)
            self.path.rename(name)
            files.sync_directory(self.path.parent)
        fd = files.append_private(self.path)
        try:
            _hold(self.path, fd)
        except BaseException:
            os.close(fd)
            raise
        before, self._fd, self._size, self._ended = self._fd, fd, 0, False
        self.closed.append(name)
        self._at = replace(self._at, file=self._at.file + 1, began=now, first=self._at.sequence + 1)
        os.close(before)  # last: what it says of a file that is on the disk changes nothing

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
            _copy(self._fd, found, path)  # before the log is cut: a crash between the two loses nothing
            self._disk.truncate(self._fd, self._size)
            self._disk.sync(self._fd)
            self.torn = Torn(found.torn, path)
        if not self._at.began and self._rotator is not None:
            self._at = replace(self._at, began=self._rotator.now())
        if self.crashed:
            self._disk.sync(self._fd)  # what the last run wrote may not be on the disk, and the state comes after it
        self._keep()
        if self._rung is not None:
            self._state.sync()  # from here on the disk has a state that leads to any later rung


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


def _copy(fd: int, found: Resumed, to: Path) -> None:
    """Bring what stands after the last whole line to the disk under another name, in bounded memory."""
    new = files.append_private(to)
    try:
        for piece in pieces(fd, found.size, found.size + found.torn):
            rest = piece
            while rest:
                rest = rest[os.write(new, rest) :]
        os.fsync(new)
    finally:
        os.close(new)


def _check_size(lines: Iterable[bytes]) -> None:
    if max(map(len, lines), default=0) > BOUNDS.line:
        raise OSError(errno.EFBIG, f"an entry has at most {BOUNDS.line} bytes")
