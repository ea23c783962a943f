"""Whether a file is out of the reach of the program that runs: can it only add to it?

The rules:

1. Who runs as root reaches each file of the machine.
2. A file that may only be appended to cannot be cut, written over, renamed or removed. On Linux that is an attribute of
   the file which nobody but root takes away (``chattr +a``); on macOS and the BSDs a flag.
3. Who can write into the directory can put another file into the place of the name, so the directory is another user's.
"""

from __future__ import annotations

import os
import stat
from array import array
from pathlib import Path
from typing import Final, NamedTuple

_GET_FLAGS: Final = 0x80086601
"""``FS_IOC_GETFLAGS`` of Linux, on 64-bit machines."""
_LINUX_APPEND: Final = 0x20
_BSD_APPEND: Final = 0x00040004
"""``SF_APPEND | UF_APPEND``; the second its owner can take away, who is another one."""


class Place(NamedTuple):
    """What is known of a file and the directory that it is in."""

    owner: int
    append_only: bool
    directory_owner: int
    directory_mode: int
    directory_open: bool
    """Whether the program may write into the directory."""


def place(path: Path) -> Place:
    """Look at a file.

    Raises:
        OSError: It cannot be looked at.
    """
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found, only = os.fstat(fd), _append_only(fd)
    finally:
        os.close(fd)
    directory = path.parent.stat()
    effective = os.access in os.supports_effective_ids
    writable = os.access(path.parent, os.W_OK, effective_ids=effective)
    return Place(found.st_uid, only, directory.st_uid, directory.st_mode, writable)


def within(found: Place, user: int) -> str:
    """Return why a file is within the reach of a user, or nothing."""
    if user == 0:
        return "the host runs as root, who reaches every file of this machine"
    if found.owner == user:
        return "it belongs to the user that the host runs as"
    if not found.append_only:
        return "what is in it can be written over: it is not append-only (chattr +a)"
    if found.directory_owner == user or (found.directory_open and not found.directory_mode & stat.S_ISVTX):
        return "another file can be put into its place: the host can write into its directory"
    return ""


def _append_only(fd: int) -> bool:
    flags = getattr(os.fstat(fd), "st_flags", None)
    if flags is not None:
        return bool(flags & _BSD_APPEND)
    try:
        import fcntl

        answer = array("l", [0])
        fcntl.ioctl(fd, _GET_FLAGS, answer)
    except (ImportError, OSError):  # what a file system does not know of, it does not do
        return False
    return bool(answer[0] & _LINUX_APPEND)
