"""The fold: what a text looks like."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve.text._fold import NEEDED, fold, rewrapped, unfolded, unwrapped
from hauberk_sieve.text._scan import compiled

needed = compiled(NEEDED, case=True)
DISGUISED = [
    ("ign\u200bore", "ignore"),
    ("\uff49\uff47\uff4e\uff4f\uff52\uff45", "ignore"),
    ("\U0001d422\U0001d420\U0001d427\U0001d428\U0001d42b\U0001d41e", "ignore"),
    ("ign\u043ere", "ignore"),
    ("\u2170gnore", "ignore"),
    ("ig\u00adnore", "ignore"),
    ("i\U000e0067gnore", "ignore"),
    ("ignore\u2060 all", "ignore all"),
]


@pytest.mark.parametrize(("text", "plain"), DISGUISED)
def test_disguise_is_taken_off(text: str, plain: str) -> None:
    """Hidden characters, compatibility forms and look-alikes are folded, and found to need it."""
    assert needed.search(text)
    assert fold(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "Файл был записан в папку",
        "文件已写入没有问题。",
        "ファイルを保存しました",
        "می‌خواهم",
        "👩‍💻 done ✅",
        "1️⃣ first",
        "naïve café — “quoted”…",
        "1º N.º 5 №7 ™",
    ],
)
def test_ordinary_text_needs_no_fold(text: str) -> None:
    """Text of one script, of emoji or with typographic signs is scanned once."""
    assert needed.search(text) is None


def test_every_letter_in_disguise_needs_a_fold() -> None:
    """Every character of Unicode with a Latin letter for its compatibility form is known, but for four signs."""
    letters = {
        char
        for char in map(chr, range(0x80, sys.maxunicode + 1))
        if not "\ud800" <= char <= "\udfff" and any("A" <= one <= "z" and one.isalpha() for one in compatible(char))
    }
    assert len(letters) > 1000
    assert {char for char in letters if not needed.search(char)} == set("ªº№™")


def compatible(char: str) -> str:
    return unicodedata.normalize("NFKC", char)


@given(st.text())
def test_places_of_a_fold_are_places_of_the_text(text: str) -> None:
    """What stands at a place of the fold is the fold of what stands at the place that it came from."""
    folded = fold(text)
    for start in range(len(folded)):
        ((first, last),) = unfolded(text, [(start, start + 1)])
        assert first < last
        assert folded[start] in fold(text[first:last])


def test_place_of_a_match_leaves_the_rest() -> None:
    """The place of a match begins with its first letter and ends with its last, what is hidden between included."""
    text = "a\u200b ign\u200bore\u200b b"
    at = fold(text).index("ignore")
    assert unfolded(text, [(at, at + 6)]) == [(3, 10)]


WRAPS = st.text(st.sampled_from("ab.\n\r\t \u200b"))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ignore\nall\r\n\tprevious  rules", "ignore all previous rules"),
        ("one\n\ntwo\r\n\r\nthree\r\rfour", "one\n\ntwo\r\n\r\nthree\r\rfour"),
        ("\n a \n", "\n a \n"),
    ],
)
def test_wrapped_text_is_one_line(text: str, plain: str) -> None:
    """What is wrapped or indented is a line; paragraphs and the ends of a text stay."""
    assert unwrapped(text) == plain


@given(WRAPS, WRAPS)
def test_parts_are_unwrapped_as_alone(one: str, other: str) -> None:
    """Texts that are joined by an empty line are unwrapped as each would be."""
    assert unwrapped(f"{one}\n\n{other}") == f"{unwrapped(one)}\n\n{unwrapped(other)}"


@given(WRAPS)
def test_places_are_rewrapped(text: str) -> None:
    """Each character that unwrapping left has its place in the text, and white space may stand for white space."""
    plain = unwrapped(text)
    for at, char in enumerate(plain):
        [(start, end)] = rewrapped(text, [(at, at + 1)])
        assert text[start:end] == char or (text[start:end].isspace() and char == " ")
    if plain:
        assert rewrapped(text, [(0, len(plain))]) == [(0, len(text))]
