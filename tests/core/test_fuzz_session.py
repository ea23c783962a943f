"""The fuzz target of the session runs, and finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_fuzz_target(root: Path) -> None:
    """No line from either side crashes or hangs a session, is lost, or is answered twice (A51, A53, A57)."""
    target = root / "tests" / "fuzz" / "fuzz_session.py"
    done = subprocess.run(
        [sys.executable, str(target), "--runs", "4000", "--seed", "3"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert b"4000 executions" in done.stdout or b"Done 4000 runs" in done.stderr


def test_the_runner_runs_every_target(root: Path) -> None:
    """``make fuzz`` finds each target by its name, passes on the seed, and refuses a name that is none."""
    runner = [sys.executable, str(root / "tests" / "fuzz" / "run.py")]
    done = subprocess.run([*runner, "--runs", "50", "--seed", "9"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    names = [path.stem.removeprefix("fuzz_") for path in (root / "tests" / "fuzz").glob("fuzz_*.py")]
    assert {"edge", "session"} <= set(names)
    assert all(f"{name}: seed 9".encode() in done.stdout for name in names)
    assert subprocess.run([*runner, "nothing"], capture_output=True, check=False).returncode == 2
