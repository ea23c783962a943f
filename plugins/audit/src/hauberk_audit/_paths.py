"""The names of the logs that several writers of one path keep, and of what a crash left."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hauberk.refusals import ConfigError
from hauberk_audit._bounds import BOUNDS

SUFFIX: Final = ".jsonl"
"""In a directory, the logs are the files that end so."""


def sibling(path: Path, number: int) -> Path:
    """Return the log of a path's writer of a number from 0: ``audit.jsonl``, ``audit.1.jsonl`` and so on."""
    return path.with_name(f"{path.stem}.{number}{path.suffix}") if number else path


def quarantine(path: Path) -> Path:
    """Return the first free name of those for what a crash left: ``audit.jsonl.torn-1`` and so on."""
    names = (path.with_name(f"{path.name}.torn-{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def log_set(path: Path) -> list[Path]:
    """Return the logs that a path stands for: those in a directory, or a log and its numbered siblings.

    A log that is not there and has a sibling of a higher number is in the set too: it was there, since a writer takes
    the lowest number that is free.

    Raises:
        ConfigError: There is nothing of this name.
    """
    bases = sorted({_base(name) for name in path.iterdir() if name.suffix == SUFFIX}) if path.is_dir() else [path]
    found = [log for base in bases for log in _siblings(base)]
    if not found:
        reason = f"it holds no file that ends with {SUFFIX!r}" if path.is_dir() else "there is no such file"
        raise ConfigError(f"nothing to verify: {str(path)!r}: {reason}", hint="name the log that [audit] path says")
    return found


def _siblings(base: Path) -> Iterable[Path]:
    numbers = [number for number in range(BOUNDS.siblings + 1) if os.path.lexists(sibling(base, number))]
    return [sibling(base, number) for number in range(max(numbers, default=-1) + 1)]


def _base(name: Path) -> Path:
    """Return the path whose sibling a name is, or the name itself."""
    found = re.fullmatch(r"(.+)\.([1-9][0-9]?)", name.stem)
    number = int(found[2]) if found else 0
    return name.with_name(f"{found[1]}{name.suffix}") if found and number <= BOUNDS.siblings else name
