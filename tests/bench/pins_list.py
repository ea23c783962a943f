"""What a list costs in pins alone: again and unchanged, with one tool changed, and at first sight."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
from tests.bench.lists import TOOLS, answer, passing
from tests.bench.measure import Row, Times, micros, ratio, rounds, run_async

from hauberk.testing import Rig, guard_from

_PINS: Final = '[plugins]\ndisable = ["sieve"]\n[pins]\nauto_trust_first = true\non_change = "block"\n'
_GROUP: Final = "tools/list of 10,000 tools through pins / orjson.loads + dumps of the same bytes"


def run() -> Iterator[Row]:
    """Measure a list that comes again, one of which a tool has changed each time, and the first of all."""
    first, times = run_async(_measured)
    again = f"again and unchanged ({micros(times, 'again') / 1e3:.2f} ms)"
    yield Row(_GROUP, again, ratio(times, "again", "parsing"), bar=0.5, aim=0.1)
    changed = f"one tool changed each time ({micros(times, 'changed') / 1e3:.0f} ms)"
    yield Row(_GROUP, changed, ratio(times, "changed", "parsing"))
    parsing = micros(times, "parsing") / 1e6
    yield Row(_GROUP, f"at first sight, which pins all of them ({first * 1e3:.0f} ms)", first / parsing)


async def _measured() -> tuple[float, Times]:
    data = answer()
    async with guard_from(_PINS, name="bench") as rig:
        start = time.perf_counter()
        passing(rig, data)()
        first = time.perf_counter() - start
        await rig.guard.loaded["pins"].plugin.gate.writer.close()
        encoded, moving = orjson.dumps(data), copy.deepcopy(data)
        again = passing(rig, data)
        changes = {"again": again, "parsing": lambda: orjson.dumps(orjson.loads(encoded))}
        times = rounds(changes, repeat=15, count=3)
        times |= {"changed": rounds({"changed": _changing(rig, moving)}, repeat=15, count=1)["changed"]}
        return first, times


def _changing(rig: Rig, data: Any) -> Callable[[], Any]:
    """Return a function that takes a list through pins in which one tool is another than before."""

    def changed() -> Any:
        data["result"]["tools"][0]["title"] = str(time.perf_counter_ns())
        found = passing(rig, data)()
        if len(found.result["tools"]) != TOOLS - 1:
            raise SystemExit("a changed tool was not hidden")
        return found

    return changed
