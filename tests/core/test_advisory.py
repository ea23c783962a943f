"""Locks between processes: who holds one alone, and who together."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hauberk import advisory


@pytest.mark.skipif(sys.platform == "win32", reason="each lock is exclusive there")
def test_shared_locks_are_held_together_and_keep_others_out(tmp_path: Path) -> None:
    """Shared locks are held by several, and by nobody beside one that holds it alone; each goes with its descriptor."""
    path = tmp_path / "lock"
    path.touch()
    one, two, alone = (os.open(path, os.O_RDWR) for _ in range(3))
    assert advisory.take(one, shared=True)
    assert advisory.take(two, shared=True)
    assert not advisory.take(alone)
    os.close(one)
    assert not advisory.take(alone)
    os.close(two)
    assert advisory.take(alone)
    late = os.open(path, os.O_RDWR)
    assert not advisory.take(late, shared=True)
    os.close(alone)
    assert advisory.take(late, shared=True)
    os.close(late)
