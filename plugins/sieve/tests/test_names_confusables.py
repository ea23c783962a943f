"""Names look the same where Unicode's table says so, and every look is settled."""

# ruff: noqa: RUF001 - characters that are confused on purpose

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hauberk_sieve._spelling import fold
from hauberk_sieve.names import _confusables
from hauberk_sieve.names._confusables import ASCII, script, skeleton
from hauberk_sieve.names._twins import Twins, looks

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=24)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ѕеnd_еmаіl", "send_email"),
        ("раураl", "paypal"),
        ("rnail", "mail"),
        ("read_fi1e", "read_file"),
        ("Iist", "list"),
        ("αpi", "api"),
        ("t𝖾st", "test"),
    ],
)
def test_confused_names_have_one_skeleton(one: str, other: str) -> None:
    """What UTS #39 calls confusable has one skeleton (A43)."""
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("one", "other"), [("café", "cafe"), ("поиск", "search"), ("læs", "les"), ("a", "b")])
def test_other_names_have_skeletons_of_their_own(one: str, other: str) -> None:
    """Accents and other letters are seen."""
    assert skeleton(one) != skeleton(other)


def test_ascii_part_is_that_of_the_table() -> None:
    """The few replacements that stand in the code are those of Unicode's table, no more and no less."""
    assert {char: text for char, text in _confusables._table().items() if char < 128} == ASCII


def test_skeleton_of_each_character_is_settled() -> None:
    """What stands for a character stands for itself."""
    wrong = [chr(char) for char in _confusables._table() if skeleton(skeleton(chr(char))) != skeleton(chr(char))]
    assert wrong == []


def test_confused_with_the_same_is_confused_with_each_other() -> None:
    """For every pair of characters in the table both have one skeleton; a composed one is taken apart before."""
    pairs = [
        (one, other["c"])
        for one, others in _confusables._data("confusables.json").items()
        for other in others
        if len(_confusables._decomposed(one)) == len(_confusables._decomposed(other["c"])) == 1
    ]
    assert len(pairs) > 5000
    assert [pair for pair in pairs if skeleton(pair[0]) != skeleton(pair[1])] == []


@given(NAMES)
@example("ﷺ")
@example("\u0390\u1fbe")
def test_fold_is_settled(name: str) -> None:
    """The fold of a fold is itself."""
    assert fold(fold(name)) == fold(name)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_skeletons_are_settled(name: str) -> None:
    """The skeleton of a skeleton is itself."""
    assert skeleton(skeleton(name)) == skeleton(name)


def test_ascii_names_read_no_table() -> None:
    """A host that meets ASCII names only reads neither the table nor the package that has it."""
    code = (
        "import sys; from hauberk_sieve.names import _faults, _twins\n"
        "assert not _faults.Spelling(128).faults(['read', 'Mail_1'])\n"
        "_twins.Twins().add(['read', 'mail'])\n"
        "from hauberk_sieve.names import _confusables as c\n"
        "print(c._table.cache_info().misses, 'confusable_homoglyphs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]


def test_package_is_read_as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable by which the package's own code takes another file changes nothing, and its code is not run."""
    monkeypatch.setenv("CONFUSABLE_DATA", "/nonexistent")
    _confusables._table.cache_clear()
    assert skeleton("а") == "a"
    assert "confusable_homoglyphs.confusables" not in sys.modules


@pytest.mark.parametrize(
    ("char", "name"), [("a", "LATIN"), ("а", "CYRILLIC"), ("漢", "HAN"), ("_", "COMMON"), ("\U0010ffff", "UNKNOWN")]
)
def test_script_of_a_character(char: str, name: str) -> None:
    """A letter is of the script that Unicode says."""
    assert script(char) == name


# --- twins ---


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Read_File", "read_file"),
        ("read\u200b_file", "read_file"),
        ("ｒｅａｄ", "read"),
        (unicodedata.normalize("NFD", "öffnen"), "öffnen"),
        ("rеad", "read"),
        ("Invoice", "lnvoice"),
        ("forrn", "form"),
    ],
)
def test_names_that_look_the_same_are_twins(one: str, other: str) -> None:
    """Case, forms, hidden and confused characters make twins, on one page or on two (A43)."""
    assert Twins().add([one, other]) == {one: other, other: one}
    pages = Twins()
    assert pages.add([one]) == {}
    assert pages.add(["between", other]) == {one: other, other: one}


@pytest.mark.parametrize(("one", "other"), [("get_v1", "get_vl"), ("x0", "xo"), ("read_file", "read_files")])
def test_digits_of_one_list_are_digits(one: str, other: str) -> None:
    """A server that counts its tools has no twins; between servers a digit may be taken for a letter."""
    assert Twins().add([one, other]) == {}


def test_digits_between_servers_look_like_letters() -> None:
    """``fi1e`` of one server looks like ``file`` of another."""
    (first, second), _ = looks(["fi1e", "file"])
    assert first == second


@given(st.lists(NAMES, max_size=6, unique=True))
def test_names_at_once_look_as_names_one_by_one(names: list[str]) -> None:
    """The quick way for ASCII lists finds the same looks as one name after the other."""
    for digits in (True, False):
        both = looks(names, digits=digits)
        assert list(zip(*both, strict=True)) == [
            tuple(look[0] for look in looks([name, "é"], digits=digits)) for name in names
        ]


@given(st.lists(st.sampled_from(["read", "Read", "rеad", "mail", "rnail", "x1", "xl"]), unique=True))
def test_order_of_a_list_makes_no_difference_to_twins(names: list[str]) -> None:
    """Whoever comes first, the same names are twins."""
    assert set(Twins().add(names)) == set(Twins().add(names[::-1]))
