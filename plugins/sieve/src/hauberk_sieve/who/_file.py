"""A register in a file that nobody but its owner can change."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Final

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_sieve.who import _register
from hauberk_sieve.who._register import Register


class File:
    """A file of people, by the rules of `hauberk.files`: its owner, its mode, its directory, and no link."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._text: Final = str(path)

    def mark(self) -> Hashable:
        """Return which file stands there, its owner, mode, size, and when it was changed last.

        Raises:
            OSError: There is none.
        """
        info = os.stat(self._text, follow_symlinks=False)  # noqa: PTH116 - on each decision: half the time of Path.stat
        return info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_mode, info.st_uid, info.st_dev

    def read(self) -> Register:
        """Return what is in the file.

        Raises:
            ConfigError: It is missing, others may change it, or it says something that nothing reads.
        """
        data = files.read_trusted(self._path)
        try:
            return _register.read(data)
        except ValueError as error:
            raise ConfigError(f"{self._path}: {error}") from None
