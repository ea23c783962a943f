"""Bytes held: of one connection, and of all together. Pure.

What counts are the bytes of a message as it was received (or, of a sealed one, as it was opened), from its admission
until the end of its request. An object's own size says nothing: it does not know what it refers to.
"""

from __future__ import annotations

from typing import Final, Literal

Scope = Literal["connection", "total"]


class Account:
    """What is held, by connection; who holds nothing has no entry."""

    __slots__ = ("_held", "total")

    def __init__(self) -> None:
        self.total = 0
        """Bytes of all connections."""
        self._held: Final[dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def of(self, connection: str) -> int:
        """Return what one connection holds (bytes)."""
        return self._held.get(connection, 0)

    def take(self, connection: str, size: int, *, most: int, total: int) -> Scope | None:
        """Count bytes as held.

        Args:
            connection: Whose they are.
            size: How many (bytes).
            most: What one connection may hold (bytes).
            total: What all may hold together (bytes).

        Returns:
            Whose limit would be passed, and nothing is counted; None where they are counted.
        """
        held = self._held.get(connection, 0) + size
        if held > most:
            return "connection"
        if self.total + size > total:
            return "total"
        self._held[connection] = held
        self.total += size
        return None

    def give(self, connection: str, size: int) -> None:
        """Count bytes as held no longer; each `take` that counted has one such call."""
        left = self._held[connection] - size
        if left:
            self._held[connection] = left
        else:
            del self._held[connection]
        self.total -= size
