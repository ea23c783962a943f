"""The thread that writes: what is written together, who is told what, and what a disk that fails or hangs does."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins.audit.tests.logs import event

from hauberk.event import Event
from hauberk.refusals import PluginError
from hauberk_audit._bounds import BOUNDS, Bounds
from hauberk_audit._entry import render
from hauberk_audit._paths import closed_files
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing import _writer
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._log import Disk, Log
from hauberk_audit.writing._rotation import Rotation, Rotator
from hauberk_audit.writing._writer import Durability, Writer

KEY = bytes(range(7, 39))
PATIENCE = 30
MOVES = ("group", "interval", "event", "settle", "fail", "heal", "flush")


class Slow:
    """A disk that counts what it is asked for, waits where it is told to, and can be full."""

    def __init__(self) -> None:
        self.writes: list[int] = []
        self.syncs = 0
        self.full = False
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()
        self.synced = threading.Event()

    def write(self, fd: int, data: bytes) -> int:
        self.busy.set()
        assert self.free.wait(PATIENCE)
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        self.writes.append(data.count(b"\n"))
        return os.write(fd, data)

    def sync(self, _fd: int) -> None:
        self.syncs += 1
        self.synced.set()


@pytest.fixture
def disk() -> Slow:
    return Slow()


@pytest.fixture
def writer(tmp_path: Path, disk: Slow) -> Iterator[Writer]:
    """Return a writer of a new log; it is closed at the end if a test leaves it open."""
    found = made(tmp_path / "log" / "a.jsonl", disk)
    yield found
    disk.free.set()
    disk.full = False
    if found.log.usable:
        found.leave("group")


def made(path: Path, disk: Slow, durability: Durability = "group") -> Writer:
    log = Log.open(path, Chain(KEY), sync=True, disk=Disk(write=disk.write, sync=disk.sync))
    return Writer(log).share(durability)


def codes(writer: Writer) -> list[str]:
    lines = writer.log.path.read_bytes().splitlines()
    return [line.split(b'"code":"')[1].split(b'"')[0].decode() for line in lines]


async def recorded(writer: Writer, *names: str) -> None:
    """Give events, and wait for them."""
    for name in names:
        writer.put(Event(code=name), "group")
    waiting = writer.settled()
    if waiting is not None:
        async with asyncio.timeout(PATIENCE):
            await waiting


def drained(writer: Writer) -> None:
    """Wait until nothing waits for the thread."""
    with writer._state:
        assert writer._state.wait_for(lambda: writer._settled == writer._given, PATIENCE)


# --- together ---


async def test_what_comes_while_the_disk_is_busy_is_written_together(writer: Writer, disk: Slow) -> None:
    """However many wait while the disk is busy, one write and one sync record them all, in their order (S3.10)."""
    disk.free.clear()
    first = asyncio.create_task(recorded(writer, "a.first"))
    await asyncio.to_thread(disk.busy.wait, PATIENCE)
    others = [asyncio.create_task(recorded(writer, f"a.n{number}")) for number in range(50)]
    await asyncio.sleep(0)
    disk.free.set()
    await asyncio.gather(first, *others)
    assert (disk.writes, disk.syncs) == ([1, 50], 2)
    assert codes(writer) == ["a.first", *(f"a.n{number}" for number in range(50))]


async def test_events_of_one_turn_are_one_write(writer: Writer, disk: Slow) -> None:
    """What is given in one turn of the event loop is written together, before any of it is told to be recorded."""
    await asyncio.gather(*(recorded(writer, f"a.n{number}") for number in range(20)))
    assert disk.writes == [20]


async def test_settled_is_nothing_to_wait_for(writer: Writer) -> None:
    """Where all is recorded, there is nothing to await."""
    assert writer.settled() is None
    await recorded(writer, "a.b")
    assert writer.settled() is None


async def test_recorded_is_on_the_disk(writer: Writer, disk: Slow) -> None:
    """Whoever waited is told after the sync, not after the write."""
    writer.put(Event(code="a.b"), "group")
    waiting = writer.settled()
    assert waiting is not None
    waiting.add_done_callback(lambda _: seen.append((len(disk.writes), disk.syncs)))
    seen: list[tuple[int, int]] = []
    async with asyncio.timeout(PATIENCE):
        await waiting
    await asyncio.sleep(0)
    assert seen == [(1, 1)]


async def test_event_by_event_is_a_write_each(tmp_path: Path, disk: Slow) -> None:
    """With ``event`` each event is on the disk when it is taken, after those that were given before it."""
    writer = made(tmp_path / "log" / "a.jsonl", disk, "event")
    writer.put(Event(code="a.one"), "group")
    for name in ("a.two", "a.three"):
        writer.put(Event(code=name), "event")
        assert codes(writer)[-1] == name
    assert writer.settled() is None
    assert (codes(writer), disk.syncs) == (["a.one", "a.two", "a.three"], 3)
    writer.leave("event")


async def test_interval_lingers_and_syncs_later(tmp_path: Path, disk: Slow) -> None:
    """With ``interval`` what comes together is written after a moment, and is on the disk a moment later."""
    writer = made(tmp_path / "log" / "a.jsonl", disk, "interval")
    for number in range(10):
        writer.put(Event(code=f"a.n{number}"), "interval")
    assert disk.writes == []
    await asyncio.to_thread(disk.synced.wait, PATIENCE)
    assert (disk.writes, disk.syncs) == ([10], 1)
    writer.leave("interval")


async def test_flood_does_not_linger(tmp_path: Path, disk: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood is written as soon as it fills a batch, whatever the clock says (X.6)."""
    monkeypatch.setattr(_writer, "BOUNDS", Bounds(linger=3600, interval=3600))
    writer = made(tmp_path / "log" / "a.jsonl", disk, "interval")
    for _ in range(BOUNDS.batch):
        writer.put(Event(code="a.b"), "interval")
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(disk.busy.wait, PATIENCE)
    writer.leave("interval")
    assert sum(disk.writes) == BOUNDS.batch


# --- what goes wrong ---


async def test_who_waited_is_told_of_a_full_disk(writer: Writer, disk: Slow) -> None:
    """Each who waits for what cannot be written is told, nobody else; the chain goes on when there is room (A19)."""
    await recorded(writer, "a.one")
    disk.full = True
    lost = await asyncio.gather(*(recorded(writer, "a.lost") for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in lost if "no space left" in str(error)] == [str(lost[0])] * 3
    disk.full = False
    await recorded(writer, "a.two")
    writer.leave("group")
    assert codes(writer) == ["a.one", "a.two"]
    assert verify([writer.log.path], KEY).status == 0


async def test_loss_before_anybody_asks_is_told(writer: Writer, disk: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is lost between being given and being asked about is not taken for a recorded one."""
    monkeypatch.setattr(_writer, "BOUNDS", Bounds(batch=1))
    disk.full = True
    writer.put(Event(code="a.lost"), "group")
    drained(writer)  # a batch of one wakes the thread before this turn of the event loop ends
    with pytest.raises(PluginError, match="no space left"):
        writer.settled()
    assert writer.settled() is None


async def test_loss_that_nobody_waited_for_is_told_to_the_next(tmp_path: Path, disk: Slow) -> None:
    """Where nobody waits, the next event is told that those before it are lost, and is taken all the same."""
    writer = made(tmp_path / "log" / "a.jsonl", disk, "interval")
    disk.full = True
    writer.put(Event(code="a.lost"), "interval")
    with pytest.raises(PluginError, match="no space left"):
        writer.flush()
    writer.put(Event(code="a.lost too"), "interval")
    writer._wake()
    drained(writer)
    disk.full = False
    with pytest.raises(PluginError, match="no space left"):
        writer.put(Event(code="a.kept"), "interval")
    writer.leave("interval")
    assert codes(writer) == ["a.kept"]


async def test_disk_that_hangs_fills_no_memory(writer: Writer, disk: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a disk that hangs is bounded; beyond it nothing is taken (X.6)."""
    monkeypatch.setattr(_writer, "BOUNDS", Bounds(waiting=3))
    disk.free.clear()
    writer.put(Event(code="a.b"), "group")
    writer._wake()
    await asyncio.to_thread(disk.busy.wait, PATIENCE)
    for _ in range(3):
        writer.put(Event(code="a.b"), "group")
    waiting = writer.settled()
    assert waiting is not None
    for _ in range(100):
        writer.put(Event(code="a.b"), "group")
        with pytest.raises(PluginError, match="3 events wait for the disk"):
            writer.settled()
    assert (len(writer._bodies), len(writer.fresh)) == (3, 0)
    disk.free.set()
    async with asyncio.timeout(PATIENCE):
        await waiting


async def test_disk_that_hangs_holds_up_no_event_loop(writer: Writer, disk: Slow) -> None:
    """While the disk hangs the event loop goes on, and who waits can give up."""
    disk.free.clear()
    task = asyncio.create_task(recorded(writer, "a.b"))
    await asyncio.to_thread(disk.busy.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    disk.free.set()
    writer.flush()
    assert codes(writer) == ["a.b"]


async def test_mistake_in_the_writer_is_told(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody thought of is told to who waits, and the thread goes on."""

    def broken(_: Event) -> bytes:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(_writer, "render", broken)
        with pytest.raises(PluginError, match="RuntimeError"):
            await recorded(writer, "a.lost")
    await recorded(writer, "a.kept")


def test_event_loop_that_is_gone_waits_for_nothing(tmp_path: Path, disk: Slow) -> None:
    """Who waited in an event loop that was closed does not stop the thread."""
    writer = made(tmp_path / "log" / "a.jsonl", disk)

    async def leave() -> None:
        disk.free.clear()
        writer.put(Event(code="a.b"), "group")
        assert writer.settled() is not None

    asyncio.run(leave())
    disk.free.set()
    writer.flush()
    writer.leave("group")
    assert codes(writer) == ["a.b"]


# --- users ---


async def test_last_user_closes(writer: Writer) -> None:
    """A log that is shared stays open until the last who uses it leaves, and then what was given is in it."""
    writer.share("interval")
    writer.leave("group")
    writer.put(Event(code="a.b"), "interval")
    writer.leave("interval")
    assert codes(writer) == ["a.b"]
    assert not writer.log.usable
    assert not writer._thread.is_alive()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["group", "interval", "event", "settle", "fail", "heal", "flush"])), max_size=20)
)
def test_whoever_is_told_yes_finds_it_in_the_log(tmp_path_factory: pytest.TempPathFactory, moves: list[str]) -> None:
    """Over random orders of events, waits and full disks: what was said to be recorded is in the log, once, in order;
    what was said to be lost is not; and the chain is whole.
    """
    asyncio.run(played(tmp_path_factory.mktemp("log") / "sub" / "a.jsonl", moves))


async def played(path: Path, moves: list[str]) -> None:
    disk, kept = Slow(), list[str]()
    writer = made(path, disk)
    for number, move in enumerate(moves):
        if move in ("fail", "heal"):
            disk.full = move == "fail"
        elif move == "flush":
            try:
                writer.flush()
            except PluginError:
                assert disk.full
        elif move == "settle":
            await recorded(writer)
        else:
            name = f"a.n{number}"
            try:
                writer.put(Event(code=name), move)  # type: ignore[arg-type]  # one of the three words
                if (waiting := writer.settled()) is not None:
                    async with asyncio.timeout(PATIENCE):
                        await waiting
            except PluginError:
                assert disk.full
            else:
                kept.append(name)
    disk.full = False
    writer.leave("group")
    assert codes(writer) == kept
    assert verify([path], KEY).status == (0 if kept else 2)


def test_what_was_left_is_compressed(tmp_path: Path) -> None:
    """Closed files of a run that was killed before they were compressed are compressed by the next one (S4.23)."""
    path = tmp_path / "log" / "audit.jsonl"
    rotator = Rotator(Rotation(bytes=None, entries=2), lambda: 1e9, lambda code, _: render(event(code=code)))
    log = Log.open(path, Chain(KEY), sync=True, rotator=rotator)
    for number in range(7):
        log.append(render(event(number)))
    log.close()
    plain = closed_files(path)
    plain[1].with_name(f"{plain[1].name}.gz.part").write_bytes(b"half")
    writer = Writer(Log.open(path, Chain(KEY), sync=True, rotator=rotator), compress=True).share("event")
    writer.leave("event")
    assert {name.suffix for name in closed_files(path).values()} == {".gz"}
    assert len(closed_files(path)) == len(plain)
    assert not list(path.parent.glob("*.part"))
    assert verify([path], KEY).status == 0
