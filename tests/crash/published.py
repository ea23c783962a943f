"""What docs/audit-proofs.md shows of the last recorded runs; their records are kept beside this file.

usage: python -m tests.crash.published      publishes build/crash.json and build/audit-long.json, where they are
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.crash.__main__ import CAMPAIGNS, said

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "audit-proofs.md"
RECORDS: Final = Path(__file__).with_name("published")
NAMES: Final = ("crash", "audit-long")
BLOCK: Final = re.compile(r"(?s)(?<=```text\n)(?:rounds: |     entries ).*?(?=```\n)")


def record(name: str) -> Any:
    """Return what a published run left."""
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def shown(name: str) -> str:
    """Return the block of the page."""
    lines = campaigns(record(name)) if name == "crash" else lengths(record(name))
    return "".join(f"{line}\n" for line in lines)


def campaigns(data: Any) -> Iterator[str]:
    """Yield what the campaigns printed."""
    yield from (said(name, data[name]) for name in CAMPAIGNS if name in data)
    yield f"seed {data['seed']}"


def lengths(data: Any) -> Iterator[str]:
    """Yield what the verifying of long logs printed."""
    from tests.bench.audit_long import told

    yield from told(data)


def main() -> None:
    """Keep the records of the last runs, and write them into the page."""
    RECORDS.mkdir(exist_ok=True)
    for name in NAMES:
        made = ROOT / "build" / f"{name}.json"
        if made.exists():
            shutil.copyfile(made, RECORDS / made.name)
    blocks = iter([shown(name) for name in NAMES])
    PAGE.write_text(BLOCK.sub(lambda _: next(blocks), PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
