"""``make efficacy``: what the sieve catches of a corpus of attacks, and what it finds in what is harmless.

usage: python tests/efficacy/run.py [--json FILE] [--missed] [--false]

The exit status is 1 where it is worse than what is published.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.efficacy import published, table, tally  # noqa: E402 - after the path to it


def main() -> int:
    """Play the corpus, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description="Count what the sieve catches, and what it catches that is harmless.")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "efficacy.json", help="where the counts go")
    parser.add_argument("--missed", action="store_true", help="name the attacks that nothing found")
    parser.add_argument("--false", action="store_true", help="name what is harmless and was found")
    arguments = parser.parse_args()
    started = time.monotonic()
    done = asyncio.run(tally.run())
    record = tally.count(done)
    for line in table.lines(record):
        print(line)
    name(done, missed=arguments.missed, false=arguments.false)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(tally.as_json(record), indent=1) + "\n", "utf-8")
    print(f"\n{time.monotonic() - started:.1f} s; written to {arguments.json}")
    found = tally.worse(record, published.record()) if published.RECORD.exists() else []
    for text in found:
        print(f"worse than what is published: {text}", file=sys.stderr)
    return 1 if found else 0


def name(done: tally.Run, *, missed: bool, false: bool) -> None:
    """Print what was missed, and what was found that is harmless; never an attack that is held out."""
    for one in done.attacks["attacks"] if missed else ():
        if one.outcome.verdict == "passed":
            print(f"missed: {one.item.id}, {one.item.place}: {one.item.tries}")
    for one in done.harmless if false else ():
        if one.outcome.verdict != "passed":
            print(f"{one.outcome.verdict}: {one.item.id}: {', '.join(sorted(one.outcome.rules | one.outcome.codes))}")
    for item, verdict in done.whole.verdicts.items() if false else ():
        print(f"{verdict}, side by side: {item}")


if __name__ == "__main__":
    sys.exit(main())
