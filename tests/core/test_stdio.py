"""The carrier on pipes: nothing is lost, nothing changes place, and what waits has a bound."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hauberk.bounds import Bounds
from hauberk.carriers.child import Child
from hauberk.carriers.stdio import Reader, Writer
from hauberk.edge import Overlong

LIMIT = 10_000
Frame = bytes | Overlong


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - each turn of the loop, not each so many seconds
            await asyncio.sleep(0)


class Pipe:
    """A writer and a reader with a pipe between."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.source, self.sink = os.pipe()
        self.frames: list[Frame] = []
        self.ends = 0
        self.calls: list[str] = []
        self.writer = Writer(
            self.sink,
            limit=limit,
            on_full=lambda: self.calls.append("full"),
            on_drained=lambda: self.calls.append("drained"),
            on_broken=lambda: self.calls.append("broken"),
        )
        self.reader = Reader(self.source, self.frames.append, self._ended, bounds=Bounds())

    def _ended(self) -> None:
        self.ends += 1

    def close(self) -> None:
        self.reader.stop()
        self.writer.close(close_fd=False)
        for fd in (self.source, self.sink):
            try:
                os.close(fd)
            except OSError:
                continue


FRAMES = st.lists(st.tuples(st.integers(1, 90_000) | st.just(400_000), st.booleans()), max_size=30)


@settings(max_examples=50)
@given(FRAMES)
def test_frames_pass_whole_and_in_order(frames: list[tuple[int, bool]]) -> None:
    """Frames of any size pass whole and in order, however often the reader pauses; then the end is told once."""

    async def main() -> None:
        pipe = Pipe()
        sent = [b"%d" % number + b"x" * size for number, (size, _) in enumerate(frames)]
        pipe.reader.start()
        for frame, (_, pauses) in zip(sent, frames, strict=True):
            if pauses:
                pipe.reader.pause()
            pipe.writer.deliver(frame, None)
            await asyncio.sleep(0)
            if pauses:
                pipe.reader.resume()
        await until(lambda: len(pipe.frames) == len(sent))
        await pipe.writer.flushed()
        assert pipe.frames == sent
        assert pipe.writer.held == 0
        assert pipe.calls == ["full", "drained"] * (len(pipe.calls) // 2)
        os.close(pipe.sink)
        await until(lambda: pipe.ends == 1)
        pipe.close()

    asyncio.run(main())


@settings(max_examples=50)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_bytes_become_lines(data: bytes, cuts: list[int]) -> None:
    """However bytes arrive, only LF ends a frame, and what stands after the last one is a frame too (A56)."""

    async def main() -> None:
        pipe = Pipe()
        pipe.reader.start()
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for begin, end in itertools.pairwise(edges):
            os.write(pipe.sink, data[begin:end])
            await asyncio.sleep(0)
        os.close(pipe.sink)
        await until(lambda: pipe.ends == 1)
        assert pipe.frames == [line for line in data.split(b"\n") if line and not line.isspace()]
        pipe.close()

    asyncio.run(main())


async def test_what_waits_is_counted_and_bounded() -> None:
    """Past the limit the source is told once, past twice the limit it is flooded, at half of it the source goes on."""
    pipe = Pipe()
    while not pipe.writer.full:
        pipe.writer.deliver(b"x" * 99, None)
    assert LIMIT < pipe.writer.held <= LIMIT + 100
    assert pipe.writer.flooded is False
    while pipe.writer.held <= 2 * LIMIT:
        pipe.writer.deliver(b"x" * 99, None)
    assert (pipe.writer.flooded, pipe.calls) == (True, ["full"])
    pipe.reader.start()
    await pipe.writer.flushed()
    assert pipe.calls == ["full", "drained"]
    assert pipe.writer.held == 0
    pipe.close()


async def test_small_frames_that_wait_take_their_size() -> None:
    """Frames that wait lie together: one by one each would take many times its size."""
    pipe = Pipe(limit=10_000_000)
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        pipe.writer.deliver(bytes(50) + b"x", None)
    assert sys.getallocatedblocks() - before < 100
    pipe.close()


async def test_nobody_reads() -> None:
    """A reader that goes away is noticed while nothing is written, once, and what waits is let go."""
    pipe = Pipe()
    while not pipe.writer.full:
        pipe.writer.deliver(b"x" * 99, None)
    pipe.writer.watch_reader()
    os.close(pipe.source)
    await until(lambda: pipe.writer.broken)
    await pipe.writer.flushed()
    pipe.writer.deliver(b"x", None)
    assert pipe.writer.held == 0
    assert pipe.calls == ["full", "drained", "broken"]
    pipe.close()


async def test_socket_that_has_something_to_read() -> None:
    """What comes on a socket that we only write to does not mean that nobody reads; its end does."""
    ours, theirs = socket.socketpair()
    broken: list[bool] = []
    writer = Writer(ours.fileno(), limit=LIMIT, on_broken=lambda: broken.append(True))
    writer.watch_reader()
    theirs.send(b"hello")
    for _ in range(10):
        await asyncio.sleep(0)
    writer.deliver(b"x", None)
    assert theirs.recv(10) == b"x\n"
    assert broken == []
    theirs.close()
    writer.deliver(b"x", None)
    assert broken == [True]
    writer.close(close_fd=False)
    ours.close()


async def test_drain_does_not_wait_for_another_writer() -> None:
    """Draining takes what is there and ends, though somebody holds the other end open; half a line counts."""
    pipe = Pipe()
    os.write(pipe.sink, b"one\ntwo")
    pipe.reader.drain()
    assert pipe.frames == [b"one", b"two"]
    assert pipe.ends == 1
    pipe.close()


async def test_drain_hands_over_what_a_pause_held_back() -> None:
    """What was read before a pause is not lost at the end."""
    pipe = Pipe()
    pipe.reader.start()
    pipe.reader.pause()
    os.write(pipe.sink, b"one\ntwo\n")
    pipe.reader.drain()
    assert pipe.frames == [b"one", b"two"]
    pipe.close()


async def test_the_loop_turns_between_the_last_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much came before the end, it is handed over in slices, and the end is told after all of it (A56)."""
    monkeypatch.setattr("hauberk.carriers._source._SLICE", -1)
    pipe = Pipe()
    os.write(pipe.sink, b"one\ntwo\nthree\n")
    pipe.reader.pause()
    pipe.reader.drain()
    assert (pipe.frames, pipe.ends) == ([b"one"], 0)
    await pipe.reader.finished()
    assert (pipe.frames, pipe.ends) == ([b"one", b"two", b"three"], 1)
    pipe.close()


async def test_who_stops_gets_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is stopped between its last frames hands over no other one, and keeps nobody waiting."""
    monkeypatch.setattr("hauberk.carriers._source._SLICE", -1)
    pipe = Pipe()
    os.write(pipe.sink, b"one\ntwo\nthree\n")
    pipe.reader.pause()
    pipe.reader.drain()
    waiting = asyncio.ensure_future(pipe.reader.finished())
    await asyncio.sleep(0)
    pipe.reader.stop()
    await waiting
    await asyncio.sleep(0)
    assert pipe.frames == [b"one", b"two"]
    assert pipe.ends == 0
    pipe.close()


async def test_regular_file_waits_while_paused(tmp_path: Path) -> None:
    """A regular file is read no further while its reader is paused."""
    path = tmp_path / "lines"
    path.write_bytes(b"x\n" * 200_000)
    frames: list[Frame] = []
    ends: list[bool] = []
    with path.open("rb") as file:
        reader = Reader(file.fileno(), frames.append, lambda: ends.append(True), bounds=Bounds())
        reader.start()
        await until(lambda: bool(frames))
        reader.pause()
        await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.to_thread(int)
        assert len(frames) < 200_000
        reader.resume()
        await until(lambda: bool(ends))
    assert len(frames) == 200_000


async def test_child_is_told_by_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exit is noticed with a descriptor for the process, and without one (macOS, some sandboxes)."""
    command = [sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"]
    for missing in (False, True):
        if missing:
            monkeypatch.delattr(os, "pidfd_open", raising=False)
        child = Child(command[0], command[1:], env={})
        assert await child.wait() == 3
        assert not child.running
        child.close()


async def test_child_that_a_sandbox_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel refuses a descriptor for the process, a thread waits for it."""

    def refused(_pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", refused, raising=False)
    child = Child(sys.executable, ["-I", "-S", "-c", "raise SystemExit(4)"], env={})
    assert await child.end() in {4, -15}
    child.close()


async def test_closing_a_writer_twice_touches_no_descriptor_of_another() -> None:
    """A descriptor that was closed may have its number again: what another connection waits for there is still told."""
    loop = asyncio.get_running_loop()
    source, sink = os.pipe()
    writer = Writer(sink, limit=LIMIT)
    writer.close(close_fd=True)
    theirs, ours = socket.socketpair()
    assert sink in {theirs.fileno(), ours.fileno()} or os.dup2(theirs.fileno(), sink) == sink
    came = asyncio.Event()
    loop.add_reader(sink, came.set)
    writer.close(close_fd=False)
    (ours if sink != ours.fileno() else theirs).send(b"x")
    async with asyncio.timeout(20):
        await came.wait()
    loop.remove_reader(sink)
    with theirs, ours:
        os.close(source)
