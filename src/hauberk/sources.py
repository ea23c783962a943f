"""The files that plugins read by themselves, as they were when the plugins were opened.

A plugin names them in ``sources()``; a reload of a configuration that is the same to the byte looks here whether
anything else has changed. What counts of a file is its content, its mode and its owner; of a directory, the same of
each file in it, and their names. A file that appears or goes is a change, and so is one that can no longer be read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from hauberk.differences import Rule

_MAX_BYTES: Final = 1 << 26
"""What is looked at of one file."""


class Sources:
    """What the files of some plugins held."""

    def __init__(self) -> None:
        self._found: Final[dict[tuple[str, Path], str]] = {}

    def add(self, plugin: str, paths: Iterable[Path]) -> None:
        """Look at what a plugin is about to read: files, and directories of files."""
        for path in paths:
            self._found[plugin, Path(path)] = _version(Path(path))

    def changed(self) -> bool:
        """Whether any of it is different by now."""
        return any(_version(path) != version for (_, path), version in self._found.items())

    def rules(self, other: Sources) -> dict[str, Rule]:
        """Return the version of what is read here and there, by plugin and path; some are secret, so none shows."""
        both = self._found.keys() & other._found.keys()
        return {f"{name}: {path}": Rule(self._found[name, path], shown=False) for name, path in sorted(both)}


def _version(path: Path, *, within: bool = False) -> str:
    """Return what is another text once what is at a path has changed."""
    try:
        return hashlib.sha256(repr(_held(path, within=within)).encode()).hexdigest()
    except OSError as error:
        return f"errno {error.errno}"


def _held(path: Path, *, within: bool) -> tuple[Any, ...]:
    info = path.lstat() if within else path.stat()
    content: Any = None
    if stat.S_ISREG(info.st_mode):
        with path.open("rb") as file:
            content = hashlib.sha256(file.read(_MAX_BYTES)).digest()
    elif stat.S_ISDIR(info.st_mode) and not within:
        content = [(name, _version(path / name, within=True)) for name in sorted(os.listdir(path))]  # noqa: PTH208 - names
    return info.st_mode, info.st_uid, info.st_gid, content
