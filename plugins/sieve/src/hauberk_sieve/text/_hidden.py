"""The items that each connection was not shown because of their text, so that nobody uses them all the same.

The rules:

1. What was hidden stays hidden until the server shows an item of this name whose text nothing is found in.
2. A server chooses how much is hidden; where it is more than the bound, the list is refused whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk_sieve._limits import LIMITS

Item = tuple[str, str]
"""The member of the list, and the name, URI or URI template of the item."""


class Hidden:
    """What all connections of one guard were not shown: each item, and the rule that found something in it."""

    def __init__(self) -> None:
        self._hidden: Final[WeakKeyDictionary[Connection, dict[Item, str]]] = WeakKeyDictionary()
        self._hides = False
        """Whether anything was ever hidden: to look a connection up costs more than most judgements."""

    def adopt(self, old: Hidden) -> None:
        """Take over what was hidden before a reload."""
        self._hidden.update(old._hidden)
        self._hides = old._hides

    def take(self, connection: Connection, clean: Iterable[Item], found: dict[Item, str]) -> bool:
        """Learn from one page of a list; return False if there is more to hide than can be kept."""
        hidden = self._hidden.get(connection)
        if hidden is None:
            if not found:
                return True
            hidden = self._hidden[connection] = {}
            self._hides = True
        for item in clean:
            hidden.pop(item, None)
        if len(hidden) + len(found) > LIMITS.seen_tools:
            return False
        hidden.update(found)
        return True

    def knows(self, connection: Connection) -> bool:
        """Whether anything is hidden."""
        return bool(self._hidden.get(connection))

    def rule(self, connection: Connection, member: str, name: object) -> str | None:
        """Return the rule because of which an item is hidden, or None where it is not."""
        if not self._hides:
            return None
        hidden = self._hidden.get(connection)
        return hidden.get((member, name)) if hidden and isinstance(name, str) else None
