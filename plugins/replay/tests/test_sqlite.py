"""The memory of one machine: restarts, processes, a file that is damaged, locked, replaced."""
# ruff: noqa: ASYNC220, ASYNC240 - a test has nobody who waits for the loop

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from plugins.replay.tests.conftest import WINDOW, WORKER, all_of, made, said

from hauberk.refusals import ConfigError, Refused
from hauberk_replay import SqliteNonces, Window, _sqlite


@asynccontextmanager
async def opened(path: Path, window: Window = WINDOW, **more: Any) -> AsyncIterator[SqliteNonces]:
    await made(path)
    nonces = SqliteNonces(path, window, more.pop("most", 1000), **({"now": time.time} | more))
    await nonces.open()
    try:
        yield nonces
    finally:
        await nonces.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "n" / "replay.sqlite"


async def test_what_was_taken_is_known_after_a_restart(path: Path) -> None:
    """A11, S0.34: the next process refuses what the one before it took, and takes what was sent meanwhile."""
    async with opened(path) as nonces:
        assert await said(nonces, b"n") == "taken"
    meanwhile = time.time()
    async with opened(path) as nonces:
        assert await said(nonces, b"n") == "replay.detected"
        assert await said(nonces, b"m", issued=meanwhile) == "taken"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_threads_with_loops_of_their_own_take_each_nonce_once(path: Path) -> None:
    """S0.34: whoever asks, from whichever thread and loop, each nonce is taken once."""
    async with opened(path, seconds=20) as nonces:

        async def ask() -> Counter[str]:
            return Counter([await said(nonces, b"%d" % number) for number in range(100)])

        counts = await asyncio.gather(*(asyncio.to_thread(asyncio.run, ask()) for _ in range(4)))
        assert sum(counts, Counter()) == {"taken": 100, "replay.detected": 300}


async def test_a_process_that_is_killed_has_forgotten_nothing(path: Path) -> None:
    """A11: what a process said that it took is known after kill -9."""
    await made(path)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, f"sqlite://{path}", "100"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    lines = [await asyncio.to_thread(worker.stdout.readline) for _ in range(3)]
    worker.send_signal(signal.SIGKILL)
    await asyncio.to_thread(worker.communicate)
    assert lines == ["ready\n", "taken 100\n", "end\n"]
    async with opened(path) as nonces:
        assert set(await all_of(nonces, *(b"%d" % number for number in range(100)))) == {"replay.detected"}


async def test_what_is_too_old_is_forgotten_and_refused(path: Path) -> None:
    """A13, A14: rows go when their messages are too old; a clock that is set back does not bring the messages back."""
    now = time.time()
    async with opened(path, Window(30, 6), now=lambda: now) as nonces:
        for number in range(100):
            await nonces.remember("k", b"%d" % number, now, now)
        await nonces.remember("k", b"later", now + 37, now + 37)
        assert held(path) == (1, 1)
        with pytest.raises(Refused) as caught:
            await nonces.remember("k", b"0", now, now + 1)
        assert caught.value.code == "replay.not_remembered"


async def test_a_clock_that_was_far_ahead_locks_nobody_out(path: Path) -> None:
    """A13: after a clock was ten years ahead, and rows were forgotten by it, new messages are accepted."""
    now = time.time()
    async with opened(path, now=lambda: now) as nonces:
        await nonces.remember("k", b"n", now, now)
        await nonces.remember("k", b"far", now + 3e8, now + 3e8)
        await nonces.remember("k", b"new", now + 400, now + 400)
        with pytest.raises(Refused):
            await nonces.remember("k", b"n", now, now + 100)


async def test_forgetting_is_spread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction forgets a bounded number of rows, so that no message waits for a sweep."""
    monkeypatch.setattr("hauberk_replay._sqlite._FORGET", 10)
    now = time.time()
    async with opened(path, Window(30, 6), now=lambda: now) as nonces:
        for number in range(30):
            await nonces.remember("k", b"%d" % number, now, now)
        left = []
        for number in range(4):
            await nonces.remember("k", b"new %d" % number, now + 40, now + 40)
            left.append(held(path)[0])
    assert left == [21, 12, 3, 4]


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_is_taken_away_is_not_gone_on_with(path: Path, how: str) -> None:
    """A16: when the file is gone or another's, what it knew is lost: what may have been in it is refused."""
    async with opened(path, Window(300, 2)) as nonces:
        assert await said(nonces, b"n") == "taken"
        ahead = time.time() + 1.5
        assert await said(nonces, b"ahead", issued=ahead) == "taken"
        for name in path.parent.iterdir():
            name.unlink()
        if how == "replaced":
            path.touch(0o600)
        assert await said(nonces, b"n") == "replay.not_remembered"
        assert await said(nonces, b"ahead", issued=ahead) == "replay.not_remembered"
        assert await said(nonces, b"new", issued=time.time() + 2.01) == "taken"
        assert path.exists()


async def test_a_new_file_begins_when_nobody_can_be_so_far_ahead(path: Path) -> None:
    """A16: nobody can tell a file that was lost from one that never was: a new one begins ``skew`` from now."""
    now = time.time()
    nonces = SqliteNonces(path, WINDOW, 10, now=lambda: now)
    await nonces.open()
    for seconds, answer in ((0, "replay.not_remembered"), (59.9, "replay.not_remembered"), (60, "taken")):
        assert await said(nonces, b"%d" % seconds, issued=now + seconds) == answer
    await nonces.close()


async def test_a_file_that_another_has_made_anew_begins_when_we_lost_ours(path: Path) -> None:
    """A16: who loses a file moves the beginning of the one that is there now, whoever made it."""
    async with opened(path, Window(300, 2)) as here:
        ahead = time.time() + 1.5
        assert await said(here, b"n", issued=ahead) == "taken"
        for name in path.parent.iterdir():
            name.unlink()
        async with opened(path, Window(300, 2)) as fresh:
            assert await said(here, b"other", issued=ahead) == "replay.not_remembered"
            assert await said(fresh, b"n", issued=ahead) == "replay.not_remembered"
            assert await said(fresh, b"new", issued=time.time() + 2.01) == "taken"


async def test_whatever_a_file_holds_the_next_message_is_answered(path: Path) -> None:
    """A16: what is no error of the database refuses too, says why, and ends nothing."""
    async with opened(path, seconds=20) as nonces:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("UPDATE meta SET since = 'x'")
        with pytest.raises(Refused, match="TypeError") as caught:
            await nonces.remember("k", b"n", time.time(), time.time())
        assert caught.value.code == "replay.store_down"
        db.execute("UPDATE meta SET since = 0")
        db.close()
        assert await said(nonces, b"n") == "taken"


async def test_a_file_that_is_locked_refuses_and_does_not_hang(path: Path) -> None:
    """While another holds the file, messages are refused within the deadline; afterwards they are taken."""
    async with opened(path, seconds=0.2) as nonces:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        assert set(await all_of(nonces, b"a", b"b", b"c")) == {"replay.store_down"}
        assert time.monotonic() - started < 2
        other.execute("ROLLBACK")
        other.close()
        answer = ""
        while answer != "taken":
            assert time.monotonic() - started < 20
            answer = await said(nonces, os.urandom(8))


async def test_more_than_may_wait_is_refused_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a file that is slow is bounded; the rest is refused, and says so (design §9.8)."""
    monkeypatch.setattr(_sqlite, "_QUEUE", 1)

    async def why(nonces: SqliteNonces, nonce: bytes) -> str:
        with pytest.raises(Refused) as caught:
            await nonces.remember("k", nonce, time.time(), time.time())
        assert caught.value.code == "replay.store_down"
        return caught.value.message

    async with opened(path, seconds=0.2) as nonces:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        found = await asyncio.gather(*(why(nonces, b"%d" % number) for number in range(20)))
        assert any("1 messages wait for" in text for text in found)
        other.execute("ROLLBACK")
        other.close()


async def test_what_is_accepted_is_on_the_disk_first(path: Path) -> None:
    """A11: every transaction is synced before anybody hears of it, so a power failure takes nothing back."""
    async with opened(path) as nonces:
        assert nonces._db is not None
        assert nonces._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"


async def test_a_disk_that_is_full_refuses(path: Path) -> None:
    """What cannot be written is not accepted."""
    async with opened(path) as nonces:
        assert await said(nonces, b"n") == "taken"
        assert nonces._db is not None
        nonces._db.execute("PRAGMA query_only = ON")
        assert await said(nonces, b"m") == "replay.store_down"
        nonces._db.execute("PRAGMA query_only = OFF")
        assert await said(nonces, b"m") == "taken"


async def test_a_damaged_file_stops_the_start(path: Path) -> None:
    """What is no database, or another version's, is not used; the error names the file."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"no database" * 1000)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"replay\.sqlite"):
        await SqliteNonces(path, WINDOW, 10, now=time.time).open()
    path.unlink()
    async with opened(path):
        pass
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET format = 99")
    db.commit()
    db.close()
    with pytest.raises(ConfigError, match="format 99"):
        await SqliteNonces(path, WINDOW, 10, now=time.time).open()


async def test_a_loose_file_stops_the_start(path: Path) -> None:
    """A file that others may write is not trusted."""
    async with opened(path):
        pass
    path.chmod(0o666)
    with pytest.raises(ConfigError):
        await SqliteNonces(path, WINDOW, 10, now=time.time).open()


async def test_what_is_not_open_refuses(path: Path) -> None:
    """Before it is opened, and after it is closed, nothing is accepted."""
    nonces = SqliteNonces(path, WINDOW, 10, now=time.time)
    assert await said(nonces, b"n") == "replay.store_down"
    await nonces.open()
    await nonces.close()
    assert await said(nonces, b"n") == "replay.store_down"


def held(path: Path) -> tuple[int, int]:
    """Return how many rows there are, and how many the file says."""
    db = sqlite3.connect(path)
    try:
        (rows,) = db.execute("SELECT count(*) FROM nonces").fetchone()
        (said,) = db.execute("SELECT held FROM meta").fetchone()
        assert said == (db.execute("SELECT sum(held) FROM senders").fetchone()[0] or 0)
        return rows, said
    finally:
        db.close()
