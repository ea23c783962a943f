"""What is wrong with a value, and where; never the value itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown

_HIDDEN: Final = "*"


class Fault(msgspec.Struct, frozen=True, order=True):
    """One place that breaks one keyword of the schema."""

    pointer: str
    """Where, as a JSON pointer (RFC 6901); its members may be text that a peer chose."""
    keyword: str
    """The keyword that it breaks; empty where it is not known."""

    def told(self, names: Collection[str]) -> str:
        """Return the fault as it may be told to anybody: members that the schema does not name are ``*``."""
        if not self.keyword:
            return "schema"
        members = (_told(member, names) for member in self.pointer.split("/")[1:])
        return f"{self.keyword} at {shown('/' + '/'.join(members)) if self.pointer else 'the top'}"


def pointer(path: Sequence[str | int]) -> str:
    """Return the JSON pointer of a path."""
    return "".join(f"/{_escaped(str(member))}" for member in path)


def _escaped(member: str) -> str:
    return member.replace("~", "~0").replace("/", "~1")


def _told(member: str, names: Collection[str]) -> str:
    plain = member.replace("~1", "/").replace("~0", "~")
    known = plain in names or (plain.isascii() and plain.isdigit())
    return member if known and len(member) <= LIMITS.shown_chars // 2 else _HIDDEN
