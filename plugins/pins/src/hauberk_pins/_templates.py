"""Whether a URI is one of a template (RFC 6570), in a bounded number of steps.

A simple expression ``{var}`` stands for any characters but ``/``, ``?`` and ``#``, which are escaped in its values; one
with an operator (``{+path}``, ``{?query}``) for any at all. Either may be empty. The places that a template may have
reached are the bits of one number, so each of its characters and expressions is a step, and nothing is tried twice. A
template of which the URI does not begin with the first characters is one step, and so is each character that a URI has,
however often. All comparisons that one request costs
share a `Budget`: a server chooses how many templates there are, a host how many URIs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from hauberk_pins._limits import LIMITS

_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}")
_OPERATORS: Final = tuple("+#./;?&")
_RESERVED: Final = "/?#"
_WIDTH: Final = 1024
"""Characters of a URI that one step takes at once."""


class Budget:
    """The steps that are left for one request."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = LIMITS.template_steps

    def spend(self, steps: int) -> bool:
        """Take steps off; whether there were enough."""
        self.left -= steps
        return self.left >= 0


def is_of(templates: Iterable[str], uri: str, budget: Budget) -> bool:
    """Whether ``uri`` may be an expansion of any of these; it is of none once the budget is spent."""
    places: _Places | None = None
    wide = 1 + len(uri) // _WIDTH
    for template in templates:
        begins = uri.startswith(template.partition("{")[0])
        steps = (len(template) + (0 if places else len(set(uri)))) * wide if begins else 0
        if not budget.spend(1 + steps):
            return False
        if begins:
            places = places or _Places(uri)
            if _fits(template, places):
                return True
    return False


def matches(template: str, uri: str) -> bool:
    """Whether ``uri`` may be an expansion of ``template``."""
    return _fits(template, _Places(uri))


class _Places:
    """The places before, between and after the characters of a URI: place ``n`` is bit ``n``."""

    def __init__(self, uri: str) -> None:
        self.length: Final = len(uri)
        self.all: Final = (2 << len(uri)) - 1
        self.of: Final[dict[str, int]] = {}
        """The places before each character."""
        if len(uri) > LIMITS.uri_chars:
            return
        found: dict[str, bytearray] = {}
        for at, char in enumerate(uri):
            bits = found.get(char) or found.setdefault(char, bytearray(len(uri) // 8 + 1))
            bits[at >> 3] |= 1 << (at & 7)
        self.of.update((char, int.from_bytes(bits, "little")) for char, bits in found.items())
        self.free: Final = (self.all >> 1) & ~sum(self.of.get(char, 0) for char in _RESERVED)
        """The places before what a simple expression may stand for."""

    def after(self, text: str, reached: int) -> int:
        """Return the places after a text that begins where something else ended."""
        for char in text:
            reached = (reached & self.of.get(char, 0)) << 1
            if not reached:
                break
        return reached

    def expanded(self, expression: str, reached: int) -> int:
        """Return the places that an expression can lead to."""
        if expression.startswith(_OPERATORS):
            first = reached & -reached
            return self.all & ~(first - 1)
        # The sum carries each place through the run of free characters that it stands in.
        return (((reached & self.free) + self.free) ^ self.free) | reached


def _fits(template: str, places: _Places) -> bool:
    pieces = _EXPRESSION.split(template)
    if places.length > LIMITS.uri_chars or len(pieces) // 2 > LIMITS.expressions:
        return False
    reached = 1
    for place, piece in enumerate(pieces):
        reached = places.expanded(piece, reached) if place % 2 else places.after(piece, reached)
        if not reached:
            return False
    return bool(reached >> places.length & 1)
