"""The bounds and defaults of keys and messages, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAY: Final = 86_400.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and defaults."""

    agent_chars: int = 128
    """The name of an agent (characters)."""
    agents: int = 1000
    """The names of one list of who may talk to whom."""
    keys: int = 10_000
    """The files of a trust directory."""
    key_file_bytes: int = 4096
    """A key file (bytes)."""
    valid_days: int = 365
    """How long a new key is valid (days)."""
    most_days: int = 3650
    """No key is valid for longer (days)."""
    rotation_days: int = 90
    """From when on a key is old: reported (days since it began to count; S0.26)."""
    grace_days: int = 30
    """How much older still it may get before production refuses it (days)."""
    backdate: int = 300
    """How long before it is made a key begins to count, for peers whose clocks are slow (seconds)."""
    message_bytes: int = 16 * 1024 * 1024
    """The plaintext of a message (bytes)."""
    custom_bytes: int = 64 * 1024
    """The custom fields of a message, in canonical form (bytes)."""
    custom_depth: int = 32
    """How deep custom fields are nested."""
    ttl_seconds: int = 7 * 86_400
    """The longest time to live (seconds)."""


LIMITS: Final = Limits()
