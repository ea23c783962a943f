"""How deep and how wide a message is, found out from its bytes before anything of it is parsed. Pure.

Counting brackets and commas says of most messages that they cannot be too deep or too wide. Of the others the strings
are taken out, and what is left of structure is walked once: linear in the bytes, whatever they are. A text that is no
JSON may be called deep or wide, or neither; the parser refuses it in any case.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from hauberk.edge import MAX_DEPTH

_COUNTED_BYTES: Final = 1024 * 1024
"""From here on the core counts values."""
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OPENING: Final = frozenset(b"[{")
_CLOSING: Final = frozenset(b"]}")
_TOKENS: Final = re.compile(rb",++|[\[{]|[\]}]")


def fault(data: bytes, depth: int, width: int, values: int = 1_000_000) -> Literal["depth", "width"] | None:
    """Return which limit a message breaks.

    Args:
        data: One JSON text in UTF-8.
        depth: Arrays and objects that may stand in each other, the outermost counted.
        width: Members that one array or object may have.
        values: ``core.bounds.values``: the core refuses whatever has more, so that is not walked.
    """
    brackets, commas = data.count(b"[") + data.count(b"{"), data.count(b",")
    if (brackets <= depth or depth >= MAX_DEPTH) and commas < width:
        return None
    long = len(data) > _COUNTED_BYTES
    if long and data.count(b'"') - data.count(b'\\"') > 4 * values:  # each string but the last has a comma or a colon
        return None
    bare = _STRINGS.sub(b"", data)
    if long and bare.count(b"[") + bare.count(b"{") + bare.count(b",") > values:
        return None
    return _walk(bare, depth, width)


def _walk(bare: bytes, depth: int, width: int) -> Literal["depth", "width"] | None:
    """Walk the structure of a text without its strings."""
    members: list[int] = []
    for match in _TOKENS.finditer(bare):
        token = match[0]
        if token[0] in _OPENING:
            if len(members) >= depth:
                return "depth"
            members.append(1)
        elif not members:
            continue
        elif token[0] in _CLOSING:
            members.pop()
        else:  # commas: one more member each
            members[-1] += len(token)
            if members[-1] > width:
                return "width"
    return None
