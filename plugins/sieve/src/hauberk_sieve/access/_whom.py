"""Who asks, and the conditions of a rule on that.

The rules:

1. Each condition that a rule has must hold; of the patterns of one condition, one.
2. What lets somebody do more goes by the groups and roles that were left; what forbids something also by those that a
   plugin took away on the way: who was narrowed has lost what it may do, not what it may not.
3. Ids, groups, roles and methods are compared as names are (`_patterns`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from hauberk_sieve._spelling import nfc
from hauberk_sieve.access._patterns import Pattern, Patterns, part

CONDITIONS: Final = ("principals", "groups", "roles", "methods")


class Asker(msgspec.Struct, frozen=True):
    """Who asks, as rules see it."""

    id: str = "anonymous"
    method: str = ""
    """How the identity was proved; empty where nothing was."""
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    all_groups: frozenset[str] = frozenset()
    all_roles: frozenset[str] = frozenset()
    grants: tuple[Pattern, ...] = ()
    """What this person was granted besides the rules."""


NOBODY: Final = Asker()


class Whom(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions of one rule on who asks; None where it has none of a kind."""

    principals: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None

    def holds(self, asker: Asker, *, forbids: bool) -> bool:
        """Whether a rule with these conditions is about who asks."""
        groups, roles = (asker.all_groups, asker.all_roles) if forbids else (asker.groups, asker.roles)
        return (
            _any(self.principals, (asker.id,))
            and _any(self.groups, groups)
            and _any(self.roles, roles)
            and _any(self.methods, (asker.method,) if asker.method else ())
        )


def checked(key: str, items: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the patterns of one condition.

    Raises:
        ValueError: One is malformed, or there is none: nobody could tell what an empty list means.
    """
    if items is None:
        return None
    if not items:
        raise ValueError(f"{key} is empty, name somebody or take it out")
    return tuple(part(key, item) for item in items)


def _any(patterns: tuple[str, ...] | None, names: Iterable[str]) -> bool:
    if patterns is None:
        return True
    found = Patterns((pattern, True) for pattern in patterns)
    return any(next(found.matching(nfc(name)), False) for name in names)
