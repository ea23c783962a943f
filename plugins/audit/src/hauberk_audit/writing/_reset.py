"""What to do about a log that cannot go on: look at how it stands, or put it away and begin another one.

The rules:

1. Nothing is deleted but the index, which can be made again from any log. All files of the log, its state, its data
   keys and what was set aside go into a directory beside it, as they are.
2. The new chain begins with ``audit.chain_reset``: who did it, why, and where the chain before it ended, as far as that
   can be told.
3. A log that another process writes is left alone.
4. The file that is written goes first, then those that were closed, the newest first, and the state last: while the
   state can be believed, no writer goes on with what is left of a reset that was stopped, and the next reset puts it
   where the rest is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from hauberk import advisory, files
from hauberk.refusals import ConfigError, PluginError
from hauberk_audit._paths import archive, closed_files, pruned_path, state_path, tree_path
from hauberk_audit.queries import _index_files
from hauberk_audit.sealing._recipients import keys_path
from hauberk_audit.sealing._sealer import Sealing
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._custody import Signing
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._resume import resume
from hauberk_audit.writing._rotation import Say
from hauberk_audit.writing._state import State, seen

RESET: Final = "audit.chain_reset"
Code = Literal["manual_reset", "state_lost", "key_changed", "legacy_archived", "tampered"]
"""Why a chain was begun anew, for programs."""


class Status(msgspec.Struct, frozen=True):
    """How a log stands."""

    path: str
    held: bool
    """Whether a process writes it."""
    goes_on: bool
    """Whether a writer could go on with it."""
    reason: str = ""
    """Why not."""
    sequence: int = 0
    """The number of the last entry, as its state says."""
    hash: str = ""
    files: tuple[str, ...] = ()
    """The files that were closed."""
    state: str = ""
    """What is wrong with the state."""


def status(path: Path, signing: Signing) -> Status:
    """Return how a log stands; nothing is changed.

    Raises:
        OSError: The disk failed.
    """
    state = seen(state_path(path), _state_key(signing))
    at, fault = state.at, state.fault
    names = tuple(name.name for name in closed_files(path).values())
    found = Status(str(path), is_held(state_path(path)), True, "", at.sequence, at.hash, names, fault)
    if found.held:
        return found
    fd = os.open(path if os.path.lexists(path) else os.devnull, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        resumed = resume(path, fd, signing, state)
    except PluginError as error:
        return replace(found, goes_on=False, reason=error.message.partition(": ")[2])
    finally:
        os.close(fd)
    return replace(found, sequence=resumed.at.sequence, hash=resumed.at.hash)


def _state_key(signing: Signing) -> bytes | None:
    return signing.state_key if isinstance(signing, Chain) else None


def _away(path: Path, going: list[Path]) -> Path:
    """Return where the files of a log go: where a reset that was stopped put others of them, or a new directory."""
    free = archive(path)
    last = path.with_name(f"{path.name}.archived-{int(free.name.rpartition('-')[2]) - 1}")
    if not last.is_dir() or os.path.lexists(state_path(last / path.name)) or not any(last.iterdir()):
        return free
    twice = [name for name in going if os.path.lexists(last / name.name)]
    if twice == [path] and not path.lstat().st_size:  # a writer made it, and did not go on
        path.unlink()
        going.remove(path)
        twice = []
    return free if twice else last


def is_held(state: Path) -> bool:
    """Whether a process holds the state file of a log; nothing is made."""
    try:
        fd = os.open(state, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not advisory.take(fd)
    finally:
        os.close(fd)


def reset(path: Path, signing: Signing, say: Say, details: dict[str, Any], *, sealing: Sealing | None = None) -> Path:
    """Put a log away and begin a new chain; return where the old one is.

    Args:
        path: The log.
        signing: The key of the new chain, or the roots of it.
        say: Makes the body of an entry.
        details: Who did it, and why.
        sealing: What seals the new chain; without it, it is begun in clear.

    Raises:
        ConfigError: There is no log, another process writes it, or a file of it is not private.
        OSError: The disk failed; what was put away so far is where it was put.
    """
    mine = [name for name in (path, *reversed(closed_files(path).values())) if os.path.lexists(name)]
    state_file = state_path(path)
    if not mine and not os.path.lexists(state_file):
        raise ConfigError(f"there is no audit log {str(path)!r}", hint="name the log that [audit] path says")
    key = _state_key(signing)
    at, fault, _ = seen(state_file, key)
    state = State.take(state_file, key)
    if state is None:
        raise ConfigError(f"audit log {str(path)!r} is being written", hint="end the process that writes it")
    try:
        more = (keys_path(path), tree_path(path), pruned_path(path))
        aside = [*sorted(path.parent.glob(f"{path.name}.torn-*")), *filter(os.path.lexists, more)]
        away = _away(path, going := [*mine, *aside])
        files.private_dir(away)
        for name in [*going, state_file]:
            name.rename(away / name.name)
        put = [*closed_files(away / path.name).values(), *filter(os.path.lexists, [away / path.name])]
        files.sync_directory(path.parent)
        _index_files.drop(path)  # one that is in use is brought up to date by the next query
    finally:
        state.close()
    prior = {"sequence": at.sequence, "hash": at.hash, "state": fault or "whole", "archived": away.name}
    log = Log.open(path, signing, sync=True, sealing=sealing)
    try:
        log.append(say(RESET, {**details, "prior": prior, "files": [name.name for name in put]}))
    finally:
        log.close()
    return away
