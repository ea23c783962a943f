"""``make fuzz``: run every fuzz target for a while, each with a seed of its own.

usage: python tests/fuzz/run.py [--runs N] [--seed N] [TARGET …]

A target is a file ``fuzz_<name>.py`` beside this one. The exit status is 1 where one of them finds something; its
output names the seed, which shows the same again.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def main() -> int:
    """Run the targets that are asked for."""
    parser = argparse.ArgumentParser(description="Run the fuzz targets.")
    parser.add_argument("targets", nargs="*", help=f"any of {', '.join(TARGETS)}; all of them by default")
    parser.add_argument("--runs", type=int, default=100_000, help="executions of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="where the random choices begin (default: another one each time)")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.targets) - set(TARGETS)):
        parser.error(f"no fuzz target {unknown[0]!r} (there are: {', '.join(TARGETS)})")
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    failed = []
    for target in arguments.targets or TARGETS:
        print(f"{target}: seed {seed}", flush=True)
        command = [sys.executable, str(HERE / f"fuzz_{target}.py"), "--runs", str(arguments.runs), "--seed", str(seed)]
        if subprocess.run(command, check=False).returncode:
            failed.append(target)
    if failed:
        print(f"failed: {', '.join(failed)}, with seed {seed}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
