"""What a text looks like to a reader: Latin letters in disguise as plain ones, and nothing that is hidden.

The rules:

1. Characters that a renderer may leave out (Default_Ignorable_Code_Point, interlinear annotation) are gone.
2. Every character is in its compatibility form (NFKC, UAX #15), and a Cyrillic or Greek letter that looks like a Latin
   one is that one; each on its own, so that each place of the fold has its place in the text, and time grows with the
   length.
3. Small capitals, letters in filled signs and regional indicators are the letters that they show; marks on a letter
   are gone.
4. A text is folded only if it needs to be: something hidden stands beside ASCII, a letter has a Latin one for its
   compatibility form, or a look-alike stands beside a Latin letter. All this is one pattern (`NEEDED`).
5. White space between words is one space, unless an empty line is in it: a text may be wrapped anywhere (`unwrapped`).
   That at the ends stays, so that what was joined by empty lines is unwrapped as each part would be.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Final

_HIDDEN: Final = (
    r"\x{AD}\x{34F}\x{61C}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{200B}\x{200C}\x{200E}\x{200F}"
    r"\x{202A}-\x{202E}\x{2060}-\x{206F}\x{3164}\x{FE00}-\x{FE0E}\x{FEFF}\x{FFA0}\x{FFF0}-\x{FFFB}"
    r"\x{1BCA0}-\x{1BCA3}\x{1D173}-\x{1D17A}\x{E0000}-\x{E0FFF}"
)
_IN_EMOJI: Final = r"\x{200D}\x{FE0F}"
"""Hidden too, and common beside ASCII in sequences of emoji."""
_COMPATIBLE: Final = (
    r"\x{132}\x{133}\x{13F}\x{140}\x{149}\x{17F}\x{1C4}-\x{1CC}\x{1F1}-\x{1F3}\x{2B0}-\x{2B8}\x{2E1}-\x{2E3}"
    r"\x{1D2C}-\x{1D65}\x{1D9C}-\x{1DA0}\x{1DBB}\x{1E9A}\x{2071}\x{207F}\x{2090}-\x{209C}\x{20A8}\x{2100}-\x{2115}"
    r"\x{2117}-\x{2121}\x{2124}-\x{213B}\x{2145}-\x{2149}\x{2160}-\x{217F}\x{249C}-\x{24E9}\x{2C7C}\x{2C7D}\x{3250}"
    r"\x{32CC}-\x{32CF}\x{3371}-\x{33DF}\x{33FF}\x{A7F2}-\x{A7F4}\x{FB00}-\x{FB06}\x{FF21}-\x{FF5A}\x{107A5}"
    r"\x{1D400}-\x{1D6A3}\x{1F110}-\x{1F14F}\x{1F16A}-\x{1F16C}\x{1F190}"
)
"""What has a Latin letter in its compatibility form, but for ordinals, the numero and the trade mark sign."""
_SHAPED: Final = {
    **dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz", strict=True)),
    **{chr(first + at): chr(ord("A") + at) for first in (0x1F150, 0x1F170, 0x1F1E6) for at in range(26)},
}
"""Letters in another shape, which have no compatibility form."""
_MARKS: Final = r"\x{300}-\x{36F}\x{1AB0}-\x{1AFF}\x{1DC0}-\x{1DFF}\x{20D0}-\x{20FF}\x{FE20}-\x{FE2F}"
_LOOK: Final = dict(
    zip(
        "авеіјкмнорсѕтухһԁԛԝАВЕІЈКМНОРСЅТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοιυνρκɡıո",
        "abeijkmhopcstyxhdqwABEIJKMHOPCSTYXABEZHIKMNOPTYXaoiuvpkgin",
        strict=True,
    )
)
_LOOKS: Final = "".join(_LOOK)
NEEDED: Final = "|".join(
    (
        f"[{_COMPATIBLE}{''.join(_SHAPED)}]",
        f"[A-Za-z][{_MARKS}]",
        f"[ -~][{_HIDDEN}]|[{_HIDDEN}][ -~]",
        f"[A-Za-z][{_IN_EMOJI}{_LOOKS}]|[{_IN_EMOJI}{_LOOKS}][A-Za-z]",
    )
)
"""A pattern of RE2 that matches in every text that is to be folded (rule 3); upper and lower case differ in it."""
_GONE: Final = re.compile(
    "[" + re.sub(r"\\x\{(\w+)\}", lambda found: rf"\U{int(found[1], 16):08x}", _HIDDEN + _IN_EMOJI + _MARKS) + "]"
)
_KEPT: Final = 65_536


class _Table(dict[int, str]):
    """The fold of each character that was met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = "" if _GONE.match(char) else unicodedata.normalize("NFKC", char)
        if len(self) < _KEPT:
            self[code] = folded
        return folded


_FOLDS: Final = _Table({ord(char): plain for char, plain in {**_LOOK, **_SHAPED}.items()})


def fold(text: str) -> str:
    """Return what the text looks like."""
    return text.translate(_FOLDS)


def unfolded(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the places in a text of places in its fold."""
    starts = [0, *accumulate(len(_FOLDS[ord(char)]) for char in text)]
    return [(bisect_right(starts, start) - 1, bisect_left(starts, end)) for start, end in spans]


_BREAKS: Final = re.compile(r"(?<=[^ \t\r\n])[ \t\r\n]++(?=[^ \t\r\n])")


def unwrapped(text: str) -> str:
    """Return a text as if it stood on one line, paragraph by paragraph (rule 5)."""
    return _BREAKS.sub(_as_space, text)


def rewrapped(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the places in a text of places in what `unwrapped` makes of it."""
    places: list[int] = []
    at = 0
    for found in _BREAKS.finditer(text):
        if len(_as_space(found)) < len(found[0]):
            places.extend(range(at, found.start() + 1))
            at = found.end()
    places.extend(range(at, len(text)))
    return [(places[start], places[end - 1] + 1 if end > start else places[start]) for start, end in spans]


def _as_space(found: re.Match[str]) -> str:
    space = found[0]
    return space if space.count("\n") > 1 or (space.count("\r") > 1 and "\n" not in space) else " "
