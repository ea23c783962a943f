"""The fuzz target of nonces, run a little each time."""

from __future__ import annotations

import os
import random

import pytest
from tests.fuzz import fuzz_nonces

from hauberk_envelope._sealing import seal_message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_processes_repeat_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processes with the same keys never give a key a nonce twice; with random bytes forked, they do (A05)."""
    assert fuzz_nonces.run(2000, 1) == {"sealed": 2000}
    forked = random.Random(5).randbytes
    monkeypatch.setattr(
        fuzz_nonces, "seal_message", lambda *args, **options: seal_message(*args, **options, random=forked)
    )
    with pytest.raises(AssertionError, match="met before"):
        fuzz_nonces.run(400, 1)
