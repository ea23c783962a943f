"""Where the chain of a log goes on: what its last line says, and what the state beside it says of that.

The rules:

1. The last line must be signed with the key at hand. A last line without LF was never acknowledged, and is set aside.
2. Where the file is empty or not there, the chain goes on from the last file that was closed.
3. A log that ends before its state, or has another entry there, lost something: it does not open.
4. What can be none of this is never overwritten and never skipped.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from hauberk.refusals import PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._chain import Chain, Entry
from hauberk_audit._paths import closed_files
from hauberk_audit._rotation import closes
from hauberk_audit._state import Fault, Position

_BEGINNING: Final = Position()


class Resumed(NamedTuple):
    """Where a log goes on."""

    at: Position
    size: int
    """Bytes of the file up to the last whole line."""
    torn: bytes
    """What stands after it."""
    ended: bool
    """Whether the last entry closes its file, and the next file has not been begun."""


def resume(path: Path, fd: int, chain: Chain, seen: Position, fault: Fault) -> Resumed:
    """Return where the chain of a log goes on.

    Args:
        path: The log.
        fd: A descriptor of the file that is written.
        chain: The key.
        seen: What the state says.
        fault: What is wrong with the state.

    Raises:
        PluginError: It cannot.
        OSError: The disk failed.
    """
    files = closed_files(path)
    size = os.fstat(fd).st_size
    line, torn = _last_line(path, _tail(fd, size), size)
    number = max(files, default=0) + 1
    if line is not None:
        at = _position(path, chain, line, number, _first(chain, fd, size), seen)
        ended = closes(line)
    elif files:
        at, ended = _after(path, chain, files[number - 1], number), False
    else:
        at, ended = _BEGINNING, False
    if not fault:
        _compare(path, at, seen)
    return Resumed(at, size - len(torn), torn, ended)


def _tail(fd: int, size: int) -> bytes:
    os.lseek(fd, max(0, size - 2 * BOUNDS.line), os.SEEK_SET)
    chunks = []
    while chunk := os.read(fd, BOUNDS.chunk):
        chunks.append(chunk)
    return b"".join(chunks)


def _last_line(path: Path, tail: bytes, size: int) -> tuple[bytes | None, bytes]:
    """Return the last whole line without its LF, if there is one, and what stands after it."""
    end = tail.rfind(b"\n") + 1
    start = tail.rfind(b"\n", 0, max(0, end - 1)) + 1
    torn = tail[end:]
    if len(torn) > BOUNDS.line or (start == 0 and len(tail) < size):
        refuse(path, f"its last line is longer than {BOUNDS.line} bytes")
    return (tail[start : end - 1] if end else None), torn


def _entry(path: Path, chain: Chain, line: bytes, which: str) -> Entry:
    entry = chain.read(line)
    if entry is None:
        refuse(path, f"its {which} line is no entry")
    if entry.key_id != chain.key_id:
        refuse(path, f"it was written with key {entry.key_id.decode()}, and this is {chain.key_id.decode()}")
    if not entry.signed:
        refuse(path, f"its {which} entry was changed")
    return entry


def _position(path: Path, chain: Chain, line: bytes, number: int, first: int, state: Position) -> Position:
    entry = _entry(path, chain, line, "last")
    began = state.began if state.file == number else 0.0
    return Position(entry.sequence, entry.hash.decode(), number, began, first)


def _first(chain: Chain, fd: int, size: int) -> int:
    """Return the number of the first entry of a file."""
    os.lseek(fd, 0, os.SEEK_SET)
    line = os.read(fd, min(size, BOUNDS.line)).partition(b"\n")[0]
    entry = chain.read(line)
    return entry.sequence if entry is not None else 1


def _after(path: Path, chain: Chain, last: Path, number: int) -> Position:
    """Return where the chain stands after a file that was closed."""
    with gzip.open(last) if last.suffix == ".gz" else last.open("rb") as file:
        line = b""
        while piece := file.readline(BOUNDS.line + 1):
            line = piece
    entry = _entry(last, chain, line.removesuffix(b"\n"), "last")
    if not closes(line):
        refuse(path, f"it is gone, and {str(last)!r}, which stands before it, was not closed")
    return Position(entry.sequence, entry.hash.decode(), number, 0.0, entry.sequence + 1)


def _compare(path: Path, at: Position, seen: Position) -> None:
    """Refuse a log that lost something since its state was written."""
    if seen.sequence > at.sequence:
        which = f"entries {at.sequence + 1} to {seen.sequence} are gone" if at.sequence else "it is gone or empty"
        refuse(path, f"{which}: there were {seen.sequence} when it was written last")
    if seen.sequence == at.sequence and seen.hash != at.hash:
        refuse(path, f"its entry {at.sequence} is another one than was written")


def refuse(path: Path, reason: str) -> NoReturn:
    """Refuse a log, with a way out.

    Raises:
        PluginError: Always.
    """
    import shlex  # only for an error

    name = shlex.quote(str(path))
    raise PluginError(
        f"cannot continue audit log {str(path)!r}: {reason}",
        hint=f"see hauberk audit verify {name}; name its key in [audit] key_file, or keep it and begin a new one: "
        f"hauberk audit chain reset {name} --reason '…'",
    )
