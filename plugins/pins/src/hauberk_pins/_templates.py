"""Whether a URI is one of a template (RFC 6570), in time that grows with the length of the URI alone.

A simple expression ``{var}`` stands for any characters but ``/``, ``?`` and ``#``, which are escaped in its values; one
with an operator (``{+path}``, ``{?query}``) for any at all. Either may be empty. The comparison keeps the set of places
that the template may have reached, so nothing is tried twice, whatever the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from hauberk_pins._limits import LIMITS

_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}")
_OPERATORS: Final = "+#./;?&"
_RESERVED: Final = re.compile(r"[/?#]")


def is_of(templates: Iterable[str], uri: str) -> bool:
    """Whether ``uri`` may be an expansion of any of these."""
    return any(matches(template, uri) for template in templates)


def matches(template: str, uri: str) -> bool:
    """Whether ``uri`` may be an expansion of ``template``."""
    pieces = _EXPRESSION.split(template)
    if len(uri) > LIMITS.uri_chars or len(pieces) // 2 > LIMITS.expressions:
        return False
    reached = {0}
    for place, piece in enumerate(pieces):
        if place % 2:
            reached = set(_expanded(piece, uri, reached))
        else:
            reached = {at + len(piece) for at in reached if uri.startswith(piece, at)}
        if not reached:
            return False
    return len(uri) in reached


def _expanded(expression: str, uri: str, reached: set[int]) -> Iterator[int]:
    """Give each place that an expression can lead to."""
    first = min(reached)
    if expression[:1] in tuple(_OPERATORS):
        yield from range(first, len(uri) + 1)
        return
    begins = first
    for end in (*(found.start() for found in _RESERVED.finditer(uri, first)), len(uri)):
        starts = [at for at in range(begins, end + 1) if at in reached]
        if starts:
            yield from range(starts[0], end + 1)
        begins = end + 1
