"""What a regular expression may cost, from its text alone.

The rules:

1. Patterns run on an engine without backtracking, so the worst is one step for each state of the automaton and byte of
   the text. States are counted as places in the pattern, times the upper bounds of the repetitions around them.
2. A pattern whose states, from its first repetition of variable length on, are few, becomes a small deterministic
   automaton, which looks at each byte once. Without a ``^`` in front all states count, for a match may begin anywhere.
3. What the engine does not know (look-around, references back) is no pattern here; the compiler refuses it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_TOKEN: Final = re.compile(
    r"(?P<escape>\\(?:[pP]\{[^}]{0,64}\}|x[0-9A-Fa-f]{2}|u\{[^}]{0,64}\}|u[0-9A-Fa-f]{4}|.))"
    r"|(?P<set>\[\^?(?:\\.|[^\]\\])*\]?)"
    r"|(?P<open>\((?:\?(?:[:=!]|<[=!]|<[^>]{0,64}>))?)"
    r"|(?P<close>\))"
    r"|(?P<count>\{(?P<least>\d+)(?P<comma>,)?(?P<most>\d*)\}\??)"
    r"|(?P<repeat>[*+?]\??)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_WIDE: Final = 50
"""States of a class of Unicode (``\\p{L}``)."""
_SET: Final = 3
"""States of a set, a dot or another escape."""
_FEW: Final = 12
"""States that become at most 2^12 states of a deterministic automaton, which fit its cache."""
_THRASH: Final = 30.0
_PER_STATE: Final = 0.4
_SCAN: Final = 0.25
_HUGE: Final = 1 << 30


class Pattern(msgspec.Struct, frozen=True):
    """What is known of a pattern."""

    states: int
    """Places in it, repetitions written out."""
    loose: int
    """Those from the first repetition of variable length on; all of them without a ``^`` in front."""

    @property
    def per_byte(self) -> float:
        """Return what one byte of text may cost (units of work, see `LIMITS.work`)."""
        return _SCAN if self.loose <= _FEW else _THRASH + _PER_STATE * self.states


def measured(text: str) -> Pattern:
    """Measure a pattern; one that is no pattern gets some number, for the compiler refuses it."""
    sums, lasts = [0], [0]  # states of each group that is open, and of the last thing in it
    fixed, is_loose = 0, False
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        if kind == "open":
            sums.append(0)
            lasts.append(0)
        elif kind == "close":
            if len(sums) > 1:
                inner = sums.pop()
                lasts.pop()
                sums[-1], lasts[-1] = sums[-1] + inner, inner
        elif kind in {"count", "comma", "most", "least", "repeat"}:
            times, varies = _times(found)
            if varies and not is_loose:
                fixed, is_loose = sum(sums) - lasts[-1], True
            sums[-1] = min(sums[-1] + lasts[-1] * (times - 1), _HUGE)
            lasts[-1] = min(lasts[-1] * times, _HUGE)
        else:
            lasts[-1] = _weight(found.group())
            sums[-1] += lasts[-1]
    states = min(sum(sums), _HUGE)
    anchored = text.startswith("^") and "|" not in _outside(text)
    return Pattern(states, (states - fixed if is_loose else 0) if anchored else states)


def _times(found: re.Match[str]) -> tuple[int, bool]:
    """Return how often something may be written out, and whether how often it stands there varies."""
    if found["count"] is None:
        return 1, True
    least = int(found["least"][:9])
    if not found["comma"]:
        return max(least, 1), False
    return max(int(found["most"][:9]) if found["most"] else least, 1), True


def _weight(atom: str) -> int:
    if atom in {"^", "$", "|", r"\b", r"\B"}:
        return 0
    if atom[:2] in {r"\p", r"\P"} or r"\p" in atom or r"\P" in atom:
        return _WIDE
    return _SET if atom == "." or atom[0] == "[" or atom[:2] in {r"\W", r"\D", r"\S"} else 1


def _outside(text: str) -> str:
    """Return what of a pattern stands in no group and no set."""
    depth, kept = 0, []
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        depth += (kind == "open") - (kind == "close")
        if depth == 0 and kind == "other":
            kept.append(found.group())
    return "".join(kept)
