"""``shared = true``: one child for all connections, and each of them sees its own only."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.core.harness import ring
from tests.running import configure, server
from tests.serving import Offered, offered, serving, until, until_true

from hauberk.connection import Connection, Program
from hauberk.hosts._shared import SLOW, SharedChild
from hauberk.message import Message
from hauberk.refusals import Refused

SERVER = """
import json, os, sys, threading
lock = threading.Lock()
def say(**message):
    with lock:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    name = (message.get("params") or {}).get("name")
    if name == "exit":
        os._exit(3)
    if name == "never":
        continue
    if name == "broken":
        print('{"jsonrpc":"2.0","id":%d,"result":{"x":1,"x":2}}' % message["id"], flush=True)
        continue
    if name == "ask":
        say(id="s", method="roots/list")
    if name == "flood":
        for number in range(400):
            say(method="notifications/tools/list_changed", params={"_meta": {"x": "y" * 10000}})
    say(id=message["id"], result={"pid": os.getpid(), "method": message["method"], "content": []})
"""


def call(id: Any, name: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": {}}}


@asynccontextmanager
async def shared(folder: Path, *rings: Any, toml: str = "", **listen: Any) -> AsyncIterator[Offered]:
    """Offer one child to all."""

    class Later:
        """The target needs the guard, which is made with it."""

        def __init__(self) -> None:
            self.inner: SharedChild

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        async def close(self) -> None:
            await self.inner.close()
            self.closed = True

    command, *args = server(folder, SERVER)
    target = Later()
    async with offered(folder, *rings, target=target, toml=toml, **listen) as made:
        target.inner = SharedChild(made.guard, Program(command, tuple(args), {}, None))
        yield made


async def test_one_child_for_all(tmp_path: Path) -> None:
    """Clients with equal ids speak to one child, and each gets the answers to its own requests."""
    async with shared(tmp_path) as made:
        clients = [await made.session() for _ in range(5)]
        for client in clients:
            client.send(*(call(id, "x") for id in range(20)))
        pids = set()
        for client in clients:
            answers = [await client.receive() for _ in range(20)]
            assert [answer["id"] for answer in answers] == list(range(20))
            pids |= {answer["result"]["pid"] for answer in answers}
        assert len(pids) == 1


async def test_each_client_is_judged_for_itself(tmp_path: Path) -> None:
    """Each connection has a session of its own in front of the server, with its own principal (S2.6)."""
    seen: list[tuple[str, str]] = []

    def note(message: Message, connection: Connection) -> None:
        seen.append((connection.id, message.principal.id))
        if message.id == "no":
            raise Refused("policy.no", "no")

    async with shared(tmp_path, ring("policy", on_receive=note)) as made:
        one, other = await made.session(), await made.session()
        assert "error" in await one.ask(call("no", "x"))
        assert "result" in await other.ask(call("yes", "x"))
        assert len({connection for connection, _ in seen}) == 2


async def test_server_that_goes_takes_all_with_it(tmp_path: Path) -> None:
    """When the child goes everybody who waits gets an error; the next connection gets a new child."""
    async with shared(tmp_path) as made:
        one, other = await made.session(), await made.session()
        pid = (await one.ask(call(0, "x")))["result"]["pid"]
        other.send(call(1, "never"))
        await asyncio.sleep(0.1)
        one.send(call(2, "exit"))
        for client in (one, other):
            assert (await client.receive())["error"]["data"]["code"] == "core.server_gone"
            assert await client.receive() is None
        again = await made.session()
        assert (await again.ask(call(0, "x")))["result"]["pid"] != pid


async def test_slow_client_holds_up_nobody(tmp_path: Path) -> None:
    """A client that does not read is let go, and the others do not wait for it."""
    async with shared(tmp_path, toml="[core.bounds]\nbuffer_bytes = 100000") as made:
        slow, good = await made.session(), await made.session()
        assert "result" in await slow.ask(call(0, "x"))
        assert "result" in await good.ask(call(0, "x"))
        slow.reads(False)
        good.send(call(1, "flood"))
        while "id" not in (message := await good.receive()):
            assert message["method"] == "notifications/tools/list_changed"
        assert message["id"] == 1
        assert (await made.recorded("core.server_gone")).details["reason"] == SLOW
        assert "result" in await good.ask(call(2, "x"))
        await until(lambda: made.server.slots.taken == 1)


async def test_client_that_goes_leaves_nothing(tmp_path: Path) -> None:
    """What a client that went was waiting for is cancelled, and forgotten."""
    async with shared(tmp_path) as made:
        one, other = await made.session(), await made.session()
        one.send(call(1, "never"))
        assert "result" in await other.ask(call(0, "x"))
        hub = made.target._hub
        await until(lambda: len(hub._routes.flight) == 1)
        one.vanish()
        await until(lambda: not hub._routes.flight)
        assert len(hub._places) == len(hub._routes.members) == 1


async def test_unreadable_answer(tmp_path: Path) -> None:
    """An answer that breaks a rule of the protocol is an error for who asked, and an event."""
    async with shared(tmp_path) as made:
        client = await made.session()
        answer = await client.ask(call(1, "broken"))
        assert (answer["id"], "error" in answer) == (1, True)
        assert "core.duplicate_key" in made.codes
        assert "result" in await client.ask(call(2, "x"))


async def test_server_that_asks(tmp_path: Path) -> None:
    """A request of the server goes to no client, and holds up nothing."""
    async with shared(tmp_path) as made:
        client = await made.session()
        assert (await client.ask(call(1, "ask")))["id"] == 1


def test_from_the_configuration(tmp_path: Path) -> None:
    """``shared = true`` in [server.NAME.listen] gives all connections one child, which outlives each of them."""
    command, *args = server(tmp_path, SERVER)
    options = configure(
        tmp_path,
        f"[server.files]\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
        "[server.files.listen]\nshared = true",
    )
    assert command == sys.executable
    with serving(tmp_path, (), "files", options=options) as serve:
        assert serve.children() == []
        for _ in range(3):
            with serve.client() as client:
                assert [client.ask(call(0, "x"))["result"]["pid"]] == serve.children()
        assert serve.stop() == 0
        until_true(lambda: not serve.children())
