"""Where a chain stands, beside its log: so a log that lost its end, or is gone, is not taken for a whole one.

The rules:

1. The file (``audit.jsonl.chain``) is private, and locked from open to close: it is what makes one writer of many.
2. It has two slots of `SLOT` bytes, written in turn and in place, each with a count and an HMAC. A crash leaves the
   slot that was not being written, so one of them is always whole; the one with the higher count holds.
3. It is written after the line. A log may be ahead of it, never behind it: one that is behind, or has another entry at
   that place, was cut or put back.
4. What is there and is no state of this key is not believed, and is said; it is never taken for the beginning.

This is no anchor: whoever can write the log can put both back to an older pair. Against that stand checkpoints.
"""

from __future__ import annotations

import os
from hmac import compare_digest
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Final, Literal, Self, final

import msgspec

from hauberk import advisory, files

SLOT: Final = 512
"""Bytes of a slot."""
_SLOTS: Final = 2

Fault = Literal["", "missing", "corrupt"]


class Position(msgspec.Struct, frozen=True):
    """Where a chain stands."""

    sequence: int = 0
    """The number of the last entry; 0 where there is none."""
    hash: str = ""
    """Its hash (64 hexadecimal digits)."""
    file: int = 1
    """The number of the file that is written, from 1."""
    began: float = 0.0
    """When this file was begun (seconds since 1970)."""
    first: int = 1
    """The number of the first entry of this file."""
    running: bool = False
    """Whether the writer has not closed it."""


class _Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    count: int
    at: Position


@final
class State:
    """One state file, open and locked. Make it by `take`."""

    __slots__ = ("_count", "_fd", "_key", "at", "fault", "path")

    def __init__(self, path: Path, fd: int, key: bytes) -> None:
        self.path: Final = path
        self._fd = fd
        self._key: Final = key
        self._count = 0
        self.fault: Fault = ""
        """Whether there was no state, or none that can be believed."""
        self.at = Position()
        """What it says."""
        self._read()

    @classmethod
    def take(cls, path: Path, key: bytes) -> Self | None:
        """Open and lock the state of a log; return None if another process holds it.

        Raises:
            ConfigError: The file is not private.
            OSError: The disk failed.
        """
        fd = files.append_private(path, in_place=True)
        try:
            if advisory.take(fd):
                return cls(path, fd, key)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def write(self, at: Position) -> None:
        """Say where the chain stands.

        Raises:
            OSError: The disk failed.
        """
        os.lseek(self._fd, ((self._count + 1) % _SLOTS) * SLOT, os.SEEK_SET)
        done = os.write(self._fd, encode(self._count + 1, at, self._key))
        if done != SLOT:
            raise OSError(f"a slot was not written whole ({done} bytes)")
        self._count, self.at = self._count + 1, at

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def _read(self) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        found, self.fault = _newest(os.read(self._fd, _SLOTS * SLOT), self._key)
        if found is not None:
            self._count, self.at = found.count, found.at


def seen(path: Path, key: bytes) -> tuple[Position, Fault]:
    """Return what the state of a log says, and what is wrong with it; it may be held by a writer.

    Raises:
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_SLOTS * SLOT)
    except FileNotFoundError:
        return Position(), "missing"
    found, fault = _newest(data, key)
    return (Position() if found is None else found.at), fault


def _newest(data: bytes, key: bytes) -> tuple[_Slot | None, Fault]:
    slots = [decode(data[start : start + SLOT], key) for start in range(0, _SLOTS * SLOT, SLOT)]
    found = max((slot for slot in slots if slot is not None), key=lambda slot: slot.count, default=None)
    if found is not None:
        return found, ""
    return None, "corrupt" if data.strip(b"\0") else "missing"


def encode(count: int, at: Position, key: bytes) -> bytes:
    """Return one slot: JSON, its HMAC-SHA256 in hexadecimal, blanks, and LF."""
    body = msgspec.json.encode(_Slot(1, count, at))
    line = body + b" " + hmac_digest(key, body, "sha256").hex().encode()
    return line.ljust(SLOT - 1) + b"\n"


def decode(data: bytes, key: bytes) -> _Slot | None:
    """Return what a slot says, or None if it is not whole, or of another key."""
    body, _, mac = data.rstrip().rpartition(b" ")
    if not compare_digest(hmac_digest(key, body, "sha256").hex().encode(), mac):
        return None
    try:
        return msgspec.json.decode(body, type=_Slot)
    except msgspec.DecodeError:
        return None
