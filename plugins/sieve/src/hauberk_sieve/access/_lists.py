"""What is left of a list, once what may not be used is hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import compress
from typing import Any

import msgspec

from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown
from hauberk_sieve.access._uris import shown_uri


class Sifted(msgspec.Struct, frozen=True):
    """A list, sifted."""

    mask: bytes
    """One for each entry that may be seen, zero for each other."""
    hidden: int
    malformed: int
    """Entries that are no object with one name; nobody can tell what they are, so they are gone too."""
    names: list[str]
    """The first names that were hidden, as they may be shown."""

    @property
    def changes(self) -> bool:
        """Whether anything is hidden."""
        return bool(self.hidden or self.malformed)

    def kept(self, entries: Iterable[Any]) -> list[Any]:
        """Return the entries that may be seen: the very objects, in their order."""
        return list(compress(entries, self.mask))


def sift(entries: list[Any], key: str, allowed: Callable[[str], bool]) -> Sifted:
    """Hide each entry whose name is not allowed; what has no name is left out as well.

    Args:
        entries: The entries of one page.
        key: The member that names each.
        allowed: Whether a name may be seen.
    """
    mask = bytearray(len(entries))
    names: list[str] = []
    hidden = malformed = 0
    for place, entry in enumerate(entries):
        name = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(name, str) or _has_another(entry, key):
            malformed += 1
        elif allowed(name):
            mask[place] = 1
        else:
            hidden += 1
            if len(names) < LIMITS.shown_names:
                names.append(shown(name) if key == "name" else shown_uri(name))
    return Sifted(bytes(mask), hidden, malformed, names)


def _has_another(entry: dict[str, Any], key: str) -> bool:
    """Whether a parser that does not tell cases apart may find another name (``Name``) than the one that is judged."""
    size, lower = len(key), key.lower()
    return any(len(other) == size and other != key and other.lower() == lower for other in entry)
