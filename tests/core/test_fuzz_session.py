"""The fuzz target of the session runs, and finds nothing."""

from __future__ import annotations

import importlib.util
import re
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
    targets = {path.stem.removeprefix("fuzz_"): path for path in (root / "tests" / "fuzz").glob("fuzz_*.py")}
    # Those of a plugin need the plugin, which is not installed where the core is tested alone.
    names = [name for name, path in targets.items() if importlib.util.find_spec(_plugin(path)) is not None]
    done = subprocess.run([*runner, "--runs", "50", "--seed", "9", *names], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert {"edge", "session"} <= set(names)
    assert all(f"{name}: seed 9".encode() in done.stdout for name in names)
    assert subprocess.run([*runner, "nothing"], capture_output=True, check=False).returncode == 2


def _plugin(target: Path) -> str:
    """Return the package that a fuzz target is about."""
    found = re.search(r"^from (hauberk_\w+)", target.read_text(), re.MULTILINE)
    return found[1] if found else "hauberk"
