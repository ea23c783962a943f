"""What a query asks of an entry."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from hauberk.refusals import ConfigError
from hauberk_audit.queries._reading import microseconds, text_of, time_of

FIELDS: Final = ("server", "tool", "principal", "code", "severity", "action")
"""The members that a query can ask for."""

_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Query(msgspec.Struct, frozen=True):
    """Which entries are wanted."""

    since: int | None = None
    """Microseconds since 1970; an entry of this time is wanted."""
    until: int | None = None
    """Microseconds since 1970; an entry of this time is not wanted."""
    names: dict[str, tuple[str, ...]] = {}
    """What a member (`FIELDS`) may be: one of these texts, in which ``*`` stands for anything."""

    @property
    def is_all(self) -> bool:
        """Whether every entry is wanted."""
        return self.since is None and self.until is None and not any(self.names.values())

    def takes(self, entry: dict[str, Any]) -> bool:
        """Whether an entry is wanted."""
        if not all(matches(text_of(entry, name), patterns) for name, patterns in self.names.items() if patterns):
            return False
        if self.since is None and self.until is None:
            return True
        time = time_of(entry)
        after = time is not None and (self.since is None or time >= self.since)
        return after and (self.until is None or (time is not None and time < self.until))


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether a text is one of these patterns, in which ``*`` stands for anything."""
    return any(_compiled(pattern).fullmatch(text) for pattern in patterns)


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(piece) for piece in re.split(r"\*+", pattern)), re.DOTALL)


def moment(text: str, now: float) -> int:
    """Return a time that was given to a command, in microseconds since 1970.

    Args:
        text: A date and time (RFC 3339), a date (its beginning, in UTC), or how long ago: ``30m``, ``2h``, ``7d``.
        now: Seconds since 1970.

    Raises:
        ConfigError: It is none of these.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return int((now - int(ago[1]) * _SECONDS[ago[2]]) * 1_000_000)
    found = microseconds(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
    if found is None:
        raise ConfigError(f"{text!r} is no time", hint="2026-01-31T09:30:00Z, 2026-01-31, or how long ago: 30m, 2h, 7d")
    return found
