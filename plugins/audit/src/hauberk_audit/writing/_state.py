"""Where a chain stands, beside its log: so a log that lost its end, or is gone, is not taken for a whole one.

The rules:

1. The file (``audit.jsonl.chain``) is private, and locked from open to close: it is what makes one writer of many.
2. It has two slots, written in turn and in place, each with a count and an HMAC. A crash leaves the slot that was not
   being written, so one of them is always whole; the one with the higher count holds. A slot has no more bytes than a
   sector, and each is in a page of its own.
3. It is written after the line. A log may be ahead of it, never behind it: one that is behind, or has another entry at
   that place, was cut or put back.
4. What is there and is no state of this key is not believed, and is said; it is never taken for the beginning.
5. Where the key goes forward (`writing._ratchet`), the state holds the rung that signs next, and is written into
   both slots, one after the other: so nothing is left of the rung before, and whatever of the two reaches the disk
   before the power goes, each slot holds a state. Its HMAC is made with that rung then: it shows damage. That it was
   not put back is for the verifier to see.

This is no anchor: whoever can write the log can put both back to an older pair. Against that stand checkpoints.
"""

from __future__ import annotations

import os
import stat
from hmac import compare_digest
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self, final

import msgspec

from hauberk import advisory, files, keys
from hauberk_audit.writing._chain import STATE
from hauberk_audit.writing._ratchet import Rung

SLOT: Final = 512
"""Bytes of a slot."""
PAGE: Final = 4096
"""Bytes from the beginning of one slot to that of the next."""
_SLOTS: Final = 2
_FLAGS: Final[int] = sum(
    getattr(os, flag, 0) for flag in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)
_BYTES: Final = (_SLOTS - 1) * PAGE + SLOT

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
    check: str = ""
    """SHA-256 of the last line without its LF, where the key that signed it is gone."""


class _Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    count: int
    at: Position
    rung: Rung | None = None


class Seen(NamedTuple):
    """What a state says, and what is wrong with it."""

    at: Position
    fault: Fault
    rung: Rung | None


@final
class State:
    """One state file, open and locked. Make it by `take`."""

    __slots__ = ("_count", "_fd", "_key", "at", "fault", "path", "rung")

    def __init__(self, path: Path, fd: int, key: bytes | None) -> None:
        self.path: Final = path
        self._fd = fd
        self._key: Final = key
        self._count = 0
        self.fault: Fault = ""
        """Whether there was no state, or none that can be believed."""
        self.at = Position()
        """What it says."""
        self.rung: Rung | None = None
        """What signs next, where the key goes forward."""
        self._read()

    @classmethod
    def take(cls, path: Path, key: bytes | None) -> Self | None:
        """Open and lock the state of a log; return None if another process holds it.

        Args:
            path: The file; it is made where it is missing.
            key: What signs it; None where the key of the log goes forward.

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

    def write(self, at: Position, rung: Rung | None = None) -> None:
        """Say where the chain stands, and what signs next.

        Raises:
            OSError: The disk failed.
        """
        count = self._count + 1
        data = encode(count, at, self._key, rung)
        _write(self._fd, count % _SLOTS, data)
        self._count, self.at, self.rung = count, at, rung
        if rung is not None:
            _write(self._fd, (count + 1) % _SLOTS, data)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def _read(self) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        found, self.fault = _newest(os.read(self._fd, _BYTES), self._key)
        if found is not None:
            self._count, self.at, self.rung = found.count, found.at, found.rung


def seen(path: Path, key: bytes | None) -> Seen:
    """Return what the state of a log says; it may be held by a writer.

    Raises:
        OSError: It cannot be read.
    """
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        return Seen(Position(), "missing", None)
    except OSError:
        if path.is_symlink():
            return Seen(Position(), "corrupt", None)
        raise
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        data = os.read(fd, _BYTES) if regular else b""
    finally:
        os.close(fd)
    if not regular:  # no writer made it, and a pipe would keep its reader waiting
        return Seen(Position(), "corrupt", None)
    found, fault = _newest(data, key)
    return Seen(Position(), fault, None) if found is None else Seen(found.at, fault, found.rung)


def _write(fd: int, slot: int, data: bytes) -> None:
    os.lseek(fd, slot * PAGE, os.SEEK_SET)
    done = os.write(fd, data)
    if done != SLOT:
        raise OSError(f"a slot was not written whole ({done} bytes)")


def _newest(data: bytes, key: bytes | None) -> tuple[_Slot | None, Fault]:
    slots = [decode(data[start : start + SLOT], key) for start in range(0, _BYTES, PAGE)]
    found = max((slot for slot in slots if slot is not None), key=lambda slot: slot.count, default=None)
    if found is not None:
        return found, ""
    return None, "corrupt" if data.strip(b"\0 \n") else "missing"


def encode(count: int, at: Position, key: bytes | None, rung: Rung | None = None) -> bytes:
    """Return one slot: JSON, its HMAC-SHA256 in hexadecimal, blanks, and LF."""
    body = msgspec.json.encode(_Slot(1, count, at, rung))
    line = body + b" " + hmac_digest(_signer(key, rung), body, "sha256").hex().encode()
    return line.ljust(SLOT - 1) + b"\n"


def decode(data: bytes, key: bytes | None) -> _Slot | None:
    """Return what a slot says, or None if it is not whole, or of another key, or names a rung that cannot be."""
    body, _, mac = data.rstrip().rpartition(b" ")
    try:
        found = msgspec.json.decode(body, type=_Slot)
    except ValueError:  # also of what is no UTF-8
        return None
    if (found.rung is None) is (key is None):
        return None
    made = hmac_digest(_signer(key, found.rung), body, "sha256").hex().encode()
    return found if compare_digest(made, mac) else None


def _signer(key: bytes | None, rung: Rung | None) -> bytes:
    if rung is not None:
        return keys.derive(rung.key, STATE)
    if key is None:
        raise ValueError("a state is signed with a key or with a rung")
    return key
