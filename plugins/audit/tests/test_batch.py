"""Events that nobody waits for are written together, soon, and never lost in silence."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from hauberk.event import Event
from hauberk.refusals import PluginError
from hauberk_audit._batch import Batch
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._chain import Chain
from hauberk_audit._log import Disk, Log


class Counting:
    """A disk that counts writes, and can be full."""

    def __init__(self) -> None:
        self.writes: list[int] = []
        self.written = asyncio.Event()
        self.full = False

    def write(self, _fd: int, data: bytes) -> int:
        """Count one write."""
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        self.writes.append(data.count(b"\n"))
        self.written.set()
        return os.write(_fd, data)


@pytest.fixture
def disk() -> Counting:
    """Return a counting disk."""
    return Counting()


@pytest.fixture
def log(tmp_path: Path, disk: Counting) -> Log:
    """Return an open log."""
    return Log.open(tmp_path / "log" / "a.jsonl", Chain(bytes(range(7, 39))), sync=False, disk=Disk(write=disk.write))


async def test_events_of_a_moment_are_one_write(log: Log, disk: Counting) -> None:
    """Ten events that come together are rendered and written at once, in their order, and before the moment is over."""
    batch = Batch(log)
    for number in range(10):
        batch.add(Event(code=f"a.b{number}"))
    assert disk.writes == []
    async with asyncio.timeout(5):
        await disk.written.wait()
    assert disk.writes == [10]
    assert [f"a.b{n}".encode() in line for n, line in enumerate(log.path.read_bytes().splitlines())] == [True] * 10
    log.close()


async def test_batch_is_bounded(log: Log, disk: Counting) -> None:
    """A flood is written as soon as it fills a batch, whatever the clock says (X.6)."""
    batch = Batch(log)
    for _ in range(2 * BOUNDS.batch + 1):
        batch.add(Event(code="a.b"))
    assert disk.writes == [BOUNDS.batch, BOUNDS.batch]
    batch.close()
    assert disk.writes[-1] == 1
    log.close()


async def test_lost_batch_is_said(log: Log, disk: Counting) -> None:
    """Where a batch cannot be written the next event says so, and the chain goes on once the disk has room (A19)."""
    batch = Batch(log)
    disk.full = True
    batch.add(Event(code="a.lost"))
    with pytest.raises(PluginError, match="no space left"):
        batch.close()
    disk.full = False
    batch.add(Event(code="a.kept"))
    batch.close()
    lines = log.path.read_bytes().splitlines()
    assert [b"a.kept" in line for line in lines] == [True]
    assert log.sequence == 1
    log.close()
