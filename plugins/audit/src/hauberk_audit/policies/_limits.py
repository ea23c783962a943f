"""How much is kept of policies, and how much is read of what says who signed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the history and of signatures."""

    kept: int = 200
    """Rows of the history; older ones are taken away."""
    prefix: int = 4
    """Hexadecimal digits that name a version, at least."""
    busy: float = 2.0
    """Seconds that are waited for another process that writes the history."""
    serial: int = 2**53 - 1
    """The highest serial: the highest integer that every reader of JSON reads exactly."""
    name: int = 128
    """Characters of a signer's name, or of an audience."""
    signature: int = 16 * 1024
    """Bytes of a signature file."""
    key: int = 16 * 1024
    """Bytes of a file in a trust store."""
    keys: int = 64
    """Keys of one trust store."""


LIMITS: Final = Limits()
