"""The fuzz target of what sockets bring, run a little each time."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz import fuzz_wire


@pytest.mark.parametrize("check", fuzz_wire.CHECKS, ids=lambda check: check.__name__)
def test_what_sockets_bring(check: Any) -> None:
    """Frames, pings and addresses are what they are, or refused with words."""

    @given(st.randoms(use_true_random=False))
    def tried(rnd: random.Random) -> None:
        assert check(rnd)

    tried()


def test_wounds_do_not_hide_what_is_whole() -> None:
    """The target reaches each end that it knows."""
    ends = fuzz_wire.run(6000, 7)
    assert set(ends) == {"frames", "a ping", "no answer", "accepted", "denied", "no address", "tls", "unix"}
