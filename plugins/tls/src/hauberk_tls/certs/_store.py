"""Write certificates and keys so that whoever looks sees the old state or the new one, whole.

The rules:

1. One command at a time changes a directory: an advisory lock beside it, held until the command ends.
2. A new folder is filled under a hidden name and renamed: it is there with all its files, or it is not.
3. A file is replaced by a rename (`hauberk.files`). Nothing has its final name before it is on the disk.
4. What a killed command has left has a hidden name; the next one that holds the lock removes it.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from hauberk import advisory, files
from hauberk.refusals import ConfigError
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._places import Places

_LEFT: Final = re.compile(r"\..+\.[0-9]+\.[0-9]+\.tmp")
"""The hidden names of this module, and of `hauberk.files`."""
_PAUSE: Final = 0.05
_serial = itertools.count()


class Content(NamedTuple):
    """One file of a new folder."""

    name: str
    data: bytes
    mode: int


@contextmanager
def locked(places: Places, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold the lock of a directory, which is made if it is missing (rules 1 and 4).

    Raises:
        ConfigError: The directory is not private, or another command does not let go.
    """
    files.private_dir(places.base)
    fd = files.append_private(places.lock)
    try:
        waited = 0.0
        while not advisory.take(fd):
            if waited >= LIMITS.lock_seconds:
                raise ConfigError(f"another command holds {str(places.lock)!r}", hint="wait until it has ended")
            sleep(_PAUSE)
            waited += _PAUSE
        _sweep(places)
        yield
    finally:
        os.close(fd)


def publish(folder: Path, contents: Iterable[Content]) -> None:
    """Make a folder with its files (rule 2).

    Raises:
        ConfigError: It is there already, or cannot be made.
        OSError: The disk failed; there is no folder.
    """
    files.private_dir(folder.parent)
    if os.path.lexists(folder):
        raise ConfigError(f"cannot make {str(folder)!r}: it exists already")
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.{next(_serial)}.tmp")
    hidden.mkdir(0o700)
    try:
        for one in contents:
            files.write_atomic(hidden / one.name, one.data, mode=one.mode)
        hidden.rename(folder)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    files.sync_directory(folder.parent)


def remove(path: Path) -> None:
    """Remove a file that may be gone, durably."""
    path.unlink(missing_ok=True)
    files.sync_directory(path.parent)


def left(places: Places) -> list[Path]:
    """Return what killed commands have left."""
    folders = [places.base, places.ca, places.servers, *(one.path for one in places.folders())]
    return [found for folder in folders if folder.is_dir() for found in folder.iterdir() if _LEFT.fullmatch(found.name)]


def _sweep(places: Places) -> None:
    for path in left(places):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            with suppress(FileNotFoundError):
                path.unlink()
