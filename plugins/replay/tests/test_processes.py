"""Four processes at the same time, with the same nonces: by each memory that they can share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from plugins.replay.tests.conftest import WORKER, made

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("kind", ["sqlite", "shared"])
def test_four_processes_take_each_nonce_once(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """S0.34, A15: four processes with the same nonces at the same time take each once, between them."""
    where = f"sqlite://{tmp_path}/n/replay.sqlite" if kind == "sqlite" else request.getfixturevalue("server").uri
    if kind == "sqlite":
        asyncio.run(made(tmp_path / "n" / "replay.sqlite"))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, where, "500"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    counts: Counter[str] = Counter()
    try:
        for worker in workers:
            assert read(worker) == "ready"
        for worker in workers:
            write(worker)
        for worker in workers:
            while (line := read(worker)) not in ("end", ""):
                word, count = line.split()
                counts[word] += int(count)
    finally:
        for worker in workers:
            worker.communicate("\n", timeout=30)
    assert counts == {"taken": 500, "replay.detected": 1500}


def read(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def write(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
