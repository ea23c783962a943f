"""What shows that the log is live: what was just recorded is in it, whole, signed with its key, in private files."""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from hauberk.event import Event
from hauberk.probe import Probe, call, client
from hauberk.refusals import HauberkError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import closed_files
from hauberk_audit.sealing._providers import KeyPlace
from hauberk_audit.sealing._sealing import is_sealed
from hauberk_audit.writing._chain import Chain, read
from hauberk_audit.writing._custody import load
from hauberk_audit.writing._ratchet import Rung, named

if TYPE_CHECKING:
    from hauberk_audit._plugin import Audit
    from hauberk_audit.sealing._opening import Opener

_SEALED: Final = "hauberk-doctor-sealed"
"""A tool."""
_READ: Final = 4 * BOUNDS.line
"""Bytes of the end of the log that are looked at: it may be of any size, and ``hauberk audit verify`` reads it all."""


def probes(plugin: Audit) -> list[Probe]:
    """Return the probes of one log."""
    sealed = Probe(
        "audit.seals_entries",
        "nothing of what is recorded of a call is in the log in clear",
        (client(call(_SEALED)),),
        check=lambda events: in_clear(plugin, events),
    )
    return [
        *([sealed] if plugin.encryption.enabled else ()),
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
    there = b"\n".join(_opened(plugin, lines))
    lost = [event.code for event in events if event.id.encode() not in there]
    if lost:
        return f"of {len(events)} entries {len(lost)} are not in the log, the first of them {lost[0]}"
    signing = load(plugin.key_file)
    return _break(signing, lines) if isinstance(signing, Chain) else plugin.record_probe()


def in_clear(plugin: Audit, events: Sequence[Event]) -> str | None:
    """Return what of these events stands in the log so that it can be read without a key."""
    if not events:
        return "nothing was recorded of a call"
    plugin.flush()
    try:
        there = b"\n".join(_last_lines(plugin.log_path()))
    except OSError as error:
        return f"the log cannot be read: {(error.strerror or '').lower()}"
    found = sorted(word for word in {_SEALED, *(event.id for event in events)} if word.encode() in there)
    return f"{found[0]!r} is in the log in clear" if found else None


def _opened(plugin: Audit, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines as they would be if the log were not sealed."""
    opener: Opener | None = None
    for line in lines:
        if is_sealed(line):
            opener = opener or plugin.opener()
            yield orjson.dumps(opener(orjson.loads(line), plugin.log_path()))
        else:
            yield line


def _last_lines(path: Path) -> list[bytes]:
    """Return the last whole lines of a log; where its file was just begun, those of the one before it as well."""
    lines, cut = _tail(path)
    before = None if cut else _before(path)
    while before is not None:
        try:
            return [*_tail(before)[0], *lines]
        except FileNotFoundError:
            if (again := _before(path)) == before:
                raise
            before = again  # it was compressed meanwhile, and has another name
    return lines


def _before(path: Path) -> Path | None:
    """Return the file of a log that was closed last."""
    return next(reversed(closed_files(path).values()), None)


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
        entry = read(line)
        if entry is None or not chain.signed(line):
            return "an entry is not signed with the key of the log"
        if last is not None and chain.follow(line, last.sequence + 1, last.hash) is None:
            return f"entry {entry.sequence} does not follow the one before it"
        last = entry
    return None


def unsigned(path: Path, rung: Rung) -> str | None:
    """Return why the last line of a log is not signed with a rung or one that follows from it."""
    try:
        line = _last_lines(path)[-1]
    except (OSError, IndexError):
        return "the log cannot be read"
    entry = read(line)
    name = None if entry is None else named(entry.key_id)
    if name is None or name.step < rung.step:
        return "an entry is not signed with the key of the log"
    while rung.step < name.step:
        rung = rung.next()
    return None if rung.signer().signed(line) else "an entry is not signed with the key of the log"


def broken_key(path: KeyPlace) -> str | None:
    """Return what is wrong with the key of a log."""
    try:
        load(path)
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
