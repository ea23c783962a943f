"""What the matrix saw, kept beside it: docs/attacks.md is made from it, and the tests compare each case with it.

usage: python -m tests.attacks.record      plays all, and writes what it saw; then `make docs-write` renews the page
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.attacks.guarding import House
from tests.attacks.matrix import ROWS, UNSTOPPED, Row, Way
from tests.attacks.piped import Yard

RECORD: Final = Path(__file__).with_name("record.json")
RENEW: Final = "python -m tests.attacks.record && make docs-write"


def load() -> Any:
    """Return what was seen when it was recorded."""
    return json.loads(RECORD.read_text("utf-8"))


def codes(record: Any, row: Row, era: str, way: Way) -> list[str] | None:
    """Return the codes of one case; None where it is not in the record."""
    found = {entry["title"]: entry for entry in record["attacks"]}.get(row.title, {})
    seen: list[str] | None = found.get("seen", {}).get(way, {}).get(era)
    return seen


async def played(folder: Path) -> dict[str, Any]:
    """Play every case; return the record.

    Raises:
        RuntimeError: An attack got through.
    """
    house, yard = House(folder / "house"), Yard(folder / "yard")
    entries = []
    for row in ROWS:
        seen: dict[str, dict[str, list[str]]] = {way: {} for way in row.ways}
        for way, era in ((way, era) for way in row.ways for era in row.eras):
            saw = await house.guarded(row, era) if way == "in process" else yard.guarded(row, era)
            if row.got_through(saw) is not row.told:
                raise RuntimeError(f"{row.title} {'was stopped' if row.told else 'got through'} {way}, {era}")
            seen[way][era] = list(saw.codes)
        entries.append(
            {
                "title": row.title,
                "attack": row.called,
                "code": row.code,
                "pinned": row.pinned,
                "told": row.told,
                "seen": seen,
            }
        )
    yard.close()
    return {"attacks": entries, "unstopped": UNSTOPPED}


def main() -> None:
    """Play all, and write what was seen."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        record = asyncio.run(played(Path(folder)))
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
