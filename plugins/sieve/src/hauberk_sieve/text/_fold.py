"""What a text looks like to a reader: compatibility forms and look-alike letters as plain ones, nothing that is hidden.

The rules:

1. Characters that a renderer may leave out (Default_Ignorable_Code_Point, interlinear annotation) are gone.
2. Every character is in its compatibility form (NFKC, UAX #15), on its own: so each place of the fold has its place in
   the text, and time grows with the length.
3. A Cyrillic or Greek letter that looks like a Latin one is that one, where a word mixes them with Latin letters.

Only what stands in another way than plain is folded: text of one script and in normal form is its own fold.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Final

HIDDEN: Final = (
    r"\x{AD}\x{34F}\x{61C}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{200B}-\x{200F}\x{202A}-\x{202E}"
    r"\x{2060}-\x{206F}\x{3164}\x{FE00}-\x{FE0F}\x{FEFF}\x{FFA0}\x{FFF0}-\x{FFFB}\x{1BCA0}-\x{1BCA3}"
    r"\x{1D173}-\x{1D17A}\x{E0000}-\x{E0FFF}"
)
"""A class of RE2: characters that a renderer may leave out."""
_LOOK: Final = dict(
    zip(
        "авеіјкмнорсѕтухһԁԛԝАВЕІЈКМНОРСЅТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοιυνρκхɡıո",
        "abeijkmhopcstyxhdqwABEIJKMHOPCSTYXABEZHIKMNOPTYXaoiuvpkxgin",
        strict=True,
    )
)
MIXED: Final = f"[A-Za-z][{''.join(_LOOK)}]|[{''.join(_LOOK)}][A-Za-z]"
"""A pattern: Latin letters beside those that look like them."""
_HIDDEN: Final = re.compile("[" + re.sub(r"\\x\{(\w+)\}", lambda m: rf"\U{int(m[1], 16):08x}", HIDDEN) + "]")
_MIXED: Final = re.compile(MIXED)


class _Table(dict[int, str]):
    """The fold of each character that was met; there are no more than Unicode has, and most texts need few."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = "" if _HIDDEN.match(char) else unicodedata.normalize("NFKC", char)
        if len(self) < _KEPT:
            self[code] = folded
        return folded


_KEPT: Final = 65_536
_PLAIN: Final = _Table()
_MERGED: Final = _Table({ord(char): plain for char, plain in _LOOK.items()})


def fold(text: str) -> str:
    """Return what the text looks like; the very text if nothing in it needs folding."""
    if text.isascii():
        return text
    if _MIXED.search(text) is not None:
        return text.translate(_MERGED)
    if unicodedata.is_normalized("NFKC", text) and _HIDDEN.search(text) is None:
        return text
    return text.translate(_PLAIN)


def unfolded(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the places in a text of places in its fold."""
    table = _MERGED if _MIXED.search(text) is not None else _PLAIN
    ends = list(accumulate(len(char if char.isascii() else table[ord(char)]) for char in text))
    starts = [0, *ends]
    return [(bisect_right(starts, start) - 1, bisect_left(starts, end)) for start, end in spans]
