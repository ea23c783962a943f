"""The table ``[sieve.people]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from hauberk.config import Narrow


class People(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where it stands who people are, and what holds for those of whom nothing is said."""

    file: Path
    """A TOML file of people; a change of it holds at once, without a reload."""
    default_role: str = "default"
    """The role of everybody to whom the file gives no roles, newcomers too; empty for none."""
    ttl: Annotated[float, Meta(ge=0), Narrow.MIN] = 300.0
    """How long what was read last holds when the file cannot be read any more; then everybody is refused (seconds)."""
    help_url: str = ""
    """Where somebody who is refused finds help; `{reason}` in it is the reason."""
