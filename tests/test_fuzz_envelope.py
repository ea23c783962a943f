"""The fuzz target of what opens, run a little each time."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz import fuzz_envelope


@pytest.mark.parametrize("check", fuzz_envelope.CHECKS, ids=lambda check: check.__name__)
def test_what_opens(check: Any) -> None:
    """Messages open if they were sealed, key files are read if they were written; all else is refused (A04, A06)."""

    @given(st.randoms(use_true_random=False))
    def tried(rnd: random.Random) -> None:
        assert check(rnd)

    tried()


def test_wounds_do_not_hide_what_is_whole() -> None:
    """The target reaches each end that matters."""
    ends = fuzz_envelope.run(3000, 7)
    assert {
        *("opens", "envelope.forged", "envelope.malformed", "envelope.plain", "envelope.untrusted"),
        *("signed, opens", "signed, envelope.forged", "signed, envelope.malformed"),
        *("a public key", "a revocation", "no key file"),
    } <= set(ends)
