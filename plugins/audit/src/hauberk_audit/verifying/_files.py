"""The files of a log that verify reads, by the names that they have at a moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from hauberk.refusals import ConfigError
from hauberk_audit._paths import closed, closed_files
from hauberk_audit.verifying._lines import open_log
from hauberk_audit.verifying._walk import Break

_GAP: Final = 1000
"""Files in a row that are gone, and are named one by one."""


class File(NamedTuple):
    """A file of a log, or so many in a row that are gone."""

    number: int
    name: Path
    many: int = 1

    @property
    def missing(self) -> Break:
        """What is wrong if it should be there."""
        more = f", and so are the {self.many - 1} after it" if self.many > 1 else ""
        return Break("missing", 0, f"it is gone{more}, and a log with a higher number is there")


def files_of(path: Path) -> list[File]:
    """Return the files of a log, the oldest first, those that are missing among them included."""
    files: list[File] = []
    following = 1
    for number, name in closed_files(path).items():
        if number - following > _GAP:  # a name is no reason to count up to it
            files.append(File(following, closed(path, following), number - following))
        else:
            files += [File(gone, closed(path, gone)) for gone in range(following, number)]
        files.append(File(number, name))
        following = number + 1
    return [*files, File(following, path)]


def opened(name: Path) -> tuple[Path, int] | None:
    """Open a file; return None if there is none of this name."""
    if not os.path.lexists(name):
        return None
    try:
        return name, open_log(name)
    except ConfigError:
        if os.path.lexists(name):
            raise
        return None
