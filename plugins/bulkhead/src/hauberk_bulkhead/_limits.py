"""Every bound of this package that no option sets, with its unit."""

from __future__ import annotations

from typing import Final, NamedTuple


class Limits(NamedTuple):
    """What is not exceeded. What a stranger can make grow is in here, or in the options."""

    servers: int = 1024
    """Servers whose merged options are remembered."""
    breakers: int = 4096
    """Breakers that have seen a failure; past it a failure counts for the whole tool, then for the whole server."""
    counted: int = 8192
    """Principals, servers and addresses whose events are counted; who was counted longest ago goes first."""
    suspended: int = 4096
    """Suspensions of one host; past it the oldest goes that a guard made."""
    alerts: int = 256
    """Kinds of alert that are told apart; past it further kinds are one."""
    alert_seconds: float = 10.0
    """Between two alerts of one kind; those between are counted."""
    name_chars: int = 256
    """A principal, server or address in the book and in events."""
    reason_chars: int = 256
    """Why somebody is suspended."""
    book_bytes: int = 4 * 1024 * 1024
    """The file of suspensions; none is written that is larger."""
    repair_bytes: int = 64 * 1024 * 1024
    """What a command reads of a file of suspensions that has become too large, to make it smaller."""
    idle_look_seconds: float = 60.0
    """How often it is looked for silent connections at least (S4.21)."""
    subscriptions: int = 1024
    """Resources that are known to be subscribed to on one connection, each by 32 bytes; past it there is always one."""
    look_seconds: float = 1.0
    """How often the book, the shared breakers and what is to be written are looked after."""
    written_seconds: float = 5.0
    """How often what is in flight is written for ``hauberk bulkhead show``."""
    shown: int = 64
    """Rooms and breakers of one process that are written for ``hauberk bulkhead show``."""
    processes: int = 64
    """Processes that ``hauberk bulkhead show`` reads of."""
    stale_samples: int = 10
    """Rounds of sampling that may pass without a sample before that is told."""


LIMITS: Final = Limits()


def shown(text: str) -> str:
    """Return a name that somebody else chose as events and files may hold it."""
    return text if len(text) <= LIMITS.name_chars else f"{text[: LIMITS.name_chars]}…"
