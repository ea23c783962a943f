"""What is wrong with the way one name is written, whatever else there is.

The rules, each with the text by which a refusal calls it:

1. A name has at least one character and at most as many as the option says, and no more combining marks in a row than
   any language has (`hauberk_sieve._spelling`).
2. It has no hidden character (control, zero-width, bidirectional, tags), no white space at its ends and none but
   spaces in it, and no unassigned, private or surrogate code point.
3. It is in normalization forms C and KC (UAX #15): no other way to write the same letters.
4. The letters of each of its words are of one script, or of scripts that are written together: Latin with Chinese,
   Japanese or Korean (UTS #39, section 5.2, "highly restrictive"). Words end at what is no letter.
5. A name in another script is not read as ASCII: its skeleton has a character beyond ASCII (UTS #39, section 4).
6. It does not start as a name that hosts make: ``mcp__`` is how they write which server a tool is of, ``functions.``
   and ``multi_tool_use`` how models write tools of their own, and ``hauberk:`` are this guard's requests. Starts are
   compared by what they look like.

Rules 1 to 3 hold for every name. A name that breaks one of the others is what it is if an exact allow rule has it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from hauberk_sieve._spelling import fold, has_hidden, shown, unfit
from hauberk_sieve.names._confusables import script, skeleton

RESERVED: Final = ("mcp__", "functions.", "multi_tool_use", "hauberk:")
_PRINTABLE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?\Z").match
_UNREADABLE: Final = re.compile(r"[^\n -~]|^ | $|^$", re.MULTILINE).search
_UNUSED: Final = {"Cn": "unassigned", "Co": "private", "Cs": "surrogate"}
_NEUTRAL: Final = frozenset({"COMMON", "INHERITED"})
_TOGETHER: Final = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
)


class Fault(NamedTuple):
    """What is wrong with a name."""

    rule: str
    settled: bool = False
    """Whether an exact allow rule of the name settles it."""


class Spelling:
    """How names may be written."""

    def __init__(self, max_chars: int, reserved: Iterable[str] = ()) -> None:
        self.max_chars: Final = max_chars
        self._reserved: Final = {_look(start): shown(start) for start in (*RESERVED, *reserved)}

    def fault(self, name: str) -> Fault | None:
        """Return the first rule that a name breaks."""
        if len(name) > self.max_chars:
            return Fault(f"a name has at most {self.max_chars} characters")
        if _PRINTABLE(name) is None and (found := _unreadable(name) or _misread(name)) is not None:
            return found
        look = _look(name)
        for start, text in self._reserved.items():
            if look.startswith(start):
                return Fault(f"no name of a server starts with '{text}'", settled=True)
        return None

    def faults(self, names: Sequence[str]) -> dict[str, Fault]:
        """Return what is wrong with each of the names that have something; quick where there is nothing."""
        text = "\n".join(names)
        if text.isascii() and text.count("\n") == len(names) - 1 and not self._doubtful(text, names):
            return {}
        return {name: found for name in names if (found := self.fault(name)) is not None}

    def _doubtful(self, text: str, names: Sequence[str]) -> bool:
        if _UNREADABLE(text) is not None or max(map(len, names)) > self.max_chars:
            return True
        look = f"\n{_look(text)}"
        return any(f"\n{start}" in look for start in self._reserved)


def _look(text: str) -> str:
    return skeleton(text.casefold() if text.isascii() else fold(text))


def _unreadable(name: str) -> Fault | None:
    if (broken := unfit(name) if name else "a name has a character") is not None:
        return Fault(broken)
    if has_hidden(name):
        return Fault("a name has no control, zero-width or bidirectional character")
    if name.strip() != name or any(char.isspace() and char != " " for char in name):
        return Fault("a name has no white space at its ends, and none but spaces in it")
    if unused := _UNUSED.keys() & set(map(unicodedata.category, name)):
        return Fault(f"a name has no {_UNUSED[min(unused)]} code point")
    if not (unicodedata.is_normalized("NFC", name) and unicodedata.is_normalized("NFKC", name)):
        return Fault("a name is in the normalization forms C and KC")
    return None


def _misread(name: str) -> Fault | None:
    for is_word, word in groupby(name, _is_of_word):
        scripts = {script(char) for char in word} - _NEUTRAL if is_word else set()
        if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
            return Fault(f"a word is written in one script, not in {' and '.join(sorted(scripts))}", settled=True)
    if _is_foreign(name) and skeleton(name).isascii():
        return Fault("a name in another script is not read as ASCII", settled=True)
    return None


def _is_of_word(char: str) -> bool:
    return unicodedata.category(char)[0] in "LM"


def _is_foreign(name: str) -> bool:
    return any(not char.isascii() and script(char) not in {"LATIN", *_NEUTRAL} for char in name)
