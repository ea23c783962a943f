"""Names as servers and operators write them: which are plain, which only look like another, how one is shown.

The rules:

1. A name is plain if it is in normalization form C (UAX #15), has no hidden character and no white space at its ends.
   Only a plain name can be written in a pattern, so only a plain name is matched by an allow rule.
2. Hidden are control characters, line and paragraph separators, what Unicode lets a renderer leave out (the property
   Default_Ignorable_Code_Point: zero-width, bidirectional, variation selectors, fillers, tags), and U+FFF9 to U+FFFB.
3. A name that is not plain is also compared by its fold, where hidden characters, the ends' white space, case and
   compatibility forms (NFKC) are gone: it may look like a denied tool, and a lenient server may take it for one.
4. A name that is too long, or has too many combining marks in a row, is nobody's: bringing it into a normalization form
   takes time that grows with the square of its marks.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby
from typing import Final

from hauberk_sieve._limits import LIMITS

_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def nfc(name: str) -> str:
    """Return the name in normalization form C."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def has_hidden(name: str) -> bool:
    """Whether the name holds a character that may not be seen."""
    return _HIDDEN.search(name) is not None


def is_plain(name: str) -> bool:
    """Whether a pattern can name this name literally, but for the pattern's own characters (rule 1)."""
    if name.strip() != name or has_hidden(name):
        return False
    return name.isascii() or unicodedata.is_normalized("NFC", name)


def unfit(name: str, chars: int = LIMITS.name_chars) -> str | None:
    """Return the rule that a name breaks which is not even to be compared (rule 4); ``chars`` bounds its length."""
    if len(name) > chars:
        return f"a name has at most {chars} characters"
    if name.isascii():
        return None
    runs = groupby(name, lambda char: unicodedata.combining(char) > 0)
    if any(marks and sum(1 for _ in run) > LIMITS.marks for marks, run in runs):
        return f"a name has at most {LIMITS.marks} combining marks in a row"
    return None


def fold(name: str) -> str:
    """Return what the name looks like (rule 3)."""
    if name.isascii():
        return _HIDDEN.sub("", name).casefold().strip()
    seen = unicodedata.normalize("NFKC", _HIDDEN.sub("", name)).casefold()
    return unicodedata.normalize("NFKC", seen).strip()


def shown(name: str) -> str:
    """Return the name as it may stand in an event or an error: short, hidden characters as code points."""
    text = _HIDDEN.sub(_escaped, name[: LIMITS.shown_chars + 1])
    return text if len(text) <= LIMITS.shown_chars else f"{text[: LIMITS.shown_chars - 1]}…"


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{{{ord(found.group()):x}}}"
