"""Attacks on `hauberk serve` that were found by somebody who had not written it: what they must not reach."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.core.harness import ring
from tests.running import ANSWERING, configure, server
from tests.serving import Offered, Stubs, offered, serving, until, until_true

from hauberk.carriers import _source, ping, unix
from hauberk.carriers import child as child_module
from hauberk.connection import Program
from hauberk.edge import Framer
from hauberk.hosts import _served
from hauberk.hosts._shared import SharedChild
from hauberk.refusals import ConfigError

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


# --- what a peer costs ---


@pytest.fixture
def framers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each framer that is made from now on."""
    found: list[Any] = []

    def made(bounds: Any) -> Any:
        found.append(Framer(bounds))
        return found[-1]

    monkeypatch.setattr(_source, "Framer", made)
    return found


async def _most(framers: list[Any]) -> int:
    """Return how much was held at once, within a moment."""
    most = 0
    for _ in range(60):
        await asyncio.sleep(0.01)
        most = max(most, sum(one.held for one in framers))
    return most


@pytest.mark.parametrize("carrier", ["unix", "tls"])
async def test_peer_without_a_place_costs_little(tmp_path: Path, framers: list[Any], carrier: str) -> None:
    """Of a peer that has no place, a few kilobytes of its first word are held, however long that is (A65, S4.16)."""
    async with offered(tmp_path, carrier=carrier, connections=1, first_seconds=30.0) as made:
        good = await made.session()
        for one in [await made.dial() for _ in range(8)]:
            one.send(b"x" * (1024 * 1024))
        assert await _most(framers) <= 8 * 64 * 1024
        await made.recorded("core.too_many_connections", 8)
        assert (await good.ask())["result"] == {}


async def test_peer_that_is_refused_costs_next_to_nothing(tmp_path: Path, framers: list[Any]) -> None:
    """Of a user who may not connect nothing is read that could fill the memory (A65)."""
    async with offered(tmp_path, uids=(4711,)) as made:
        for one in [await made.dial() for _ in range(8)]:
            one.send(b"x" * (1024 * 1024))
        assert await _most(framers) <= 8 * 8192
        await made.recorded("core.peer_user", 8)


@pytest.mark.parametrize("carrier", ["unix", "tls"])
async def test_long_first_word(tmp_path: Path, carrier: str) -> None:
    """Who may connect and has a place may say a first word of any length that the bounds allow (S4.16)."""
    async with offered(tmp_path, carrier=carrier) as made:
        client = await made.dial()
        client.send({**LIST, "params": {"_meta": {"x": "y" * LARGE}}}, {**LIST, "id": 2})
        assert [(await client.receive())["id"] for _ in range(2)] == [1, 2]


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


# --- one process for all ---

REVISION = "2025-11-25"
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "a client", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Later:
    """The target of a guard that is not made yet."""

    inner: SharedChild

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def close(self) -> None:
        await self.inner.close()
        self.closed = True


@asynccontextmanager
async def shared(folder: Path, text: str) -> AsyncIterator[Offered]:
    """Offer one child to all."""
    command, *args = server(folder, text)
    target = Later()
    async with offered(folder, target=target) as made:
        target.inner = SharedChild(made.guard, Program(command, tuple(args), {}, None))
        yield made


STRICT = f"""
import json, sys
asked = ready = False
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        asked = True
        info = {{"name": "s", "version": "1"}}
        answer = {{"result": {{"protocolVersion": "{REVISION}", "capabilities": {{}}, "serverInfo": info}}}}
    elif method == "notifications/initialized":
        ready = asked
    elif ready or method == "ping":
        answer = {{"result": {{"tools": []}}}}
    else:
        answer = {{"error": {{"code": -32602, "message": "Received request before initialization was complete"}}}}
    if "id" in message:
        print(json.dumps({{"jsonrpc": "2.0", "id": message["id"], **answer}}), flush=True)
"""


async def test_client_cannot_spoil_the_handshake_of_others(tmp_path: Path) -> None:
    """A client that says ``initialized`` too soon, or never does, changes nothing for the next one."""
    async with shared(tmp_path, STRICT) as made:
        bad = await made.session()
        bad.send(INITIALIZED)
        await bad.ask({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        good = await made.session()
        assert "result" in await good.ask(INITIALIZE)
        assert "result" in await good.ask(LIST)
        good.send(INITIALIZED)
        assert "result" in await good.ask({**LIST, "id": 2})


HELLO = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        result = json.loads(%r) if message["method"] == "initialize" else {"tools": []}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.mark.parametrize("hello", [{"protocolVersion": []}, {"protocolVersion": {}}, {}, [1], "text", 7, None])
async def test_strange_answer_to_initialize_is_an_error_for_all(tmp_path: Path, hello: Any) -> None:
    """Whatever a shared server answers to ``initialize``, each client that asked gets an answer, and nothing raises."""
    failed: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with shared(tmp_path, HELLO % json.dumps(hello)) as made:
        clients = [await made.session() for _ in range(2)]
        for client in clients:
            client.send(INITIALIZE)
        for client in (*clients, await made.session()):
            if client not in clients:
                client.send(INITIALIZE)
            assert (await asyncio.wait_for(client.receive(), 5))["error"]["code"] == -32603
        assert not failed, failed


ASKS = """
import sys, time
line = b'{"jsonrpc":"2.0","id":"%s","method":"ping"}\\n' % (b"x" * 200)
sys.stdin.buffer.readline()
while True:
    sys.stdout.buffer.write(line * 300)
"""


async def test_shared_server_that_asks_and_does_not_read(tmp_path: Path) -> None:
    """What waits for a shared server is bounded, however much it asks (A65)."""
    async with shared(tmp_path, ASKS) as made:
        client = await made.session()
        client.send(LIST)
        await until(lambda: made.target.inner._hub is not None)
        hub = made.target.inner._hub
        await until(lambda: hub.outlet.flooded)
        await asyncio.sleep(0.5)
        assert hub.outlet.held <= 3 * made.guard.bounds.buffer_bytes


LEAVES = """
import json, os, subprocess, sys
message = json.loads(sys.stdin.readline())
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
open(%r, "w").write(str(child.pid))
print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}), flush=True)
os._exit(0)
"""


def _runs(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] not in {"", "Z"}


async def test_what_a_shared_server_started_ends_with_it(tmp_path: Path) -> None:
    """A shared server that has gone is cleaned up at once, and not when somebody connects next (A86)."""
    path = tmp_path / "pid"
    async with shared(tmp_path, LEAVES % str(path)) as made:
        client = await made.session()
        client.send(LIST)
        while await client.receive() is not None:
            pass
        await until(lambda: not _runs(int(path.read_text())))
        inner = made.target.inner
        await until(lambda: inner._hub is None and not inner._ending)


@pytest.mark.parametrize("known", [True, False])
async def test_nothing_is_killed_once_the_exit_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """A number that may be somebody else's by now gets no signal, with descriptors of processes or without (A86)."""
    if not known:
        monkeypatch.setattr(child_module, "_pidfd", lambda _: None)
    sent: list[tuple[int, bool]] = []
    real = os.killpg

    def killpg(pid: int, number: int) -> None:
        sent.append((number, Path(f"/proc/{pid}").exists()))
        real(pid, number)

    monkeypatch.setattr(os, "killpg", killpg)
    child = child_module.Child(sys.executable, ["-I", "-S", "-c", "pass"], env={})
    assert await child.wait() == 0
    assert await child.end() == 0
    child.signal(signal.SIGKILL)
    child.close()
    assert sent == [(signal.SIGKILL, True)]


# --- a lock that somebody else holds, and descriptors that are used up ---


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def _without_descriptors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def none(_: Path) -> bool:
        raise OSError(errno.EMFILE, "x")

    with monkeypatch.context() as patch:
        patch.setattr(unix, "_clear", none)
        yield


def test_lock_that_another_process_holds_up_no_end(tmp_path: Path) -> None:
    """SIGTERM ends it in order, and removes the socket, though somebody holds a lock on its directory (A80)."""
    with serving(tmp_path, server(tmp_path, ANSWERING)) as made, made.client() as client:
        assert client.ask()["result"] == {}
        with _held(made.path.parent):
            made.process.send_signal(signal.SIGTERM)
            assert made.status(10) == 0
        assert not made.path.exists()


def test_lock_holds_up_a_start_for_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start waits for the lock of a directory for a moment, and then says who is in the way (A80)."""
    monkeypatch.setattr(unix, "_PATIENCE", 0.1)
    tmp_path.chmod(0o700)
    with _held(tmp_path), pytest.raises(ConfigError, match="another process holds a lock"):
        unix.UnixListener(tmp_path / "x.sock")
    unix.UnixListener(tmp_path / "x.sock").close()


@pytest.mark.parametrize("why", ["a lock", "no descriptors"])
async def test_socket_is_bound_anew_once_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """A path that is gone is bound anew, if not at once then later; meanwhile nothing stands still (A85)."""
    async with offered(tmp_path, stalled_seconds=0.2) as made:
        client = await made.session()
        path = made.address.path
        with _held(path.parent) if why == "a lock" else _without_descriptors(monkeypatch):
            path.unlink()
            await made.recorded("core.socket_lost")
            assert (await client.ask())["result"] == {}
            await asyncio.sleep(0.1)
            assert not path.exists()
        await until(path.exists)
        await made.session()
        assert made.codes.count("core.socket_lost") == 1
