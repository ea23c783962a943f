"""What the log holds after attacks: entries of its schema, which queries and exports take as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]  # comes with the SDK
from tests.attacks.guarding import NOBODY
from tests.attacks.matrix import POLICY, ROWS, Row, honest
from tests.attacks.walks import in_process

from hauberk.testing import Era, guard_from
from hauberk_audit._entry_schema import schema
from hauberk_audit.queries._export import lines
from hauberk_audit.queries._queries import Logs
from hauberk_audit.queries._query import Query
from hauberk_audit.queries._reading import Reader

WALKED = [row for row in ROWS if "in process" in row.ways and not row.pinned][::6]
"""Some of the attacks, of all kinds."""


async def attacked(folder: Path, row: Row, era: Era) -> Path:
    """Let the SDK's client walk past a hostile server, behind a guard with a log; return the log."""
    server = honest()
    row.arm(server)
    async with guard_from(f'{POLICY}\n[audit]\npath = "audit.jsonl"\n', folder=folder) as rig:
        await in_process(row, server, rig.guard.wrap(server.transport(), server="files"), era)
    return folder / "audit.jsonl"


@pytest.mark.timeout(240)
async def test_entries_of_attacks_are_of_the_schema(tmp_path: Path) -> None:
    """Each entry that attacks leave is of the schema, is found by its code, and can be exported (A25)."""
    check = Draft202012Validator(schema(), format_checker=FormatChecker())
    for row in [NOBODY, *WALKED]:
        log = await attacked(tmp_path, row, row.eras[0])
    found: list[dict[str, Any]] = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert [str(error.message) for one in found for error in check.iter_errors(one)] == []
    codes = {one["code"] for one in found}
    assert {"core.allowed", "core.answered", "sieve.hidden"} <= codes
    assert len(codes) > 12
    with Logs([Reader(log)]) as logs:
        for code in codes:
            entries = [one.entry for one in logs.entries(Query(names={"code": (code,)}))]
            assert entries == [one for one in found if one["code"] == code]
        assert logs.skipped == 0
        for kind in ("jsonl", "csv", "ocsf"):
            text = "".join(lines(logs.entries(), kind))
            assert text.replace("\r\n", "").replace("\n", "").isprintable()
