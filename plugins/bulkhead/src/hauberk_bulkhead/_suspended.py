"""Who is suspended, and until when. Pure: the book keeps it on the disk (`_book`).

The rules:

1. A suspension is of a principal, of a server or of an address, until a time of day, or until somebody lifts it.
2. What was found out and is not in the book yet holds all the same.
3. There is a bound. Past it the oldest of what guards did goes, endless or not; what a person did stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Kind = Literal["principal", "server", "address"]
GUARD: Final = "guard"
"""Who suspended somebody by itself."""


class Suspension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One."""

    kind: Kind
    name: str
    since: float
    """Seconds since 1970."""
    until: float = 0.0
    """Seconds since 1970; 0 is until it is lifted."""
    why: str = ""
    by: str = GUARD

    def holds(self, now: float) -> bool:
        """Whether it has not ended by itself."""
        return not self.until or now < self.until


Key = tuple[str, str]


class Suspended:
    """All of them."""

    __slots__ = ("_bound", "_found", "_new", "_there")

    def __init__(self, bound: int) -> None:
        self._bound: Final = bound
        self._there: dict[Key, Suspension] = {}
        """As the book has them."""
        self._new: dict[Key, Suspension] = {}
        """What the book does not have yet."""
        self._found: dict[Key, Suspension] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def find(self, kind: Kind, name: str, now: float) -> Suspension | None:
        """Return why somebody is suspended; None of anybody else.

        Args:
            kind: What.
            name: Who.
            now: Seconds since 1970.
        """
        found = self._found.get((kind, name))
        return found if found is not None and found.holds(now) else None

    def all(self, now: float) -> list[Suspension]:
        """Return those that hold."""
        return [one for one in self._found.values() if one.holds(now)]

    def add(self, one: Suspension, now: float) -> None:
        """Suspend somebody; the book has to be told."""
        self._new[one.kind, one.name] = self._found[one.kind, one.name] = one
        if len(self._found) > self._bound:  # an eighth at a time, so that one more seldom costs a look at all
            self._found = dict(bounded(self._found.values(), self._bound - self._bound // 8, now))
            self._new = {key: new for key, new in self._new.items() if self._found.get(key) is new}

    def take(self, there: Iterable[Suspension], now: float) -> None:
        """Take what the book says, in place of what it said before."""
        self._there = dict(bounded(there, self._bound, now))
        self._merge(now)

    @property
    def news(self) -> list[Suspension]:
        """What the book does not have yet."""
        return list(self._new.values())

    def written(self, news: Iterable[Suspension]) -> None:
        """Let go of what the book has now; it says so itself when it is read."""
        for one in news:
            if self._new.get((one.kind, one.name)) is one:
                del self._new[one.kind, one.name]

    def _merge(self, now: float) -> None:
        self._found = dict(bounded([*self._there.values(), *self._new.values()], self._bound, now))


def bounded(all_: Iterable[Suspension], bound: int, now: float) -> list[tuple[Key, Suspension]]:
    """Return those that hold, by whom they are about: the last of each, and no more than there may be."""
    found = {(one.kind, one.name): one for one in all_ if one.holds(now)}
    if len(found) > bound:
        oldest = sorted((one for one in found.values() if one.by == GUARD), key=lambda one: one.since)
        for one in oldest[: len(found) - bound]:
            del found[one.kind, one.name]
    return list(found.items())
