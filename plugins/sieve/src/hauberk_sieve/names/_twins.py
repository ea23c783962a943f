"""Names of one list that look the same.

The rules:

1. Two names look the same if they have a look in common. A name has two: the skeleton of its fold, and the fold of
   its skeleton (`hauberk_sieve._spelling`, `_confusables`); case has to be gone before or after, since ``I`` is an
   ``l`` to the eye and an ``i`` to who knows no case.
2. Within one list a digit is a digit: servers count their tools, and ``get_v1`` is no ``get_vl``. Between servers
   ``0`` looks like ``O``, and ``1`` like ``l``.
3. Of names that look the same nobody can say which was meant, so all are twins of each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from hauberk_sieve._spelling import fold
from hauberk_sieve.names._confusables import ASCII, skeleton

_ODD: Final = re.compile(r"[^\n -~]|^ | $", re.MULTILINE).search
_COUNTED: Final = tuple((chr(char), text) for char, text in ASCII.items() if chr(char) not in "01")


def looks(names: Sequence[str], *, digits: bool = True) -> tuple[list[str], list[str]]:
    """Return both looks of each name.

    Args:
        names: Whose looks; none is too long, or has too many marks (`hauberk_sieve._spelling.unfit`).
        digits: Whether a digit may be taken for a letter.
    """
    text = "\n".join(names)
    if text.count("\n") == len(names) - 1 and _ODD(text) is None:  # all at once: lists are long
        draw = skeleton if digits else _counted
        return draw(text.casefold()).casefold().split("\n"), draw(text).casefold().split("\n")
    return [_look(name, digits=digits)[0] for name in names], [_look(name, digits=digits)[1] for name in names]


def _look(name: str, *, digits: bool) -> tuple[str, str]:
    return fold(_skeleton(fold(name), digits=digits)), fold(_skeleton(name, digits=digits))


def _skeleton(name: str, *, digits: bool) -> str:
    if digits:
        return skeleton(name)
    if name.isascii():
        return _counted(name)
    pieces = [0, *(place for place, (a, b) in enumerate(pairwise(name), 1) if (a in "01") != (b in "01")), len(name)]
    parts = (name[start:end] for start, end in pairwise(pieces))
    return "".join(part if part[:1] in "01" else skeleton(part) for part in parts)


def _counted(text: str) -> str:
    """Return the skeleton of ASCII but for its digits."""
    for char, replaced in _COUNTED:
        text = text.replace(char, replaced)
    return text


class Twins:
    """The names of one list, as far as it has come, and which look the same."""

    def __init__(self) -> None:
        self._first: Final[dict[str, str]] = {}

    def add(self, names: Sequence[str]) -> dict[str, str]:
        """Return another name for each name that has a twin, those that came before included.

        Args:
            names: What the list goes on with.
        """
        found: dict[str, str] = {}
        for name, one, other in zip(names, *looks(names, digits=False), strict=True):
            for look in (one, other):
                first = self._first.setdefault(look, name)
                if first != name:
                    found[name] = first
                    found.setdefault(first, name)
        return found
