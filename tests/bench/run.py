"""``make bench``: print a table of ratios measured in this run, and write them as JSON.

usage: python tests/bench/run.py [--json FILE] [GROUP …]      `GROUPS` are their names
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.measure import Layout, Row, missed, table  # noqa: E402 - after the path to it

LAYOUT: Final = Layout(58, "6.2f", ".2f", 9)
GROUPS = (
    "dispatch",
    "parsing",
    "in_process",
    "proxied",
    "carriers",
    "sealing",
    "auditing",
    "replaying",
    "limiting",
    "bounding",
    "sieve_rules",
    "sieve_lists",
    "sieve_schemas",
    "pins_list",
    "start_up",
    "sieve_text",
)


def main() -> int:
    """Run the groups that are asked for; the exit status is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="Measure hauberk, as ratios within one run.")
    parser.add_argument("groups", nargs="*", help=f"any of {', '.join(GROUPS)}; all of them by default")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where they go")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for line in table(measured(arguments.groups or GROUPS, rows), LAYOUT):
        print(line, flush=True)
    report = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": [row.data() for row in rows],
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{total(rows)}; written to {arguments.json}")
    return 1 if missed(rows) else 0


def measured(groups: Iterable[str], rows: list[Row]) -> Iterator[Row]:
    """Yield the rows of some groups as they are measured, and keep them."""
    for group in groups:
        for row in importlib.import_module(f"tests.bench.{group}").run():
            rows.append(row)
            yield row


def total(rows: Sequence[Row]) -> str:
    """Return the last line of the table."""
    return f"{len(rows)} figures, {missed(rows)} over their bar"


if __name__ == "__main__":
    raise SystemExit(main())
