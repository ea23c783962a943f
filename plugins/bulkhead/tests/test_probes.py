"""The probes: they hold while the controls are live, and say so once one is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hauberk import doctor, plugins
from hauberk.config import Config
from hauberk.connection import Connection
from hauberk.guard import Guard
from hauberk_bulkhead import Bulkhead, _gate
from hauberk_bulkhead._breaker import Breaker
from hauberk_bulkhead._door import Door
from hauberk_bulkhead._gate import Gate
from hauberk_bulkhead._hysteresis import Level
from hauberk_bulkhead._room import Room
from hauberk_bulkhead._state import State
from hauberk_bulkhead._tally import Tally

ALWAYS = {"refuses_one_too_many", "refuses_large", "refuses_wide"}
USUAL = ALWAYS | {"breaker_opens", "isolates"}


@pytest.fixture(autouse=True)
def only_bulkhead(monkeypatch: pytest.MonkeyPatch) -> None:
    source = plugins.Source("bulkhead", "hauberk-bulkhead", "0", lambda: Bulkhead)
    monkeypatch.setattr(plugins, "installed", lambda: {"bulkhead": source})


async def states(folder: Path, table: str = "") -> dict[str, str]:
    guard = Guard.load(Config.from_toml(f'core.state_dir = "{folder}"\n[bulkhead]\n{table}'))
    report = await doctor.run(guard)
    return {one.name.removeprefix("bulkhead."): one.state for one in report.findings if one.plugin == "bulkhead"}


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("", USUAL),
        ("queue = 0", USUAL),
        ("in_flight = 1\nin_flight_per_principal = 1", USUAL),
        ("to_server_bytes = 2048\nwidth = 8", USUAL),
        ("breaker.failures = 1000\nbreaker.minimum_requests = 1", USUAL),
        ("[bulkhead.shedding]\ncpu_percent = 50", USUAL | {"sheds"}),
        ("idle_seconds = 5", USUAL | {"hangs_up_silent"}),
        ("[server.files.bulkhead]\nidle_seconds = 5", USUAL | {"hangs_up_silent"}),
    ],
)
async def test_probes_hold_whatever_the_table(tmp_path: Path, table: str, names: set[str]) -> None:
    """What each table promises is tried, and holds; nothing of it is left behind."""
    assert await states(tmp_path, table) == dict.fromkeys(names, "ok")
    assert not list(tmp_path.glob("bulkhead/*"))  # noqa: ASYNC240 - nothing waits in a test


@pytest.mark.parametrize(
    ("owner", "method", "broken", "name"),
    [
        (Room, "_lacks", lambda self, principal, tool: None, "refuses_one_too_many"),
        (Gate, "frame", lambda self, frame, connection: None, "refuses_large"),
        (_gate, "fault", lambda *_: None, "refuses_wide"),
        (Breaker, "fail", lambda self, permit, now: None, "breaker_opens"),
        (Tally, "count", lambda self, name, now, **_: False, "isolates"),
        (Level, "see", lambda self, value: False, "sheds"),
        (Door, "look", lambda self: None, "hangs_up_silent"),
        (State, "live", lambda self, connection, now: None, "hangs_up_silent"),
        (Connection, "hang_up", lambda self, why: None, "hangs_up_silent"),
    ],
)
async def test_control_that_is_off_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, broken: Any, name: str
) -> None:
    """With one control taken out, its probe does not hold (X.1)."""
    monkeypatch.setattr(owner, method, broken)
    found = await states(tmp_path, "idle_seconds = 300\n[bulkhead.shedding]")
    assert found[name] != "ok"


async def test_mode_audit_is_found(tmp_path: Path) -> None:
    """A plugin that only observes stops nothing, and the doctor says so."""
    found = await states(tmp_path, 'mode = "audit"')
    assert {found[name] for name in ALWAYS} == {"not_stopped"}
