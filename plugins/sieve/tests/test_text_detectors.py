"""Detectors: what is found, and what only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve.text._detectors import DETECTORS, decoded_tags
from hauberk_sieve.text._scan import compiled

SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
FOUND = [
    ("tags", "a\U000e0041\U000e0042b", [(1, 3)]),
    ("tags", f"{SCOTLAND}\U000e0041", [(7, 8)]),
    ("tags", "\U0001f3f4\U000e0041\U000e007f", [(1, 3)]),
    ("zero-width", "a\u200bb", [(1, 2)]),
    ("zero-width", "a\u200d\u200db", [(1, 3)]),
    ("zero-width", "a\ufeff", [(1, 2)]),
    ("zero-width", "a\u200db", [(1, 2)]),
    ("zero-width", "\u200d", [(0, 1)]),
    ("bidi", "a\u202eb\u202c", [(1, 2), (3, 4)]),
    ("bidi", "\u05d0\u2067\u05d1", [(1, 2)]),
    ("bidi", "\u05d0\u2069", [(1, 2)]),
    ("bidi", "a\u200eb", [(1, 2)]),
    ("selectors", "\u2764\ufe0f\ufe0e", [(1, 3)]),
    ("selectors", "b\U000e0110", [(1, 2)]),
    ("selectors", "\ufe0f", [(0, 1)]),
    ("soft-hyphens", "a\xad\xadb", [(1, 3)]),
    ("annotation", "\ufff9a\ufffab\ufffb", [(0, 1), (2, 3), (4, 5)]),
    ("private-use", "\ue000" * 8, [(0, 8)]),
    ("terminal", "a\x1b[1;31mb", [(1, 8)]),
    ("terminal", "\x1b]0;t\x07x", [(0, 6)]),
    ("terminal", "\x1b]8;;u\x1b\\x", [(0, 8)]),
    ("terminal", "\x1b]never ended", [(0, 2)]),
    ("terminal", "\x9b2J", [(0, 3)]),
    ("controls", "a\x00\x07b", [(1, 3)]),
    ("controls", "a\x85b", [(1, 2)]),
]
SPARED = [
    ("tags", SCOTLAND),
    ("zero-width", "👩\u200d💻"),
    ("zero-width", "👩🏽\u200d🚀"),
    ("zero-width", "🏳️\u200d🌈"),
    ("zero-width", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
    ("zero-width", "क्\u200dष"),
    ("zero-width", "\ufeffa"),
    ("zero-width", "ภาษา\u200bไทย"),
    ("zero-width", "ᠮᠣᠩᠭᠣᠯ\u180eᠤ"),
    ("bidi", "שלום\u200e 12"),
    ("bidi", "\u2067\u0645\u0631\u062d\u0628\u0627\u2069"),
    ("bidi", "אב\u202bגד\u202c"),
    ("selectors", "❤\ufe0f 1\ufe0f⃣ 葛\U000e0100"),
    ("soft-hyphens", "Donau\xaddampf\xadschiff\xadfahrt"),
    ("annotation", "a\ufffdb"),
    ("private-use", "\ue0a0 main"),
    ("terminal", "[31m"),
    ("controls", "a\tb\r\nc\xa0d"),
]


@pytest.mark.parametrize(("name", "text", "spans"), FOUND)
def test_detector_finds(name: str, text: str, spans: list[tuple[int, int]]) -> None:
    """A detector says where the thing is, and its gate lets the text through to it."""
    assert DETECTORS[name].find(text) == spans
    assert compiled(DETECTORS[name].needs, case=True).search(text)


@pytest.mark.parametrize(("name", "text"), SPARED)
def test_detector_spares(name: str, text: str) -> None:
    """What a script, an emoji or ordinary text needs is nothing to find (A50)."""
    assert DETECTORS[name].find(text) == []


ODD = st.text(
    st.sampled_from(
        "a1 \n\t\x00\x1b[]mP\x07\\\x9b\x9d\x9c\xad👩💻\u200b\u200c\u200d\u2060\u202a\u202c\u202e\u2066\u2069\u05d0"
        "\u0645\u200e\ufe0f\ufe00\U000e0100\U000e0041\U000e0067\U000e007f\U0001f3f4\ufff9\ue000\ufeff\u3042"
    ),
    max_size=24,
)


@pytest.mark.parametrize("name", DETECTORS)
@given(text=ODD)
def test_nothing_is_found_behind_a_closed_gate(name: str, text: str) -> None:
    """Where a detector finds something its gate matches, whatever the text."""
    spans = DETECTORS[name].find(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    if spans:
        assert compiled(DETECTORS[name].needs, case=True).search(text)


def test_tags_spell() -> None:
    """What characters of the tag block spell can be told."""
    assert list(decoded_tags("a\U000e0049\U000e0067b\U000e0021")) == ["Ig", "!"]
