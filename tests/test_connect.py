"""``hauberk connect`` from end to end: a client on pipes, the guard, and a server at a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.core import secured
from tests.listening import Accepted, Listener, listener
from tests.prose import DOCS, block
from tests.running import ANSWERING, KEEPING, PATIENCE, PING, SLOW, Running, configure, environment, guarding, line
from tests.running import server as program
from tests.serving import serving

from hauberk import plugins
from hauberk.cli import _connect
from hauberk.cli.connect import command as command_of_click
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.hosts import connect
from hauberk.refusals import Refused

ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {}}
CALL = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "pay", "arguments": {"sum": 1}}}
LIST = {"jsonrpc": "2.0", "id": 3, "method": "tools/list"}
REVISION = "2025-11-25"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": REVISION,
        "capabilities": {"roots": {}},
        "clientInfo": {"name": "a client", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
SERVED: dict[str, Any] = {
    "protocolVersion": REVISION,
    "capabilities": {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}},
    "serverInfo": {"name": "files", "version": "1"},
}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Listener]:
    with listener(tmp_path) as made:
        yield made


@contextlib.contextmanager
def connecting(
    folder: Path, there: Listener | str, *, options: Sequence[str] | None = None, **channels: Any
) -> Iterator[Running]:
    """Run ``hauberk connect`` with the address of a listener, or other words."""
    word = there if isinstance(there, str) else there.url
    arguments = configure(folder) if options is None else options
    with guarding(folder, ["connect", *arguments, word], **channels) as started:
        yield started


def codes(client: Running) -> list[str]:
    return [event["code"] for event in client.events()]


def event(client: Running, code: str) -> Any:
    return next(event for event in client.events() if event["code"] == code)


def lose(client: Running, server: Accepted) -> None:
    """Close a connection, and wait until that has been noticed: what is sent before then is sent to nobody."""
    before = codes(client).count("core.connection_lost")
    server.close()
    until = time.monotonic() + PATIENCE
    while codes(client).count("core.connection_lost") == before:
        assert time.monotonic() < until, "nobody noticed"
        time.sleep(0.01)


def shake(client: Running, server: Accepted, **other: Any) -> None:
    """Let a client and a server of a revision with a handshake meet."""
    client.send(INITIALIZE)
    asked = server.receive()
    assert asked == INITIALIZE
    server.answer(asked, **(SERVED | other))
    assert client.receive()["result"]["protocolVersion"] == REVISION
    client.send(INITIALIZED)
    assert server.receive() == INITIALIZED


# --- what passes ---


def test_request_and_answer_pass(tmp_path: Path, there: Listener) -> None:
    """A request reaches the server and its answer the client; the end of input closes the connection: status 0."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        client.send(PING)
        server.answer(server.receive())
        assert client.receive() == ANSWER
        assert client.end() == 0
        assert server.receive() is None
        assert client.stderr() == ""
        assert codes(client)[2:] == ["core.connected", "core.disconnected", "core.stopped"]
        assert event(client, "core.connected")["server"] == "files"


def test_what_waits_in_the_pipe_is_finished(tmp_path: Path, there: Listener) -> None:
    """At the end of input what is in flight is finished: the connection stays until the last answer has come."""
    with connecting(tmp_path, there) as client:
        client.send(CALL, LIST)
        client.close()
        server = there.welcome()
        first, second = server.receive(), server.receive()
        server.answer(second, tools=[])
        server.answer(first, content=[])
        assert [answer["id"] for answer in client.rest()] == [3, 2]
        assert client.status() == 0
        assert server.receive() is None


def test_a_server_of_the_configuration(tmp_path: Path, there: Listener) -> None:
    """``hauberk connect NAME`` dials what ``[server.NAME]`` says, under that name."""
    options = configure(tmp_path, f'[server.notes]\nsocket = "{there.path}"')
    with connecting(tmp_path, "notes", options=options) as client:
        there.welcome()
        assert client.end() == 0
        assert event(client, "core.connected")["server"] == "notes"


def test_an_address_with_a_name(tmp_path: Path, there: Listener) -> None:
    """``--server`` names an address in rules and events."""
    with connecting(tmp_path, there, options=[*configure(tmp_path), "--server", "notes"]) as client:
        there.welcome()
        assert client.end() == 0
        assert event(client, "core.connected")["server"] == "notes"


def test_guarded_as_any_server(tmp_path: Path, there: Listener) -> None:
    """Rules hold: a denied call does not reach the server."""
    policy = """
from hauberk import Deny, Options, hookimpl
class Policy:
    name = "policy"
    Options = Options
    def __init__(self, options, guard): pass
    @hookimpl
    def on_tool_call(self, call, connection):
        return Deny("policy.no", "no")
"""
    with connecting(tmp_path, there, options=configure(tmp_path, policy=policy)) as client:
        server = there.welcome()
        assert client.ask(CALL)["error"]["data"]["code"] == "policy.no"
        client.send(PING)
        assert server.receive() == PING


# --- no connection ---


@pytest.mark.parametrize("word", ["unix:///nowhere/files.sock", "tls://127.0.0.1:9"])
def test_nobody_is_there(tmp_path: Path, word: str) -> None:
    """Without a connection the status is 125, with what is wrong and what to do, and nothing on standard output."""
    with connecting(tmp_path, word) as client:
        assert client.line() == b""
        assert client.status() == 125
        what, hint = client.stderr().splitlines()
        assert what.startswith(
            "hauberk: nobody answers at unix:" if word[0] == "u" else "hauberk: tls://127.0.0.1:9 needs"
        )
        assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "there is no server 'nobody' (servers: child, web)"),
        (["child"], "[server.child] has a command, which is started and not dialled\nhint: hauberk run child"),
        (["web"], "[server.web] has neither a socket nor a url of tls://"),
        (["http://127.0.0.1:9"], "'http://127.0.0.1:9' is no address"),
        (["unix://relative"], "'unix://relative' is no address"),
        (["--server", "x", "child"], "--server names an address, and 'child' has its name"),
        (["child", "web"], "several words: give a server's NAME, tls://HOST:PORT or unix:///PATH"),
        ([], "nothing to connect to: give a server's NAME, tls://HOST:PORT or unix:///PATH"),
        (["--server", "a/b", "unix:///x"], "'a/b' cannot name a server"),
        (["-p", "sieve", "unix:///x"], "-p takes no:NAME, got 'sieve'"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path: Path, words: list[str], said: str) -> None:
    """A mistake in the command line is named, with status 125."""
    text = '[server.child]\ncommand = "x"\n[server.web]\nurl = "https://web.example/mcp"'
    with guarding(tmp_path, ["connect", *configure(tmp_path, text), *words]) as client:
        assert client.status() == 125
        assert said in client.stderr()


def test_a_name_to_run(tmp_path: Path) -> None:
    """``hauberk run`` sends whoever names a server that is dialled to ``hauberk connect``."""
    with guarding(tmp_path, ["run", *configure(tmp_path, '[server.s]\nurl = "tls://h:1"'), "s"]) as client:
        assert client.status() == 125
        assert "hint: hauberk connect s" in client.stderr()


def test_lost_before_anything_was_answered(tmp_path: Path, there: Listener) -> None:
    """A server that goes before its first answer is not dialled again: the client gets an error, the status is 125."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        client.send(INITIALIZE)
        server.receive()
        server.close()
        assert client.receive()["error"]["data"]["code"] == "core.connection_lost"
        assert client.status() == 125
        assert "closed the connection before it answered anything" in client.stderr()


# --- the end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal(tmp_path: Path, there: Listener, number: signal.Signals) -> None:
    """A signal ends it with 128 and its number, and closes the connection; nobody waits for answers."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        client.send(CALL)
        server.receive()
        client.signal(number)
        assert client.status() == 128 + number
        assert server.receive() is None


def test_a_signal_while_it_dials(tmp_path: Path, there: Listener) -> None:
    """A signal ends it while the server has not answered yet."""
    with connecting(tmp_path, there) as client:
        server = there.accept()
        assert server.receive()["method"] == "ping"
        client.signal(signal.SIGTERM)
        assert client.status() == 128 + signal.SIGTERM


def test_a_client_that_has_gone(tmp_path: Path, there: Listener) -> None:
    """A client that reads no more ends it, as SIGPIPE would."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        assert client.process.stdout is not None
        client.process.stdout.close()
        assert client.status() == 128 + signal.SIGPIPE
        assert server.receive() is None


def test_a_hangup_reloads(tmp_path: Path, there: Listener) -> None:
    """SIGHUP reads the configuration again and ends nothing."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        client.send(PING)
        server.answer(server.receive())
        client.receive()
        client.signal(signal.SIGHUP)
        client.send(PING)
        server.answer(server.receive())
        assert client.receive() == ANSWER
        assert client.end() == 0


# --- lost, and dialled again ---


def meet(client: Running, there: Listener) -> Accepted:
    """Let a client ask something and be answered."""
    server = there.welcome()
    client.send(PING)
    server.answer(server.receive())
    assert client.receive() == ANSWER
    return server


def test_what_was_in_flight_is_not_sent_again(tmp_path: Path, there: Listener) -> None:
    """What was in flight is answered with an error that tells, and is not sent again on the next connection."""
    with connecting(tmp_path, there) as client:
        server = meet(client, there)
        client.send(CALL)
        assert server.receive() == CALL
        server.close()
        error = client.receive()
        assert (error["id"], error["error"]["data"]["code"]) == (2, "core.connection_lost")
        assert error["error"]["data"]["hint"] == "it may have been done or not; look before you ask again"
        client.send(LIST)
        server = there.welcome()
        assert server.receive() == LIST
        server.answer(LIST, tools=[])
        assert client.receive()["id"] == 3
        assert client.end() == 0
        assert server.receive() is None
        lost, again = event(client, "core.connection_lost"), event(client, "core.reconnected")
        assert lost["details"] == {"target": there.url, "why": "the server closed it", "unanswered": 1}
        assert again["details"]["attempts"] >= 1
        assert codes(client).count("core.connected") == 2


def test_answer_that_had_come_passes(tmp_path: Path, there: Listener) -> None:
    """What the server said before the connection was lost passes a hook that takes its time, within its deadline."""
    slow = SLOW.replace("BODY", "await asyncio.sleep(3)")
    options = configure(tmp_path, "[core.bounds]\ndeadline = 30.0", policy=slow)
    with connecting(tmp_path, there, options=options) as client:
        server = meet(client, there)
        client.send(CALL)
        server.answer(server.receive(), content=[])
        server.close()
        assert client.receive() == {"jsonrpc": "2.0", "id": 2, "result": {"content": []}}
        meet(client, there)
        assert client.end() == 0
        assert event(client, "core.connection_lost")["details"]["unanswered"] == 0
        assert codes(client).count("core.answered") == 1


@pytest.mark.parametrize("retry", ["", '[server.files.retry]\ntools = ["pay"]\n'], ids=["once", "retry"])
def test_answer_that_cannot_pass_is_an_error(tmp_path: Path, there: Listener, retry: str) -> None:
    """One that a hook keeps for ever, whatever its deadline, is told to be lost; it had come, so nobody asks again."""
    options = configure(tmp_path, f"{retry}[core.bounds]\ndeadline = 0.1\nsink_deadline = 0.1", policy=KEEPING)
    with connecting(tmp_path, there, options=options) as client:
        server = meet(client, there)
        client.send(CALL)
        server.answer(server.receive(), content=[])
        server.close()
        answer = client.receive()
        assert (answer["id"], answer["error"]["data"]["code"]) == (2, "core.connection_lost")
        server = meet(client, there)
        assert client.end() == 0
        assert server.receive() is None
        assert event(client, "core.connection_lost")["details"]["unanswered"] == 1
        assert [one["code"] for one in client.events() if one.get("category") == "outcome"] == ["core.closed"]


def test_what_is_asked_meanwhile_waits(tmp_path: Path, there: Listener) -> None:
    """What a client says while there is no connection waits, and is sent once, in order, when there is one."""
    with connecting(tmp_path, there) as client:
        server = meet(client, there)
        there.leave()
        lose(client, server)
        several = [PING | {"id": number} for number in range(100, 600)]
        client.send(*several)
        there.listen()
        server = there.welcome()
        for asked in several:
            assert server.receive() == asked
            server.answer(asked)
        assert [client.receive()["id"] for _ in several] == list(range(100, 600))
        assert client.end() == 0


def test_what_waits_is_bounded(tmp_path: Path, there: Listener) -> None:
    """A client that says more than is held is held up itself; nothing of it is lost."""
    options = configure(tmp_path, "[core.bounds]\nbuffer_bytes = 100_000")
    with connecting(tmp_path, there, options=options) as client:
        server = meet(client, there)
        there.leave()
        lose(client, server)
        assert client.process.stdin is not None
        text = b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":{"_meta":{"x":"%s"}}}\n'
        assert filled(client.process.stdin.fileno(), text % (b"x" * 1000), 20_000_000) < 5_000_000
        there.listen()
        server = there.welcome()
        assert server.receive()["method"] == "notifications/roots/list_changed"
        assert client.resident() < 200_000_000


def filled(fd: int, text: bytes, most: int) -> int:
    """Write to a pipe until nobody reads it any more; return how much went in."""
    os.set_blocking(fd, False)
    sent = 0
    while sent < most and select.select([], [fd], [], 1.0)[1]:
        sent += os.write(fd, text)
    return sent


def test_the_end_of_input_while_it_is_lost(tmp_path: Path, there: Listener) -> None:
    """A client that ends while there is no connection, with nothing to be sent, is not kept: status 0."""
    with connecting(tmp_path, there) as client:
        server = meet(client, there)
        there.leave()
        lose(client, server)
        assert client.end() == 0


def test_the_last_words_are_sent(tmp_path: Path, there: Listener) -> None:
    """What a client said before it ended is sent on the next connection all the same, and answered."""
    with connecting(tmp_path, there) as client:
        server = meet(client, there)
        there.leave()
        lose(client, server)
        client.send(LIST)
        client.close()
        there.listen()
        server = there.welcome()
        server.answer(server.receive(), tools=[])
        assert [answer["id"] for answer in client.rest()] == [3]
        assert client.status() == 0


@pytest.mark.parametrize("code", ["core.too_many_connections", "core.draining"])
def test_a_server_without_room_is_dialled_again(tmp_path: Path, there: Listener, code: str) -> None:
    """A server that has no room at the moment is dialled again; so is one that closes before it answers the ping."""
    with connecting(tmp_path, there) as client:
        server = meet(client, there)
        lose(client, server)
        full = there.accept()
        ping = full.receive()
        error = {"code": -32005, "message": "refused", "data": {"code": code}}
        full.send({"jsonrpc": "2.0", "id": ping["id"], "error": error})
        there.accept().close()
        meet(client, there)
        assert client.end() == 0
        assert event(client, "core.reconnected")["details"]["attempts"] >= 3


CHECKING = """
import os
from hauberk import Options, hookimpl
from hauberk.refusals import Refused

class Policy:
    name = "policy"
    Options = Options
    met = 0

    def __init__(self, options, guard):
        pass

    @hookimpl
    def on_connect(self, connection):
        Policy.met += 1
        if WHERE == "connect" and Policy.met > 1:
            raise Refused("policy.again", "no", plugin="policy")
        connection.verify.append(self.check)

    def check(self, peer):
        if WHERE == "check" and Policy.met > 1:
            raise Refused("policy.again", "no", plugin="policy")
"""


@pytest.mark.parametrize("where", ["connect", "check"])
def test_a_refusal_ends_it(tmp_path: Path, there: Listener, where: str) -> None:
    """Every dial meets every check; what one refuses is not dialled again, and what waits is told (A80)."""
    options = configure(tmp_path, policy=CHECKING.replace("WHERE", repr(where)))
    with connecting(tmp_path, there, options=options) as client:
        server = meet(client, there)
        client.send(CALL)
        server.receive()
        server.close()
        assert client.receive()["error"]["data"]["code"] == "core.connection_lost"
        client.send(LIST)
        assert client.receive() == {
            "jsonrpc": "2.0",
            "id": 3,
            "error": {
                "code": -32003,
                "message": "policy.again: no",
                "data": {"code": "policy.again", "plugin": "policy"},
            },
        }
        assert client.status() == 125
        assert "hauberk: no" in client.stderr()
        if where == "check":
            assert there.accept().receive() is None
        with pytest.raises(TimeoutError):
            there.accept(patience=0.2)


# --- a session with a handshake ---


def test_a_handshake_is_done_again(tmp_path: Path, there: Listener) -> None:
    """The client's own handshake is done again on the next connection, unseen by it; it is told of the lists."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        shake(client, server)
        for _ in range(2):
            server.close()
            server = there.welcome()
            asked = server.receive()
            assert asked["id"] != INITIALIZE["id"]
            assert asked | {"id": 0} == INITIALIZE
            server.answer(asked, **SERVED)
            assert server.receive() == INITIALIZED
            told = [client.receive()["method"], client.receive()["method"]]
            assert told == ["notifications/tools/list_changed", "notifications/resources/list_changed"]
        client.send(LIST)
        assert server.receive() == LIST
        server.answer(LIST, tools=[])
        assert client.receive() == {"jsonrpc": "2.0", "id": 3, "result": {"tools": []}}
        assert client.end() == 0
        assert "core.server_changed" not in codes(client)


def test_a_handshake_that_was_half_done(tmp_path: Path, there: Listener) -> None:
    """Where the client had not yet said that it is initialized, it says so itself, on the next connection."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        client.send(INITIALIZE)
        server.answer(server.receive(), **SERVED)
        client.receive()
        lose(client, server)
        client.send(INITIALIZED, LIST)
        server = there.welcome()
        server.answer(server.receive(), **SERVED)
        assert server.receive() == INITIALIZED
        assert server.receive() == LIST


def test_what_was_subscribed_to_is_again(tmp_path: Path, there: Listener) -> None:
    """The level of logging, and what is subscribed to, are said again; what was unsubscribed is not."""

    def about(method: str, uri: str, id: int) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": id, "method": f"resources/{method}", "params": {"uri": uri}}

    level = {"jsonrpc": "2.0", "id": 9, "method": "logging/setLevel", "params": {"level": "debug"}}
    several = [about("subscribe", "x:/1", 5), about("subscribe", "x:/2", 6), about("unsubscribe", "x:/1", 7)]
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        shake(client, server)
        for asked in [level | {"params": {"level": "info"}, "id": 4}, *several, level]:
            client.send(asked)
            server.answer(server.receive())
            assert client.receive()["id"] == asked["id"]
        server.close()
        server = there.welcome()
        server.answer(server.receive(), **SERVED)
        got = [server.receive() for _ in range(3)]
        assert [message["method"] for message in got] == [
            "notifications/initialized",
            "logging/setLevel",
            "resources/subscribe",
        ]
        assert (got[1]["params"], got[2]["params"]) == ({"level": "debug"}, {"uri": "x:/2"})
        client.send(LIST)
        server.answer(got[1])
        error = {"code": -32602, "message": "there is no such resource"}
        server.send({"jsonrpc": "2.0", "id": got[2]["id"], "error": error})
        assert server.receive() == LIST
        assert {client.receive()["method"] for _ in range(2)} == {
            "notifications/tools/list_changed",
            "notifications/resources/list_changed",
        }
        server.answer(LIST, tools=[])
        assert client.receive()["id"] == 3


def test_another_revision_ends_it(tmp_path: Path, there: Listener) -> None:
    """A server that answers the handshake with another revision is none that the client can go on with: status 125."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        shake(client, server)
        lose(client, server)
        client.send(LIST)
        server = there.welcome()
        server.answer(server.receive(), **(SERVED | {"protocolVersion": "2024-11-05"}))
        assert client.receive()["error"]["data"]["code"] == "core.not_restored"
        assert client.status() == 125
        assert "it speaks revision '2024-11-05' now" in client.stderr()
        assert event(client, "core.not_restored")["action"] == "blocked"
        assert server.receive() is None


def test_a_handshake_that_is_refused_ends_it(tmp_path: Path, there: Listener) -> None:
    """A server that takes no second handshake ends it, with its reason."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        shake(client, server)
        server.close()
        server = there.welcome()
        error = {"code": -32600, "message": "once is enough"}
        server.send({"jsonrpc": "2.0", "id": server.receive()["id"], "error": error})
        assert client.status() == 125
        assert "does not go on with the session: 'once is enough'" in client.stderr()


def test_terminal_is_not_obeyed(tmp_path: Path, there: Listener) -> None:
    """What a server says reaches the terminal without escapes, and never as a line of hauberk's own."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        shake(client, server)
        server.close()
        server = there.welcome()
        error = {"code": -32600, "message": "\x1b[2Kno\r\nhauberk: all is well"}
        server.send({"jsonrpc": "2.0", "id": server.receive()["id"], "error": error})
        assert client.status() == 125
        said = client.stderr()
        assert not {"\x1b", "\r"} & set(said)
        assert not any(row.startswith("hauberk: all is well") for row in said.splitlines())


@pytest.mark.parametrize("id", [[], {}, True, 1.5])
def test_nonsense_is_no_answer_to_the_ping(tmp_path: Path, there: Listener, id: Any) -> None:
    """A peer that answers the ping under an id that is none is dialled again, and what waits goes to who answers."""
    with connecting(tmp_path, there) as client:
        client.send(PING)
        server = there.welcome()
        server.answer(server.receive())
        client.receive()
        server.close()
        other = there.accept()
        other.receive()
        client.send({**PING, "id": 2})
        other.send({"jsonrpc": "2.0", "id": id, "result": {}})
        server = there.welcome()
        server.answer(server.receive())
        assert client.receive()["id"] == 2
        assert event(client, "core.unanswered")["action"] == "blocked"


def test_another_server_is_told(tmp_path: Path, there: Listener) -> None:
    """That a server answers the handshake with something else than before is an event; it goes on."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        shake(client, server)
        server.close()
        server = there.welcome()
        server.answer(server.receive(), **(SERVED | {"serverInfo": {"name": "files", "version": "2"}}))
        server.receive()
        client.receive()
        assert client.end() == 0
        assert event(client, "core.server_changed")["details"]["changed"] == ["serverInfo"]


def test_lost_again_while_it_is_restored(tmp_path: Path, there: Listener) -> None:
    """A connection that is lost while the handshake is done again is followed by another one."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        shake(client, server)
        lose(client, server)
        client.send(LIST)
        server = there.welcome()
        server.receive()
        server.close()
        server = there.welcome()
        server.answer(server.receive(), **SERVED)
        assert server.receive() == INITIALIZED
        assert server.receive() == LIST
        server.answer(LIST, tools=[])
        assert client.receive()["method"] == "notifications/tools/list_changed"


def test_what_the_server_had_asked_is_cancelled(tmp_path: Path, there: Listener) -> None:
    """A server's request is cancelled with its connection; a late answer is no answer to another one's of that id."""
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        shake(client, server)
        roots = {"jsonrpc": "2.0", "id": 0, "method": "roots/list"}
        server.send(roots)
        assert client.receive() == roots
        server.close()
        cancelled = client.receive()
        assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", 0)
        server = there.welcome()
        server.answer(server.receive(), **SERVED)
        server.receive()
        client.receive(), client.receive()
        server.send(roots | {"method": "ping"})  # another server counts from 0, too
        refused = server.receive()
        assert (refused["id"], refused["error"]["data"]["code"]) == (0, "core.refused")
        client.send({"jsonrpc": "2.0", "id": 0, "result": {"roots": [{"uri": "file:///secret"}]}})
        client.send(LIST)
        assert server.receive() == LIST  # and nothing before it
        server.send(roots | {"id": 0})
        assert client.receive() == roots
        client.send({"jsonrpc": "2.0", "id": 0, "result": {"roots": []}})
        assert server.receive()["result"] == {"roots": []}


def test_the_latest_revision_needs_no_handshake(tmp_path: Path, there: Listener) -> None:
    """From 2026-07-28 on nothing is said again: each request says everything."""
    meta = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    discover = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": meta}
    with connecting(tmp_path, there) as client:
        server = there.welcome()
        client.send(discover)
        server.answer(server.receive(), supportedVersions=["2026-07-28"])
        client.receive()
        lose(client, server)
        client.send(LIST | {"params": meta})
        server = there.welcome()
        assert server.receive()["method"] == "tools/list"


DISCOVER_REFUSED = """
from hauberk import Options, hookimpl
from hauberk.refusals import Refused
class Policy:
    name = "policy"
    Options = Options
    def __init__(self, options, guard): pass
    @hookimpl
    def on_send(self, message, connection):
        if message.method == "server/discover":
            raise Refused("policy.no", "no", plugin="policy")
"""


def test_a_refusal_outlives_its_connection(tmp_path: Path, there: Listener) -> None:
    """A client whose ``server/discover`` was refused gets no older revision on the next connection either."""
    with connecting(tmp_path, there, options=configure(tmp_path, policy=DISCOVER_REFUSED)) as client:
        server = meet(client, there)
        asked = {"jsonrpc": "2.0", "id": 7, "method": "server/discover", "params": {}}
        assert client.ask(asked)["error"]["data"]["code"] == "policy.no"
        server.close()
        meet(client, there)
        assert client.ask(INITIALIZE)["error"]["data"]["code"] == "core.discover_refused"


# --- with ``hauberk serve`` at the other end ---


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Return a private folder with a short name, for what is served."""
    path = Path(tempfile.mkdtemp(prefix="hauberk-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_a_server_that_is_restarted(tmp_path: Path, elsewhere: Path) -> None:
    """A client goes on when ``hauberk serve`` is ended and started again: what it asks next is answered."""
    command = program(elsewhere, ANSWERING)
    with serving(elsewhere, command) as served, connecting(tmp_path, f"unix://{served.path}") as client:
        assert client.ask(PING) == ANSWER
        assert served.stop() == 0
        client.send(PING | {"id": 2})
        with serving(elsewhere, command):
            answer = client.receive()
            if "error" in answer:  # it was quicker than the end of the first one
                assert answer["error"]["data"]["code"] in {"core.connection_lost", "core.draining"}
                answer = client.ask(PING | {"id": 3})
            assert answer["result"] == {}
            assert client.end() == 0
        assert codes(client).count("core.reconnected") == 1


def secured_by(folder: Path, who: str) -> list[str]:
    """Write a configuration with the plugin tls and no other, and what it names; return the arguments that name it."""
    certificate, key = getattr(secured, who.upper()).split("-----BEGIN PRIVATE", 1)
    texts = {"ca.pem": secured.CA, "own.pem": certificate, "own.key": f"-----BEGIN PRIVATE{key}"}
    for name, text in texts.items():
        (folder / name).touch(0o600)
        (folder / name).write_text(text)
    others = json.dumps(sorted(set(plugins.installed()) - {"tls"}))
    (folder / "hauberk.toml").write_text(
        f'[tls]\nca = "ca.pem"\ncertificate = "own.pem"\nkey = "own.key"\n[plugins]\ndisable = {others}\n'
    )
    return ["--config", str(folder / "hauberk.toml")]


def test_over_tls(tmp_path: Path, elsewhere: Path) -> None:
    """Under TLS with certificates on both sides; a client without one is refused, in words, with status 125."""
    command, options = program(elsewhere, ANSWERING), secured_by(elsewhere, "server")
    with serving(elsewhere, command, options=options, listen=["tls://127.0.0.1:0"]) as served:
        (port,) = re.findall(r"tls://127\.0\.0\.1:(\d+)", served.stderr())
        mine = secured_by(tmp_path, "client")
        with connecting(tmp_path, f"tls://localhost:{port}", options=mine) as client:
            assert client.ask(PING) == ANSWER
            assert client.end() == 0
        text = (tmp_path / "hauberk.toml").read_text().replace('certificate = "own.pem"\nkey = "own.key"\n', "")
        (tmp_path / "hauberk.toml").write_text(text)
        with connecting(tmp_path, f"tls://localhost:{port}", options=mine) as client:
            assert client.status() == 125
            assert f"tls://localhost:{port} " in client.stderr()


# --- how it starts ---


@pytest.mark.parametrize(
    "words",
    [
        ["files"],
        ["--config", "a.toml", "files"],
        ["--config=a.toml", "--host", "h", "-p", "no:a", "-p", "no:b", "--server=x", "tls://h:1"],
        [],
        ["a", "b"],
        ["a", "--host", "h"],
        ["--help"],
        ["--env", "X", "files"],
        ["files", "--", "x"],
        ["--config"],
        ["-pno:a", "files"],
    ],
)
def test_plain_command_lines_are_read_alike(words: list[str]) -> None:
    """What is read without click is read as click reads it; the rest is left to click."""
    read, seen = _connect.plain(words), list[Any]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_connect, "run", lambda request: seen.append(request._replace(started=None)))
        result = CliRunner().invoke(command_of_click, words)
    if read is not None:
        assert result.exit_code == 0
        assert seen == [read]


def test_it_imports_little(tmp_path: Path) -> None:
    """It imports neither the SDK, nor pydantic, nor click: it stands before every server's first word."""
    heavy = ("mcp", "pydantic", "anyio", "httpx2", "cryptography", "click", "hauberk.hosts.sdk", "hauberk.hosts.proxy")
    text = (
        "import sys; from hauberk.cli import main; main(['connect', 'unix:///nowhere/x'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr


class Pipes:
    """A client in the same process: what it writes, and what it reads."""

    def __init__(self) -> None:
        (self.stdin, self.write), (self.read, self.stdout) = os.pipe(), os.pipe()

    def ask(self, *messages: dict[str, Any]) -> None:
        os.write(self.write, b"".join(map(line, messages)))

    def close(self) -> None:
        for fd in (self.stdin, self.write, self.read, self.stdout):
            os.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close()


async def answering(there: asyncio.StreamReader, back: asyncio.StreamWriter, *, more: bool) -> None:
    """Answer the ping, and where there is more the next request; then close the connection."""
    for _ in range(2 if more else 1):
        if found := await there.readline():
            back.write(line({"jsonrpc": "2.0", "id": json.loads(found)["id"], "result": {}}))
    back.close()


@pytest.mark.parametrize("comes_back", [False, True])
async def test_it_is_not_dialled_for_ever(
    tmp_path: Path, there: Listener, pipes: Pipes, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    """A server that stays away is dialled for a bounded time; so is one that takes connections and closes them."""
    monkeypatch.setattr(connect, "RECONNECT_SECONDS", 0.3)
    monkeypatch.setattr(connect, "_SOONEST", 0.01)
    monkeypatch.setattr(connect, "_LATEST", 0.02)
    there.leave()
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await answering(reader, writer, more=served == 1)
        if served == 1 and not comes_back:
            server.close()
            there.path.unlink()

    pipes.ask(PING)
    guard = Guard(Config.from_toml(""))
    async with await asyncio.start_unix_server(serve, there.path) as server, asyncio.timeout(PATIENCE):
        connecting = connect.Connect(guard, "files", there.url, pipes.stdin, pipes.stdout, jitter=lambda: 1.0)
        with pytest.raises(Refused) as caught:
            async with guard:
                await connecting.run()
    assert json.loads(os.read(pipes.read, 4096)) == ANSWER
    if comes_back:
        assert (caught.value.code, served > 5) == ("core.connection_lost", True)
        assert "takes connections and closes them again" in caught.value.message
    else:
        assert (caught.value.code, served) == ("core.unreachable", 1)


def test_the_page_says_what_is_so() -> None:
    """The configuration of the page is one without a fault, and the client's commands name its servers."""
    page = DOCS / "connect.md"
    config = Config.from_toml(block(page, "toml", "[server.notes]"))
    for name, started in json.loads(block(page, "json", "mcpServers"))["mcpServers"].items():
        assert (started["command"], started["args"][0]) == ("hauberk", "connect")
        request = _connect.plain(started["args"][1:])
        assert request is not None
        assert _connect._asked_for(config, request) == (name, None)
    text = page.read_text(encoding="utf-8")
    assert f"for {connect.RECONNECT_SECONDS:.0f}\nseconds" in text


def test_constants() -> None:
    """A server that is restarted is waited for; a client is not kept waiting for ever."""
    assert 10 <= connect.RECONNECT_SECONDS <= 60
