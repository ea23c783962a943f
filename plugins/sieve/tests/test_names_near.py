"""Names that are an edit or two apart are found, all of them, in bounded work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.names._near import Near, is_near, reach, within

WORDS = st.text("ab_x", max_size=11)
LETTERS = st.text("abcdeé_1", min_size=4, max_size=20)


def plain(one: str, other: str) -> int:
    """Return the optimal string alignment distance, by its definition."""
    rows = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) + 1):
        for j in range(len(other) + 1):
            if not (i and j):
                rows[i][j] = i + j
                continue
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (one[i - 1] != other[j - 1]))
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


@given(WORDS, WORDS, st.integers(0, 2))
def test_edits_are_counted_as_defined(one: str, other: str, most: int) -> None:
    """The quick count agrees with the plain table of distances."""
    assert within(one, other, most) == (plain(one, other) <= most)


@given(LETTERS, LETTERS)
def test_near_is_mutual(one: str, other: str) -> None:
    """If a name is near another, that one is near it."""
    assert is_near(one, other) == is_near(other, one)


@given(LETTERS)
def test_name_is_not_near_itself(name: str) -> None:
    """A name is never its own look-alike."""
    assert not is_near(name, name)
    assert Near([name]).find(name, [100]) == []


@given(st.lists(LETTERS, max_size=12), LETTERS, st.data())
def test_every_near_name_is_found(names: list[str], name: str, data: st.DataObject) -> None:
    """Pairs of characters leave out no name that an edit or two would reach."""
    edited = name
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(edited)))
        cut = data.draw(st.integers(0, 2))
        swap = edited[at : at + 2][::-1] if cut == 2 else data.draw(st.sampled_from(["", "a", "é"]))
        edited = edited[:at] + swap + edited[at + cut :]
    names = [*names, edited]
    assert set(Near(names).find(name, [10_000])) == {other for other in names if is_near(name, other)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("send_email", "send_emial"),
        ("send_email", "send_emails"),
        ("send_email", "sendemail"),
        ("read_file", "raed_flie"),
        ("login", "logins"),
    ],
)
def test_mistakes_are_near(one: str, other: str) -> None:
    """A letter more or less, another one, or two swapped: up to two of these (A43)."""
    assert is_near(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("get", "set"),
        ("read", "load"),
        ("login", "logout"),
        ("get_v1", "get_v2"),
        ("step_10_of_list", "step_9_of_list"),
        ("write_file", "rewrite_files"),
        ("a" * 65, "a" * 64),
    ],
)
def test_other_words_are_not_near(one: str, other: str) -> None:
    """Short words, numbers and whole syllables make another name."""
    assert not is_near(one, other)


@pytest.mark.parametrize(("size", "edits"), [(0, 0), (4, 0), (5, 1), (8, 1), (9, 2), (64, 2), (65, 0)])
def test_longer_names_bear_more_edits(size: int, edits: int) -> None:
    """How many edits are a mistake depends on the length."""
    assert reach("x" * size) == edits


def test_budget_is_kept() -> None:
    """However many names are near, edits are counted for so many pairs only, and what is left says so (X.14)."""
    names = [f"{'a' * 30}{number:03b}".replace("0", "b").replace("1", "c") for number in range(8)]
    budget = [5]
    found = Near(names).find("a" * 30 + "bbb", budget)
    assert budget == [0]
    assert len(found) <= 5
    assert Near(names).find("a" * 30 + "bbb", budget) == []


def test_many_names_leave_few_to_count() -> None:
    """Of a thousand names that share words, edits are counted for a few in a hundred of all pairs."""
    verbs = ("get", "set", "list", "create", "delete", "update", "read", "write", "search", "find")
    nouns = ("file", "user", "issue", "repository", "page", "comment", "message", "channel", "table", "project")
    names = [f"{verb}_{one}_{other}" for verb in verbs for one in nouns for other in nouns]
    near, budget = Near(names), [10**9]
    for name in names:
        near.find(name, budget)
    assert 10**9 - budget[0] < len(names) * len(names) / 20


def test_pairs_have_a_bound() -> None:
    """A server that uses every character there is makes no more than so many integers (X.14)."""
    names = ["".join(chr(0x4E00 + (number * 31 + place) % 20_000) for place in range(20)) for number in range(500)]
    assert len(Near(names)._pairs) <= 2039


def test_names_beyond_the_bound_are_not_compared() -> None:
    """A name of thousands of characters costs nothing."""
    near = Near(["x" * (LIMITS.near_chars + 1), "y" * 4096])
    assert near.names == ()
    assert near.find("y" * 4095, [10]) == []
