"""Caps in front of a server that is offered: connections, places and suspensions over real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.running import WITNESS
from tests.running import server as program
from tests.serving import PING, Offered, Stubs, offered, serving, until, until_true

from hauberk import Config, plugins
from hauberk.carriers import ping
from hauberk.guard import Guard
from hauberk_bulkhead import Bulkhead
from hauberk_bulkhead._options import Options

CALL: dict[str, Any] = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "read"}}


def bulkhead(folder: Path, toml: str) -> Bulkhead:
    """Return the plugin with these options."""
    config = Config.from_toml(f'core.state_dir = "{folder}/state"\n[bulkhead]\n{toml}')
    return Bulkhead(config.options("bulkhead", Options), Guard(config))


def state(made: Offered) -> Any:
    return made.guard.loaded["bulkhead"].plugin.gate.state


def free(made: Offered) -> bool:
    """Whether nothing is held, and nobody is there."""
    found = state(made)
    return not (found.rooms or len(found.account) or found.connections)


async def test_one_connection_too_many_is_told_so(tmp_path: Path) -> None:
    """It learns the code and when to come again; who leaves makes room, however he leaves (S4.16, A64)."""
    async with offered(tmp_path, bulkhead(tmp_path, "connections = 2")) as made:
        first, second = await made.session(), await made.session()
        third = await made.dial()
        error = (await third.receive())["error"]
        assert (error["data"]["code"], error["data"]["httpStatus"]) == ("bulkhead.too_many_connections", 429)
        assert await third.receive() is None
        for one in (first, second):
            one.vanish()
            await until(lambda: len(state(made).connections) <= 1)
            await made.session()
    assert free(made)


async def test_flood_of_connections_leaves_no_count(tmp_path: Path) -> None:
    """Three hundred that connect, are refused or go at once, leave room for those that come after (A65)."""
    async with offered(tmp_path, bulkhead(tmp_path, "connections = 5"), first_seconds=0.05) as made:
        for _ in range(300):
            one = await made.dial()
            one.vanish()
        await until(lambda: not state(made).connections)
        for _ in range(5):
            await made.session()


@pytest.mark.parametrize("how", ["vanish", "answer", "server"])
async def test_places_are_free_once_a_client_is_gone(tmp_path: Path, how: str) -> None:
    """A client that goes, is answered, or whose server dies gives back its places over a real socket (A64)."""
    stubs = Stubs(answers=False)
    async with offered(tmp_path, bulkhead(tmp_path, "in_flight = 2\nqueue = 0"), target=stubs) as made:
        client = await made.session()
        for number in (1, 2):
            client.send(CALL | {"id": number})
        await until(lambda: stubs.there and len(stubs.there[0].got) == 2)
        assert (await client.ask(CALL | {"id": 3}))["error"]["data"]["code"] == "bulkhead.full"
        if how == "vanish":
            client.vanish()
        elif how == "server":
            stubs.there[0].gone()
        else:
            for number in (1, 2):
                stubs.there[0].answer(number)
                assert (await client.receive())["id"] == number
        await until(lambda: not state(made).rooms)
        assert not len(state(made).account)
    assert free(made)


async def test_one_client_cannot_fill_the_room_of_another(tmp_path: Path) -> None:
    """Of two connections of one principal both share his part; the room has places left for others (S1.42)."""
    stubs = Stubs(answers=False)
    options = "in_flight = 4\nin_flight_per_principal = 2\nqueue = 0"
    async with offered(tmp_path, bulkhead(tmp_path, options), target=stubs) as made:
        one, two = await made.session(), await made.session()
        one.send(*(CALL | {"id": number} for number in (1, 2)))
        await until(lambda: stubs.there and len(stubs.there[0].got) == 2)
        assert (await two.ask(CALL | {"id": 3}))["error"]["data"]["code"] == "bulkhead.full"
        assert state(made).rooms["files"].held == 2


async def test_slow_reader_does_not_grow_what_is_held(tmp_path: Path) -> None:
    """A client that asks and never reads holds no more than its caps say, and others are answered (A65)."""
    stubs = Stubs(answers=False)
    options = "in_flight = 8\nin_flight_per_principal = 8\nqueue = 0\nmemory_bytes = 4096"
    async with offered(tmp_path, bulkhead(tmp_path, options), target=stubs, stalled_seconds=1.0) as made:
        slow = await made.session()
        slow.reads(False)
        for number in range(400):
            slow.send(CALL | {"id": number, "params": {"name": "read", "arguments": {"x": "x" * 100}}})
        await until(lambda: "files" in state(made).rooms)
        most = 0
        for _ in range(50):
            await asyncio.sleep(0.001)
            room = state(made).rooms.get("files")
            most = max(most, 0 if room is None else room.held)
            assert state(made).account.total <= 4096
        assert most <= 8
        slow.vanish()
        await until(lambda: free(made))


# --- silence ---

LISTENED = """
import json, sys
for line in sys.stdin.buffer:
    request = json.loads(line)
    if "id" in request and request["method"] != "subscriptions/listen":
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": {}}
        sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\\n")
        sys.stdout.flush()
"""
"""A server that answers every request at once, but for the one whose answer is the end of a stream."""
LARGE = LISTENED.replace('"result": {}', '"result": {"content": [{"type": "text", "text": "x" * 8_000_000}]}')
"""One whose answers are long."""
LISTEN: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": "stream",
    "method": "subscriptions/listen",
    "params": {"notifications": {}, "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}},
}


def only_bulkhead(folder: Path, table: str) -> list[str]:
    """Write a configuration with this table of bulkhead; return the arguments that name it."""
    others = sorted(name for name in plugins.installed() if name != "bulkhead")
    (folder / "policy.py").write_text(WITNESS.replace("{path!r}", repr(str(folder / "events"))))
    text = f'core.state_dir = "{folder}/state"\n[plugins]\ndisable = {json.dumps(others)}\npolicy = "policy.py"\n'
    (folder / "hauberk.toml").write_text(f"{text}[bulkhead]\n{table}\n")
    return ["--config", str(folder / "hauberk.toml")]


def test_silent_clients_are_hung_up(tmp_path: Path) -> None:
    """Of four clients those end that say nothing; one that pings, and one that listens, stay (S4.21, A64).

    With who ends go his child, his descriptors and his count; one that only answered a guard's ping is no exception.
    """
    options = only_bulkhead(tmp_path, "idle_seconds = 3")
    with serving(tmp_path, program(tmp_path, LISTENED), options=options) as made:
        before = made.descriptors()
        with made.client() as pings, made.client() as listens:
            listens.send(LISTEN)
            assert pings.ask()["result"] == {}
            until_true(lambda: len(made.children()) == 2)
            with_two = made.descriptors()
            with made.client() as silent, made.client() as greeted:
                assert silent.ask()["result"] == {}
                greeted.send(ping.request()[1] + b"\n")
                assert greeted.receive()["result"] == {}
                assert len(made.children()) == 3
                until = time.monotonic() + 30
                while len(made.events("bulkhead.idle")) < 2:
                    assert pings.ask(PING)["result"] == {}
                    assert time.monotonic() < until, "nobody was hung up"
                    time.sleep(0.05)
                assert silent.receive() is None
                assert greeted.receive() is None
            until_true(lambda: len(made.children()) == 2)
            until_true(lambda: made.descriptors() <= with_two)
            assert pings.ask()["result"] == {}
            listens.send({"jsonrpc": "2.0", "id": "still", "method": "ping"})
            assert listens.receive()["id"] == "still"
            told = made.told("bulkhead.idle", count=2)
            assert len(told) == 2
            assert all(event["details"]["seconds"] >= 3 for event in told)
            gone = made.told("core.disconnected", count=2)
            assert {event["details"]["why"] for event in gone} == {"bulkhead.idle"}
        until_true(lambda: not made.children())
        until_true(lambda: made.descriptors() <= before)
        assert made.stop() == 0


def test_slow_reader_is_not_silent(tmp_path: Path) -> None:
    """A client that reads a long answer all the time, though slowly, gets all of it, however short the silence (S4.21).

    Once it has read it, silence ends it as everybody.
    """
    with (
        serving(tmp_path, program(tmp_path, LARGE), options=only_bulkhead(tmp_path, "idle_seconds = 1")) as made,
        made.client() as client,
    ):
        client.send(CALL | {"id": 1})
        got, slow = bytearray(), time.monotonic() + 5
        while not got.endswith(b"\n"):
            more = client.sock.recv(40_000)
            assert more, f"it was cut off after {len(got)} bytes: {made.events('bulkhead.idle')}"
            got += more
            if time.monotonic() < slow and len(got) < 6_000_000:
                time.sleep(0.05)  # its pace: at most 4 MB, whose last part is not in the kernel by then
        assert len(json.loads(got)["result"]["content"][0]["text"]) == 8_000_000
        assert client.receive() is None
        assert made.told("bulkhead.idle")[0]["details"]["seconds"] >= 1
        assert not made.events("core.stalled")
