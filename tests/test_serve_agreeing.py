"""``hauberk serve`` where something has to be agreed on first, and a plugin that hangs up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.core.harness import ring
from tests.serving import PING, Dialled, Offered, offered, until

from hauberk import Frame, Layer, Refused
from hauberk.connection import Connection
from hauberk.refusals import IDENTITY

AGREE = {"jsonrpc": "2.0", "id": 0, "method": "ping"}


def seal() -> Any:
    """Return a seal for which a connection has agreed with its first message that has the id 0 or more."""

    def on_connect(connection: Connection) -> None:
        connection.must_agree = connection.role == "server"

    def on_receive(frame: Frame, connection: Connection) -> None:
        try:
            id = orjson.loads(frame.data).get("id", 0)
        except ValueError:
            id = -1
        if id == -2:
            raise Refused("seal.early", "not yet", jsonrpc=IDENTITY)
        if id == -1:
            connection.hang_up("seal.broken")
            raise Refused("seal.broken", "no", jsonrpc=IDENTITY)
        connection.agreed()

    return ring("seal", Layer.SEAL, on_connect=on_connect, on_receive=on_receive)


async def agreed(there: Offered) -> Dialled:
    """Connect, and agree."""
    dialled = await there.session()
    assert (await dialled.ask(AGREE))["result"] == {}
    return dialled


async def test_strangers_start_nothing(tmp_path: Any) -> None:
    """Who has agreed on nothing starts no server and takes no place, whatever it says; it is turned out for others."""
    async with offered(tmp_path, seal(), connections=2) as there:
        strangers = [await there.dial() for _ in range(32)]
        for one in strangers:
            assert (await one.ask({**PING, "id": -2}))["error"]["data"] == {"code": "core.refused"}
        assert (there.target.opened, there.server.slots.taken) == (0, 0)
        dialled = await agreed(there)
        assert (there.target.opened, there.server.slots.taken) == (1, 1)
        assert [one["id"] for one in there.target.there[0].got] == [0]
        assert (await strangers[0].receive())["error"]["data"]["code"] == "core.too_many_connections"
        assert (await dialled.ask({**PING, "id": 3}))["result"] == {}


async def test_a_stranger_that_says_rubbish(tmp_path: Any) -> None:
    """A connection on which nothing can be agreed any more ends at once, and its peer is told what it may know."""
    async with offered(tmp_path, seal()) as there:
        dialled = await there.dial()
        dialled.send(b"x\n")
        assert (await dialled.receive())["error"]["data"] == {"code": "core.refused"}
        assert await dialled.receive() is None
        event = await there.recorded("core.disconnected")
        assert event.details["why"] == "seal.broken"
        assert (there.target.opened, there.server.slots.taken) == (0, 0)


@pytest.mark.parametrize("greets", [True, False])
async def test_who_never_agrees(tmp_path: Any, greets: bool) -> None:
    """Who agrees on nothing in time is ended as one that has said nothing."""
    async with offered(tmp_path, seal(), first_seconds=0.3) as there:
        dialled = await (there.session() if greets else there.dial())
        await dialled.ask({**PING, "id": -2})
        assert await dialled.receive() is None
        assert there.target.opened == 0
        await there.recorded("core.silent")


async def test_a_long_first_word(tmp_path: Any) -> None:
    """Nothing long is read of one that has agreed on nothing."""
    async with offered(tmp_path, seal()) as there:
        dialled = await there.dial()
        dialled.send(b"x" * 100_000)
        await there.recorded("core.silent")
        assert there.target.opened == 0


async def test_no_place_for_who_has_agreed(tmp_path: Any) -> None:
    """Who has agreed and finds no place is told so, in answer to what it asked."""
    async with offered(tmp_path, seal(), connections=1) as there:
        first = await agreed(there)
        second = await there.session()
        assert (await second.ask(AGREE))["error"]["data"]["code"] == "core.too_many_connections"
        assert await second.receive() is None
        assert (await first.ask({**PING, "id": 4}))["result"] == {}
        assert there.target.opened == 1


async def test_a_server_that_does_not_start(tmp_path: Any) -> None:
    """Who has agreed and finds no server is told so, in answer to what it asked."""
    async with offered(tmp_path, seal()) as there:
        there.target.fails = True
        dialled = await there.session()
        assert (await dialled.ask(AGREE))["error"]["data"]["code"] == "core.not_started"
        assert await dialled.receive() is None


async def test_what_comes_while_the_server_starts(tmp_path: Any) -> None:
    """What is said in one breath with the agreement reaches the server, in order."""
    async with offered(tmp_path, seal()) as there:
        dialled = await there.session()
        dialled.send(AGREE, *({**PING, "id": id} for id in range(1, 30)))
        assert [(await dialled.receive())["id"] for _ in range(30)] == list(range(30))
        assert [one["id"] for one in there.target.there[0].got] == list(range(30))


async def test_hanging_up(tmp_path: Any) -> None:
    """When a plugin hangs up, what is in flight gets an error, the connection ends, and so does its server."""
    async with offered(tmp_path, seal()) as there:
        dialled = await agreed(there)
        there.target.answers = False
        dialled.send({**PING, "id": 5})
        await until(lambda: len(there.target.there[0].got) == 2)
        dialled.send({**PING, "id": -1})
        found = [await dialled.receive() for _ in range(3)]
        assert {one["id"] for one in found[:2]} == {5, -1}
        assert all("error" in one for one in found[:2])
        assert found[2] is None
        await until(lambda: there.target.there == [])
        assert there.server.slots.taken == 0
