"""The two sides of a session, and the two directions between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, Protocol

from hauberk.exchange import Exchanges


class Stopped(Exception):
    """The message goes no further, and nobody waits for an answer."""


class Port(Protocol):
    """One side of a session, to write to."""

    bytes_only: bool
    """Whether it takes frames without a line feed, and not objects."""

    def deliver(self, data: Any, ticket: Any) -> Awaitable[None] | None:
        """Write one message; return what is to be awaited where it cannot be written at once."""

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:
        """Learn that a request which came in here gets no answer."""


class Way:
    """One direction of travel."""

    __slots__ = ("exchanges", "opposite", "outward", "sender", "source", "tail", "target", "toward", "waiting")
    opposite: Way

    def __init__(self, source: Port, target: Port, *, outward: bool, sender: str, exchanges: Exchanges) -> None:
        self.source: Final = source
        self.target: Final = target
        self.outward: Final = outward
        """From the host to the wire."""
        self.sender: Final = sender
        self.toward: Final[Any] = "server" if sender == "client" else "client"
        self.exchanges: Final = exchanges
        """The requests that travel this way."""
        self.tail: asyncio.Future[None] | None = None
        """The last notification or answer that waits; what comes later leaves after it."""
        self.waiting = 0
