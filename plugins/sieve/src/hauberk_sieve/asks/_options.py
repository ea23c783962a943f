"""The table ``[sieve.asks]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from hauberk.config import Narrow
from hauberk_sieve.addresses._options import origins

Stance = Literal["deny", "alert", "allow"]
"""What becomes of a question: refused, told of and let through, or let through if it keeps to the rules."""
Count = Annotated[int, msgspec.Meta(ge=0), Narrow.MIN]


class Asks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a server may ask the host for. A more specific table allows for one server what the general one denies."""

    sampling: Stance = "deny"
    """Whether a server may have the host's model complete something (``sampling/createMessage``)."""
    elicitation: Stance = "deny"
    """Whether a server may put a form before the user (``elicitation/create``)."""
    roots: Stance = "deny"
    """Whether a server may learn the host's roots (``roots/list``)."""
    origins: tuple[str, ...] = ()
    """Origins to which an elicitation may send the user: ``"https://accounts.example.com"``."""
    roots_under: tuple[Path, ...] = ()
    """Folders; roots elsewhere are left out of what a server gets. Without any, all are shown."""
    context: Literal["none", "thisServer", "allServers"] = "none"
    """The widest ``includeContext`` of a sampling request."""
    tools: bool = False
    """Whether a sampling request may bring tools."""
    secrets: bool = False
    """Whether a form may ask for passwords, keys, codes and cards."""
    messages: Count = 32
    """Messages in one sampling request."""
    tokens: Count = 8192
    """``maxTokens`` of one sampling request (tokens)."""
    size: Count = 65_536
    """One question (bytes)."""
    per_minute: Count = 10
    """Questions in a minute, of one connection."""

    def __post_init__(self) -> None:
        for place, text in enumerate(origins("origins", self.origins)):
            if not text.startswith("https://"):
                raise ValueError(f"origins[{place}]: {self.origins[place]!r} is not https")
