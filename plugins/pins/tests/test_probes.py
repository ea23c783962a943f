"""What pins show of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from hauberk import doctor
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk_pins._judge import Judge

STRICT = {"hides_changed_tool": "ok", "refuses_changed_tool": "ok", "refuses_unpinned_tool": "ok"}


async def states(folder: Path, table: str) -> dict[str, str]:
    guard = Guard.load(Config.from_toml(f'core.state_dir = "{folder}"\n{table}'))
    report = await doctor.run(guard)
    return {one.name.removeprefix("pins."): one.state for one in report.findings if one.plugin == "pins"}


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("", {"notes_change": "ok"}),
        ("[pins]", STRICT),
        ("[pins]\nauto_trust_first = true", STRICT),
        ("[pins]\non_change = 'alert'", {"notes_change": "ok"}),
    ],
)
async def test_probes_hold_whatever_the_table(
    only_pins: None, tmp_path: Path, table: str, found: dict[str, str]
) -> None:
    """What each table promises is tried, and holds; nothing of the doctor's server is recorded."""
    assert await states(tmp_path, table) == found
    assert not (tmp_path / "pins").exists()


async def test_pins_that_refuse_nothing_are_found(
    only_pins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the comparison switched off each probe gets through (X.1)."""
    monkeypatch.setattr(Judge, "_passes", lambda self, how, digest: True)
    assert set((await states(tmp_path, "[pins]")).values()) == {"not_stopped"}
