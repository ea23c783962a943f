"""Every bound of this package. Servers choose the names of their tools, so whatever grows with names has a bound."""

from __future__ import annotations

from typing import Final

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds, each with its unit."""

    memo: int = 4096
    """Decisions that one set of rules remembers, the oldest goes first (pairs of server and tool)."""
    memo_chars: int = 256
    """A server and tool whose names are longer together are not remembered (characters)."""
    servers: int = 256
    """Servers whose merged rules are kept, the oldest goes first (servers)."""
    shown_names: int = 32
    """Names of hidden tools in one event (names)."""
    shown_chars: int = 128
    """One name in an event, a reason or a hint (characters)."""


LIMITS: Final = Limits()
