"""What each fuzz target does as a program: it runs so often, from a seed, and prints how fast and what came."""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections import Counter
from collections.abc import Callable

Run = Callable[[int, int], Counter[str]]
"""Takes how often to run, and a seed; returns how often each end came."""
Guided = Callable[[int, int], None]
"""Takes the same, lets atheris choose, and ends the process."""


def main(about: str, run: Run, *, runs: int = 1_000_000, guided: Guided | None = None) -> None:
    """Run a target as the command line says, and print how fast and what came.

    Args:
        about: What is fuzzed.
        run: Runs it.
        runs: How often, where the command line does not say.
        guided: Runs it instead where atheris is installed.
    """
    parser = argparse.ArgumentParser(description=f"fuzz {about}")
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if guided is not None and importlib.util.find_spec("atheris"):
        guided(args.runs, args.seed)
    start = time.perf_counter()
    ends = run(args.runs, args.seed)
    seconds = time.perf_counter() - start
    print(f"{args.runs} executions, seed {args.seed}, {args.runs / seconds:.0f} a second, no failure")
    for end, count in ends.most_common():
        print(f"{count:9} {end}")
