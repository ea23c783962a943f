"""Which rules hold for one server today: those of the packs, less what is suppressed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.text._options import Suppress, TextOptions
from hauberk_sieve.text._packs import Packs, Place, Rule
from hauberk_sieve.text._scan import Found, Scanner


def today(seconds: float) -> dt.date:
    """Return the day (UTC) of a time since 1970 (s)."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date()


def tomorrow(day: dt.date) -> float:
    """Return when the next day begins (UTC, s since 1970)."""
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    return start.timestamp() + dt.timedelta(days=1).total_seconds()


def unknown(text: TextOptions, packs: Packs) -> str | None:
    """Return a rule that is suppressed and that no pack has."""
    known = {rule.id for rule in packs.rules}
    return next((one.rule for one in text.suppress if one.rule not in known), None)


def expired(text: TextOptions, day: dt.date) -> tuple[Suppress, ...]:
    """Return what is suppressed no longer."""
    return tuple(one for one in text.suppress if one.until < day)


def effective(text: TextOptions, packs: Packs, server: str, day: dt.date) -> Iterator[Rule]:
    """Yield the rules that hold for a server on one day."""
    gone = {one.rule for one in text.suppress if one.until >= day and one.server in {"*", server}}
    for rule in packs.rules:
        if rule.id not in gone:
            yield rule if text.act == "enforce" else replace(rule, where=dict.fromkeys(rule.where, "alert"))


class Scanners:
    """A scanner for each place, made at first use, for one server and one day."""

    def __init__(self, rules: Iterable[Rule], until: float) -> None:
        self._rules: Final = tuple(rules)
        self._made: Final[dict[Place, Scanner]] = {}
        self.known: Final[dict[bytes, Found]] = {}
        """What was found in lists, by their digests."""
        self.until: Final = until
        """When other rules may hold (s since 1970)."""

    def __getitem__(self, place: Place) -> Scanner:
        scanner = self._made.get(place)
        if scanner is None:
            scanner = self._made[place] = Scanner(self._rules, place)
        return scanner

    def remember(self, digest: bytes, found: Found) -> None:
        """Keep what was found in a list; the oldest goes first."""
        if len(self.known) >= LIMITS.known_lists:
            del self.known[next(iter(self.known))]
        self.known[digest] = found

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules."""
        return self._rules
