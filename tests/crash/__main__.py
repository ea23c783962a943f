"""Kill a log, or let its disk fail, very often; say what was lost.

usage: python -m tests.crash [--rounds N] [--entries N …] [--sample N] [--seed N] [--json FILE] [CAMPAIGN …]

rounds    hosts under load, several on one state directory, each killed at a random moment
syscalls  one host, killed at every system call that touches its logs (needs strace)
calls     a log in many ways of life, killed before, after and in the middle of each call of its own
faults    the same, where each call fails in each way in which it can, once and from then on

The exit status is 1 where anything is not as it must be; the folder of the failure is named by its seed and number,
which show it again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from tests.crash import points, rounds, syscalls
from tests.crash.lives import Ways

Figures = dict[str, Any]


def played_rounds(folder: Path, arguments: argparse.Namespace) -> Iterator[Figures]:
    """Yield the figures after each round."""
    for number, one in enumerate(rounds.campaign(folder, arguments.rounds, arguments.seed), 1):
        yield {
            "rounds": number,
            "kills": one.kills,
            "acknowledged": one.acknowledged,
            "entries": one.entries,
            "torn": one.torn,
            "failures": one.failures,
        }


def played_syscalls(folder: Path, _: argparse.Namespace) -> Iterator[Figures]:
    """Yield the figures after each kill, with a key of each kind."""
    if not syscalls.is_there():
        click.echo("syscalls: no strace, or it may not trace: left out", err=True)
        return
    figures: Figures = {"kills": 0, "missed": 0, "acknowledged": 0, "failures": []}
    for ratchet in (False, True):
        for seen in syscalls.campaign(folder, ratchet=ratchet):
            figures["kills" if seen.killed else "missed"] += 1
            figures["acknowledged"] += seen.acknowledged
            figures["failures"] += [f"{seen.point}, ratchet {ratchet}: {what}" for what in seen.wrong]
            yield figures


def ways(arguments: argparse.Namespace) -> Iterator[Ways]:
    """Yield the ways of life that are asked for."""
    for sync, ratchet, entries in itertools.product((True, False), (False, True), arguments.entries):
        yield Ways(sync, entries, ratchet)


def played_points(
    folder: Path,
    arguments: argparse.Namespace,
    there: Callable[[Path, Ways], Iterator[points.Point]],
    play: Callable[[Path, points.Point], points.Seen],
) -> Iterator[Figures]:
    """Yield the figures after each point."""
    figures: Figures = {"points": 0, "acknowledged": 0, "failures": []}
    for way in ways(arguments):
        for point in itertools.islice(there(folder, way), arguments.seed % arguments.sample, None, arguments.sample):
            seen = play(folder, point)
            figures["points"] += 1
            figures["acknowledged"] += seen.acknowledged
            figures["failures"] += [f"{point}: {what}" for what in seen.wrong]
            yield figures


def played_calls(folder: Path, arguments: argparse.Namespace) -> Iterator[Figures]:
    """Yield the figures after each kill."""
    return played_points(folder, arguments, points.kills, points.killed)


def played_faults(folder: Path, arguments: argparse.Namespace) -> Iterator[Figures]:
    """Yield the figures after each fault."""
    return played_points(folder, arguments, points.faults, points.faulted)


CAMPAIGNS: Final[dict[str, Callable[[Path, argparse.Namespace], Iterator[Figures]]]] = {
    "rounds": played_rounds,
    "syscalls": played_syscalls,
    "calls": played_calls,
    "faults": played_faults,
}


def said(name: str, figures: Figures) -> str:
    """Return the line of a campaign."""
    counts = ", ".join(f"{value:,} {key}" for key, value in figures.items() if key not in {"failures", "seconds"})
    return f"{name}: {counts}, {len(figures['failures'])} failures, {figures['seconds']:.0f} s"


def main() -> int:
    """Play; print a line for each campaign, and each failure."""
    parser = argparse.ArgumentParser(description="Kill a log, or let its disk fail, and look what is left.")
    parser.add_argument("campaigns", nargs="*", help=f"any of {', '.join(CAMPAIGNS)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=50, help="random kills of `rounds` (default: %(default)s)")
    parser.add_argument(
        "--entries", type=int, nargs="+", default=[3], help="entries of a file, of `calls` and `faults`"
    )
    parser.add_argument("--sample", type=int, default=1, help="one point of so many (`calls`, `faults`)")
    parser.add_argument("--seed", type=int, help="where the random choices begin (default: another one each time)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(2**32)
    record: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    record |= {"seed": arguments.seed, "entries": arguments.entries}
    failed = 0
    for name in arguments.campaigns or CAMPAIGNS:
        start, figures = time.monotonic(), None
        with tempfile.TemporaryDirectory(prefix="hauberk-crash-") as folder:
            for figures in CAMPAIGNS[name](Path(folder), arguments):
                if sys.stderr.isatty():
                    click.echo(f"\r{name}: {next(iter(figures.values()))}", nl=False, err=True)
        if figures is None:
            continue
        record[name] = figures | {"seconds": round(time.monotonic() - start)}
        click.echo(said(name, record[name]))
        for failure in figures["failures"]:
            click.echo(f"  {failure}")
        failed += len(figures["failures"])
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    click.echo(f"seed {arguments.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
