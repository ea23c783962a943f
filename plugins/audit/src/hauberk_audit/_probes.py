"""What shows that the log is live: what was just recorded is in it, whole, signed with its key, in private files."""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hauberk import keys
from hauberk.event import Event
from hauberk.probe import Probe, call, client
from hauberk.refusals import HauberkError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._chain import Chain
from hauberk_audit._paths import closed_files

if TYPE_CHECKING:
    from hauberk_audit._plugin import Audit

_READ: Final = 4 * BOUNDS.line
"""Bytes of the end of the log that are looked at: it may be of any size, and ``hauberk audit verify`` reads it all."""


def probes(plugin: Audit) -> list[Probe]:
    """Return the probes of one log."""
    return [
        Probe(
            "audit.records_calls",
            "what becomes of a call is in the log, each entry in its place and signed",
            (client(call("recorded")),),
            check=lambda events: unrecorded(plugin, events),
        ),
        Probe(
            "audit.keeps_key_private",
            "the key of the log is a sound one, and nobody else can read it",
            check=lambda _: broken_key(plugin.key_file),
        ),
        Probe(
            "audit.keeps_log_private",
            "nobody else can read or change the log, and it is still where its path says",
            check=lambda _: exposed(plugin.log_path()),
        ),
    ]


def unrecorded(plugin: Audit, events: Sequence[Event]) -> str | None:
    """Return why these events are not in the log as they must be."""
    if not events:
        return "nothing was recorded of a call"
    plugin.flush()
    try:
        lines = _last_lines(plugin.log_path())
    except OSError as error:
        return f"the log cannot be read: {(error.strerror or '').lower()}"
    there = b"\n".join(lines)
    lost = [event.code for event in events if event.id.encode() not in there]
    if lost:
        return f"of {len(events)} entries {len(lost)} are not in the log, the first of them {lost[0]}"
    return _break(Chain(keys.load_key(plugin.key_file)), lines)


def _last_lines(path: Path) -> list[bytes]:
    """Return the last whole lines of a log; where its file was just begun, those of the one before it as well."""
    lines, cut = _tail(path)
    before = list(closed_files(path).values())[-1:]
    if not cut and before:
        lines = [*_tail(before[0])[0], *lines]
    return lines


def _tail(path: Path) -> tuple[list[bytes], bool]:
    """Return the last whole lines of a file, and whether there are more before them."""
    if path.suffix == ".gz":
        data, cut = b"", False
        with gzip.open(path) as packed:
            while piece := packed.read(_READ):
                data, cut = (data + piece)[-_READ:], cut or len(data) + len(piece) > _READ
    else:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _READ))
            cut, data = file.tell() > 0, file.read()
    return data.split(b"\n")[:-1][cut:], cut


def _break(chain: Chain, lines: Iterable[bytes]) -> str | None:
    """Return what is wrong with lines that follow one another."""
    last = None
    for line in lines:
        entry = chain.read(line)
        if entry is None or not entry.signed:
            return "an entry is not signed with the key of the log"
        if last is not None and chain.follow(line, last.sequence + 1, last.hash) is None:
            return f"entry {entry.sequence} does not follow the one before it"
        last = entry
    return None


def broken_key(path: Path) -> str | None:
    """Return what is wrong with a key file."""
    try:
        keys.load_key(path)
    except HauberkError as error:
        return error.message
    return None


def exposed(path: Path) -> str | None:
    """Return who else has access to a log."""
    if os.name != "posix":
        return None
    try:
        info = path.lstat()
    except OSError as error:
        return f"log {str(path)!r} cannot be found: {(error.strerror or '').lower()}"
    if not stat.S_ISREG(info.st_mode):
        return f"log {str(path)!r} is no regular file"
    if info.st_uid not in {os.geteuid(), 0}:
        return f"log {str(path)!r} belongs to user {info.st_uid}"
    if info.st_mode & 0o077:
        return f"log {str(path)!r} has mode {stat.S_IMODE(info.st_mode):o}, so others have access to it"
    return None
