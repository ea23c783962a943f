"""What a line says at its beginning: when it was written, and what happened. Nothing else of it is read."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

from hauberk_audit.writing._chain import FORMAT

_HEAD: Final = re.compile(
    re.escape(FORMAT) + rb'"time":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z)","code":"([a-z0-9_.]+)"'
)


class Head(NamedTuple):
    """The beginning of an entry."""

    time: str
    """RFC 3339, in UTC."""
    code: str

    @property
    def seconds(self) -> float:
        """When it was written, in seconds since 1970; 0 if there is no such time."""
        return seconds(self.time)


def head(line: bytes) -> Head | None:
    """Return the beginning of a line; None of one that is sealed, or no entry."""
    found = _HEAD.match(line)
    return None if found is None else Head(found[1].decode(), found[2].decode())


def seconds(time: str) -> float:
    """Return a time (RFC 3339) in seconds since 1970; 0 if it is none."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return 0.0
    return found.timestamp() if found.tzinfo is not None else 0.0
