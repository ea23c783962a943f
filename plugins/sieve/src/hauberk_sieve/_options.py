"""The table ``[sieve]``."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from hauberk import config
from hauberk.config import Narrow
from hauberk.principal import DOCTOR
from hauberk_sieve.access._rules import Pattern, Rules

PROBED: Final = Pattern(DOCTOR.id, "denied", f"{DOCTOR.id}/denied")
"""The first deny rule of every table: what shows that the rules are live calls this tool (`hauberk.probe`)."""


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pattern as a table, for a server with a ``/`` in its name: ``{ server = "org/server", tool = "read_*" }``."""

    server: str
    tool: str


class Options(config.Options, frozen=True):
    """What may be seen and called. A deny rule wins over every allow rule, and no more specific table takes it back."""

    default: Annotated[Literal["allow", "deny"], Narrow.strictest("deny", "allow")] = "deny"
    """What holds for a tool that no rule names."""
    allow: tuple[str | Pair, ...] = ()
    """Patterns ``"server/tool"``; ``*`` matches any characters, ``/`` included."""
    deny: Annotated[tuple[str | Pair, ...], Narrow.UNION] = ()
    """Patterns of tools that nobody sees or calls."""

    def __post_init__(self) -> None:
        patterns("allow", self.allow)
        patterns("deny", self.deny)

    def rules(self) -> Rules:
        """Return the rules of this table."""
        return Rules(self.default, patterns("allow", self.allow), (PROBED, *patterns("deny", self.deny)))


def patterns(key: str, items: tuple[str | Pair, ...]) -> list[Pattern]:
    """Read the patterns of one list.

    Raises:
        ValueError: One is malformed; it is named by its place.
    """
    found = []
    for place, item in enumerate(items):
        try:
            found.append(Pattern.parse(item) if isinstance(item, str) else Pattern.pair(item.server, item.tool))
        except ValueError as error:
            raise ValueError(f"{key}[{place}]: {error}") from None
    return found
