"""What is left of a list of tools."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.access._lists import sift

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "x", "Name"]), inner),
    max_leaves=10,
)


def even(name: str) -> bool:
    return len(name) % 2 == 0


@given(st.lists(json))
def test_whatever_stands_in_a_list_only_allowed_tools_are_left(tools: list[Any]) -> None:
    """The objects with an allowed name are kept, in order; everything else is gone and counted (S1.2)."""
    found = sift(tools, "name", even)
    kept = found.kept(tools)
    named = [t for t in tools if isinstance(t, dict) and isinstance(t.get("name"), str) and "Name" not in t]
    expected = [tool for tool in named if even(tool["name"])]
    assert len(kept) == len(expected)
    assert all(left is right for left, right in zip(kept, expected, strict=True))
    assert found.malformed == len(tools) - len(named)
    assert found.hidden == len(named) - len(expected)


def test_names_in_the_record_are_few_short_and_visible() -> None:
    """A server cannot flood the record with names, nor put control characters into it."""
    tools = [{"name": f"\x1b[31m\u202e{number}" + "x" * 10_000} for number in range(1000)]
    found = sift(tools, "name", lambda _: False)
    assert found.hidden == 1000
    assert len(found.names) == LIMITS.shown_names
    assert all(len(name) == LIMITS.shown_chars for name in found.names)
    assert all(name.startswith("\\u{1b}[31m\\u{202e}") and name.isprintable() for name in found.names)


def test_short_names_are_recorded_whole() -> None:
    """A name of the greatest length that is shown stands in the record as it is."""
    name = "x" * LIMITS.shown_chars
    assert sift([{"name": name}, {"name": "café"}], "name", lambda _: False).names == [name, "café"]
