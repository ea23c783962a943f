"""Rates, quotas and credits as people write them.

The rules:

1. A limit is ``"600/minute burst 50"``: a whole number, a unit (second, minute, hour, day) and how many may come at
   once. Without ``burst``, as many as the number says. ``per`` may stand for the stroke.
2. ``"1000/month"`` is a quota: so many in each calendar month (UTC), whenever they come. ``"500 credits/month"`` is a
   balance: so many credits are given for each month, and what is bought is added to it.
3. Several, with commas between them, hold together. ``each`` at the end gives everybody a bucket of his own.
4. ``"0/minute"`` lets nothing pass. ``"unlimited"`` has to be written; no number means it.
5. Whatever else there is, is an error: a sign, a fraction, what is no number, what is larger than can be kept.

The interval between two permits is rounded up to a multiple of 2^-26 s (15 ns), so that the sums that `_buckets` makes
are exact and nothing is admitted above the rate; of 100,000 a second that costs 0.14 %, of a hundred nothing.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from hauberk_ratelimit._limits import LIMITS

SECONDS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
GRID: Final = 1 << 26
"""Parts of a second: every interval is a multiple of one."""
_MICRO: Final = 1_000_000
_PART: Final = re.compile(
    r"(?P<count>\S+?)(?P<credits>\s+credits?)?\s*(?:/\s*|\sper\s+)(?P<unit>[a-z]+?)s?(?:\s+burst\s+(?P<burst>\S+))?"
)
_WHOLE: Final = re.compile(r"[0-9]{1,10}")
_FORM: Final = (
    'write "600/minute burst 50", "1000/month", "500 credits/month", "0/minute" to let nothing pass, or "unlimited"'
)


class Rate(msgspec.Struct, frozen=True):
    """So many permits in a time, and so many at once. Of none, ``burst`` is 0."""

    count: int
    seconds: int
    burst: int

    @property
    def interval(self) -> float:
        """Return the time between two permits (seconds, a multiple of `GRID`)."""
        return -(-self.seconds * GRID // max(self.count, 1)) / GRID

    @property
    def micros(self) -> int:
        """Return the time between two permits (µs, rounded up), as a shared store keeps it."""
        return -(-self.seconds * _MICRO // max(self.count, 1))

    @property
    def unit(self) -> str:
        """Return the name of the time."""
        return next(unit for unit, seconds in SECONDS.items() if seconds == self.seconds)

    def __str__(self) -> str:
        plain = f"{self.count}/{self.unit}"
        return plain if self.burst == self.count else f"{plain} burst {self.burst}"

    def holds(self, other: Rate) -> bool:
        """Whether what passes here passes there, always."""
        return self.burst <= other.burst and self.count * other.seconds <= other.count * self.seconds


class Quota(msgspec.Struct, frozen=True):
    """So many permits in a calendar month (UTC)."""

    count: int

    @property
    def unit(self) -> str:
        """Return the name of the time."""
        return "month"

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


class Credit(Quota, frozen=True):
    """So many credits that are given for each calendar month (UTC); what is not spent of them goes with it."""

    @property
    def unit(self) -> str:
        """Return what is counted."""
        return "credits"

    def __str__(self) -> str:
        return f"{self.count} credits/month"


class Limit(msgspec.Struct, frozen=True):
    """What one rule allows; nothing in it is no limit."""

    parts: tuple[Rate | Quota, ...]
    each: bool = False
    """Whether everybody whom the rule names by a pattern has buckets of his own."""

    def __str__(self) -> str:
        if not self.parts:
            return "unlimited"
        return ", ".join(map(str, self.parts)) + (" each" if self.each else "")


UNLIMITED: Final = Limit(())


def parse(text: str) -> Limit:
    """Read a limit.

    Raises:
        ValueError: It is none; the text says what is wrong.
    """
    if len(text) > LIMITS.text:
        raise ValueError(f"a limit is no longer than {LIMITS.text} characters")
    words = text.strip()
    if words == "unlimited":
        return UNLIMITED
    each = words.endswith(" each")
    pieces = words.removesuffix(" each").split(",")
    if len(pieces) > LIMITS.parts:
        raise ValueError(f"{text!r} has {len(pieces)} parts, and a limit has at most {LIMITS.parts}")
    return Limit(_thinned([_part(piece.strip(), text) for piece in pieces]), each)


def _part(piece: str, text: str) -> Rate | Quota:
    found = _PART.fullmatch(piece)
    if found is None:
        raise ValueError(_odd(piece, text))
    count, unit, burst = _number(found["count"], text), found["unit"], found["burst"]
    if unit == "month":
        if burst is not None:
            raise ValueError(f'{text!r}: a quota of a month has no burst; add a rate to it: "60/minute, 1000/month"')
        return Credit(count) if found["credits"] else Quota(count)
    if found["credits"]:
        raise ValueError(f'{text!r}: credits are given by the month; write "{count} credits/month"')
    if unit not in SECONDS:
        raise ValueError(f"{text!r}: {unit!r} is no unit; there are {', '.join(SECONDS)} and month")
    return _rate(count, SECONDS[unit], count if burst is None else _number(burst, text), text)


def _rate(count: int, seconds: int, burst: int, text: str) -> Rate:
    if (count == 0) != (burst == 0):
        raise ValueError(
            f"{text!r} lets nothing pass and something: write 0/minute, or a rate and a burst of at least 1"
        )
    if count > LIMITS.per_second * seconds:
        raise ValueError(f"{text!r} is more than {LIMITS.per_second} a second, which no clock here tells apart")
    if burst > LIMITS.burst:
        raise ValueError(f"{text!r} has a burst of more than {LIMITS.burst}")
    if count and burst * seconds > LIMITS.fill_seconds * count:
        raise ValueError(f"{text!r} would take more than a year to fill its burst again")
    return Rate(count, seconds, burst)


def _number(word: str, text: str) -> int:
    if _WHOLE.fullmatch(word):
        number = int(word)
        if number > LIMITS.count:
            raise ValueError(f'{text!r}: {word} is more than {LIMITS.count}, which is no limit; write "unlimited"')
        return number
    raise ValueError(_odd(word, text))


def _odd(word: str, text: str) -> str:
    """Say why something is no number, or no limit."""
    bare = word.lower().lstrip("+-")
    if word.startswith("-"):
        return f"{text!r}: a limit is not negative; {_FORM}"
    if bare.startswith(("nan", "inf")):
        return f"{text!r}: {word} is no number of requests; {_FORM}"
    if re.match(r"[0-9]*\.[0-9]", bare):
        return f'{text!r}: a limit is a whole number; write a longer time, as "90/minute" for 1.5/second'
    if re.match(r"[0-9]{11,}", bare):
        return f"{text!r} is more than {LIMITS.count}, which is no limit; {_FORM}"
    return f"{text!r} is no limit; {_FORM}"


def stricter(general: str, specific: str) -> str:
    """Return the limit that lets pass what both let pass."""
    one, other = parse(general), parse(specific)
    if not one.parts or not other.parts:
        return str(one if one.parts else other)
    return str(Limit(_thinned([*one.parts, *other.parts]), one.each and other.each))


def _thinned(parts: list[Rate | Quota]) -> tuple[Rate | Quota, ...]:
    """Leave out each rate that another one keeps anyway, and all quotas, and all balances, but the smallest."""
    rates = list(dict.fromkeys(part for part in parts if isinstance(part, Rate)))
    kept = [rate for rate in rates if not any(other != rate and other.holds(rate) for other in rates)]
    counts = [part for part in parts if isinstance(part, Quota)]
    smallest = {type(part): part for part in sorted(counts, key=lambda part: part.count, reverse=True)}
    return (*kept, *(smallest[kind] for kind in (Quota, Credit) if kind in smallest))
