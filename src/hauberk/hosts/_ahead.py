"""What is for a server that is not there yet."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hauberk.ways import Port


class Ahead:
    """A port whose frames wait until it leads somewhere."""

    bytes_only = True

    def __init__(self) -> None:
        self._outlet: Port | None = None
        self._waits: Final[list[tuple[Any, Any]]] = []

    def deliver(self, data: Any, ticket: Any) -> Awaitable[None] | None:
        """Write one frame, or keep it."""
        if self._outlet is not None:
            return self._outlet.deliver(data, ticket)
        self._waits.append((data, ticket))
        return None

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:
        """Tell that a request gets no answer, where anybody is there to be told."""
        return None if self._outlet is None else self._outlet.unanswered(ticket)

    def lead_to(self, outlet: Port) -> None:
        """Write what waits, and all that comes, to a port that takes frames at once."""
        self._outlet = outlet
        for data, ticket in self._waits:
            outlet.deliver(data, ticket)
        self._waits.clear()
