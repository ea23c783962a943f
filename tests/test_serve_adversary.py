"""Attacks on `hauberk serve` that were found by somebody who had not written it: what they must not reach."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from tests.core.harness import ring
from tests.running import ANSWERING, configure, server
from tests.serving import Offered, Stubs, offered, serving, until, until_true

from hauberk.carriers import ping
from hauberk.hosts import _served

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
LARGE = 3_000_000


# --- answers that are not read at once ---


async def _owed(made: Offered, stubs: Stubs) -> Any:
    """Return a client that has been answered, and has read nothing of it."""
    client = await made.session()
    client.reads(False)
    client.send(LIST)
    await until(lambda: stubs.there)
    stubs.there[0].answer(1, x="y" * LARGE)
    await until(lambda: any(one._stream.held for one in made.server._served))
    return client


@pytest.mark.parametrize("way", ["the server goes", "the input ends", "it drains"])
async def test_last_answers_are_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Whoever reads late, but before ``stalled_seconds``, reads all of the last answer, whatever ends (A65, S4.16)."""
    monkeypatch.setattr(_served, "_FAREWELL", 0.05)
    stubs = Stubs(answers=False)
    async with offered(tmp_path, target=stubs) as made:
        client = await _owed(made, stubs)
        if way == "the server goes":
            stubs.there[0].gone()
        elif way == "the input ends":
            client.writer.write_eof()
        else:
            made.server.stop()
        await asyncio.sleep(0.5)
        client.reads(True)
        got = await asyncio.wait_for(client.reader.read(), 10)
        assert got.endswith(b"\n")
        assert len(got) > LARGE
        await until(lambda: not made.server._served)
        assert not made.server.lost
        assert "core.stalled" not in made.codes


@pytest.mark.parametrize("signals", [1, 2])
async def test_answer_that_is_cut_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: int) -> None:
    """An answer that was not read when there was no time left is recorded, and the exit status tells it (S4.16)."""
    monkeypatch.setattr(_served, "_FAREWELL", 0.05)
    stubs = Stubs(answers=False)
    async with offered(tmp_path, target=stubs, drain_seconds=0.3 if signals == 1 else 60.0) as made:
        await _owed(made, stubs)
        for _ in range(signals):
            made.server.stop()
        await asyncio.wait_for(made.running, 10)
        assert made.server.lost
        event = await made.recorded("core.stalled")
        assert "bytes of them are lost" in event.details["reason"]


# --- who may connect, after a reload ---


def _written(folder: Path, **listen: Any) -> list[str]:
    """Write a configuration with these words in ``[server.files.listen]``; return its options."""
    command, *args = server(folder, ANSWERING)
    rows = "".join(f"{name} = {json.dumps(value)}\n" for name, value in listen.items())
    return configure(
        folder,
        f"[server.files]\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\n[server.files.listen]\n{rows}",
    )


def test_user_who_is_taken_out_by_a_reload(tmp_path: Path) -> None:
    """Once a reload is said to be done, a user who is named no more is refused; other bounds hold too (S4.7, A80)."""
    uid = Path(tmp_path).stat().st_uid
    with serving(tmp_path, [], "files", options=_written(tmp_path, uids=[uid, 12345])) as made:
        with made.client() as client:
            assert client.ask()["result"] == {}
        _written(tmp_path, uids=[12345], shared=True)
        made.process.send_signal(signal.SIGHUP)
        until_true(lambda: "the policy is now" in made.stderr())
        with made.client() as client:
            assert client.ask()["error"]["data"]["code"] == "core.peer_user"
        until_true(lambda: made.events("core.restart_needed"))
        assert "shared of server 'files' changed, and stay as they were until a restart" in made.stderr()
        _written(tmp_path, uids=[uid], shared=True, connections=1)
        made.process.send_signal(signal.SIGHUP)
        until_true(lambda: made.stderr().count("the policy is now") == 2)
        with made.client() as client, made.client() as other:
            assert client.ask()["result"] == {}
            assert other.ask()["error"]["data"]["code"] == "core.too_many_connections"
        assert len(made.events("core.restart_needed")) == 1


# --- who has proved who he is ---


async def test_who_is_proved_is_not_turned_out_for_who_is_not(tmp_path: Path) -> None:
    """A flood of TCP connections without a handshake keeps nobody out whose certificate has been checked (A65)."""
    async with offered(tmp_path, carrier="tls", connections=40) as made:
        good = await made.dial()
        await until(lambda: made.server._arriving._proved)
        flood = [socket.create_connection(("127.0.0.1", made.address.port)) for _ in range(120)]
        await made.recorded("core.too_many_connections")
        try:
            assert (await good.greet())["result"] == {}
        finally:
            for one in flood:
                one.close()


async def test_connection_that_is_recorded_as_made_is_recorded_as_ended(tmp_path: Path) -> None:
    """Each ``core.connected`` has its ``core.disconnected``, even if the end comes while it is recorded."""

    async def slow(event: Any) -> None:
        if event.code == "core.connected":
            await asyncio.sleep(60)

    sink = ring("slow", on_audit=slow, required=True)
    async with offered(tmp_path, sink, toml="[core.bounds]\nsink_deadline = 60.0\n") as made:
        (await made.dial()).send(ping.request()[1] + b"\n")
        await made.recorded("core.connected")
        made.server.stop()
        made.server.stop()
        await asyncio.wait_for(made.running, 10)
        await made.recorded("core.disconnected")
        assert made.codes.count("core.connected") == made.codes.count("core.disconnected") == 1


# --- the end ---

STUBBORN = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}), flush=True)
time.sleep(60)
"""


def test_second_signal_and_a_shared_server(tmp_path: Path) -> None:
    """A second signal ends all of it at once, a shared server that nobody is connected to, too (A86)."""
    command, *args = server(tmp_path, STUBBORN)
    options = configure(
        tmp_path,
        f"[server.files]\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
        "[server.files.listen]\nshared = true\n",
    )
    with serving(tmp_path, [], "files", options=options) as made:
        with made.client() as client:
            assert client.ask()["result"] == {}
        until_true(lambda: made.events("core.disconnected"))
        made.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        began = time.monotonic()
        made.process.send_signal(signal.SIGTERM)
        assert made.status() == 0
        assert time.monotonic() - began < 1.5


async def test_one_that_cannot_be_looked_at_is_no_matter_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails for one connection or one socket, the others are looked at, again and again (A85)."""
    async with offered(tmp_path, stalled_seconds=0.4) as made:
        client = await made.session()
        client.send(LIST)
        await client.receive()
        (served,) = made.server._served
        (door,) = made.server._doors
        for one in (served, door):
            monkeypatch.setattr(one, "look", lambda *_: 1 / 0)
        stalled = await made.session()
        stalled.send(b'{"json')
        event = await made.recorded("core.stalled")
        assert "has begun a message" in event.details["reason"]
        assert "could not be looked at" in caplog.text
        assert (await client.ask())["result"] == {}
