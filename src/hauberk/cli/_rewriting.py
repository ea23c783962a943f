"""A client's file, read and replaced: a backup first, all of the new file or none of it, and nobody else let in.

A link is followed and its target replaced, so that a folder of dotfiles stays one. Where the file cannot be replaced as
it was (another owner, a second name for it on the disk, a change while we worked), it is left and that is said.
"""

from __future__ import annotations

import itertools
import os
import stat
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from hauberk import files
from hauberk._entries import Server
from hauberk.cli._boundary import complain
from hauberk.cli._text import printable
from hauberk.refusals import ConfigError

MAX_BYTES: Final = 32 * 1024 * 1024
"""A client's file is not larger (bytes); some keep their history beside their servers."""
_ALL: Final = 0o7777
_OWNERS: Final = 0o700


class Source(NamedTuple):
    """A file as it was read."""

    path: Path
    """The file itself, not a link to it."""
    data: bytes
    text: str
    info: os.stat_result


def load(path: Path) -> Source:
    """Read a client's file.

    Raises:
        ConfigError: It is missing, no text, or cannot be replaced as it is.
    """
    target = Path(os.path.realpath(path))
    data, fault = files.read_judged(target, max_bytes=MAX_BYTES)
    info = target.stat()
    _check_replaceable(target, info)
    if fault:
        complain(f"warning: {fault.message}", fault.hint)
    return Source(target, data, decoded(data, str(path)), info)


def decoded(data: bytes, name: str) -> str:
    """Return the text of a file, its line ends as they are.

    Raises:
        ConfigError: It is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: byte {error.start}: not UTF-8", hint="save the file as UTF-8") from None


def replace(source: Source, text: str) -> Path:
    """Keep a backup, put the text in the file's place, and return the backup.

    Raises:
        ConfigError: It could not be done; the file is as before.
    """
    if files.read_judged(source.path, max_bytes=MAX_BYTES)[0] != source.data:
        raise ConfigError(
            f"{str(source.path)!r} was changed while it was read, and is left as it is", hint="run the command again"
        )
    try:
        backup = _backed_up(source)
        _write(source, text.encode())
    except OSError as error:
        raise ConfigError(
            f"cannot rewrite {str(source.path)!r}: {(error.strerror or '').lower()}; it is as before"
        ) from error
    return backup


def facts(server: Server) -> dict[str, Any]:
    """Return what became of an entry as JSON."""
    table = [printable(key) for key in server.table]
    return {
        "table": table,
        "key": printable(server.key),
        "name": server.name,
        "state": server.state,
        "notes": list(server.notes),
    }


def _check_replaceable(path: Path, info: os.stat_result) -> None:
    if hasattr(os, "geteuid") and info.st_uid != os.geteuid():
        raise ConfigError(
            f"cannot rewrite {str(path)!r}: its owner is user {info.st_uid}, not user {os.geteuid()}",
            hint="run the command as its owner",
        )
    if info.st_nlink > 1:
        raise ConfigError(
            f"cannot rewrite {str(path)!r}: it has {info.st_nlink} names on the disk, and would keep one of them",
            hint="remove the others, or make them symbolic links",
        )


def _backed_up(source: Source) -> Path:
    """Return a backup of this very content; no other is overwritten."""
    for number in itertools.count(1):
        path = source.path.with_name(f"{source.path.name}.hauberk-{number}.bak")
        if not os.path.lexists(path):
            files.write_new(path, source.data)
            return path
        if _holds(path, source.data):
            return path
    raise AssertionError


def _holds(path: Path, data: bytes) -> bool:
    try:
        return files.read_private(path, max_bytes=MAX_BYTES) == data
    except ConfigError:
        return False


def _write(source: Source, data: bytes) -> None:
    mode = stat.S_IMODE(source.info.st_mode) & _ALL
    if not hasattr(os, "chown") or source.info.st_gid == _new_group(source.path.parent):
        files.write_atomic(source.path, data, mode=mode)
        return
    # The file was made in another group's name: what its mode gives is for that group alone.
    files.write_atomic(source.path, data, mode=mode & _OWNERS)
    try:
        os.chown(source.path, -1, source.info.st_gid)
    except PermissionError:
        complain(f"warning: {str(source.path)!r} could not keep its group, and is its owner's alone now")
        return
    source.path.chmod(mode)


def _new_group(folder: Path) -> int:
    """Return the group that a new file in a folder gets."""
    info = folder.stat()
    return info.st_gid if info.st_mode & stat.S_ISGID or sys.platform == "darwin" else os.getegid()
