"""What a list that comes again unchanged costs in the sieve, and in sieve and pins, against parsing it once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson
from tests.bench.lists import TOOLS, answer, passing
from tests.bench.measure import Row, micros, ratio, rounds, run_async

from hauberk.testing import guard_from

_SETTLING = 10
_GROUP = "tools/list of 10,000 tools, again and unchanged / orjson.loads + dumps of the same bytes"
_SIEVE = '[sieve]\ndefault = "deny"\nallow = ["bench/{allow}"]\ndeny = ["*/execute_*"]\n'
_PINS = '[pins]\nauto_trust_first = true\non_change = "block"\n'


def run() -> Iterator[Row]:
    """Measure a list of which nothing is hidden, one of which half is, and both plugins together."""
    for what, toml in (
        ("the sieve, nothing hidden", _SIEVE.format(allow="*")),
        ("the sieve, half hidden", _SIEVE.format(allow="read_*")),
        ("sieve and pins, nothing hidden", _SIEVE.format(allow="*") + _PINS),
        ("sieve and pins, half hidden", _SIEVE.format(allow="read_*") + _PINS),
    ):
        first, times = run_async(partial(_measured, toml))
        line = f"{what} ({micros(times, 'again') / 1e3:.2f} ms; {first * 1e3:.0f} ms at first)"
        yield Row(_GROUP, line, ratio(times, "again", "parsing"), bar=0.5, aim=0.1)


async def _measured(toml: str) -> Any:
    encoded = orjson.dumps(answer())
    async with guard_from(toml, name="bench") as rig:
        again = passing(rig, orjson.loads(encoded))  # as a parser leaves it: each text an object of its own
        start = time.perf_counter()
        hidden = TOOLS - len(again().result["tools"])
        first = time.perf_counter() - start
        if hidden != (TOOLS // 2 if "read_" in toml else 0):
            raise SystemExit(f"{hidden} tools were hidden")
        for _ in range(_SETTLING):  # names are told to other guards in a thread; then the list is known
            await asyncio.sleep(0.1)
            again()
        candidates = {"again": again, "parsing": lambda: orjson.dumps(orjson.loads(encoded))}
        return first, rounds(candidates, repeat=15, count=3)
