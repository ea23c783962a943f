"""The fuzz target of sealed frames, run a little each time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz import fuzz_seal


@given(st.randoms(use_true_random=False))
def test_a_sealed_frame_opens(rnd: random.Random) -> None:
    """A frame that was sealed opens to what went in."""
    assert fuzz_seal.check(rnd, wound=False) == "opened"


@given(st.randoms(use_true_random=False))
def test_a_wounded_frame_is_refused(rnd: random.Random) -> None:
    """One with wounds is refused with a code of the plugin, unless it says the same in other words."""
    fuzz_seal.check(rnd, wound=True)
