"""Names with ``*`` in them; matched in time linear in the name, and compared by how much they say."""

from __future__ import annotations

from typing import Final

import msgspec

_LONGEST: Final = 512
"""Characters of a pattern."""


class Pattern(msgspec.Struct, frozen=True):
    """A name, in which each ``*`` stands for any characters."""

    text: str
    parts: tuple[str, ...]
    """What stands between the stars."""

    @property
    def exact(self) -> bool:
        """Whether it is one name."""
        return len(self.parts) == 1

    @property
    def weight(self) -> tuple[bool, int]:
        """Return how much it says: a whole name more than any pattern, then by its characters."""
        return self.exact, sum(map(len, self.parts))

    def matches(self, name: str) -> bool:
        """Whether a name is meant."""
        head, *rest = self.parts
        if not rest:
            return name == head
        *middle, tail = rest
        if not name.startswith(head) or len(name) < len(head) + len(tail) or not name.endswith(tail):
            return False
        at, end = len(head), len(name) - len(tail)
        for part in middle:
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


def check(text: str) -> None:
    """Check that a text can be a pattern.

    Raises:
        ValueError: It cannot.
    """
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise ValueError(f"a name has from 1 to {_LONGEST} printable characters")


def pattern(text: str) -> Pattern:
    """Return the pattern that a text is."""
    return Pattern(text, tuple(text.split("*")))


ANY: Final = pattern("*")
