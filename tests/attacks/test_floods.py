"""A peer that sends very much: neither the log nor the guard's time is its to fill."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.kit import sieved
from tests.core.harness import notification, request
from tests.running import PING, configure, running, server

from hauberk.bounds import Bounds
from hauberk.carriers.stdio import Reader
from hauberk.event import Event
from hauberk.floods import BURST, KINDS, Floods

NOISE: list[tuple[str, Any]] = [
    ("core.not_json", b"starting up"),
    ("core.unmatched", {"jsonrpc": "2.0", "id": 99, "result": {}}),
    ("core.progress_unknown", notification("notifications/progress", {"progressToken": 1, "progress": 1})),
    ("core.method_unknown", notification("notifications/odd")),
    ("core.direction", request("tools/call", {"name": "read_x"}, id="s")),
    ("core.batch", b"[]"),
]


@pytest.mark.parametrize(("code", "line"), NOISE)
async def test_a_flood_from_the_wire_is_counted(code: str, line: Any) -> None:
    """Of what nobody asked for the first are recorded one by one, the rest are counted as one event (X.6, S4.22)."""
    async with sieved() as r:
        for _ in range(BURST + 1000):
            r.post(r.from_server, line)
        await r.settle()
        assert len(r.recorder.of(code)) == BURST
        r.session.floods.tell()
        await r.settle()
        assert r.recorder.of(code)[-1].count == 1000
        assert r.recorder.of(code)[-1].server == "files"


async def test_a_flood_of_one_kind_hides_no_other() -> None:
    """While one kind is counted, another is still recorded, and so is each refused call of the host (S1.4)."""
    async with sieved() as r:
        for _ in range(BURST * 2):
            r.post(r.from_server, b"noise")
        r.post(r.from_server, notification("notifications/odd"))
        for id in range(BURST * 2):
            await r.call("evil", id=id)
        assert len(r.recorder.of("core.method_unknown")) == 1
        assert len(r.recorder.of("sieve.denied")) == BURST * 2


async def test_the_end_of_a_session_tells_what_was_counted() -> None:
    """Nothing that was counted is left unsaid when the peer goes at once."""
    async with sieved() as r:
        for _ in range(BURST + 5):
            r.post(r.from_server, b"noise")
        await r.session.close()
        await r.settle()
        assert sum(event.count for event in r.recorder.of("core.not_json")) == BURST + 5


async def test_kinds_are_bounded() -> None:
    """Codes that are made up as they go share one count, so they fill no memory (X.6)."""
    told: list[Event] = []
    floods = Floods(told.append)
    counted = [floods.counts(Event(code=f"p.{number}")) for number in range(KINDS + BURST + 7)]
    assert counted == [False] * (KINDS + BURST) + [True] * 7
    floods.tell()
    assert [event.count for event in told] == [7]


@pytest.mark.parametrize("kind", ["pipe", "file"])
async def test_the_loop_turns_while_a_chunk_of_many_frames_is_read(kind: str, tmp_path: Path) -> None:
    """However many frames come at once, and however long each takes, signals, timers and the other side go on."""
    if kind == "pipe":
        read, write = os.pipe()
        os.write(write, b"x\n" * 20)
        os.close(write)
    else:
        (tmp_path / "input").write_bytes(b"x\n" * 20)
        read = os.open(tmp_path / "input", os.O_RDONLY)
    ended, turns, frames = asyncio.Event(), [0], []

    def slow(frame: Any) -> None:
        frames.append(turns[0])
        until = loop.time() + 0.02
        while loop.time() < until:
            pass

    def turn() -> None:
        turns[0] += 1
        loop.call_soon(turn)

    loop = asyncio.get_running_loop()
    turn()
    reader = Reader(read, slow, ended.set, bounds=Bounds())
    reader.start()
    await ended.wait()
    os.close(read)
    assert len(frames) == 20
    assert len(set(frames)) > 3


def test_a_server_that_logs_to_its_output_does_not_stop_the_guard(tmp_path: Path) -> None:
    """Two hundred thousand lines of noise before an answer: it comes, and the log stays small (A56, A85)."""
    noisy = """
    import json, sys
    out = sys.stdout.buffer
    for _ in range(200):
        out.write(b"x\\n" * 1000)
    out.flush()
    request = json.loads(sys.stdin.buffer.readline())
    out.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {}}).encode() + b"\\n")
    out.flush()
    """
    with running(tmp_path, server(tmp_path, noisy), options=configure(tmp_path)) as run:
        assert run.ask(PING)["result"] == {}
        assert run.end() == 0
        noise = [event for event in run.events() if event["code"] == "core.not_json"]
        assert len(noise) < 5000
        assert sum(event.get("count", 1) for event in noise) == 200_000
