"""The names of the logs that several writers of one path keep, and of what a crash left."""

from __future__ import annotations

import glob
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


def state_path(path: Path) -> Path:
    """Return where the state of a log is."""
    return path.with_name(f"{path.name}.chain")


def closed(path: Path, number: int) -> Path:
    """Return the name of a file that was closed: ``audit.jsonl.1`` and so on; compressed it ends with ``.gz``."""
    return path.with_name(f"{path.name}.{number}")


def packed(path: Path, number: int) -> Path:
    """Return the name of a file that was closed and compressed."""
    return path.with_name(f"{path.name}.{number}.gz")


def tree_path(path: Path) -> Path:
    """Return where it is kept how far the checkpoints of a log are."""
    return path.with_name(f"{path.name}.tree")


def pruned_path(path: Path) -> Path:
    """Return where it is kept with what entry a log begins of which files are gone."""
    return path.with_name(f"{path.name}.pruned")


def closed_files(path: Path) -> dict[int, Path]:
    """Return the files of a log that were closed and are there, by their numbers, the oldest first.

    One that is there twice was being compressed when its writer was stopped; the plain one is whole.
    """
    found: dict[int, Path] = {}
    for name in path.parent.glob(f"{glob.escape(path.name)}.*"):
        match = re.fullmatch(r"([1-9][0-9]{0,8})(\.gz)?", name.name[len(path.name) + 1 :])
        if match and (match[2] is None or int(match[1]) not in found):
            found[int(match[1])] = name
    return dict(sorted(found.items()))


def archive(path: Path) -> Path:
    """Return the first free name of those for the directories of logs that were put away."""
    names = (path.with_name(f"{path.name}.archived-{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def quarantine(path: Path) -> Path:
    """Return the first free name of those for what a crash left: ``audit.jsonl.torn-1`` and so on."""
    names = (path.with_name(f"{path.name}.torn-{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def log_set(path: Path, *, to: str = "verify") -> list[Path]:
    """Return the logs that a path stands for: those in a directory, or a log and its numbered siblings.

    A log is there if any of its files is, or its state.

    A log that is not there and has a sibling of a higher number is in the set too: it was there, since a writer takes
    the lowest number that is free.

    Raises:
        ConfigError: There is nothing of this name.
    """
    bases = (
        sorted({_base(log) for name in path.iterdir() if (log := _log_of(name)) is not None})
        if path.is_dir()
        else [path]
    )
    found = [log for base in bases for log in _siblings(base)]
    if not found:
        reason = f"it holds no file that ends with {SUFFIX!r}" if path.is_dir() else "there is no such file"
        raise ConfigError(f"nothing to {to}: {str(path)!r}: {reason}", hint="name the log that [audit] path says")
    return found


def _siblings(base: Path) -> Iterable[Path]:
    numbers = [number for number in range(BOUNDS.siblings + 1) if _is_there(sibling(base, number))]
    return [sibling(base, number) for number in range(max(numbers, default=-1) + 1)]


def _is_there(log: Path) -> bool:
    return os.path.lexists(log) or _is_begun(state_path(log)) or bool(closed_files(log))


def _is_begun(state: Path) -> bool:
    """Whether a state was ever written: a writer that is stopped before it makes its log leaves an empty one."""
    try:
        return state.lstat().st_size > 0 or not state.is_file()
    except FileNotFoundError:
        return False


def _log_of(name: Path) -> Path | None:
    """Return the log to which a file in its directory belongs."""
    found = re.fullmatch(rf"(.+{re.escape(SUFFIX)})(\.[1-9][0-9]*(\.gz)?|\.chain)?", name.name)
    return name.with_name(found[1]) if found else None


def _base(name: Path) -> Path:
    """Return the path whose sibling a name is, or the name itself."""
    found = re.fullmatch(r"(.+)\.([1-9][0-9]?)", name.stem)
    number = int(found[2]) if found else 0
    return name.with_name(f"{found[1]}{name.suffix}") if found and number <= BOUNDS.siblings else name
