"""The table ``[sieve.text]``."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

from hauberk.config import Narrow


def is_path(name: str) -> bool:
    """Whether the name of a pack is the path of one."""
    return "/" in name or name.endswith(".toml")


class Suppress(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule that is not applied for a while."""

    rule: str
    """The full id of the rule, ``<pack>.<id>``."""
    until: dt.date
    """The last day on which it is not applied (UTC); from the next day on it is again."""
    reason: str
    """Why: whoever reads the configuration later has to know."""
    server: str = "*"
    """The name of the server that is meant, or ``*`` for each."""


class TextOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a model reads, and which packs of rules are applied to it."""

    packs: Annotated[tuple[str, ...], Narrow.UNION] = ("invisible", "control", "exfiltration", "instructions")
    """Names of packs of the sieve, and paths of others (with a ``/``, or ending in ``.toml``)."""
    act: Annotated[Literal["enforce", "alert"], Narrow.strictest("enforce", "alert")] = "enforce"
    """``enforce`` does what each rule says; ``alert`` leaves an event and lets everything pass."""
    suppress: tuple[Suppress, ...] = ()
    """Rules that are not applied for a while, each with a last day and a reason."""
