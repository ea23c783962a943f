"""Where the chain of a log goes on: what its last line says, and what the state beside it says of that.

The rules:

1. The last line must be signed with the key at hand. What stands after the last LF was never acknowledged, and is set
   aside, however long it is: a power failure can leave more zeros than a line has bytes.
   Where the key goes forward, the last line is the one that the state describes, or it is signed with a rung that
   follows from the one there. Without its state such a log does not go on: the key went with it.
2. Where the file is empty or not there, the chain goes on from the last file that was closed.
3. A log that ends before its state, or has another entry there, lost something: it does not open.
4. What can be none of this is never overwritten and never skipped.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, final

from hauberk.refusals import PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import closed_files
from hauberk_audit.writing._chain import Chain, Entry, read
from hauberk_audit.writing._custody import Signing
from hauberk_audit.writing._ratchet import Rung, named
from hauberk_audit.writing._rotation import closes
from hauberk_audit.writing._state import Position, Seen

_BEGINNING: Final = Position()


class Resumed(NamedTuple):
    """Where a log goes on."""

    at: Position
    size: int
    """Bytes of the file up to the last whole line."""
    torn: int
    """Bytes after it."""
    ended: bool
    """Whether the last entry closes its file, and the next file has not been begun."""
    rung: Rung | None
    """What signs next, where the key goes forward and a chain was begun."""


def resume(path: Path, fd: int, signing: Signing, seen: Seen) -> Resumed:
    """Return where the chain of a log goes on.

    Args:
        path: The log.
        fd: A descriptor of the file that is written.
        signing: What signs it.
        seen: What the state says.

    Raises:
        PluginError: It cannot.
        OSError: The disk failed.
    """
    files = closed_files(path)
    size = os.fstat(fd).st_size
    whole = _whole(fd, size)
    line = _last_line(path, fd, whole)
    number = max(files, default=0) + 1
    last = _Plain(signing) if isinstance(signing, Chain) else _Forward(signing.key_id, seen)
    if line is not None:
        entry = last.entry(path, line)
        began = seen.at.began if seen.at.file == number else 0.0
        at = Position(entry.sequence, entry.hash.decode(), number, began, _first(fd, whole), check=last.check(line))
        ended = closes(line)
    elif files:
        at, ended = _after(path, last, files[number - 1], number), False
    else:
        at, ended = _BEGINNING, False
    if not seen.fault:
        _compare(path, at, seen.at)
    return Resumed(at, whole, size - whole, ended, last.rung)


@final
class _Plain:
    """Takes the last line of a log that is signed with one key."""

    rung: Final = None

    def __init__(self, chain: Chain) -> None:
        self._chain: Final = chain

    def check(self, line: bytes) -> str:  # noqa: ARG002 - the key at hand says it
        return ""

    def entry(self, path: Path, line: bytes, which: str = "last") -> Entry:
        entry = _read(path, line, which)
        if entry.key_id != self._chain.key_id:
            refuse(path, f"it was written with key {entry.key_id.decode()}, and this is {self._chain.key_id.decode()}")
        if not self._chain.signed(line):
            refuse(path, f"its {which} entry was changed")
        return entry


@final
class _Forward:
    """Takes the last line of a log whose key goes forward: the one that signed it is gone."""

    def __init__(self, key_id: str, seen: Seen) -> None:
        self.rung = seen.rung
        self._key_id: Final = key_id
        self._at: Final = seen.at

    def check(self, line: bytes) -> str:
        return hashlib.sha256(line).hexdigest()

    def entry(self, path: Path, line: bytes, which: str = "last") -> Entry:
        entry = _read(path, line, which)
        name, rung = named(entry.key_id), self.rung
        if name is None or name.key_id != self._key_id:
            refuse(path, f"it was written with key {entry.key_id.decode()}, and this is {self._key_id}")
        if rung is None:
            refuse(path, "its state is lost, and with it the key that signs next")
        if name.chain != rung.chain:
            refuse(path, f"it is chain {name.chain} of its key, and its state is of chain {rung.chain}")
        if name.step < rung.step:
            if entry.sequence >= self._at.sequence and self.check(line) != self._at.check:
                refuse(path, f"its {which} entry was changed")
            return entry
        if name.step - rung.step >= entry.sequence - self._at.sequence:
            refuse(path, f"its {which} entry was changed")
        while rung.step < name.step:
            rung = rung.next()
        if not rung.signer().signed(line):
            refuse(path, f"its {which} entry was changed")
        self.rung = rung.next()
        return entry


def pieces(fd: int, start: int, end: int) -> Iterator[bytes]:
    """Yield what stands between two places of a file, in bounded memory."""
    os.lseek(fd, start, os.SEEK_SET)
    while start < end and (piece := os.read(fd, min(end - start, BOUNDS.chunk))):
        start += len(piece)
        yield piece


def _whole(fd: int, size: int) -> int:
    """Return how many bytes of a file stand up to the last LF."""
    end = size
    while end:
        start = max(0, end - BOUNDS.chunk)
        if found := b"".join(pieces(fd, start, end)).rfind(b"\n") + 1:
            return start + found
        end = start
    return 0


def _last_line(path: Path, fd: int, whole: int) -> bytes | None:
    """Return the last whole line without its LF, if there is one."""
    if not whole:
        return None
    start = max(0, whole - BOUNDS.line - 1)
    tail = b"".join(pieces(fd, start, whole - 1))
    begins = tail.rfind(b"\n") + 1
    if start and not begins:
        refuse(path, f"its last line is longer than {BOUNDS.line} bytes")
    return tail[begins:]


def _read(path: Path, line: bytes, which: str) -> Entry:
    entry = read(line)
    if entry is None:
        refuse(path, f"its {which} line is no entry")
    return entry


def _first(fd: int, size: int) -> int:
    """Return the number of the first entry of a file."""
    os.lseek(fd, 0, os.SEEK_SET)
    entry = read(os.read(fd, min(size, BOUNDS.line)).partition(b"\n")[0])
    return entry.sequence if entry is not None else 1


def _after(path: Path, last: _Plain | _Forward, before: Path, number: int) -> Position:
    """Return where the chain stands after a file that was closed."""
    with gzip.open(before) if before.suffix == ".gz" else before.open("rb") as file:
        line = b""
        while piece := file.readline(BOUNDS.line + 1):
            line = piece
    line = line.removesuffix(b"\n")
    entry = last.entry(before, line)
    if not closes(line):
        refuse(path, f"it is gone, and {str(before)!r}, which stands before it, was not closed")
    return Position(entry.sequence, entry.hash.decode(), number, 0.0, entry.sequence + 1, check=last.check(line))


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
