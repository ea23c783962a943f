"""The fuzz target of the shape of frames, run a little each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz import fuzz_shape


@given(st.integers(0, 2**32))
def test_shape_is_that_of_the_value(seed: int) -> None:
    """Depth and width that are found in the bytes are those that a parser finds, whatever stands in strings (S4.18)."""
    fuzz_shape.run(20, seed)


def test_each_answer_comes() -> None:
    """The target reaches what is deep, what is wide, what fits and what is no JSON."""
    assert {"depth", "width", "fits", "no JSON"} <= set(fuzz_shape.run(5000, 7))
