"""What was decided on pages that may come again, so that an unchanged list costs a look-up.

A page is known by the digest of the whole result as it entered the guard, never by comparing parsed values, for which
``1`` and ``true`` are one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.access._lists import Sifted
from hauberk_sieve.access._patterns import Pattern

Key = tuple[str, str, bytes, int, tuple[Pattern, ...]]
"""Server, method, digest, and what a decision depends on of who asks: the conditions that hold, and grants."""


class Pages:
    """The pages of one set of rules that came last."""

    __slots__ = ("_sifted",)

    def __init__(self) -> None:
        self._sifted: Final[dict[Key, Sifted]] = {}

    def __len__(self) -> int:
        return len(self._sifted)

    def of(self, key: Key, sift: Callable[[], Sifted]) -> Sifted:
        """Return what was decided on a page, or decide and keep it."""
        found = self._sifted.get(key)
        if found is None:
            found = sift()
            if len(found.mask) <= LIMITS.page_entries:
                if len(self._sifted) >= LIMITS.pages:
                    del self._sifted[next(iter(self._sifted))]
                self._sifted[key] = found
        return found
