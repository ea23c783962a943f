"""``hauberk pins``, from the first sight of a server to a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result
from plugins.pins.tests.conftest import Showing, hash_seen, listed, tool

from hauberk.refusals import HauberkError
from hauberk_pins import _lock
from hauberk_pins._items import Lock

if TYPE_CHECKING:
    from plugins.pins.tests.conftest import Guarded

Hauberk = Callable[..., Result]
READ = tool("read")


@pytest.fixture
async def seen(guarded: Guarded) -> Showing:
    """Return a server that one guard has seen."""
    server = Showing(READ)
    async with guarded(server) as rig:
        assert await listed(rig) == []
    return server


def failed(result: Result) -> str:
    assert isinstance(result.exception, HauberkError)
    return str(result.exception)


async def test_trust_then_change(guarded: Guarded, seen: Showing, hauberk: Hauberk, tmp_path: Path) -> None:
    """What was seen is listed, shown, trusted by its hash, exported; a change is in each command (S3.42)."""
    assert "unpinned" in hauberk("list").output
    assert hauberk("verify").exit_code == 1
    done = hauberk("trust", "--yes", "--hash", hash_seen(tmp_path).upper().removeprefix("SHA256:"))
    assert (done.exit_code, done.exception) == (0, None)
    assert '"description": "Do read."' in done.output
    assert [hauberk(word).exit_code for word in ("verify", "diff")] == [0, 0]
    assert hauberk("export").output == (tmp_path / "hauberk.lock").read_text()
    seen.show(READ | {"description": "Do\u202eread."})
    async with guarded(seen) as rig:
        assert await listed(rig) == []
    done = hauberk("diff", "--tool", "read")
    assert (done.exit_code, '+  "description": "Do\\u202eread."' in done.output) == (1, True)
    (row,) = json.loads(hauberk("list", "--json").output)
    assert (row["status"], row["fields"], row["pinned"] != row["hash"]) == ("changed", ["description"], True)
    assert hauberk("verify").exit_code == 1
    log = json.loads(hauberk("verify", "--sarif", "-").output)
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == ["changed"]


def test_trust_wants_somebody_who_looked(seen: Showing, hauberk: Hauberk) -> None:
    """Without a terminal nothing is trusted but by the hash of what was seen; another hash is an error."""
    assert "there is nobody to ask" in failed(hauberk("trust"))
    assert "--yes needs the hash" in failed(hauberk("trust", "--yes"))
    assert "has the hash sha256:" in failed(hauberk("trust", "--yes", "--hash", "sha256:" + "0" * 64))
    assert "unpinned" in hauberk("list").output


async def test_reset_is_untrusted(guarded: Guarded, seen: Showing, hauberk: Hauberk, tmp_path: Path) -> None:
    """After ``reset`` an item is hidden again, and the generation has grown."""
    hauberk("trust", "--yes", "--hash", hash_seen(tmp_path))
    assert "generation 2" in hauberk("reset", "--server", "files", "--yes").output
    async with guarded(seen) as rig:
        assert await listed(rig) == []


async def test_lock_of_a_colleague(guarded: Guarded, seen: Showing, hauberk: Hauberk, tmp_path: Path) -> None:
    """A lock that came by version control stops the start until it is trusted here, by its hash."""
    hauberk("trust", "--yes", "--hash", hash_seen(tmp_path))
    lock = tmp_path / "hauberk.lock"
    mine = _lock.read(lock.read_bytes(), "lock")
    lock.write_text(_lock.write(Lock(5, mine.servers)))
    with pytest.raises(HauberkError, match="only generation 1 was trusted here"):
        async with guarded(seen):
            pytest.fail("started")
    told = hauberk("diff", "--lock")
    assert (told.exit_code, "+generation 5" in told.output) == (1, True)
    digest = told.output.split()[-1]
    assert "generation 5" in hauberk("trust", "--lock", "--yes", "--hash", digest).output
    async with guarded(seen) as rig:
        assert await listed(rig) == ["read"]


def test_unknown_server_is_an_error(seen: Showing, hauberk: Hauberk) -> None:
    """A server or tool that is nowhere is named with what there is."""
    assert "server 'mail' is not pinned and was not seen (servers: files)" in failed(
        hauberk("list", "--server", "mail")
    )
    assert "tool 'rm' is not pinned" in failed(hauberk("list", "--tool", "rm"))


def test_older_lock_is_not_trusted(seen: Showing, hauberk: Hauberk, tmp_path: Path) -> None:
    """A lock that is older than what is trusted here is not taken up, whatever its hash."""
    for _ in range(2):
        hauberk("trust", "--yes", "--hash", hash_seen(tmp_path))
        hauberk("reset", "--server", "files", "--yes")
    (tmp_path / "hauberk.lock").write_text(_lock.write(Lock(1)))
    digest = hauberk("diff", "--lock").output.split()[-1]
    assert "it is of generation 1, and generation 4 is trusted" in failed(
        hauberk("trust", "--lock", "--yes", "--hash", digest)
    )
