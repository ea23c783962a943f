"""Connections to a server that is offered: who is taken, what is told to whom, and how each ends."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.core.harness import ring
from tests.core.secured import Secured, context, securing
from tests.serving import Stubs, offered, private, until

from hauberk.carriers import ping, stream
from hauberk.carriers.address import Address
from hauberk.config import Config
from hauberk.connection import Connection, Credentials
from hauberk.guard import Guard
from hauberk.hosts import serve
from hauberk.layers import Layer
from hauberk.message import Message
from hauberk.principal import Principal
from hauberk.refusals import ConfigError, Refused

CARRIERS = pytest.mark.parametrize("carrier", ["unix", "tls"])


def asks(id: Any, method: str = "ping") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method}


# --- who is taken ---


@CARRIERS
async def test_requests_pass(tmp_path: Path, carrier: str) -> None:
    """Whoever is taken speaks with a server of its own, and sees no other's."""
    async with offered(tmp_path, carrier=carrier) as server:
        one, other = await server.session(), await server.session()
        assert await one.ask(asks("a")) == {"jsonrpc": "2.0", "id": "a", "result": {}}
        assert await other.ask(asks("b")) == {"jsonrpc": "2.0", "id": "b", "result": {}}
        assert [[message["id"] for message in stub.got] for stub in server.target.there] == [["a"], ["b"]]


@CARRIERS
async def test_client_without_a_guard(tmp_path: Path, carrier: str) -> None:
    """A client that begins with its own request needs no ping: the request goes to the server."""
    async with offered(tmp_path, carrier=carrier) as server:
        client = await server.dial()
        assert await client.ask(asks(7)) == {"jsonrpc": "2.0", "id": 7, "result": {}}
        client.send(asks(8), asks(9))
        assert [(await client.receive())["id"] for _ in range(2)] == [8, 9]


@CARRIERS
async def test_first_words_at_once(tmp_path: Path, carrier: str) -> None:
    """What comes in one piece with the first word is not lost, and keeps its order."""
    async with offered(tmp_path, carrier=carrier) as server:
        client = await server.dial()
        client.send(
            ping.request()[1] + b"\n" + b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n' % n for n in range(50))
        )
        answers = [await client.receive() for _ in range(51)]
        assert [answer["id"] for answer in answers[1:]] == list(range(50))
        assert [message["id"] for message in server.target.there[0].got] == list(range(50))


@CARRIERS
async def test_events(tmp_path: Path, carrier: str) -> None:
    """Listening, each connection and its end are recorded: where from, who, and how that was proved (S2.6)."""
    async with offered(tmp_path, carrier=carrier) as server:
        client = await server.session()
        await client.ask()
        client.writer.close()
        await server.recorded("core.disconnected")
        listening, connected, gone = (
            server.recorder.of(code)[0] for code in ("core.listening", "core.connected", "core.disconnected")
        )
        assert listening.details == {"carrier": carrier, "target": str(server.address)}
        for event in (connected, gone):
            assert (event.server, event.details["carrier"]) == ("files", carrier)
            assert event.details["target"] == str(server.address)
            if carrier == "unix":
                assert (event.principal, event.source) == (f"uid:{os.geteuid()}", "peercred")
                assert (event.details["uid"], event.details["pid"]) == (os.geteuid(), os.getpid())
            else:
                assert (event.principal, event.source) == ("localhost", "tls")
                assert event.details["peer"].startswith("127.0.0.1:")
        assert connected.exchange == gone.exchange != ""


async def test_who_speaks_is_not_what_a_message_says(tmp_path: Path) -> None:
    """The principal is what the kernel says; what a message names as source or user changes nothing (S2.6, S4.7)."""
    seen: list[Message] = []

    def keep(message: Message, _connection: Connection) -> None:
        seen.append(message)

    async with offered(tmp_path, ring("keep", on_receive=keep)) as server:
        client = await server.session()
        claims = {"source": "ui", "user": "root", "_meta": {"principal": "root", "x-forwarded-for": "127.0.0.1"}}
        await client.ask({**asks(1, "tools/list"), "params": claims})
        assert seen[0].principal == Principal(id=f"uid:{os.geteuid()}", kind="user", method="peercred")


async def test_own_principal_of_a_check_stays(tmp_path: Path) -> None:
    """Where a plugin has proved who is there, that holds, and not the user of the socket."""
    who = Principal(id="gateway", kind="service", method="token")
    checking = ring("auth", on_connect=lambda connection: connection.verify.append(lambda _: who))
    async with offered(tmp_path, checking) as server:
        await server.session()
        assert (await server.recorded("core.connected")).principal == "gateway"


# --- who is not ---


async def test_other_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user gets a refusal and no server, whatever it says; the event has its uid and pid (S4.8, A80)."""
    monkeypatch.setattr(stream, "credentials", lambda _: Credentials(4321, 4321, 99))
    monkeypatch.setenv("LOCAL_MODE", "1")
    async with offered(tmp_path) as server:
        client = await server.dial()
        answer = await client.ask()
        assert (answer["id"], answer["error"]["data"]["code"]) == (1, "core.peer_user")
        assert await client.receive() is None
        event = server.recorder.of("core.peer_user")[0]
        assert (event.action, event.details["uid"], event.details["pid"]) == ("blocked", 4321, 99)
        assert server.target.opened == 0
        assert "core.connected" not in server.codes


async def test_user_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users that ``uids`` names may connect, and then nobody else, not even our own (S4.8)."""
    async with offered(tmp_path, uids=(4321,)) as server:
        assert (await (await server.dial()).ask())["error"]["data"]["code"] == "core.peer_user"
        monkeypatch.setattr(stream, "credentials", lambda _: Credentials(4321, 4321, 99))
        await server.session()
        assert (await server.recorded("core.connected")).principal == "uid:4321"


async def test_nobody_that_the_kernel_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not say who is there, nobody may be (A80)."""
    monkeypatch.setattr(stream, "credentials", lambda _: None)
    async with offered(tmp_path) as server:
        assert (await (await server.dial()).ask())["error"]["data"]["code"] == "core.peer_user"


@pytest.mark.parametrize("public", [True, False])
async def test_plugin_that_refuses(tmp_path: Path, public: bool) -> None:
    """A connection that a plugin refuses starts nothing; the peer learns a public code only, the log learns all."""
    refusal = Refused("gate.closed", "not today, for a secret reason", public=public)

    def refuse(_connection: Connection) -> None:
        raise refusal

    async with offered(tmp_path, ring("gate", on_connect=refuse)) as server:
        client = await server.dial()
        answer = await client.receive()
        assert answer["error"]["data"]["code"] == ("gate.closed" if public else "core.refused")
        assert "secret" not in str(answer)
        assert await client.receive() is None
        assert server.recorder.of("gate.closed")[0].details["reason"] == refusal.message
        assert server.target.opened == 0


@CARRIERS
async def test_check_that_fails(tmp_path: Path, carrier: str) -> None:
    """What a check of the peer refuses is told in answer to the first word, and starts nothing."""

    def check(_peer: Any) -> None:
        raise Refused("auth.unknown", "who is that", public=True)

    checking = ring("auth", Layer.ADMIT, on_connect=lambda connection: connection.verify.append(check))
    async with offered(tmp_path, checking, carrier=carrier) as server:
        client = await server.dial()
        id, frame = ping.request()
        client.send(frame + b"\n")
        answer = await client.receive()
        assert ping.denial(orjson.dumps(answer), id) == "auth.unknown"
        assert await client.receive() is None
        assert (server.recorder.of("auth.unknown")[0].action, server.target.opened) == ("blocked", 0)


async def test_check_that_breaks(tmp_path: Path) -> None:
    """A check that could not tell is a refusal: nobody is let in by a mistake in a plugin."""

    def check(_peer: Any) -> None:
        raise ZeroDivisionError

    checking = ring("auth", Layer.ADMIT, on_connect=lambda connection: connection.verify.append(check))
    async with offered(tmp_path, checking) as server:
        assert (await (await server.dial()).greet())["error"]["data"]["code"] == "core.refused"
        assert server.recorder.of("core.hook_failed")[0].action == "blocked"
        assert server.target.opened == 0


async def test_connection_that_cannot_be_recorded(tmp_path: Path) -> None:
    """A connection is recorded before its first word is answered; where that fails, it is refused."""

    def fail(event: Any) -> None:
        if event.code == "core.connected":
            raise OSError

    async with offered(tmp_path, ring("log", on_audit=fail, required=True)) as server:
        answer = await (await server.dial()).greet()
        assert "result" not in answer
        assert server.target.opened == 0
        await until(lambda: not server.server.slots.taken)


@pytest.mark.parametrize("first", [b"not json\n", b"\x16\x03\x01\n", b"[]\n", b"{}\n", b'{"id":1}\n'])
async def test_any_first_word(tmp_path: Path, first: bytes) -> None:
    """A first word that is no message is refused as any other, and the connection goes on."""
    async with offered(tmp_path) as server:
        client = await server.dial()
        client.send(first, asks("good"))
        while (answer := await client.receive())["id"] != "good":
            assert answer["error"]["data"]["code"] == "core.refused"
        assert answer["result"] == {}


async def test_first_word_that_is_too_long(tmp_path: Path) -> None:
    """A first word over the bound is refused without being held."""
    async with offered(tmp_path, toml="[core.bounds]\nline_bytes = 1024") as server:
        client = await server.dial()
        client.send(b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"x":"' + b"x" * 5000 + b'"}}\n')
        answer = await client.receive()
        assert answer["id"] == 5
        assert (await client.ask())["result"] == {}


# --- TLS ---


async def test_no_tls_no_listening(tmp_path: Path) -> None:
    """Without a plugin that secures it, nothing is listened on: never TCP without TLS (X.16)."""
    guard = Guard(Config.from_toml(""), [])
    address = Address("tls", "127.0.0.1", 0)
    with pytest.raises(ConfigError, match="needs the plugin tls"):
        await serve.serve(guard, "files", Stubs(), [address])


async def test_tls_that_is_not_configured_whole(tmp_path: Path) -> None:
    """What the plugin has to say against its configuration is said before anything is listened on."""

    def refuse(_connection: Connection) -> None:
        raise Refused("tls.unconfigured", "a server needs a certificate", hint="write one")

    path = tmp_path / "run" / "x.sock"
    private(tmp_path)
    guard = Guard(Config.from_toml(""), [ring("tls", Layer.WIRE, on_connect=refuse)])
    addresses = [Address("unix", path=path), Address("tls", "127.0.0.1", 0)]
    with pytest.raises(ConfigError, match="a server needs a certificate") as caught:
        await serve.serve(guard, "files", Stubs(), addresses)
    assert caught.value.hint == "write one"
    assert not path.exists()


async def test_handshakes_that_fail(tmp_path: Path) -> None:
    """Plain bytes, a foreign certificate and none at all are each an event with its code and address, and no server."""
    async with offered(tmp_path, carrier="tls") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        writer.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        await reader.read()
        writer.close()
        event = await server.recorded("tls.not_tls")
        assert event.details["peer"].startswith("127.0.0.1:")
        bare = context(tmp_path, "client", mtls=False)
        client = await server.dial(tls=bare)
        client.send(ping.request()[1] + b"\n")
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            await client.reader.readexactly(1)
        assert server.target.opened == 0
        assert "core.connected" not in server.codes


async def test_slow_handshake(tmp_path: Path) -> None:
    """A handshake that does not end is ended, and holds up nobody (A65)."""
    slow = securing(Secured(context(tmp_path, "server"), seconds=0.2))
    async with offered(tmp_path, slow, carrier="tls") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00")
        await server.session()
        await server.recorded("tls.handshake_timeout")
        assert await reader.read() in {b"", None}
        writer.close()


# --- the first word, and who says none ---


@CARRIERS
async def test_silent_connection_is_ended(tmp_path: Path, carrier: str) -> None:
    """Who says nothing, or half a word, is ended after ``first_seconds``, and starts nothing (A65)."""
    async with offered(tmp_path, carrier=carrier, first_seconds=0.1) as server:
        silent, half = await server.dial(), await server.dial()
        half.send(b'{"jsonrpc":')
        for client in (silent, half):
            answer = await client.receive()
            assert answer is None or answer["error"]["data"]["code"] == "core.refused"
        event = await server.recorded("core.silent", 2)
        assert (event.action, server.target.opened) == ("blocked", 0)


@CARRIERS
async def test_idle_connection_costs_no_server(tmp_path: Path, carrier: str) -> None:
    """A connection that is made and asks for nothing has no server, for as long as it likes."""
    async with offered(tmp_path, carrier=carrier, first_seconds=0.05, stalled_seconds=0.1) as server:
        client = await server.session()
        await asyncio.sleep(0.3)
        assert server.target.opened == 0
        assert (await client.ask())["result"] == {}
        assert server.target.opened == 1


@CARRIERS
async def test_peer_that_vanishes_at_each_stage(tmp_path: Path, carrier: str) -> None:
    """Whoever goes, at whatever moment, leaves nothing: no slot, no server, no task."""
    stubs = Stubs(answers=False)
    async with offered(tmp_path, carrier=carrier, target=stubs) as server:
        await server.session()
        tasks = len(asyncio.all_tasks())
        if carrier == "tls":
            _, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
            writer.write(b"\x16\x03")
            writer.transport.abort()
        (await server.dial()).vanish()
        half = await server.dial()
        half.send(b'{"json')
        await asyncio.sleep(0.01)
        half.vanish()
        (await server.session()).vanish()
        asking = await server.session()
        asking.send(asks(1), asks(2))
        await until(lambda: stubs.there)
        asking.send(b'{"jso')
        await asyncio.sleep(0.01)
        asking.vanish()
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert server.server.slots.taken == 1
        assert not stubs.there


async def test_half_closed_client_that_vanishes(tmp_path: Path) -> None:
    """A client that ended its input and then goes, while its request is in flight, is noticed."""
    stubs = Stubs(answers=False)
    async with offered(tmp_path, target=stubs, stalled_seconds=0.4) as server:
        client = await server.session()
        client.send(asks(1))
        client.writer.write_eof()
        await until(lambda: stubs.there)
        client.vanish()
        await until(lambda: not stubs.there)


# --- limits ---


@CARRIERS
async def test_one_more_than_the_limit(tmp_path: Path, carrier: str) -> None:
    """One connection more is told so at once; when one goes, there is room again (S4.16)."""
    async with offered(tmp_path, carrier=carrier, connections=2) as server:
        one, other = await server.session(), await server.session()
        third = await server.dial()
        error = (await third.greet())["error"]
        assert (error["data"]["code"], error["data"]["retryAfter"]) == ("core.too_many_connections", 1.0)
        assert await third.receive() is None
        assert (await one.ask())["result"] == {}
        other.writer.close()
        await until(lambda: server.server.slots.taken == 1)
        await server.session()


async def test_limit_is_given_back_on_every_way_out(tmp_path: Path) -> None:
    """Whatever becomes of a connection that has its place, the place is given back (S4.16)."""
    stubs = Stubs()
    async with offered(tmp_path, target=stubs, connections=1) as server:
        for fails in (False, True) * 3:
            stubs.fails = fails
            client = await server.session()
            answer = await client.ask()
            assert ("error" in answer) is fails
            if fails:
                assert answer["error"]["data"]["code"] == "core.not_started"
                assert await client.receive() is None
            else:
                client.vanish()
            await until(lambda: server.server.slots.taken == 0)


async def test_flood_of_silent_connections_keeps_nobody_out(tmp_path: Path) -> None:
    """However many connect and say nothing, whoever speaks is taken; the flood is a few events (A65, X.6)."""
    async with offered(tmp_path, connections=10) as server:
        silent = [await server.dial() for _ in range(300)]
        client = await server.session()
        assert (await client.ask())["result"] == {}
        assert len(server.server._arriving) <= 33
        told = [await one.receive() for one in silent[:100]]
        assert {answer["error"]["data"]["code"] for answer in told} == {"core.too_many_connections"}
        await until(lambda: sum(event.count for event in server.recorder.of("core.too_many_connections")) >= 260)
        assert len(server.recorder.of("core.too_many_connections")) <= 70
        for one in silent:
            one.vanish()


async def test_flood_of_refusals_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand refused connections are a few events that say how many there were (X.6, X.16)."""
    monkeypatch.setattr(stream, "credentials", lambda _: Credentials(4321, 4321, 99))
    async with offered(tmp_path) as server:
        for _ in range(200):
            assert (await (await server.dial()).ask())["error"]
        await until(lambda: sum(event.count for event in server.recorder.of("core.peer_user")) == 200)
        assert len(server.recorder.of("core.peer_user")) <= 70


# --- slow ones ---


@CARRIERS
async def test_message_that_does_not_end(tmp_path: Path, carrier: str) -> None:
    """A message that begins and does not end, byte by byte or not at all, ends its connection (A65)."""
    async with offered(tmp_path, carrier=carrier, stalled_seconds=0.4) as server:
        client, good = await server.session(), await server.session()
        assert (await client.ask())["result"] == {}
        sending = asyncio.get_running_loop().create_task(_drip(client))
        assert await client.receive() is None
        sending.cancel()
        event = await server.recorded("core.stalled")
        assert "does not end it" in event.details["reason"]
        assert (await good.ask())["result"] == {}


async def _drip(client: Any) -> None:
    client.send(b'{"jsonrpc":"2.0","id":1,"method":"pi')
    while True:
        await asyncio.sleep(0.02)
        client.send(b" ")


async def test_message_that_ends_in_time(tmp_path: Path) -> None:
    """A slow message that ends in time, again and again, is none that stalls."""
    async with offered(tmp_path, stalled_seconds=0.4) as server:
        client = await server.session()
        for number in range(5):
            text = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n' % number
            client.send(text[:9])
            await asyncio.sleep(0.2)
            client.send(text[9:] + text[:4].replace(b'{"js', b" \n  "))
            assert (await client.receive())["id"] == number
        assert "core.stalled" not in server.codes


@CARRIERS
async def test_client_that_does_not_read(tmp_path: Path, carrier: str) -> None:
    """Who does not read holds up his server, then is ended; what waits for him is bounded, others go on (A65)."""
    async with offered(
        tmp_path, carrier=carrier, stalled_seconds=0.5, toml="[core.bounds]\nbuffer_bytes = 65536"
    ) as server:
        client, good = await server.session(), await server.session()
        client.send(asks(0))
        await until(lambda: server.target.there)
        client.reads(False)
        stub = server.target.there[0]
        for _ in range(2000):
            stub.say(
                {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 9000}}
            )
        await until(lambda: stub._paused > 0)
        (served,) = (one for one in server.server._served if one.connection.id and one._stream.held)
        assert served._stream.held < 2_000_000
        event = await server.recorded("core.stalled")
        assert "does not read" in event.details["reason"]
        assert (await good.ask())["result"] == {}
        await until(lambda: len(server.target.there) == 1)


async def test_slow_reader_that_reads(tmp_path: Path) -> None:
    """Who reads slowly, but reads, is not ended."""
    async with offered(tmp_path, stalled_seconds=0.4, toml="[core.bounds]\nbuffer_bytes = 4096") as server:
        client = await server.session()
        client.send(asks(0))
        await until(lambda: server.target.there)
        stub = server.target.there[0]
        for _ in range(300):
            stub.say(
                {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 9000}}
            )
        got = 0
        for _ in range(20):
            got += len(await client.reader.read(100_000))
            await asyncio.sleep(0.05)
        assert "core.stalled" not in server.codes


# --- the end ---


async def test_half_close_finishes_what_is_in_flight(tmp_path: Path) -> None:
    """A client that ends its input gets what it asked for, then the end."""
    stubs = Stubs(answers=False)
    async with offered(tmp_path, target=stubs) as server:
        client = await server.session()
        client.send(asks(1), asks(2))
        client.writer.write_eof()
        await until(lambda: stubs.there and len(stubs.there[0].got) == 2)
        stubs.there[0].answer(2)
        assert (await client.receive())["id"] == 2
        stubs.there[0].answer(1)
        assert (await client.receive())["id"] == 1
        assert await client.receive() is None


@CARRIERS
async def test_server_that_goes(tmp_path: Path, carrier: str) -> None:
    """When the server goes, each request in flight gets an error, and the connection ends in order."""
    stubs = Stubs(answers=False)
    async with offered(tmp_path, carrier=carrier, target=stubs) as server:
        client = await server.session()
        client.send(asks(1), asks("two"))
        await until(lambda: stubs.there and len(stubs.there[0].got) == 2)
        stubs.there[0].answer(1)
        await client.receive()
        stubs.there[0].gone()
        answer = await client.receive()
        assert (answer["id"], answer["error"]["data"]["code"]) == ("two", "core.server_gone")
        assert await client.receive() is None
        assert (await server.recorded("core.server_gone")).severity == "warning"


@pytest.mark.parametrize("stuck", [False, True])
async def test_answer_that_came_before_its_server_went(tmp_path: Path, stuck: bool) -> None:
    """It passes a hook that takes its time; one that is kept whatever the deadline is answered with an error."""

    async def look(message: Message, _connection: Connection) -> None:
        if message.kind == "result" and not stuck:
            await asyncio.sleep(1.5)
        elif message.kind == "result":
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(3600)

    seconds = 0.1 if stuck else 30.0
    toml = f"[core.bounds]\ndeadline = {seconds}\nsink_deadline = {seconds}\n"
    stubs = Stubs(answers=False)
    async with offered(tmp_path, ring("slow", on_send=look), target=stubs, toml=toml) as server:
        client = await server.session()
        client.send(asks(1, "tools/call") | {"params": {"name": "pay"}})
        await until(lambda: stubs.there and stubs.there[0].got)
        stubs.there[0].answer(1)
        stubs.there[0].gone()
        answer = await client.receive()
        assert answer["id"] == 1
        assert ("result" in answer) is not stuck
        assert answer.get("error", {}).get("data", {}).get("code") == ("core.server_gone" if stuck else None)
        assert await client.receive() is None
        await server.recorded("core.closed" if stuck else "core.answered")
        assert server.recorder.of("core.answered" if stuck else "core.closed") == []


@CARRIERS
async def test_drain(tmp_path: Path, carrier: str) -> None:
    """Told to end, it accepts nobody, refuses what is new, finishes what is in flight, and loses nothing."""
    stubs = Stubs(answers=False)
    async with offered(tmp_path, carrier=carrier, target=stubs) as server:
        client, idle, arriving = await server.session(), await server.session(), await server.dial()
        client.send(asks(1), asks(2))
        await until(lambda: stubs.there and len(stubs.there[0].got) == 2)
        stub = stubs.there[0]
        server.server.stop()
        assert await idle.receive() is None
        assert await arriving.receive() is None
        with pytest.raises((ConnectionError, FileNotFoundError)):
            await server.dial()
        assert carrier == "tls" or not server.address.path.exists()
        refused = await client.ask(asks(3))
        assert (refused["id"], refused["error"]["data"]["code"]) == (3, "core.draining")
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
        await until(lambda: len(stub.got) == 3)
        stub.answer(1)
        assert (await client.receive())["id"] == 1
        assert await client.receive() is None
        await asyncio.wait_for(server.running, 5)
        assert not server.server.lost
        assert [message.get("id") for message in stub.got] == [1, 2, None]


async def test_drain_has_an_end(tmp_path: Path) -> None:
    """What is not answered within ``drain_seconds`` gets an error, and counts as lost."""
    stubs = Stubs(answers=False)
    async with offered(tmp_path, target=stubs, drain_seconds=0.2) as server:
        client = await server.session()
        client.send(asks(1))
        await until(lambda: stubs.there)
        server.server.stop()
        answer = await client.receive()
        assert (answer["id"], answer["error"]["data"]["code"]) == (1, "core.draining")
        assert await client.receive() is None
        await asyncio.wait_for(server.running, 5)
        assert server.server.lost


async def test_second_word_ends_it_at_once(tmp_path: Path) -> None:
    """Told twice, it ends at once, whatever is in flight."""
    stubs = Stubs(answers=False)
    async with offered(tmp_path, target=stubs, drain_seconds=60) as server:
        client = await server.session()
        client.send(asks(1))
        await until(lambda: stubs.there)
        server.server.stop()
        await asyncio.sleep(0.01)
        server.server.stop()
        await asyncio.wait_for(server.running, 5)
        assert (server.server.lost, stubs.killed) == (True, True)


# --- the socket ---


async def test_removed_socket_is_bound_anew(tmp_path: Path) -> None:
    """A socket whose path is removed is there again, with an event; who is connected stays (X.16)."""
    async with offered(tmp_path, stalled_seconds=0.2) as server:
        client = await server.session()
        server.address.path.unlink()
        await until(server.address.path.exists)
        await server.session()
        assert (await client.ask())["result"] == {}
        assert server.recorder.of("core.socket_lost")[0].severity == "critical"


@pytest.mark.parametrize("what", ["file", "link", "socket"])
async def test_squatted_socket_ends_it(tmp_path: Path, what: str) -> None:
    """A path that is somebody else's now is given up with an event, and left as it is: nobody would reach us (A80)."""
    async with offered(tmp_path, stalled_seconds=0.2) as server:
        path = server.address.path
        path.unlink()
        if what == "file":
            path.write_text("")
        elif what == "link":
            path.symlink_to("elsewhere")
        else:
            squatter = socket.socket(socket.AF_UNIX)
            squatter.bind(str(path))
            squatter.close()
        await asyncio.wait_for(server.running, 5)
        assert "replaced" in server.recorder.of("core.socket_lost")[0].details["reason"]
        assert path in list(path.parent.iterdir())
        assert not server.server.reachable
