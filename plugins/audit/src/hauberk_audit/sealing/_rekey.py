"""Give a log another key: each data key is wrapped anew, and the old key opens none of them any more (S3.15).

The rules:

1. No line is touched, so the chain holds as it did. What changes is the file of data keys beside a log, and beside each
   log of it that was put away: each is replaced whole, or not at all.
2. Nothing is changed before each log is locked, each data key was opened, and no index is in use. An index is deleted;
   queries make another one.
3. Each log records ``audit.rekeyed`` with both key ids, sealed with a new data key, so who has an old copy of the data
   keys and the old key reads nothing of what follows; nor of an index, which has its key from the new one. Until that
   entry is on the disk, the file of data keys says that it is missing.
4. What was interrupted goes on when the same is asked for again: data keys that have the new key stay, the others get
   it. An entry may then be there twice.

What was copied before, data keys and the key they were wrapped for, opens what was written before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from hauberk import advisory, files
from hauberk.refusals import ConfigError, HauberkError, PluginError
from hauberk_audit._paths import state_path
from hauberk_audit.queries import _index_files
from hauberk_audit.sealing import _recipients
from hauberk_audit.sealing._providers import KeyProvider
from hauberk_audit.sealing._recipients import FileKey, KeyFile, Rekeying, keys_path
from hauberk_audit.sealing._sealer import sealing
from hauberk_audit.writing._custody import Signing
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._opened import opened
from hauberk_audit.writing._rotation import Say

REKEYED: Final = "audit.rekeyed"


class Change(NamedTuple):
    """What is asked for."""

    old: Sequence[KeyProvider]
    """The keys that open what is there; the first is the host's own."""
    new: Sequence[KeyProvider]
    """The keys that will open it, and no others; the first is the host's own."""


class Done(NamedTuple):
    """What was changed."""

    files: tuple[Path, ...]
    """The files of data keys that were replaced."""
    keys: int
    """How many data keys were wrapped anew."""
    logs: tuple[Path, ...]
    """The logs that recorded it."""


class _Plan(NamedTuple):
    log: Path
    archived: bool
    before: KeyFile
    after: KeyFile
    keys: int

    @property
    def path(self) -> Path:
        return keys_path(self.log)


def rekey(logs: Sequence[Path], change: Change, signing: Signing, say: Say, details: dict[str, Any]) -> Done:
    """Change the keys of logs.

    Args:
        logs: The logs; those without data keys are left alone.
        change: From which keys to which.
        signing: What signs the logs.
        say: Makes the body of an entry.
        details: Who did it, for the entry.

    Raises:
        ConfigError: A log is being written, a data key is damaged or of another key. Nothing was changed.
        PluginError: A provider failed, or a log cannot go on.
        HauberkError: An index is being used. Nothing was changed.
        OSError: The disk failed; asked again, it goes on.
    """
    there = [log for log in logs if os.path.lexists(keys_path(log))]
    with ExitStack() as stack:
        for log in there:
            stack.enter_context(_held(log))
        plans = [_plan(log, change, archived=False) for log in there]
        plans += [_plan(log, change, archived=True) for log in _archived(logs)]
        todo = [plan for plan in plans if plan.after != plan.before]
        for plan in todo:
            if not _index_files.drop(plan.log):
                raise HauberkError(
                    f"the index of audit log {str(plan.log)!r} is in use", hint="end the commands that query the log"
                )
        for plan in todo:
            _recipients.write(plan.path, plan.after)
    pending = [log for log in there if _pending(log) is not None]
    for log in pending:
        _record(log, change, signing, say, details)
    return Done(tuple(plan.path for plan in todo), sum(plan.keys for plan in todo), tuple(pending))


def _archived(logs: Sequence[Path]) -> list[Path]:
    """Return the logs of these names, and of their siblings, that were put away, whatever is there now."""
    found: dict[Path, None] = {}
    for log in logs:
        ours = re.compile(rf"{re.escape(log.stem)}(\.[1-9][0-9]*)?{re.escape(log.suffix)}")
        for path in sorted(log.parent.glob("*.archived-*/*.keys")):
            name = path.name.removesuffix(".keys")
            if ours.fullmatch(name) and path.parent.name.startswith(f"{name}.archived-"):
                found[path.with_name(name)] = None
    return list(found)


@contextmanager
def _held(log: Path) -> Iterator[None]:
    """Hold the lock of a log, as its writer would.

    Raises:
        ConfigError: Another process holds it.
    """
    fd = files.append_private(state_path(log), in_place=True)
    try:
        if not advisory.take(fd):
            raise ConfigError(f"audit log {str(log)!r} is being written", hint="end the process that writes it")
        yield
    finally:
        os.close(fd)


def _plan(log: Path, change: Change, *, archived: bool) -> _Plan:
    path = keys_path(log)
    before = _recipients.read(path)
    if before is None:
        raise ConfigError(f"data keys {str(path)!r} are gone", hint="bring back a copy of the file")
    wanted = {one.key_id for one in change.new}
    try:
        entries = [entry if entry.key_ids == wanted else _changed(entry, change) for entry in before.files]
    except ConfigError as error:
        raise ConfigError(f"cannot use data keys {str(path)!r}: {error.message}", hint=error.hint) from None
    count = sum(one is not other for one, other in zip(entries, before.files, strict=True))
    pending = before.rekeying if archived or not count else Rekeying(_old_id(before, change), change.new[0].key_id)
    index = len(entries) if count else before.index
    return _Plan(log, archived, before, replace(before, files=tuple(entries), rekeying=pending, index=index), count)


def _changed(entry: FileKey, change: Change) -> FileKey:
    data = _recipients.unwrap(entry, (*change.old, *change.new))
    return _recipients.rewrapped(entry, data, change.new)


def _old_id(before: KeyFile, change: Change) -> str:
    """Return the key that ends."""
    if before.rekeying is not None:  # it was interrupted
        return before.rekeying.old
    return change.old[0].key_id if change.old else before.files[-1].keys[0].key_id


def _pending(log: Path) -> Rekeying | None:
    found = _recipients.read(keys_path(log))
    return None if found is None else found.rekeying


def _record(log: Path, change: Change, signing: Signing, say: Say, details: dict[str, Any]) -> None:
    """Record the change in a log, sealed with a new data key."""
    pending = _pending(log)
    written = Log.open(log, signing, sync=True, sealing=sealing(change.new, fresh=True))
    try:
        if written.path != log:
            raise PluginError(f"audit log {str(log)!r} is being written", hint="end that process, and do this again")
        for code, more, _ in opened(written):
            written.append(say(code, more))
        if pending is not None:
            said = {"old_key": pending.old, "new_key": pending.new, "recipients": [one.key_id for one in change.new]}
            written.append(say(REKEYED, {**details, **said}))
        found = _recipients.read(keys_path(log))
        if found is not None:
            _recipients.write(keys_path(log), replace(found, rekeying=None))
    finally:
        written.close()
