"""What a name looks like: confusable characters, and which script a letter belongs to.

The rules (UTS #39 revision 29, sections 4 and 5):

1. Two names look the same if they have one skeleton: form D (UAX #15), each character replaced by the one that stands
   for all it is confused with, form D again. Which are confused says Unicode's ``confusables.txt``.
2. The table comes with the package ``confusable-homoglyphs``, as pairs; what is confused with the same is confused
   with each other, so pairs are joined to classes, and each class has one that stands for it: what is ASCII before
   what is not, then a text of several characters (``m`` is replaced by ``rn``, as no text is replaced), then the
   plainest.
3. A name that is ASCII needs no file: its part of the table stands here.
4. The table is read with the first name that is not ASCII, and never again. It is read as data: the code of that
   package, which an environment variable moves to another file, is not run.
"""

from __future__ import annotations

import json
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from typing import Any, Final

ASCII: Final = str.maketrans({"0": "O", "1": "l", "I": "l", "|": "l", "m": "rn", '"': "''", "`": "'"})
"""The replacements among ASCII characters, the same as in the table."""
_REPLACED: Final = tuple((chr(char), text) for char, text in ASCII.items())
_PACKAGE: Final = "confusable_homoglyphs"
_MARK: Final = "\N{LEFT-TO-RIGHT MARK}"
"""Stands round texts that are written from right to left."""


def skeleton(name: str) -> str:
    """Return what a name looks like; not to be shown, and no name itself (UTS #39, section 4)."""
    if name.isascii():
        return _drawn(name)
    return _decomposed(_decomposed(name).translate(_table()))


def _drawn(text: str) -> str:
    """Return the skeleton of ASCII; several times faster than ``translate``, which lists of thousands feel."""
    for char, replaced in _REPLACED:
        text = text.replace(char, replaced)
    return text


def script(char: str) -> str:
    """Return the script of a character as Unicode calls it, in capitals: ``LATIN``, ``HAN``, ``COMMON``."""
    starts, ends, names = _scripts()
    place = bisect_right(starts, ord(char)) - 1
    return names[place] if place >= 0 and ord(char) <= ends[place] else "UNKNOWN"


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@lru_cache(maxsize=1)
def _table() -> dict[int, str]:
    """Return the character that stands for each one that is not its own."""
    classes: dict[str, set[str]] = {}
    for text, others in _data("confusables.json").items():
        joined = {_decomposed(one.strip(_MARK)) for one in (text, *(other["c"] for other in others))}
        for one in tuple(joined):
            joined |= classes.get(one, set())
        classes.update(dict.fromkeys(joined, joined))
    stands = {ord(one): min(alike, key=_plainness) for one, alike in classes.items() if len(one) == 1}
    return {char: _settled(text, stands) for char, text in stands.items() if text != chr(char)}


def _plainness(text: str) -> tuple[bool, bool, bool, bool, str]:
    return not text.isascii(), len(text) == 1, not text.isalpha(), text.isupper(), text


def _settled(text: str, stands: dict[int, str]) -> str:
    """Replace what is left to replace in a text of several characters."""
    for _ in range(len(stands)):
        after = text.translate(stands)
        if after == text or len(text) == 1:
            return text
        text = after
    return text


@lru_cache(maxsize=1)
def _scripts() -> tuple[list[int], list[int], list[str]]:
    data = _data("categories.json")
    ranges = sorted((first, last, place) for first, last, place, _ in data["code_points_ranges"])
    words = [data["iso_15924_aliases"][place] for _, _, place in ranges]
    return [first for first, _, _ in ranges], [last for _, last, _ in ranges], words


def _data(name: str) -> Any:
    from importlib import resources  # most hosts meet no such name

    return json.loads((resources.files(_PACKAGE) / name).read_bytes())
