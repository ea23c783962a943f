"""Where the guards of a host, and the commands of an operator, tell each other who is suspended.

The rules, as of ``names.json`` (`hauberk.names`):

1. ``suspended.json`` is private (`hauberk.files`), and is replaced whole by whoever holds the lock beside it.
2. It is read when it has changed: while nothing happens it costs one ``stat``.
3. A file that others could have written, or that is no such file, is not believed: a host does not start with it, and
   one that runs goes by what it knew, and says so.

Beside it each process that runs leaves what is in flight in it, for ``hauberk bulkhead show`` and nobody else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from hauberk import advisory, files
from hauberk.refusals import ConfigError
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._suspended import Suspension, bounded

FOLDER: Final = "bulkhead"
_TRIES: Final = 200
_PAUSE: Final = 0.01
"""Seconds between two tries for the lock."""
_Mark = tuple[int, int, int] | None


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says."""

    format: Literal[1] = 1
    suspended: tuple[Suspension, ...] = ()
    reset: float = 0.0
    """When somebody last asked that breakers and counts begin anew (seconds since 1970)."""


class Live(msgspec.Struct, frozen=True):
    """What one process has in flight."""

    pid: int
    host: str
    time: float
    rooms: dict[str, dict[str, Any]] = {}
    breakers: tuple[dict[str, Any], ...] = ()
    memory: int = 0
    load: dict[str, float] = {}


_PAGE: Final = msgspec.json.Decoder(Page)
_LIVE: Final = msgspec.json.Decoder(Live)


class Book:
    """The file of one state directory."""

    def __init__(self, state: Path, *, now: Callable[[], float], sleep: Callable[[float], None] = time.sleep) -> None:
        self.folder: Final = state / FOLDER
        self._path: Final = self.folder / "suspended.json"
        self._now: Final = now
        self._sleep: Final = sleep
        self._mark: _Mark = (-1, -1, -1)

    # --- suspensions ---

    @property
    def is_stale(self) -> bool:
        """Whether the file is another than was read last; one ``stat``."""
        return self._stat() != self._mark

    def changed(self) -> Page | None:
        """Return what the file says; None where that is as it was.

        Raises:
            ConfigError: It cannot be believed; that is said once, until it is another.
        """
        mark = self._stat()
        if mark == self._mark:
            return None
        self._mark = mark
        return self.read()

    def read(self, max_bytes: int = LIMITS.book_bytes) -> Page:
        """Return what the file says; of none, nothing.

        Args:
            max_bytes: What is not read if it is larger; who makes it smaller reads more.

        Raises:
            ConfigError: It cannot be believed.
        """
        if not os.path.lexists(self._path):
            return Page()
        data = files.read_private(self._path, max_bytes=max_bytes)
        try:
            return _PAGE.decode(data)
        except msgspec.DecodeError:
            raise ConfigError(
                f"{str(self._path)!r} is no list of suspensions", hint="delete it, and suspend anew who must be"
            ) from None

    def add(self, news: Iterable[Suspension]) -> None:
        """Suspend somebody.

        Raises:
            ConfigError: The file cannot be used.
            OSError: The disk failed; the old file stands.
        """
        with self._locked():
            page = self.read(LIMITS.repair_bytes)
            self._write(page, [*page.suspended, *news])

    def lift(self, kind: str, name: str) -> bool:
        """Lift a suspension; return whether there was one."""
        with self._locked():
            page, now = self.read(LIMITS.repair_bytes), self._now()
            kept = [one for one in page.suspended if (one.kind, one.name) != (kind, name)]
            self._write(page, kept)
            return any(one.holds(now) for one in page.suspended if (one.kind, one.name) == (kind, name))

    def reset(self) -> None:
        """Ask that breakers and counts of every process begin anew."""
        with self._locked():
            page = self.read(LIMITS.repair_bytes)
            self._write(msgspec.structs.replace(page, reset=self._now()), page.suspended)

    def _write(self, page: Page, suspended: Iterable[Suspension]) -> None:
        """Write what there may be; of more than can be read again, the oldest that guards made are let go."""
        kept, most = list(suspended), LIMITS.suspended
        while True:
            kept = [one for _, one in bounded(kept, most, self._now())]
            data = msgspec.json.encode(msgspec.structs.replace(page, suspended=tuple(kept)))
            if len(data) <= LIMITS.book_bytes:
                break
            if len(kept) > most or not kept:
                raise ConfigError(
                    f"cannot write {str(self._path)!r}: what people have suspended is larger than"
                    f" {LIMITS.book_bytes} bytes",
                    hint="hauberk bulkhead resume, for those who need not be suspended any more",
                )
            most = min(len(kept), most) * 7 // 8
        files.write_atomic(self._path, data)

    def _stat(self) -> _Mark:
        try:
            found = self._path.lstat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        files.private_dir(self.folder)
        fd = files.append_private(self.folder / "suspended.json.lock")
        try:
            for _ in range(_TRIES):
                if advisory.take(fd):
                    break
                self._sleep(_PAUSE)
            else:
                raise ConfigError(
                    f"cannot use {str(self._path)!r}: another process does not let go of it",
                    hint="end the process that hangs: its lock is the file beside",
                )
            yield
        finally:
            with suppress(OSError):
                os.close(fd)

    # --- what is in flight ---

    def show(self, live: Live) -> None:
        """Leave what is in flight in this process.

        Raises:
            ConfigError: The directory cannot be used.
            OSError: The disk failed.
        """
        files.private_dir(self.folder)
        files.write_atomic(self._of(live.pid), msgspec.json.encode(live))

    def gone(self, pid: int) -> None:
        """Take away what a process left."""
        with suppress(OSError):
            self._of(pid).unlink(missing_ok=True)

    def all_live(self) -> list[Live]:
        """Return what the processes that run have in flight; what others left behind is taken away."""
        found = []
        for path in sorted(self.folder.glob("live-*.json"))[: LIMITS.processes]:
            with suppress(ConfigError, msgspec.DecodeError):
                live = _LIVE.decode(files.read_private(path, max_bytes=LIMITS.book_bytes))
                if _runs(live.pid):
                    found.append(live)
                else:
                    self.gone(live.pid)
        return found

    def _of(self, pid: int) -> Path:
        return self.folder / f"live-{pid}.json"


def _runs(pid: int) -> bool:
    if os.name != "posix":
        return True  # there signal 0 is an event, which would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
