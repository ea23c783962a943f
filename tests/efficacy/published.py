"""What docs/efficacy.md shows of a run: the tables that ``make efficacy`` prints, made from the record that is kept.

usage: python -m tests.efficacy.published [--worse]      publishes build/efficacy.json, where it is there

A run that is worse than what is published is not published, unless it is said to be.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

import msgspec
from tests.efficacy import table, tally

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "efficacy.md"
RECORD = Path(__file__).with_name("published") / "efficacy.json"
MADE = ROOT / "build" / "efficacy.json"
TABLE: Final = re.compile(r"(?s)(?<=```text\n).*?(?=```\n)")


def read(file: Path) -> tally.Record:
    """Read a record."""
    return msgspec.json.decode(file.read_bytes(), type=tally.Record)


def record() -> tally.Record:
    """Return what is published."""
    return read(RECORD)


def shown() -> str:
    """Return the block of the page."""
    return "\n".join(table.lines(record())) + "\n"


def main() -> int:
    """Keep the record of the last run, and write its tables into the page."""
    RECORD.parent.mkdir(exist_ok=True)
    if MADE.exists():
        new = read(MADE)
        found = tally.worse(new, record()) if RECORD.exists() and "--worse" not in sys.argv else []
        if found:
            sys.stderr.write("\n".join((*found, "hint: make it better, or say that it is meant: --worse\n")))
            return 1
        RECORD.write_text(json.dumps(tally.as_json(new), indent=1) + "\n", "utf-8")
    PAGE.write_text(TABLE.sub(lambda _: shown(), PAGE.read_text("utf-8"), count=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
