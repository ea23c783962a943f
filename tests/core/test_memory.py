"""Nothing that an outsider can send makes a session grow beyond its bounds; the long form is tests/bench/memory.py."""

from __future__ import annotations

import pytest
from tests.bench.memory import CASES, run

BOUNDS = """[core.bounds]
exchanges = 64
tombstones = 32
tasks = 32
rounds = 32
events = 1024
"""


@pytest.mark.parametrize("case", CASES)
async def test_nothing_grows_beyond_its_bounds(case: str) -> None:
    """Messages, sessions and keys without end leave the memory as it was once the tables are full (X.6, A64)."""
    growth = await run(case, 10_000 if case == "opened" else 6000, BOUNDS)
    assert growth.left == 0
    assert growth.bounded, vars(growth)
