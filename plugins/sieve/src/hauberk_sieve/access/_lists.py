"""What is left of a list of tools, once those that may not be called are hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown

_NAME: Final = "name"


class Sifted(msgspec.Struct, frozen=True):
    """A list of tools, sifted."""

    kept: list[Any]
    """The entries that may be seen: the very objects, in their order."""
    hidden: int
    malformed: int
    """Entries that are no object with one name; nobody can tell what they are, so they are gone too."""
    names: list[str]
    """The first names that were hidden, as they may be shown."""


def sift(tools: Iterable[Any], allowed: Callable[[str], bool]) -> Sifted:
    """Hide each tool whose name is not allowed; what is no tool is left out as well."""
    kept: list[Any] = []
    names: list[str] = []
    hidden = malformed = 0
    for tool in tools:
        name = tool.get(_NAME) if isinstance(tool, dict) else None
        if not isinstance(name, str) or _has_another(tool):
            malformed += 1
        elif allowed(name):
            kept.append(tool)
        else:
            hidden += 1
            if len(names) < LIMITS.shown_names:
                names.append(shown(name))
    return Sifted(kept, hidden, malformed, names)


def _has_another(tool: dict[str, Any]) -> bool:
    """Whether a parser that does not tell cases apart may find another name (``Name``) than the one that is judged."""
    return any(len(key) == len(_NAME) and key != _NAME and key.lower() == _NAME for key in tool)
