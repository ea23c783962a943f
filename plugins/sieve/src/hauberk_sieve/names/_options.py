"""The table ``[sieve.names]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from hauberk.config import Narrow

Act = Literal["deny", "alert"]
_STRICTER: Final = Narrow.strictest("deny", "alert")


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What becomes of a name that misleads: ``deny`` hides and refuses it, ``alert`` leaves an event only."""

    spelling: Annotated[Act, _STRICTER] = "deny"
    """A name that is not what it is read as: hidden or unassigned characters, mixed scripts, or a reserved start."""
    twins: Annotated[Act, _STRICTER] = "deny"
    """Names of one list that look the same (those in exact allow rules stay), or one name with two definitions."""
    lookalikes: Annotated[Act, _STRICTER] = "alert"
    """A name at most two edits from one that an exact allow rule names, or that another server shows."""
    shadows: Annotated[Act, _STRICTER] = "alert"
    """A name that another server of the host has, or that looks the same; who had it first keeps it."""
    owners: Mapping[str, str] = {}
    """To which server a name belongs, whoever had it first: ``{ send_email = "mail" }``."""
    max_chars: Annotated[int, msgspec.Meta(ge=1, le=1024), Narrow.MIN] = 128
    """A longer name is one that nobody reads (characters)."""
    reserved: Annotated[tuple[str, ...], Narrow.UNION] = ()
    """More starts of names that no server may use, beside those that hosts use."""

    def __post_init__(self) -> None:
        if not all(self.reserved):
            raise ValueError("reserved: a start of names is empty, that is every name")


ALERT: Final = Names(spelling="alert", twins="alert")
"""What holds without any table: everything is told of, nothing is decided."""
