"""Nothing that an outsider can send makes a session grow beyond its bounds; the long form is tests/bench/memory.py."""

from __future__ import annotations

import gc

import pytest
from tests.bench.memory import CASES, run
from tests.core.harness import rig

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


@pytest.mark.parametrize("frame", [b"{", b"[]", b'{"jsonrpc":"2.0","id":1,"method":"no/such"}'])
async def test_a_refusal_leaves_the_collector_nothing(frame: bytes) -> None:
    """What is refused is freed at once: whoever sends nothing else keeps no collector busy (X.6)."""
    async with rig() as r:
        for _ in range(3):
            r.session.receive(r.session.out, frame)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                r.session.receive(r.session.out, frame)
            assert gc.collect() == 0
        finally:
            gc.enable()
