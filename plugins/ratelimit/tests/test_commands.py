"""``hauberk limits``, and what an operator lifts."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.redis_server import RedisServer

from hauberk.testing import Clock, guard_from
from hauberk_ratelimit import _resets
from hauberk_ratelimit._commands import limits

TOML = """
[ratelimit]
global = "3/hour"
address = "9/second"
[ratelimit.principals]
"*" = "2/hour, 100/month each"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a configuration."""
    (tmp_path / "hauberk.toml").write_text(f'core.state_dir = "{tmp_path}/state"\n{TOML}')
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(limits, [words[0], "--config", str(folder / "hauberk.toml"), *words[1:]])


def test_limits_are_listed(folder: Path) -> None:
    """Each rate and quota is a line, with the name that a refusal has."""
    lines = run(folder, "show").output.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["limit", "global", "principals.*", "principals.*", "address"]
    rows = json.loads(run(folder, "show", "--json").output)
    assert rows[0] == {"rule": "global", "limit": "3/hour", "each": False, "left": None, "reset": None, "buckets": None}
    (folder / "hauberk.toml").write_text("[core]\n")
    assert run(folder, "show").output == "nothing is limited\n"


def test_a_limit_that_is_not_there_cannot_be_reset(folder: Path) -> None:
    """A name that no limit has is an error that names those that there are."""
    done = run(folder, "reset", "--rule", "globl")
    assert done.exit_code == 1
    assert "there is no limit 'globl' (there are: global, principals.*, address)" in str(done.exception)


async def test_a_running_process_begins_anew(folder: Path, only_limits: None, clock: Clock) -> None:
    """A process whose limits are lifted lets pass again within a second, says so, and only what was lifted."""
    run(folder, "reset")  # what was lifted before it began is old
    text = (folder / "hauberk.toml").read_text()
    async with guard_from(text, folder=folder, clock=clock) as rig:
        await _spend(rig, 9, passed=2)
        done = await asyncio.to_thread(run, folder, "reset", "--rule", "principals.*")
        assert done.exit_code == 0, done.output
        await _spend(rig, 9, passed=0)
        clock.turn(1)
        await _spend(rig, 9, passed=1)
        assert rig.error()["data"]["rule"] == "global"
        await asyncio.to_thread(run, folder, "reset", "--rule", "global", "--id", "nobody")
        clock.turn(1)
        await _spend(rig, 1, passed=1)
        told = [event.details for event in rig.recorder.events if event.code == "ratelimit.reset"]
        assert told == [{"limit": "principals.*", "of": "all"}, {"limit": "global", "of": "nobody"}]


async def test_a_reset_is_seen_where_messages_are_refused(folder: Path, only_limits: None, clock: Clock) -> None:
    """Whose messages are refused is let speak again once the limit of messages was reset."""
    text = f'core.state_dir = "{folder}/state"\n[ratelimit]\nmessages = "2/hour"\n'
    (folder / "hauberk.toml").write_text(text)
    async with guard_from(text, folder=folder, clock=clock) as rig:
        await _spend(rig, 9, passed=2)
        done = await asyncio.to_thread(run, folder, "reset", "--rule", "messages")
        assert done.exit_code == 0, done.output
        clock.turn(1)
        await _spend(rig, 9, passed=2)


async def _spend(rig: Any, count: int, *, passed: int) -> None:
    before = len(rig.reached)
    for _ in range(count):
        await rig.call("ls")
    assert len(rig.reached) - before == passed


async def test_nobody_is_let_off_by_a_file_of_others(folder: Path, only_limits: None, clock: Clock) -> None:
    """A file of resets that others may read or write, or that is no list, lifts nothing."""
    async with guard_from((folder / "hauberk.toml").read_text(), folder=folder, clock=clock) as rig:
        await _spend(rig, 9, passed=2)
        run(folder, "reset")
        path = folder / "state" / _resets.NAME
        path.chmod(0o666)
        clock.turn(1)
        await _spend(rig, 3, passed=0)
        path.chmod(0o600)
        path.write_bytes(b"{")
        clock.turn(1)
        await _spend(rig, 3, passed=0)
        assert run(folder, "reset").exit_code == 1


def test_resets_are_bounded(folder: Path) -> None:
    """The file keeps the last 32 resets, whatever was reset before."""
    path = folder / "state" / _resets.NAME
    for _ in range(100):
        _resets.add(path, "default", "", None)
    numbers = [entry.number for entry in _resets.read(path)]
    assert len(numbers) == 32
    assert numbers == sorted(set(numbers))
    for _ in range(40):
        assert run(folder, "reset", "--id", "\0" * 1024).exit_code == 0
    assert 0 < len(_resets.read(path)) <= 32
    assert run(folder, "reset", "--id", "x" * 70_000).exit_code == 1
    assert run(folder, "reset").exit_code == 0


def test_a_reset_after_the_file_was_removed_is_new(folder: Path) -> None:
    """What is reset in a new file reaches a process that has seen the entries of the one before."""
    path, clock = folder / "state" / _resets.NAME, Clock()
    for _ in range(3):
        _resets.add(path, "default", "", None)
    seen = _resets.Resets(path, "default", clock)
    path.unlink()
    time.sleep(0.005)
    _resets.add(path, "default", "global", None)
    clock.turn(5)
    assert [entry.rule for entry in seen.new()] == ["global"]


def test_an_empty_name_resets_nothing(folder: Path) -> None:
    """An empty name, as of a variable that is not set, is no limit; and what was reset can be read by programs."""
    assert run(folder, "reset", "--rule", "").exit_code == 1
    assert not (folder / "state" / _resets.NAME).exists()
    said = json.loads(run(folder, "reset", "--rule", "global", "--id", "x", "--json").output)
    assert said == {"limits": ["global"], "id": "x", "shared": None}


def test_what_hosts_share_is_seen_and_reset(folder: Path) -> None:
    """With a store, the commands tell what is left for all hosts, and reset it at once: all of it, or somebody's."""
    with RedisServer() as server:
        shared = TOML.replace("[ratelimit]", f'[ratelimit]\nstore = "{server.uri}"', 1)
        (folder / "hauberk.toml").write_text(f'core.state_dir = "{folder}/state"\n{shared}')
        asyncio.run(_used(folder))
        rows = json.loads(run(folder, "show", "--json").output)
        assert [(row["rule"], row["left"], row["buckets"]) for row in rows] == [
            ("global", 1, None),
            ("principals.*", None, 1),
            ("principals.*", None, 1),
            ("address", None, None),
        ]
        assert 2390 < rows[0]["reset"] <= 2400
        assert "2 buckets" not in run(folder, "show").output
        assert "0 shared buckets reset" in run(folder, "reset", "--rule", "principals.*", "--id", "somebody").output
        assert "2 shared buckets reset" in run(folder, "reset", "--rule", "principals.*").output
        assert "1 shared bucket reset" in run(folder, "reset", "--rule", "global").output
        assert "3/hour" in run(folder, "show").output
        assert json.loads(run(folder, "show", "--json").output)[0]["left"] == 3


async def _used(folder: Path) -> None:
    async with guard_from((folder / "hauberk.toml").read_text(), folder=folder) as rig:
        await _spend(rig, 9, passed=2)
