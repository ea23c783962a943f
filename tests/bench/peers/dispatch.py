"""Trivial plugins before and after a call: hauberk's pipeline and CPEX's, in processes of their own that take turns."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from tests.bench.measure import SHUFFLE, Row, Times, micros, ratio
from tests.bench.peers.environments import ROOT, Peer

HERE: Final = Path(__file__).parent
COUNTS: Final = (1, 10)
BAR, AIM = 0.01, 0.005
"""What part of CPEX's time hauberk's may be, and should be, with ten plugins."""
_ROUNDS: Final = 31
_SECONDS: Final = 0.02
"""How long a candidate runs in each round."""


class Worker:
    """A program that makes as many calls as it is told, and tells what they took."""

    def __init__(self, python: str, program: str, count: int, *options: str) -> None:
        self._plugins = count
        self._process = subprocess.Popen(
            [python, str(HERE / program), str(count), *options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.calls = 20
        for _ in range(5):
            self.calls = max(1, int(_SECONDS / self.round()))

    def round(self) -> float:
        """Make the calls; return the seconds of CPU that one took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.calls}\n")
        self._process.stdin.flush()
        told = self._process.stdout.readline().split()
        if not told:
            raise RuntimeError("it has ended: see above")
        spent, before, after, passed = told
        if (int(before), int(after), passed) != (self._plugins, self._plugins, "True"):
            raise RuntimeError(f"{before} and {after} of {self._plugins} plugins ran; passed: {passed}")
        return int(spent) / self.calls / 1e9

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def run(peer: Peer) -> list[Row]:
    """Measure one and ten plugins."""
    rows = []
    for count in COUNTS:
        with ExitStack() as stack:
            workers = {
                "cpex": Worker(peer.python, "trivial_cpex.py", count),
                "hauberk": Worker(sys.executable, "trivial_hauberk.py", count),
                "async": Worker(sys.executable, "trivial_hauberk.py", count, "--async"),
            }
            for worker in workers.values():
                stack.enter_context(worker)
            times = _take_turns(workers)
        rows += _rows(count, times)
    return rows


def _take_turns(workers: dict[str, Worker]) -> Times:
    times: Times = {name: [] for name in workers}
    names = list(workers)
    for _ in range(_ROUNDS):
        SHUFFLE.shuffle(names)
        for name in names:
            times[name].append(workers[name].round())
    return times


def _rows(count: int, times: Times) -> list[Row]:
    group = "trivial plugins before and after a call: hauberk / cpex (CPU)"
    against = f"cpex {micros(times, 'cpex'):.0f}"
    bars: dict[str, Any] = {"bar": BAR, "aim": AIM} if count == max(COUNTS) else {}
    plain = f"{count} plugins ({micros(times, 'hauberk'):.2f} µs; {against})"
    waiting = f"{count} plugins, whose hooks are async ({micros(times, 'async'):.2f} µs; {against})"
    return [
        Row(group, plain, ratio(times, "hauberk", "cpex"), **bars),
        Row(group, waiting, ratio(times, "async", "cpex")),
    ]
