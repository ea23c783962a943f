"""``make bench``: print a table of ratios measured in this run, and write them as JSON.

usage: python tests/bench/run.py [--json FILE] [GROUP …]      groups: dispatch parsing in_process proxied start_up
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("dispatch", "parsing", "in_process", "proxied", "start_up")


def main() -> int:
    """Run the groups that are asked for; the exit status is 1 where a bar is missed."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description="Measure hauberk, as ratios within one run.")
    parser.add_argument("groups", nargs="*", help=f"any of {', '.join(GROUPS)}; all of them by default")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where they go")
    arguments = parser.parse_args()
    rows = []
    for group in arguments.groups or GROUPS:
        last = ""
        for row in importlib.import_module(f"tests.bench.{group}").run():
            rows.append(row)
            if row.group != last:
                last = row.group
                print(f"\n{last}")
            bar = f"bar {row.bar:.2f}" if row.bar is not None else ""
            aim = f"aim {row.aim:.2f}" if row.aim is not None else ""
            print(f"  {row.what:<58} {row.value:6.2f}  {bar:<9} {aim:<9} {row.verdict}", flush=True)
    missed = [row for row in rows if row.verdict == "over the bar"]
    report = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": [row.data() for row in rows],
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{len(rows)} figures, {len(missed)} over their bar; written to {arguments.json}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
