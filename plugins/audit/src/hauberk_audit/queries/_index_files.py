"""Where the index of a log is, and who may use it.

The rules:

1. The index stands beside its log: ``audit.jsonl.index.db``, with what SQLite keeps beside that. It is private
   (`hauberk.files`), holds nothing that is not in the log, and may be deleted at any time.
2. Who uses it holds a shared lock of ``audit.jsonl.index.lock``; who deletes it holds the lock alone. So nobody takes
   away from under another what SQLite keeps beside.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from hauberk import advisory, files
from hauberk.refusals import ConfigError

_BESIDE: Final = ("", "-wal", "-shm", "-journal")


def index_path(log: Path) -> Path:
    """Return where the index of a log is."""
    return log.with_name(f"{log.name}.index.db")


def lock_path(log: Path) -> Path:
    """Return where the lock of an index is."""
    return log.with_name(f"{log.name}.index.lock")


def take(log: Path) -> int | None:
    """Make the index of a log if there is none, and lock it; return what holds the lock until it is closed.

    Returns:
        None if there can be no index beside this log now: its directory is not ours to write or others may write in it,
        the file is not private, or it is just being deleted.
    """
    fd = _locked(log, shared=True)
    if fd is None:
        return None
    path = index_path(log)
    try:
        if not os.path.lexists(path):
            with suppress(ConfigError):  # another one makes it just now, or nobody can
                os.close(files.create_private(path))
        info = path.lstat()
    except OSError:
        os.close(fd)
        return None
    if not stat.S_ISREG(info.st_mode) or _is_loose(info):
        os.close(fd)
        return None
    return fd


def release(lock: int) -> None:
    """Let go of what `take` returned, once SQLite has let go of the index."""
    if lock >= 0:
        os.close(lock)


def drop(log: Path) -> bool:
    """Delete the index of a log; return False if somebody uses it, or it cannot be deleted."""
    if not any(os.path.lexists(name) for name in _names(log)):
        return True
    fd = _locked(log, shared=False)
    if fd is None:
        return False
    try:
        for name in _names(log):
            name.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _names(log: Path) -> list[Path]:
    path = index_path(log)
    return [path.with_name(f"{path.name}{suffix}") for suffix in _BESIDE]


def _locked(log: Path, *, shared: bool) -> int | None:
    try:
        fd = files.append_private(lock_path(log))
    except (ConfigError, OSError):
        return None
    try:
        if advisory.take(fd, shared=shared):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _is_loose(info: os.stat_result) -> bool:
    """Whether others may read a file, or it is another user's; to open it would let go of locks that SQLite has."""
    return os.name == "posix" and (info.st_uid not in {0, os.geteuid()} or bool(info.st_mode & 0o077))
