"""Credits that an operator adds are on record: `hauberk limits credit` beside the audit log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugins.ratelimit.tests.test_credits import SOLD, bought
from tests.redis_server import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Return a server of its own."""
    with RedisServer() as server:
        yield server


def test_who_adds_credits_is_on_record(server: RedisServer, tmp_path: Path) -> None:
    """Each purchase is in the audit log, with whose it is, how much, and which user made it."""
    (tmp_path / "hauberk.toml").write_text(SOLD.format(folder=tmp_path, server=server))
    for count in ("5", "7"):
        done = bought(tmp_path, count, "--id", "alice", "--tenant", "acme")
        assert done.exit_code == 0, done.output
    lines = (tmp_path / "state" / "audit" / "audit.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines if "ratelimit.credited" in line]
    who = {"limit": "principals.*", "of": "alice", "tenant": "acme", "by": f"uid:{os.getuid()}"}
    assert [one["details"] for one in found] == [who | {"count": 5, "bought": 5}, who | {"count": 7, "bought": 12}]


def test_what_cannot_be_recorded_is_not_bought(server: RedisServer, tmp_path: Path) -> None:
    """Where the log cannot be opened, nothing is added to any balance."""
    (tmp_path / "hauberk.toml").write_text(SOLD.format(folder=tmp_path, server=server))
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "audit").write_text("")
    assert bought(tmp_path, "5", "--id", "alice").exit_code == 1
    assert b"alice" not in server.ask("KEYS", "*")
