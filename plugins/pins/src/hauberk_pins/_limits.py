"""Every bound of this package. Servers choose what they show, so whatever grows with it has a bound."""

from __future__ import annotations

from typing import Final

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds, each with its unit."""

    items: int = 65_536
    """Items that one connection may be shown; a list that brings more is refused (items)."""
    key_chars: int = 4096
    """The name or URI of an item; one that is longer is hidden and refused (characters)."""
    memo: int = 64
    """Pages of lists that one connection remembers, the oldest goes first (pages)."""
    servers: int = 256
    """Servers of which is kept what they show; of more nothing is recorded (servers)."""
    server_bytes: int = 16 * 1024 * 1024
    """All that one server shows, in canonical form; what is over is not recorded (bytes)."""
    lock_bytes: int = 64 * 1024 * 1024
    """A lock, or a private file (bytes)."""
    uri_chars: int = 16_384
    """A URI that is compared with templates (characters)."""
    expressions: int = 32
    """Expressions in one template; one with more matches nothing (expressions)."""
    template_steps: int = 1_048_576
    """Steps of all comparisons of URIs with templates that one request costs; over it is refused (steps)."""
    executable_bytes: int = 1024 * 1024 * 1024
    """A file that a server is started from; a larger one is not hashed (bytes)."""
    pages: int = 256
    """Pages of one list that the guard asks for itself (pages)."""
    list_seconds: float = 30.0
    """One page that the guard asks for itself (seconds)."""
    start_seconds: float = 120.0
    """The first answer of a server that ``--live`` starts: it may have to be downloaded (seconds)."""
    check_seconds: float = 1.0
    """How long a change of the pins may go unnoticed by a guard that runs (seconds)."""
    waiting: float = 0.8
    """How long a call waits for a list, in deadlines of a chain."""
    tries: int = 200
    """How often the lock between processes is tried (times)."""
    pause: float = 0.01
    """Between two tries (seconds)."""
    shown_items: int = 32
    """Items in one event (items)."""
    shown_chars: int = 128
    """One name in an event, a reason or a hint (characters)."""


LIMITS: Final = Limits()
