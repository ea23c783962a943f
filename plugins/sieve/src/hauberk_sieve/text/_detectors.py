"""Detectors: what patterns cannot tell.

Each has a class of characters without which it never finds anything, as a pattern of RE2, and a function that returns
the places of what it finds in a text. All are linear.

What is benign here (UTS #51, UAX #9, UAX #31 section 2.3): a joiner in an emoji sequence, a joiner or non-joiner
between letters of scripts that need it, one variation selector after a character, a tag sequence after a black flag,
marks and balanced embeddings and isolates of bidirectional text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

Span = tuple[int, int]


class Detector(NamedTuple):
    """One detector."""

    needs: str
    """A pattern of RE2 that matches in every text in which something is found."""
    find: Callable[[str], list[Span]]


def _runs(pattern: str) -> Callable[[str], list[Span]]:
    matcher = re.compile(pattern)
    return lambda text: [found.span() for found in matcher.finditer(text)]


# --- the tag block ---

_TAGS: Final = re.compile("[\U000e0000-\U000e007f]+")
_FLAG: Final = "\U0001f3f4"
_FLAG_TAGS: Final = re.compile("[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")


def _tags(text: str) -> list[Span]:
    """Find characters of the tag block; a flag of a region (UTS #51, ED-14a) is an emoji."""
    spans = []
    for found in _TAGS.finditer(text):
        start, end = found.span()
        if start and text[start - 1] == _FLAG and (flag := _FLAG_TAGS.match(text, start)):
            start = flag.end()
        if start < end:
            spans.append((start, end))
    return spans


# --- zero-width characters ---

_ZERO: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0080-\U000e00ff\U000e01f0-\U000e0fff]+"
)
_JOINERS: Final = "\u200c\u200d"
_EMOJI: Final = re.compile("[\u00a9\u00ae\u203c-\u3299\ufe0f\u20e3\U0001f000-\U0001faff]")

_EMOJI_CLASS: Final = r"\x{A9}\x{AE}\x{203C}-\x{3299}\x{FE0F}\x{1F000}-\x{1FAFF}"
_ZERO_NEEDS: Final = (
    r"[\x{34F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{200B}\x{200C}\x{2060}-\x{2065}\x{206A}-\x{206F}"
    r"\x{3164}\x{FEFF}\x{FFA0}\x{1BCA0}-\x{1BCA3}\x{1D173}-\x{1D17A}\x{E0080}-\x{E00FF}\x{E01F0}-\x{E0FFF}]"
    rf"|(?:^|[^{_EMOJI_CLASS}])\x{{200D}}|\x{{200D}}(?:$|[^{_EMOJI_CLASS}])"
)
"""A zero-width joiner between emoji is nothing to look at more closely, and the only one of these that is common."""


def _zero_width(text: str) -> list[Span]:
    """Find zero-width characters, but a mark of byte order at the start and a joiner that joins something."""
    return [span for found in _ZERO.finditer(text) if not _joins(text, *(span := found.span()))]


def _joins(text: str, start: int, end: int) -> bool:
    if text[start:end] == "\ufeff":
        return start == 0
    if end - start == 1 and "\u180b" <= text[start] <= "\u180f":  # these belong to Mongolian words
        return "\u1800" <= text[start - 1 : start] <= "\u18af"
    if end - start != 1 or text[start] not in _JOINERS:
        return text[start:end] == "\u200b" and _is_spaceless(text, start)
    before, after = text[start - 1 : start], text[end : end + 1]
    if _EMOJI.match(before) or "\U0001f3fb" <= before <= "\U0001f3ff":
        return text[start] == "\u200d" and _EMOJI.match(after) is not None
    return _needs_joiners(before) and (not after or _needs_joiners(after) or not after.isascii() or after.isspace())


def _is_spaceless(text: str, at: int) -> bool:
    """Whether a zero-width space stands in text of a script that writes no spaces between words."""
    return any(
        "\u0e00" <= char <= "\u0eff" or "\u1000" <= char <= "\u109f" or "\u1780" <= char <= "\u17ff"
        for char in (text[at - 1 : at], text[at + 1 : at + 2])
    )


def _needs_joiners(char: str) -> bool:
    """Whether a character is of a script in which joiners make a difference (Arabic to Mongolian, and marks of it)."""
    return "\u0600" <= char <= "\u0fff" or "\u1000" <= char <= "\u18af" or "\ufb50" <= char <= "\ufefc"


# --- bidirectional controls ---

_BIDI: Final = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\n]")
_BIDI_RUNS: Final = re.compile("[\u200e\u200f\u061c]{4,}|[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]{8,}")
"""More marks than turn anything; they can carry bits."""
_OPENS: Final = {"\u202a": "\u202c", "\u202b": "\u202c", "\u2066": "\u2069", "\u2067": "\u2069", "\u2068": "\u2069"}
_OVERRIDES: Final = "\u202d\u202e"
_CLOSES: Final = "\u202c\u2069"
_RIGHT: Final = frozenset({"R", "AL"})
_MOST_OPEN: Final = 125


def _bidi(text: str) -> list[Span]:
    """Find overrides, what is left open on a line, what closes nothing, long runs, and all where no letter is RTL."""
    spans: list[Span] = []
    opened: list[tuple[str, int]] = []
    others: list[Span] = []
    for found in _BIDI.finditer(text):
        char, at = found.group(), found.start()
        if char == "\n":
            spans += [(place, place + 1) for _, place in opened]
            opened.clear()
        elif char in _OVERRIDES or (char in _CLOSES and not (opened and opened[-1][0] == char)):
            spans.append(found.span())
        elif char in _CLOSES:
            opened.pop()
            others.append(found.span())
        elif char in _OPENS and len(opened) < _MOST_OPEN:
            opened.append((_OPENS[char], at))
            others.append(found.span())
        else:
            others.append(found.span())
    spans += [(place, place + 1) for _, place in opened]
    spans += [found.span() for found in _BIDI_RUNS.finditer(text)]
    if others and not any(unicodedata.bidirectional(char) in _RIGHT and char not in "\u200f\u061c" for char in text):
        spans += others
    return sorted(set(spans))


# --- variation selectors ---

_SELECTORS: Final = (
    "[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}"  # more than one after a character means nothing
    '|(?:(?<![^\\x00-\\x20])|(?<=[!"$-)+-/:-~]))[\ufe00-\ufe0f]'  # there are none for these
    "|(?<=[#*0-9])[\ufe01-\ufe0d]"
    "|(?<![\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"  # for ideographs only
)

# --- terminal escapes and control characters ---

_ESCAPES: Final = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI, ECMA-48 section 5.4
    r"|(?:\x1b[\]P^_X]|[\x90\x98\x9d-\x9f])(?:[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c))?"  # OSC and others
    r"|\x1b[ -/]*[0-~]?"
)

DETECTORS: Final[dict[str, Detector]] = {
    "tags": Detector(r"[\x{E0000}-\x{E007F}]", _tags),
    "zero-width": Detector(
        _ZERO_NEEDS,
        _zero_width,
    ),
    "bidi": Detector(r"[\x{200E}\x{200F}\x{61C}\x{202A}-\x{202E}\x{2066}-\x{2069}]", _bidi),
    "selectors": Detector(
        r"[\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]{2}|(?:^|[\x00-\"$-)+-/:-~])[\x{FE00}-\x{FE0F}]"
        r"|[#*0-9][\x{FE01}-\x{FE0D}]|[\x{E0100}-\x{E01EF}]",
        _runs(_SELECTORS),
    ),
    "soft-hyphens": Detector(r"\x{AD}", _runs("(?:\u00ad.?){4,}|\u00ad{2,}")),
    "annotation": Detector(r"[\x{FFF9}-\x{FFFB}\x{FFF0}-\x{FFF8}]", _runs("[\ufff0-\ufffb]+")),
    "private-use": Detector(
        r"[\x{E000}-\x{F8FF}\x{F0000}-\x{FFFFD}\x{100000}-\x{10FFFD}]",
        _runs("[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]{8,}"),
    ),
    "terminal": Detector(r"[\x1b\x{90}\x{98}\x{9B}\x{9D}-\x{9F}]", _runs(_ESCAPES)),
    "controls": Detector(
        r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x{8F}\x{91}-\x{97}\x{99}\x{9A}\x{9C}]",
        _runs("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x8f\x91-\x97\x99\x9a\x9c]+"),
    ),
}
"""Every detector by its name."""


def decoded_tags(text: str) -> Iterator[str]:
    """Yield what characters of the tag block spell."""
    for start, end in _tags(text):
        yield "".join(chr(ord(char) - 0xE0000) for char in text[start:end])
