"""The file that a server is started from: which one it is, its hash, and whether it is still the same.

The rules:

1. What is looked for is what the child will be: a command with a slash is a path from its working directory; any other
   is the first file that can be executed in the directories of *its* ``PATH``.
2. The file is opened once; what is hashed is read from that descriptor. Its mark (device, inode, size, and the times of
   the last change of content and of status) is taken before and after: one that changes meanwhile has no hash.
3. The hash of a file whose mark is that of one hashed before is that one's, if the file had been at rest when it was
   hashed: a change in the same tick of the file system's clock would leave no mark.
4. The guard starts that very path, and compares the mark once more when the child is there, before any message passes.

What is not covered: what the file itself loads. Of ``npx``, ``uvx`` or ``python`` this is the hash of the launcher.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from hauberk.connection import Program
from hauberk_pins._limits import LIMITS

_CHUNK: Final = 1024 * 1024
_REST: Final = 2_000_000_000
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
Mark = tuple[int, int, int, int, int]


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that was hashed."""

    path: str
    mark: Mark
    hash: str


def find(program: Program) -> str | None:
    """Return the absolute path of the file that is started, if there is one (rule 1)."""
    base = os.path.join(os.getcwd(), program.cwd or "")  # noqa: PTH109, PTH118 - nothing is made shorter: a link may be in it
    if os.path.dirname(program.command):  # noqa: PTH120 - as the start itself looks at it
        names = [program.command]
    else:
        names = [os.path.join(folder, program.command) for folder in os.get_exec_path(dict(program.env))]  # noqa: PTH118
    paths = (os.path.join(base, name) for name in names)  # noqa: PTH118
    return next((path for path in paths if _is_executable(path)), None)


def mark(path: str) -> Mark:
    """Return what changes when the file does.

    Raises:
        OSError: There is none.
    """
    return _mark(os.stat(path))  # noqa: PTH116 - beside `os.fstat`


def digest(path: str) -> Known:
    """Read a file and return its hash (rule 2).

    Raises:
        OSError: It cannot be read, is no regular file, is too large, or changes meanwhile.
    """
    fd = os.open(path, _FLAGS)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(0, "it is no regular file")
        if before.st_size > LIMITS.executable_bytes:
            raise OSError(0, f"it is larger than {LIMITS.executable_bytes} bytes")
        found = hashlib.sha256()
        left = before.st_size
        while left > 0 and (chunk := os.read(fd, min(left, _CHUNK))):
            found.update(chunk)
            left -= len(chunk)
        if _mark(os.fstat(fd)) != _mark(before) or mark(path) != _mark(before):
            raise OSError(0, "it changes while it is read")
    finally:
        os.close(fd)
    return Known(path, _mark(before), f"sha256:{found.hexdigest()}")


def is_known(known: Known | None, path: str) -> bool:
    """Whether this file has been hashed before, and is unchanged (rule 3).

    Raises:
        OSError: There is none.
    """
    return known is not None and known.path == path and known.mark == mark(path)


def at_rest(known: Known, now: float) -> bool:
    """Whether the file had been at rest when it was hashed, so that its mark tells of any change.

    Args:
        known: The file.
        now: Seconds since 1970.
    """
    return max(known.mark[3:]) + _REST < now * 1_000_000_000


def _mark(found: os.stat_result) -> Mark:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_executable(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.X_OK)
