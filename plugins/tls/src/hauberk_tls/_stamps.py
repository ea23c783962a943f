"""Whether files are still those that were read: their identity, size and times (S0.18)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, ...]
"""Device, inode, mode, owner, size, time of content and of status (ns); empty of a file that cannot be looked at."""


def stamps(paths: Iterable[Path | None]) -> tuple[Stamp, ...]:
    """Return the stamp of each file; taken before it is read, so that a change meanwhile is seen the next time."""
    return tuple(_stamp(path) for path in paths if path is not None)


def _stamp(path: Path) -> Stamp:
    try:
        info = os.lstat(path)
    except OSError:
        return ()
    return (info.st_dev, info.st_ino, info.st_mode, info.st_uid, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
