"""The fuzz target of the lock, run a little each time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz import fuzz_lock

TARGET = fuzz_lock.check


@given(st.randoms(use_true_random=False), st.booleans())
def test_lock_reads_what_it_writes_or_says_what_is_wrong(rnd: random.Random, whole: bool) -> None:
    """A lock that is written is read; one with wounds is read only if it is a lock to the byte."""
    if whole:
        assert TARGET(fuzz_lock.written(rnd)) == "read"
    else:
        TARGET(fuzz_lock.mutated(rnd))


@given(st.binary() | st.sampled_from(fuzz_lock.ATOMS))
def test_junk_is_no_lock(data: bytes) -> None:
    """No bytes but a lock's are read as one, and each is refused with words."""
    assert TARGET(data) != "read"
