"""What docs/benchmarks.md shows of four runs: the tables that the benchmarks print, made from the records they left.

usage: python -m tests.bench.published      publishes those of build/bench.json, build/bench-carriers.json (of
                                            python tests/bench/run.py carriers --json build/bench-carriers.json),
                                            build/bench-sealing.json (likewise) and build/bench-peers.json that are
                                            there

A record is committed beside this file, so that no figure stands on the page that no run gave.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.bench import run
from tests.bench.measure import Row, table
from tests.bench.peers import run as peers

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
RECORDS = Path(__file__).with_name("published")
NAMES: Final = ("bench", "bench-carriers", "bench-sealing", "bench-peers")
"""The records, in the order in which their tables stand on the page."""
TABLE: Final = re.compile(r"(?s)(?<=```text\n).*?(?=```\n)")


def record(name: str) -> Any:
    """Return what a published run left."""
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def rows_of(data: Any) -> list[Row]:
    """Return the rows of a record."""
    return [Row(row["group"], row["what"], row["ratio"], bar=row["bar"], aim=row["aim"]) for row in data["rows"]]


def lines(name: str) -> Iterator[str]:
    """Yield what the benchmark printed, from its record."""
    data = record(name)
    rows = rows_of(data)
    if name != "bench-peers":
        yield from table(rows, run.LAYOUT)
        last = run.total(rows)
    else:
        yield from (peers.told(peer, versions) for peer, versions in data["peers"].items())
        yield from table(rows, peers.LAYOUT)
        last = peers.total(rows, data["missing"])
    yield f"\n{last}; written to build/{name}.json"


def shown(name: str) -> str:
    """Return the block of the page."""
    return "\n".join(lines(name)).strip("\n") + "\n"


def main() -> None:
    """Keep the records of the last runs, and write their tables into the page."""
    RECORDS.mkdir(exist_ok=True)
    for name in NAMES:
        if (made := ROOT / "build" / f"{name}.json").exists():
            shutil.copyfile(made, RECORDS / made.name)
    tables = iter([shown(name) for name in NAMES])
    PAGE.write_text(TABLE.sub(lambda _: next(tables), PAGE.read_text("utf-8"), count=len(NAMES)), "utf-8")


if __name__ == "__main__":
    main()
