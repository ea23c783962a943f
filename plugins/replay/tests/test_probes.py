"""What the plugin shows of itself: each probe holds, and fails once its control is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugins.replay.tests.conftest import Seal
from tests.redis_server import RedisServer

from hauberk import doctor
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk_replay import Counters, LocalNonces, Window

NAMES = {"refuses_replay", "refuses_counter_again", "refuses_old", "refuses_future", "refuses_expired"}
Patch = pytest.MonkeyPatch


async def found(folder: Path, table: str = "[replay]\n") -> dict[str, str]:
    config = Config.from_toml(f'core.state_dir = "{folder}/state"\n{table}', base=folder)
    report = await doctor.run(Guard.load(config, objects=[Seal()]))
    return {one.name.removeprefix("replay."): one.state for one in report.findings if one.plugin == "replay"}


@pytest.mark.parametrize("memory", ["memory", "sqlite://", "{uri}"])
async def test_every_probe_holds(memory: str, tmp_path: Path, only_replay: None, server: RedisServer) -> None:
    """X.1: by each memory there is a probe for each control, and each holds; twice, as doctor and start do."""
    table = f'[replay]\nmemory = "{memory.format(uri=server.uri)}"\n'
    for _ in range(2):
        assert await found(tmp_path, table) == dict.fromkeys(NAMES, "ok")


def forgets(patch: Patch) -> None:
    patch.setattr(LocalNonces, "remember", lambda *_: None)


def counts_nothing(patch: Patch) -> None:
    patch.setattr(Counters, "see", lambda *_: None)


def no_age(patch: Patch) -> None:
    real = Window.check
    patch.setattr(Window, "check", lambda self, issued, expires, now: real(self, max(issued, now - 1), expires, now))


def no_skew(patch: Patch) -> None:
    real = Window.check
    patch.setattr(Window, "check", lambda self, issued, expires, now: real(self, min(issued, now), expires, now))


def no_expiry(patch: Patch) -> None:
    real = Window.check
    patch.setattr(Window, "check", lambda self, issued, _, now: real(self, issued, None, now))


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (forgets, "refuses_replay"),
        (counts_nothing, "refuses_counter_again"),
        (no_age, "refuses_old"),
        (no_skew, "refuses_future"),
        (no_expiry, "refuses_expired"),
    ],
)
async def test_a_control_that_is_gone_is_found(
    broken: Callable[[Patch], None], name: str, tmp_path: Path, only_replay: None, monkeypatch: Patch
) -> None:
    """X.1: with a check taken out, its probe, and no other, says so."""
    broken(monkeypatch)
    states: dict[str, Any] = await found(tmp_path)
    assert {one for one, state in states.items() if state != "ok"} == {name}


async def test_a_store_that_is_lost_is_found(tmp_path: Path, only_replay: None, server: RedisServer) -> None:
    """X.1: with the store gone nothing can be told, and doctor says so."""
    server.kill()
    table = f'[replay]\nmemory = "{server.uri}"\n'
    config = Config.from_toml(f'core.state_dir = "{tmp_path}/state"\n{table}', base=tmp_path)
    report = await doctor.run(Guard.load(config, objects=[Seal()]))
    assert report.status == 1
    assert "is down" in str(report.findings[0])
