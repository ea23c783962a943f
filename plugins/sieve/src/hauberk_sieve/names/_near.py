"""Names that are a typing mistake away from a name.

The rules:

1. An edit inserts, removes or replaces one character, or swaps two that stand side by side; no part is edited twice
   (optimal string alignment). Names are compared by their fold.
2. Up to 4 characters every edit makes another word, up to 8 one edit is a mistake, beyond that two; of two names the
   shorter one says. A name of more than 64 characters has nothing near it but what looks the same.
3. Names that differ in their numbers only are no mistake: ``get_v1`` and ``get_v2``.

An edit changes at most three pairs of neighbours, so a name that lacks more than six of the pairs of another is not
near it. For each pair an integer says, with one bit for each name, which names have it. Adding these integers as
columns of bits counts for all names at once how many pairs each lacks, so that the work of a look-up is about the
same for a hundred names as for ten thousand, and edits are counted for the few that are left. A server cannot make it
more: look-ups have a budget of names to count, and who spends it is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from hauberk_sieve._limits import LIMITS

_PAIRS: Final = 2039
"""Pairs share that many integers, so that no server makes more; two that share one only leave more to count."""
_NUMBER: Final = re.compile("[0-9]+")
_PER_EDIT: Final = 3


def reach(name: str) -> int:
    """Return how many edits make a mistake of this name (rule 2)."""
    size = len(name)
    return 0 if size <= 4 or size > LIMITS.near_chars else 1 if size <= 8 else 2  # noqa: PLR2004 - the rule


def within(one: str, other: str, most: int) -> bool:
    """Whether at most so many edits lead from one name to the other (rule 1); ``most`` is small.

    What both begin with needs no edit. Where they part an edit stands, and each kind is tried.
    """
    if most == 0 or abs(len(one) - len(other)) > most:
        return one == other
    same = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        same += 1
    one, other = one[same:], other[same:]
    if not (one and other):
        return len(one) + len(other) <= most
    return (
        within(one[1:], other[1:], most - 1)
        or within(one[1:], other, most - 1)
        or within(one, other[1:], most - 1)
        or (one[:2] == other[1::-1] and within(one[2:], other[2:], most - 1))
    )


def is_near(one: str, other: str) -> bool:
    """Whether two folded names are a mistake apart; no name is near itself."""
    most = min(reach(one), reach(other))
    if most == 0 or one == other or abs(len(one) - len(other)) > most:
        return False
    return within(one, other, most) and _NUMBER.sub("0", one) != _NUMBER.sub("0", other)


class Near:
    """Folded names, to be found by what is near them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names: Final = tuple(dict.fromkeys(name for name in names if reach(name)))
        self._lengths: Final[dict[int, int]] = {}
        self._pairs: Final[dict[int, int]] = {}
        for place, name in enumerate(self.names):
            bit = 1 << place
            self._lengths[len(name)] = self._lengths.get(len(name), 0) | bit
            for pair in _pairs(name):
                self._pairs[pair] = self._pairs.get(pair, 0) | bit

    def bits(self, names: Iterable[str]) -> int:
        """Return names as one number, with a bit for each."""
        wanted = frozenset(names)
        return sum(1 << place for place, name in enumerate(self.names) if name in wanted)

    def find(self, name: str, budget: list[int], without: int = 0) -> list[str]:
        """Return the names that are near this one.

        Args:
            name: A folded name.
            budget: One number: for how many names edits may still be counted. It is used up, and when it is spent
                nothing is found.
            without: Names that are left out, as `bits` gives them.
        """
        most = reach(name)
        if not most or not self.names:
            return []
        left = 0
        for length in range(len(name) - most, len(name) + most + 1):
            left |= self._lengths.get(length, 0)
        left &= ~without
        if left:
            left &= ~self._lacking(name, _PER_EDIT * most)
        found = []
        for place in _bits(left):
            if budget[0] <= 0:
                break
            budget[0] -= 1
            if is_near(name, self.names[place]):
                found.append(self.names[place])
        return found

    def _lacking(self, name: str, most: int) -> int:
        """Return the names, as bits, that lack more than ``most`` of this name's pairs; ``most`` is 3 or 6."""
        everyone = (1 << len(self.names)) - 1
        ones = twos = fours = over = 0
        for pair in _pairs(name):
            lack = everyone & ~self._pairs.get(pair, 0)
            ones, lack = ones ^ lack, ones & lack
            twos, lack = twos ^ lack, twos & lack
            fours, lack = fours ^ lack, fours & lack
            over |= lack
        return over | fours if most == _PER_EDIT else over | (ones & twos & fours)


def _pairs(name: str) -> set[int]:
    return {(ord(a) * 31 + ord(b)) % _PAIRS for a, b in pairwise(f"\n{name}\n")}


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low
