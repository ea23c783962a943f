"""What the other servers of a host show, to be found by name, by look, and by what is near.

The rules of who keeps a name that several servers show:

1. The server that the configuration calls its owner.
2. Else who had it first: a server that shows a name anew loses it to one that was seen with it.
3. Else, of servers that were both seen with it, the one whose table ``[server.NAME]`` stands first in the
   configuration, servers without a table last, in the order of their names.

So all guards of a host say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from hauberk.names import Holder, Shown
from hauberk_sieve._spelling import fold, unfit
from hauberk_sieve.names._near import Near, reach
from hauberk_sieve.names._twins import looks

Held = Mapping[str, tuple[Holder, ...]]


class Ranks:
    """Who keeps a name."""

    def __init__(self, owners: Mapping[str, str], servers: Sequence[str]) -> None:
        """Take what the configuration says.

        Args:
            owners: The server of each name that has an owner.
            servers: The servers that have a table, in their order.
        """
        self._owners: Final = owners
        self._places: Final = {server: place for place, server in enumerate(servers)}

    def keeps(self, name: str, server: str, rivals: Iterable[str], *, had_it: bool) -> bool:
        """Whether a server keeps a name.

        Args:
            name: The name that it shows.
            server: Who shows it.
            rivals: Who else shows it, or what looks like it.
            had_it: Whether the server was seen with it before.
        """
        if (owner := self._owners.get(name)) is not None:
            return owner == server
        return had_it and all(self._place(server) < self._place(rival) for rival in rivals)

    def _place(self, server: str) -> tuple[int, str]:
        return self._places.get(server, len(self._places)), server


class Others:
    """What all servers of a host show, of one kind."""

    def __init__(self, shown: Shown) -> None:
        self.shown: Final = shown
        self._looks: Final[dict[str, list[tuple[str, str]]]] = {}
        self._folds: Final[dict[str, list[tuple[str, str]]]] = {}
        for server, items in shown.items():
            names = [name for name in items if unfit(name) is None]
            for name, *both in zip(names, *looks(names), strict=True):
                for look in set(both):
                    self._looks.setdefault(look, []).append((server, name))
                if reach(name):
                    self._folds.setdefault(fold(name), []).append((server, name))
        self._near: Final = Near(self._folds)
        self._own: Final[dict[str, int]] = {}

    def had(self, server: str, name: str) -> bool:
        """Whether a server was seen with a name."""
        return name in self.shown.get(server, ())

    def alike(self, server: str, names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """Return, for each of the names that others have or that look like one of theirs, whose those are, and which.

        Args:
            server: Who shows the names.
            names: What it shows; each can be compared (`hauberk_sieve._spelling.unfit`).
        """
        found = {}
        for name, one, other in zip(names, *looks(names), strict=True):
            if (both := self._looks.get(one, _NONE)) or self._looks.get(other):
                held = [*both, *(self._looks.get(other, ()) if other != one else ())]
                if theirs := [pair for pair in dict.fromkeys(held) if pair[0] != server]:
                    found[name] = theirs
        return found

    def near(self, server: str, folded: str, budget: list[int]) -> Iterator[tuple[str, str]]:
        """Yield whose names are a mistake away from this one, and which."""
        if (own := self._own.get(server)) is None and server in self.shown:
            only = (name for name, held in self._folds.items() if all(holder == server for holder, _ in held))
            own = self._own[server] = self._near.bits(only)
        for found in self._near.find(folded, budget, own or 0):
            for holder, name in self._folds[found]:
                if holder != server:
                    yield holder, name


_NONE: Final[list[tuple[str, str]]] = []
