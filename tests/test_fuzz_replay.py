"""The fuzz target of replay, run a little each time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz import fuzz_replay


@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_nothing_is_accepted_twice(seed: int) -> None:
    """S0.33, S0.34: whatever comes, in any order, under any clock, over restarts, each message is accepted once."""
    ends = fuzz_replay.run(2000, seed)
    assert ends["accepted"] > 10
    assert ends["replay.detected"] > 10
