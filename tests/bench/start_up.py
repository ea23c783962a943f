"""Start-up: ``hauberk run`` to its first answer, and ``import hauberk``, against ``import mcp``."""

from __future__ import annotations

import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench import samples
from tests.bench.measure import Row, Times, micros, ratio
from tests.bench.proxied import ECHO, Peer, hauberk_run


def run() -> list[Row]:
    """Measure whole processes."""
    frame = samples.compact(samples.call({"text": "hello"}))
    with TemporaryDirectory() as directory:
        command = hauberk_run(directory)
        candidates: dict[str, Any] = {
            "mcp": lambda: _python("import mcp"),
            "hauberk": lambda: _python("import hauberk; hauberk.Guard"),
            "bare import": lambda: _python("import hauberk"),
            "first answer": lambda: _answer(command, frame),
            "child alone": lambda: _answer(ECHO, frame),
        }
        times = _wall(candidates, 15)
    answer = f"hauberk run to its first answer ({micros(times, 'first answer') / 1e3:.0f} ms)"
    group = "start-up / python -c 'import mcp'"
    return [
        Row(group, answer, ratio(times, "first answer", "mcp"), bar=0.35, aim=0.15),
        Row(group, "the same child without hauberk", ratio(times, "child alone", "mcp")),
        Row(group, "import hauberk", ratio(times, "bare import", "mcp"), bar=0.3),
        Row(group, "import hauberk, with the guard", ratio(times, "hauberk", "mcp"), bar=0.3),
    ]


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def _answer(command: list[str], frame: bytes) -> None:
    with Peer(command) as peer:
        if not peer.ask(frame):
            raise RuntimeError("no answer")


def _wall(candidates: dict[str, Any], repeat: int) -> Times:
    import time

    times: Times = {name: [] for name in candidates}
    for call in candidates.values():
        call()
    for _ in range(repeat):
        for name, call in candidates.items():
            start = time.perf_counter_ns()
            call()
            times[name].append((time.perf_counter_ns() - start) / 1e9)
    return times
