"""``hauberk connect`` and requests that are lost: what is asked again, what is not, and that each is counted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.listening import Listener, listener
from tests.prose import DOCS
from tests.running import PATIENCE, PING, WITNESS, Running, configure, readable
from tests.serving import until_true
from tests.test_connect import CALL, INITIALIZED, LIST, SERVED, Pipes, codes, connecting, event, lose, meet, shake

from hauberk import Config
from hauberk.guard import Guard
from hauberk.hosts import connect
from hauberk.hosts._repeats import BACKOFF, READS
from hauberk.hosts._replay import Kept

READ: dict[str, Any] = {"jsonrpc": "2.0", "id": 5, "method": "resources/read", "params": {"uri": "note://1"}}
LOOK: dict[str, Any] = {"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": {"name": "look", "arguments": {}}}
RETRY = '[server.files.retry]\ntools = ["look"]\n'
COUNTED = (
    WITNESS
    + """
    @hookimpl
    def on_tool_call(self, call, connection):
        with open({path!r} + ".calls", "a") as file:
            file.write(f"{call.name}\\n")
        if DENIED and len(open({path!r} + ".calls").readlines()) >= DENIED:
            from hauberk import Deny
            return Deny("policy.enough", "enough")
"""
)
"""A policy that writes down each call that is judged, and denies from one on."""


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Listener]:
    with listener(tmp_path) as made:
        yield made


def options(folder: Path, text: str = RETRY, denied: int = 0) -> list[str]:
    return configure(folder, text, policy=COUNTED.replace("DENIED", str(denied)))


def judged(folder: Path) -> list[str]:
    path = folder / "events.calls"
    return path.read_text().split() if path.exists() else []


def lost(client: Running, there: Listener, asked: dict[str, Any]) -> None:
    """Let a request be lost with its connection, and nobody be there to be asked again."""
    server = meet(client, there)
    there.leave()
    client.send(asked)
    server.receive()
    lose(client, server)


# --- asked again ---


@pytest.mark.parametrize("asked", [READ, LOOK, LIST], ids=["resource", "named tool", "list"])
def test_lost_request_is_asked_again(tmp_path: Path, there: Listener, asked: dict[str, Any]) -> None:
    """A server that dies in the middle is asked once more, under the client's id; the client has one answer (S4.21)."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        server = meet(client, there)
        client.send(asked)
        assert server.receive() == asked
        server.close()
        server = there.welcome()
        assert server.receive() == asked
        server.answer(asked, contents=[], content=[], tools=[])
        assert client.receive()["id"] == asked["id"]
        assert client.end() == 0
        again = event(client, "core.repeated")
        assert (again["method"], again["details"]["tries"]) == (asked["method"], 2)
        assert judged(tmp_path) == (["look", "look"] if asked is LOOK else [])
        if asked is LOOK:
            decisions = [one for one in client.events() if one.get("category") == "decision"]
            assert len({one["exchange"] for one in decisions}) == 2, "each try is recorded as what it is"
            outcomes = [one["code"] for one in client.events() if one.get("category") == "outcome"]
            assert outcomes == ["core.closed", "core.answered"]


def test_server_that_always_dies_is_asked_three_times(tmp_path: Path, there: Listener) -> None:
    """A request that kills its server is asked three times in all; then the client is told that it was lost (S4.21)."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        server = meet(client, there)
        client.send(LOOK)
        for _ in range(3):
            assert server.receive() == LOOK
            server.close()
            server = there.welcome()
        error = client.receive()["error"]
        assert error["data"]["code"] == "core.connection_lost"
        client.send(LIST)
        assert server.receive() == LIST
        assert judged(tmp_path) == ["look"] * 3
        assert codes(client).count("core.repeated") == 2


def test_first_request_may_be_repeated(tmp_path: Path, there: Listener) -> None:
    """A server that dies at the very first request is dialled again for what may be asked again."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        server = there.welcome()
        client.send(LIST)
        server.receive()
        server.close()
        server = there.welcome()
        server.answer(server.receive(), tools=[])
        assert client.receive()["result"] == {"tools": []}
        assert client.end() == 0


def test_session_is_taken_up_before(tmp_path: Path, there: Listener) -> None:
    """With a handshake, that is done again first; what the client said meanwhile is asked too, and each once."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        server = there.welcome()
        shake(client, server)
        client.send(READ)
        server.receive()
        lose(client, server)
        client.send(LIST)
        server = there.welcome()
        asked = server.receive()
        assert asked["method"] == "initialize"
        server.answer(asked, **SERVED)
        assert server.receive() == INITIALIZED
        got = [server.receive(), server.receive()]
        assert sorted(one["id"] for one in got) == [LIST["id"], READ["id"]]
        for one in got:
            server.answer(one, tools=[], contents=[])
        answers = [client.receive() for _ in range(4)]
        assert sorted(one["id"] for one in answers if "id" in one) == [LIST["id"], READ["id"]]
        assert client.end() == 0


def test_end_of_input_waits_for_what_is_asked_again(tmp_path: Path, there: Listener) -> None:
    """A client that has closed its end still gets its answer, from the next connection."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        server = meet(client, there)
        client.send(READ)
        server.receive()
        client.close()
        server.close()
        server = there.welcome()
        server.answer(server.receive(), contents=[])
        assert client.rest() == [{"jsonrpc": "2.0", "id": 5, "result": {"contents": []}}]
        assert client.status() == 0


# --- not asked again ---


def test_nothing_is_asked_again_without_the_table(tmp_path: Path, there: Listener) -> None:
    """Without ``[server.NAME.retry]`` the most harmless read is lost with its connection."""
    with connecting(tmp_path, there, options=options(tmp_path, "")) as client:
        server = meet(client, there)
        client.send(READ)
        server.receive()
        server.close()
        assert client.receive()["error"]["data"]["code"] == "core.connection_lost"


def test_what_a_server_says_of_its_tools_is_not_believed(tmp_path: Path, there: Listener) -> None:
    """A tool with every harmless hint is called once, as long as nobody but its server vouches for it."""
    hints = {"idempotentHint": True, "readOnlyHint": True, "destructiveHint": False}
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        server = meet(client, there)
        client.send(LIST)
        tool = {"name": "pay", "inputSchema": {"type": "object"}, "annotations": hints}
        server.answer(server.receive(), tools=[tool])
        assert client.receive()["result"]["tools"][0]["annotations"] == hints
        client.send(CALL)
        assert server.receive() == CALL
        server.close()
        assert client.receive()["error"]["data"]["code"] == "core.connection_lost"
        server = meet(client, there)
        assert judged(tmp_path) == ["pay"]
        assert client.end() == 0
        assert server.receive() is None


def test_error_is_an_answer(tmp_path: Path, there: Listener) -> None:
    """What the server answers with an error, whichever, reaches the client, and is not asked again."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        server = meet(client, there)
        client.send(LOOK)
        server.receive()
        server.send({"jsonrpc": "2.0", "id": 6, "error": {"code": -32603, "message": "busy"}})
        assert client.receive()["error"]["code"] == -32603
        assert client.end() == 0
        assert server.receive() is None
        assert judged(tmp_path) == ["look"]


def test_each_try_meets_every_rule(tmp_path: Path, there: Listener) -> None:
    """A repetition that is denied is answered so, and neither sent nor tried once more."""
    with connecting(tmp_path, there, options=options(tmp_path, denied=2)) as client:
        server = meet(client, there)
        client.send(LOOK)
        server.receive()
        server.close()
        server = there.welcome()
        assert client.receive()["error"]["data"]["code"] == "policy.enough"
        server.close()
        server = meet(client, there)
        assert judged(tmp_path) == ["look", "look"]
        assert client.end() == 0
        assert server.receive() is None


def test_each_try_is_charged(tmp_path: Path, there: Listener) -> None:
    """A limit of two calls lets a lost one be asked again once: what was sent is paid for, lost or not (S4.15)."""
    arguments = options(tmp_path)
    path = tmp_path / "hauberk.toml"
    written = path.read_text().replace('"ratelimit", ', "")
    path.write_text(f'core.state_dir = "{tmp_path}/state"\n{written}\n[ratelimit]\nglobal = "2/hour"\n')
    with connecting(tmp_path, there, options=arguments) as client:
        server = there.welcome()
        client.send(LOOK)
        for _ in range(2):
            assert server.receive() == LOOK
            server.close()
            server = there.welcome()
        error = client.receive()["error"]
        assert error["data"]["code"] == "ratelimit.exceeded"
        assert client.end() == 0
        assert server.receive() is None
        assert judged(tmp_path) == ["look"] * 3


def test_cancelled_request_is_not_asked_again(tmp_path: Path, there: Listener) -> None:
    """What the client takes back while nobody is there is neither asked nor answered, and the word goes no further."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        lost(client, there, READ)
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
        client.send(LIST)
        there.listen()
        server = there.welcome()
        assert server.receive() == LIST
        server.answer(LIST, tools=[])
        assert client.receive()["id"] == LIST["id"]
        assert client.end() == 0
        assert server.receive() is None


def test_connection_that_a_plugin_hung_up_loses_all(tmp_path: Path, there: Listener) -> None:
    """A plugin that hangs up has refused what was on it: nothing of that is asked again."""
    policy = (
        COUNTED.replace("DENIED", "0")
        + """
    @hookimpl
    def on_receive(self, message, connection):
        if message.method == "notifications/message":
            connection.hang_up("policy.no_more")
"""
    )
    with connecting(tmp_path, there, options=configure(tmp_path, RETRY, policy=policy)) as client:
        server = meet(client, there)
        client.send(READ)
        server.receive()
        server.send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}})
        assert client.receive()["method"] == "notifications/message"
        assert client.receive()["error"]["data"]["code"] == "core.connection_lost"


def test_request_that_is_too_late_is_told_so(tmp_path: Path, there: Listener) -> None:
    """``core.request_timeout`` holds for all tries together: while nobody is there, too (S4.21)."""
    text = f"[core]\nrequest_timeout = 4.0\n{RETRY}"
    with connecting(tmp_path, there, options=options(tmp_path, text)) as client:
        server = meet(client, there)
        there.leave()
        client.send(READ)
        server.receive()
        server.close()
        error = client.receive()["error"]
        assert error["data"]["code"] == "core.timed_out"
        there.listen()
        server = there.welcome()
        client.send(LIST)
        assert server.receive() == LIST
        server.answer(LIST, tools=[])
        assert client.receive()["id"] == LIST["id"]
        assert client.end() == 0
        told = event(client, "core.timed_out")
        assert (told["category"], told["action"], told["method"]) == ("refusal", "blocked", "resources/read")


def test_who_cannot_be_dialled_again_is_told_so(tmp_path: Path, there: Listener) -> None:
    """Where a check refuses the next connection, what was sent is lost, and what was not is answered with that."""
    policy = (
        COUNTED.replace("DENIED", "0")
        + """
    met = 0

    @hookimpl
    def on_connect(self, connection):
        from hauberk.refusals import Refused
        Policy.met += 1
        if Policy.met > 1:
            raise Refused("policy.again", "no", plugin="policy")
"""
    )
    with connecting(tmp_path, there, options=configure(tmp_path, RETRY, policy=policy)) as client:
        server = meet(client, there)
        client.send(READ)
        server.receive()
        there.leave()
        lose(client, server)
        client.send(READ | {"id": "+5"}, LIST)
        there.listen()
        answers = {str(one["id"]): one["error"]["data"] for one in client.rest()}
        assert {id: one["code"] for id, one in answers.items()} == {
            "5": "core.connection_lost",
            "None": "policy.again",
            "3": "policy.again",
        }
        assert answers["5"]["hint"] == "it may have been done or not; look before you ask again"
        assert client.status() == 125
        told = event(client, "core.not_repeated")
        assert (told["method"], told["details"]["tries"]) == ("resources/read", 1)


def test_reload_stops_what_waits(tmp_path: Path, there: Listener) -> None:
    """A tool that the operator takes back is not asked again, though its call was lost before; its client is told."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        lost(client, there, LOOK)
        options(tmp_path, RETRY.replace("look", "other"))
        client.signal(signal.SIGHUP)
        until_true(lambda: "the policy is now" in client.stderr())
        there.listen()
        server = there.welcome()
        answer = client.receive()
        assert (answer["id"], answer["error"]["data"]["code"]) == (6, "core.connection_lost")
        client.send(LIST)
        assert server.receive() == LIST
        server.answer(LIST, tools=[])
        assert client.receive()["id"] == LIST["id"]
        assert client.end() == 0
        assert judged(tmp_path) == ["look"]
        assert event(client, "core.not_repeated")["tool"] == "look"


def test_id_of_what_waits_is_in_flight(tmp_path: Path, there: Listener) -> None:
    """Another request under it is refused, under no id, and not sent; the first one has its answer."""
    with connecting(tmp_path, there, options=options(tmp_path)) as client:
        lost(client, there, READ)
        client.send(LOOK | {"id": "+5"})
        there.listen()
        server = there.welcome()
        refused = client.receive()
        assert (refused["id"], refused["error"]["data"]["code"]) == (None, "core.id_in_flight")
        assert server.receive() == READ
        server.answer(READ, contents=[])
        assert client.receive() == {"jsonrpc": "2.0", "id": 5, "result": {"contents": []}}
        assert client.end() == 0
        assert server.receive() is None
        assert judged(tmp_path) == []


# --- a connection that nobody has need of ---


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close()


class Silent:
    """A server that answers, and hangs up when nobody says anything; it counts who comes."""

    def __init__(self) -> None:
        self.met = 0
        self.refuses = False
        self.got: list[Any] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        self.writers.append(writer)
        while found := await reader.readline():
            message = json.loads(found)
            self.got.append(message["method"])
            if "id" in message:
                refused = self.refuses and message["method"] == "resources/subscribe"
                said = {"error": {"code": -32602, "message": "no"}} if refused else {"result": {}}
                writer.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}).encode() + b"\n")
        writer.close()


async def answered(pipes: Pipes, message: dict[str, Any]) -> Any:
    pipes.ask(message)
    assert await asyncio.to_thread(readable, pipes.read, PATIENCE), "no answer came"
    return json.loads(os.read(pipes.read, 4096))


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a condition of anybody's
            await asyncio.sleep(0.005)


SUBSCRIBE = {"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": {"uri": "note://1"}}
UNSUBSCRIBE = SUBSCRIBE | {"id": 3, "method": "resources/unsubscribe"}
LEVEL = {"jsonrpc": "2.0", "id": 4, "method": "logging/setLevel", "params": {"level": "debug"}}


@pytest.mark.parametrize("why", ["nothing", "level", "refused", "taken back", "news", "plugin"])
async def test_connection_that_ended_in_silence_is_dialled_when_it_is_needed(
    there: Listener, pipes: Pipes, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Else it would be ended and made again, with a child each time, for as long as nobody wants anything (S4.21).

    Who waits for news of a resource has need of one at once; and where a plugin hung up, the lists may be others. A
    level of logging is no need, nor is a subscription that there is not: they hold no connection at the other end
    (`hauberk_bulkhead._idle`), so each would be dialled and ended for ever.
    """
    monkeypatch.setattr(connect, "_QUIET", 0.0)
    there.leave()
    silent = Silent()
    guard = Guard(Config.from_toml(""))
    async with await asyncio.start_unix_server(silent.serve, there.path), guard:
        connecting = connect.Connect(guard, "files", there.url, pipes.stdin, pipes.stdout)
        running = asyncio.create_task(connecting.run())
        assert (await answered(pipes, PING))["result"] == {}
        silent.refuses = why == "refused"
        for asked in {"news": [SUBSCRIBE], "refused": [SUBSCRIBE], "taken back": [SUBSCRIBE, UNSUBSCRIBE]}.get(why, []):
            assert (await answered(pipes, asked))["id"] == asked["id"]
        if why == "level":
            assert (await answered(pipes, LEVEL))["id"] == 4
        if why == "plugin":
            connecting.session.connection.hang_up("policy.changed")
        else:
            silent.writers[-1].close()
        await until(lambda: connecting._rests or silent.met == 2)
        needed = why in ("news", "plugin")
        assert connecting._rests is not needed
        for _ in range(50):
            await asyncio.sleep(0.01)
        assert silent.met == (2 if needed else 1)
        assert (await answered(pipes, PING | {"id": 9}))["id"] == 9
        assert silent.met == 2
        assert silent.got.count("ping") == 4, "each connection, and what the client asked, once"
        running.cancel()
        await asyncio.wait([running])


def test_subscription_that_is_refused_later_is_no_need() -> None:
    """It is said again on each connection, and counts on those whose server takes it: no other holds one for it."""
    kept = Kept()
    kept.said(json.dumps(SUBSCRIBE).encode())
    assert not kept.expects_news
    kept.answered(2, {"result": {}})
    for answer, needed in (({"error": {"code": -32602}}, False), ({"result": {}}, True), (None, True)):
        (again,) = kept.rest()
        kept.said_again(again, answer)
        assert kept.expects_news is needed
    kept.said(json.dumps(UNSUBSCRIBE).encode())
    kept.answered(3, {"result": {}})
    assert (kept.rest(), kept.expects_news) == ([], False)


async def test_connections_that_end_soon_are_not_made_for_nobody_for_ever(there: Listener, pipes: Pipes) -> None:
    """However soon silence ends them: after two that the client did not use, the next waits for its word (S4.21)."""
    there.leave()
    silent = Silent()
    guard = Guard(Config.from_toml(""))
    async with await asyncio.start_unix_server(silent.serve, there.path), guard:
        connecting = connect.Connect(guard, "files", there.url, pipes.stdin, pipes.stdout)
        running = asyncio.create_task(connecting.run())
        for number in (1, 2):  # and once more, after a word of the client
            assert (await answered(pipes, PING | {"id": number}))["id"] == number
            for _ in range(3):  # the one that it used, and two
                met = silent.met
                await until(lambda: not connecting._holding)
                connecting._rests = False
                silent.writers[-1].close()
                await until(lambda met=met: silent.met > met or connecting._rests)
            assert connecting._rests
            assert connecting._kept.unused == 2
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])


def test_page_says_how_long() -> None:
    """The page names the constants that are in force (S4.21)."""
    text = " ".join((DOCS / "connect.md").read_text(encoding="utf-8").split())
    assert f"ends after {connect._QUIET:.0f} seconds in which nobody said anything" in text
    first, most = f"{BACKOFF.first:g} seconds after the loss", f"up to {BACKOFF.most:g} seconds"
    assert f"{first}, then twice as long each time {most}, a tenth of it by chance" in text
    assert (BACKOFF.factor, BACKOFF.jitter) == (2.0, 0.1)
    assert all(f"`{method}`" in text for method in READS if not method.endswith("/list"))


async def test_silent_connections_end_it_never(there: Listener, pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing on a connection that lasted is none that closes what it takes: nothing was asked."""
    monkeypatch.setattr(connect, "_QUIET", 0.0)
    monkeypatch.setattr(connect, "_SETTLED", 0.0)
    monkeypatch.setattr(connect, "RECONNECT_SECONDS", 0.0)
    there.leave()
    silent = Silent()
    guard = Guard(Config.from_toml(""))
    async with await asyncio.start_unix_server(silent.serve, there.path), guard:
        connecting = connect.Connect(guard, "files", there.url, pipes.stdin, pipes.stdout)
        running = asyncio.create_task(connecting.run())
        assert (await answered(pipes, PING))["result"] == {}
        for number in range(1, 4):
            connecting._rests = False
            silent.writers[-1].close()
            await until(lambda: connecting._rests or running.done())
            await asyncio.sleep(0.3)  # more than the first attempt would wait
            assert silent.met == number, "each time it waits for a word"
            pipes.ask({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
            await until(lambda n=number: silent.got.count("notifications/roots/list_changed") == n or running.done())
        assert not running.done()
        assert (await answered(pipes, PING | {"id": 9}))["id"] == 9
        running.cancel()
        await asyncio.wait([running])
