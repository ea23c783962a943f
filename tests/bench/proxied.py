"""A round trip through ``hauberk run``, against direct, and against a relay on the same carrier that parses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from tests.bench import samples
from tests.bench.in_process import ALLOW
from tests.bench.measure import Row, Times, micros, ratio

ECHO = [sys.executable, "-S", str(Path(__file__).with_name("echo_child.py"))]
RELAY = [sys.executable, str(Path(__file__).with_name("raw_relay.py"))]


class Peer:
    """A program that answers one line for one line."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1)

    def ask(self, frame: bytes) -> bytes:
        """Send one frame and read one."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(frame + b"\n")
        stdin.flush()
        return stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def hauberk_run(directory: str, config: str = ALLOW) -> list[str]:
    """Return the command of a guarded echo."""
    path = Path(directory) / "hauberk.toml"
    path.write_text(config.format(path=directory))
    path.chmod(0o600)
    return [sys.executable, "-m", "hauberk", "run", "--config", str(path), "--server", "bench", "--", *ECHO]


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and what it starts on one core, where the system can.

    What is compared is work, and not how long a machine takes to wake an idle core for each hop.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run() -> list[Row]:
    """Measure round trips of three sizes, with sieve and audit."""
    rows = []
    with one_core(), TemporaryDirectory() as directory, ExitStack() as stack:
        commands = {"direct": ECHO, "relay": [*RELAY, *ECHO], "hauberk": hauberk_run(directory)}
        peers = {name: stack.enter_context(Peer(command)) for name, command in commands.items()}
        for size in ("200 B", "16 KiB", "256 KiB"):
            times = _trip(peers, samples.SIZES[size])
            bars: dict[str, Any] = {"bar": 1.8, "aim": 1.4}
            what = f"{size} ({micros(times, 'hauberk'):.0f} µs; relay {micros(times, 'relay'):.0f})"
            rows.append(Row("hauberk run / raw relay", what, ratio(times, "hauberk", "relay"), **bars))
            rows.append(Row("hauberk run / direct", size, ratio(times, "hauberk", "direct")))
    return rows


def _trip(peers: dict[str, Peer], length: int) -> Times:
    frame = samples.compact(samples.long_string(length - 100))
    count = 60 if length < 100_000 else 15

    def trip(peer: Peer) -> Any:
        peer.ask(frame)
        return lambda: peer.ask(frame)

    trips = {name: trip(peer) for name, peer in peers.items()}
    times: Times = {name: [] for name in trips}
    for call in trips.values():
        call()
    for _ in range(25):
        for name, call in trips.items():
            start = time.perf_counter_ns()
            for _ in range(count):
                call()
            times[name].append((time.perf_counter_ns() - start) / count / 1e9)
    return times
