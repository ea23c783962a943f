"""How everything here is measured: candidates take turns in shuffled rounds, and ratios are taken round by round.

A shared machine drifts by a factor of two within a minute; the median of paired ratios hardly moves. Absolute times are
printed for orientation only.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

Times = dict[str, list[float]]
SHUFFLE: Final = random.Random(20261120)


def rounds(candidates: Mapping[str, Callable[[], Any]], *, repeat: int, count: int) -> Times:
    """Time each plain candidate ``count`` times in a row, ``repeat`` rounds; seconds of thread CPU a call."""
    times: Times = {name: [] for name in candidates}
    names = list(candidates)
    for _ in range(repeat):
        SHUFFLE.shuffle(names)
        for name in names:
            call = candidates[name]
            start = time.thread_time_ns()
            for _ in range(count):
                call()
            times[name].append((time.thread_time_ns() - start) / count / 1e9)
    return times


async def rounds_async(
    candidates: Mapping[str, Callable[[], Awaitable[Any]]],
    *,
    repeat: int,
    count: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Times:
    """Time each async candidate likewise; seconds a call, of the clock that is given."""
    times: Times = {name: [] for name in candidates}
    names = list(candidates)
    for call in candidates.values():
        for _ in range(max(3, count // 5)):
            await call()
    for _ in range(repeat):
        SHUFFLE.shuffle(names)
        for name in names:
            call = candidates[name]
            start = clock()
            for _ in range(count):
                await call()
            times[name].append((clock() - start) / count / 1e9)
    return times


def work_of(*others: int) -> Callable[[], int]:
    """Return a clock of the CPU time that this process and others, by their ids, have spent (ns).

    Where the system has no clock of another process, it is the wall's.
    """
    if sys.platform != "linux":
        return time.perf_counter_ns
    # The number of a process's CPU clock is made of its id: clock_getcpuclockid(3).
    clocks = (time.CLOCK_PROCESS_CPUTIME_ID, *(~pid << 3 | 2 for pid in others))
    return lambda: sum(map(time.clock_gettime_ns, clocks))


def run_async(benchmark: Callable[[], Awaitable[Any]]) -> Any:
    """Run one benchmark in an event loop of its own."""

    async def main() -> Any:
        return await benchmark()

    return asyncio.run(main())


def ratio(times: Times, name: str, base: str) -> float:
    """Return the median of the paired ratios of a candidate to a base."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def micros(times: Times, name: str) -> float:
    """Return the median time of a candidate (µs)."""
    return statistics.median(times[name]) * 1e6


class Row:
    """One line of the table: a ratio, and what it must and should not exceed."""

    def __init__(
        self, group: str, what: str, value: float, *, bar: float | None = None, aim: float | None = None
    ) -> None:
        self.group = group
        self.what = what
        self.value = value
        self.bar = bar
        self.aim = aim

    @property
    def verdict(self) -> str:
        """Say how the value stands to bar and aim."""
        if self.bar is None:
            return ""
        if self.aim is not None and self.value <= self.aim:
            return "aim reached"
        return "ok" if self.value <= self.bar else "over the bar"

    def data(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return {
            "group": self.group,
            "what": self.what,
            "ratio": round(self.value, 4),
            "bar": self.bar,
            "aim": self.aim,
            "verdict": self.verdict,
        }


class Layout(NamedTuple):
    """How a table is printed: widths in characters, numbers as `format` has them."""

    what: int
    value: str
    bar: str
    gap: int


def table(rows: Iterable[Row], layout: Layout) -> Iterator[str]:
    """Yield the lines of a table as its rows come, each group under its name."""
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            yield f"\n{group}"
        bar, aim = (
            "" if limit is None else f"{word} {limit:{layout.bar}}"
            for word, limit in (("bar", row.bar), ("aim", row.aim))
        )
        line = f"  {row.what:<{layout.what}} {row.value:{layout.value}}  {bar:<{layout.gap}} {aim:<{layout.gap}} "
        yield f"{line}{row.verdict}".rstrip()


def missed(rows: Iterable[Row]) -> int:
    """Return how many rows are over their bar."""
    return sum(row.verdict == "over the bar" for row in rows)
