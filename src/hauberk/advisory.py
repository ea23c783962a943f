"""A lock between processes, held by an open descriptor: it goes when the process goes, however that ends."""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int, *, shared: bool) -> None:  # noqa: ARG001 - there each lock is exclusive
        os.lseek(fd, sys.maxsize // 2, os.SEEK_SET)  # a locked byte cannot be read, so it is one that is never there
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(fd: int, *, shared: bool) -> None:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


_HELD: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK})


def take(fd: int, *, shared: bool = False) -> bool:
    """Lock the file of a descriptor until it is closed; return False, at once, if another holds it.

    Args:
        fd: The descriptor.
        shared: Whether others may hold it as well, if theirs are shared.

    Raises:
        OSError: The file cannot be locked at all.
    """
    try:
        _lock(fd, shared=shared)
    except OSError as error:
        if error.errno not in _HELD:
            raise
        return False
    return True
