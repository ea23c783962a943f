"""Processes that are killed, power that is lost: what was acknowledged is there, and verifies.

The campaigns are in `tests/crash`, with their rules; here each is run a little. docs/audit-proofs.md has the long run.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tests.crash import points, published, syscalls
from tests.crash.__main__ import CAMPAIGNS
from tests.crash.lives import Life, Ways, wrong
from tests.crash.platter import Platter
from tests.crash.taps import FAULTS, Tap, Way

pytestmark = pytest.mark.campaign

ROOT = Path(__file__).resolve().parents[3]
USUAL, FORWARD, LAZY = Ways(), Ways(ratchet=True), Ways(sync=False)
LINUX = pytest.mark.skipif(not points.PLACES.exists(), reason="looks at files through /proc")
SLOW = pytest.mark.timeout(300)


def campaign(folder: Path, *words: str) -> Any:
    """Run a campaign in a process of its own, which forks, and return its figures."""
    record = folder / "record.json"
    command = [sys.executable, "-m", "tests.crash", *words, "--json", str(record)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(record.read_text())


# --- killed ---


@SLOW
def test_killed_hosts_lose_nothing(tmp_path: Path) -> None:
    """Hosts under load that are killed at any moment, alone and as siblings: no acknowledged entry is lost, the chain
    verifies as it was left and as it goes on, and the log says that its writer was killed (S3.3, A20).
    """
    figures = campaign(tmp_path, "rounds", "--rounds", "50")["rounds"]
    assert (figures["rounds"], figures["failures"]) == (50, [])
    assert figures["kills"] >= 50
    assert figures["acknowledged"] > 500


@LINUX
@SLOW
def test_log_that_is_killed_at_each_call_goes_on(tmp_path: Path) -> None:
    """A log that is killed before, after and in the middle of every call that it makes, in rotation and recovery too,
    goes on without a loss (S3.3, A20).
    """
    figures = campaign(tmp_path, "calls", "--sample", "12")["calls"]
    assert figures["failures"] == []
    assert figures["points"] > 150


@pytest.mark.skipif(not syscalls.is_there(), reason="needs strace, which may trace")
def test_host_that_is_killed_at_each_system_call_loses_nothing(tmp_path: Path) -> None:
    """So does a whole host, at system calls that strace picks out (A20)."""
    touched, there = syscalls.points(tmp_path, ratchet=False)
    assert len(there) > 80
    chosen = [
        next(point for point in there if point.call == call) for call in ("write", "fdatasync", "rename", "unlink")
    ]
    for point in chosen:
        seen = syscalls.killed(tmp_path, touched, point, ratchet=False)
        assert (seen.killed, seen.wrong) == (True, []), point


# --- without power, and everything together ---


@LINUX
@pytest.mark.parametrize(
    "ways",
    [USUAL, LAZY, FORWARD],
    ids=["one key", "interval", "a key that goes forward"],
)
def test_power_may_be_lost(tmp_path: Path, ways: Ways) -> None:
    """Whatever of what was not synced a power cut leaves: the log goes on, and what was acknowledged is there (A20)."""
    for seed in range(120):
        rnd, folder = random.Random(seed), tmp_path / str(seed)
        life = Life(folder, ways)
        platter = Platter(life.path.parent)
        for _ in range(rnd.randint(1, 3)):
            with Tap(real=platter.calls).installed():
                life.play(tuple(rnd.choices(STEPS, k=rnd.randint(1, 6))))
            platter.cut(rnd)
        assert life.refused == [], seed
        assert wrong(life.path, life.key, life.acknowledged if ways.sync else []) == [], seed
        shutil.rmtree(folder)


STEPS = [("batch", 1), ("append", 2), ("batch", 3), ("flush", 1), ("close", 1), ("drop", 1), ("pack", 2)]


class LogMachine(RuleBasedStateMachine):
    """A log in any order of everything that can happen to it."""

    folder: Path

    @initialize(sync=st.booleans(), entries=st.integers(1, 6), ratchet=st.booleans())
    def begin(self, sync: bool, entries: int, ratchet: bool) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.sync = sync
        self.life = Life(self.folder, Ways(sync, entries, ratchet))
        self.platter = Platter(self.life.path.parent)
        self.tap = Tap(real=self.platter.calls)

    def take(self, step: str, count: int = 1) -> None:
        with self.tap.installed():
            self.life.take(step, count)

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        self.take("append", count)

    @rule(count=st.integers(2, 5))
    def batch(self, count: int) -> None:
        self.take("batch", count)

    @rule(step=st.sampled_from(["flush", "pack", "close"]))
    def step(self, step: str) -> None:
        self.take(step)

    @rule(size=st.none() | st.integers(1, 300))
    def kill(self, size: int | None) -> None:
        self.take("drop" if size is None else "tear", size or 1)

    @rule(seed=st.integers(0, 10_000))
    def lose_power(self, seed: int) -> None:
        self.take("drop")
        self.platter.cut(random.Random(seed))
        if not self.sync:
            self.life.acknowledged.clear()

    @rule(after=st.integers(1, 25), way=st.sampled_from(FAULTS))
    def fail(self, after: int, way: Way) -> None:
        self.tap.arm(after, way)

    @rule()
    def heal(self) -> None:
        self.tap.heal()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.tap.heal()
            self.take("drop")
            assert wrong(self.life.path, self.life.key, self.life.acknowledged) == []


@LINUX
def test_anything_in_any_order(tmp_path: Path) -> None:
    """Appends, rotations, faults, kills and power cuts in any order: what was acknowledged is there, once, in its
    order, in a whole chain (A19, A20, A23).
    """
    machine = type("Machine", (LogMachine,), {"folder": tmp_path / "log"})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=25, deadline=None))


# --- the long run ---


def test_page_shows_the_recorded_runs() -> None:
    """The page shows two recorded runs, figure by figure, in which nothing was lost and no memory grew (X.15)."""
    text = published.PAGE.read_text("utf-8")
    assert published.BLOCK.findall(text) == [published.shown(name) for name in published.NAMES]
    crash, long = (published.record(name) for name in published.NAMES)
    assert all(crash[name]["failures"] == [] for name in CAMPAIGNS)
    assert crash["rounds"]["rounds"] >= 1000
    assert all(row["status"] == 0 and row["growth"] <= 8192 for row in long["rows"])
    assert max(row["count"] for row in long["rows"]) >= 1_000_000
