"""``wrap("unix://…")`` and ``wrap("tls://…")``: a server that was dialled, and gone when its connection is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from mcp import Client, MCPError
from mcp.shared.memory import create_client_server_memory_streams
from mcp.shared.message import SessionMessage
from mcp_types.jsonrpc import jsonrpc_message_adapter
from tests.core.harness import ring
from tests.core.secured import Secured, context, securing
from tests.sdk.everything import Everything
from tests.sdk.kit import MODES, Seen, client, guard, item, leaf, plain, session_of, until, within

from hauberk.hosts._inbox import AHEAD
from hauberk.message import Message
from hauberk.refusals import ConfigError, Refused
from hauberk.verdict import Deny

_PROGRAM: Final = str(Path(__file__).with_name("everything.py"))
_LIMIT: Final = 1 << 24
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a private folder with a short name: a socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="hauberk-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


async def _everything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the SDK's server serve one connection, a message a line."""
    server = Everything().server
    async with create_client_server_memory_streams() as ((coming, going), (read, write)):

        async def back() -> None:
            async for message in coming:
                assert isinstance(message, SessionMessage)
                writer.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")

        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.run(read, write, server.create_initialization_options()))
            answering = group.create_task(back())
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    await going.send(SessionMessage(jsonrpc_message_adapter.validate_json(line)))
            serving.cancel()
            answering.cancel()


@asynccontextmanager
async def _served(place: Path, carrier: str, talk: Talk = _everything, limit: int = _LIMIT) -> AsyncIterator[str]:
    """Serve each connection by a function, once its ping was answered; give the address."""
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            ping = json.loads(await reader.readline())
            writer.write(json.dumps({"jsonrpc": "2.0", "id": ping["id"], "result": {}}).encode() + b"\n")
            await talk(reader, writer)

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = asyncio.create_task(serve(reader, writer))
        serving.add(one)
        await asyncio.wait([one])
        writer.close()

    if carrier == "unix":
        server = await asyncio.start_unix_server(met, place / "s", limit=limit)
        address = f"unix://{place / 's'}"
    else:
        server = await asyncio.start_server(met, "127.0.0.1", 0, ssl=context(place, "server"), limit=limit)
        address = f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield address
        server.close()
        for one in serving:
            one.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


@pytest.fixture(params=["unix", "tls"])
def carrier(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _plugins(place: Path, carrier: str) -> list[Any]:
    return [securing(Secured(context(place, "client")))] if carrier == "tls" else []


@asynccontextmanager
async def _wrapped(
    place: Path, carrier: str, *plugins: Any, talk: Talk = _everything, toml: str = "", mode: str = "auto", **more: Any
) -> AsyncIterator[tuple[Client, Any]]:
    made = guard(*_plugins(place, carrier), *plugins, toml=toml)
    async with (
        _served(place, carrier, talk) as address,
        client(made.wrap(address, server="s"), mode, **more) as connected,
    ):
        yield connected, made


# --- what passes ---


@pytest.mark.parametrize("mode", MODES)
async def test_everything_passes(place: Path, carrier: str, mode: str) -> None:
    """A server that is dialled does what a child does, in every mode of the official client."""
    seen = Seen()
    async with _wrapped(place, carrier, seen, mode=mode) as (c, made):
        assert (await within(c.list_tools())).tools
        result = await within(c.call_tool("echo", {"most": 2**64 - 1}))
        assert plain(result)["structuredContent"]["got"] == {"most": 2**64 - 1}
        connection = session_of(made).connection
        assert (connection.carrier, connection.role) == (carrier, "client")
        assert connection.principal.id == ("localhost" if carrier == "tls" else "anonymous")
    assert "core.connection_lost" not in seen.codes
    assert seen.codes.count("core.connected") == 1


async def test_a_denied_call_does_not_leave(place: Path, carrier: str) -> None:
    """Rules hold on a stream as anywhere: what is denied is not written."""
    got: list[Any] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            got.append(json.loads(line))

    made = guard(*_plugins(place, carrier), ring("no", on_tool_call=Deny("no.way", "no")))
    async with _served(place, carrier, talk) as address, made.wrap(address, server="s") as (_, write):
        with pytest.raises(MCPError, match=r"no\.way"):
            await write.send(item(id=1, method="tools/call", params={"name": "x", "arguments": {}}))
        await write.send(item(id=2, method="ping"))
        await until(lambda: got, 200_000)
        assert [message["method"] for message in got] == ["ping"]


@pytest.mark.parametrize("words", ["socket", "url"])
async def test_as_configured(place: Path, words: str) -> None:
    """Without a target, what ``[server.NAME]`` says is dialled."""
    carrier = "unix" if words == "socket" else "tls"
    async with _served(place, carrier) as address:
        where = f'socket = "{place / "s"}"' if words == "socket" else f'url = "{address}"'
        made = guard(*_plugins(place, carrier), toml=f"[server.files]\n{where}\n")
        async with client(made.wrap(server="files")) as c:
            assert (await within(c.list_tools())).tools


async def test_a_configured_command() -> None:
    """A server with a command is started so, with the environment that the configuration gives it."""
    toml = (
        f"[server.files]\ncommand = {json.dumps(sys.executable)}\nargs = [{json.dumps(_PROGRAM)}]\n"
        f"cwd = {json.dumps(str(Path(__file__).parents[2]))}\n"
    )
    async with client(guard(toml=toml).wrap(server="files")) as c:
        assert (await within(c.list_tools())).tools


@pytest.mark.parametrize(
    ("toml", "target", "said"),
    [
        ("", None, "there is no server 'files'"),
        ("[server.files]\nallow_tcp_fallback = false\n", None, "does not say how it is reached"),
        ('[server.files]\nurl = "https://x/mcp"\ntransport = "https"\n', "tls://x:1", "has transport 'https'"),
        ("", "tls://x", "'tls://x' is no address"),
        ("", "unix://x", "'unix://x' is no address"),
    ],
)
def test_what_cannot_be_dialled(toml: str, target: str | None, said: str) -> None:
    """What cannot be dialled is refused when it is wrapped, and not when it is first used."""
    with pytest.raises(ConfigError, match=said):
        guard(toml=toml).wrap(target, server="files")


# --- what ends ---


async def test_nobody_is_there(place: Path) -> None:
    """A server that is not there is a clear error, in every way to enter it."""
    with pytest.raises(Refused, match="nobody answers") as caught:
        async with guard().wrap(f"unix://{place / 's'}", server="s"):
            raise AssertionError
    assert caught.value.code == "core.unreachable"
    with pytest.raises((Refused, ExceptionGroup)) as several:
        async with client(guard().wrap(f"unix://{place / 's'}", server="s")):
            raise AssertionError
    assert isinstance(leaf(several.value), Refused)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_connection_that_is_lost(place: Path, carrier: str, mode: str) -> None:
    """A connection that is lost fails what is asked, at once, and everything after it; nothing hangs."""
    seen, asked = Seen(), asyncio.Event()
    lost = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.create_task(_everything(reader, writer))
        await lost.wait()
        writer.transport.abort()
        await asyncio.gather(serving, return_exceptions=True)

    def look(message: Message, connection: Any) -> None:
        if message.method == "tools/call":
            asked.set()

    with contextlib.suppress(ExceptionGroup, anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with _wrapped(place, carrier, seen, ring("look", on_send=look), talk=talk, mode=mode) as (c, _):
            await within(c.list_tools())
            calling = asyncio.create_task(c.call_tool("wait", {}))
            await asked.wait()
            lost.set()
            with pytest.raises(MCPError):
                await within(calling)
            with pytest.raises((MCPError, anyio.BrokenResourceError, anyio.ClosedResourceError)):
                await within(c.list_tools())
    assert seen.codes.count("core.connection_lost") == 1
    assert seen.codes.count("core.disconnected") == 1


async def test_answers_that_came_are_read(place: Path, carrier: str) -> None:
    """What a server said before it closed the connection is read, to the last message."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        for number in range(50):
            note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": number}}
            writer.write(json.dumps(note).encode() + b"\n")
        writer.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}).encode() + b"\n")

    async def later(message: Message, connection: Any) -> None:
        await asyncio.sleep(0)

    made = guard(*_plugins(place, carrier), ring("later", on_receive=later))
    async with _served(place, carrier, talk) as address, made.wrap(address, server="s") as (read, write):
        await write.send(item(id=1, method="ping"))
        got = [await within(anext(read)) for _ in range(51)]
        assert got[-1].message.id == 1
        with pytest.raises(StopAsyncIteration):
            await within(anext(read))


async def test_a_client_that_closes(place: Path, carrier: str) -> None:
    """Who closes its end to write sees the end of the other one, as with a child; it is no connection that was lost."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    seen = Seen()
    made = guard(*_plugins(place, carrier), seen)
    async with _served(place, carrier, talk) as address, made.wrap(address, server="s") as (read, write):
        await write.aclose()
        with pytest.raises(StopAsyncIteration):
            await within(anext(read))
    assert "core.connection_lost" not in seen.codes


async def test_a_client_that_does_not_read(place: Path, carrier: str) -> None:
    """A server that says more than its client reads is held up; nothing of what it says is lost."""
    written = 0
    many = 20_000

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readline()
        text = "x" * 1000
        for _ in range(many):
            note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}}
            writer.write(json.dumps(note).encode() + b"\n")
            await writer.drain()
            written += 1
        await reader.read()

    made = guard(*_plugins(place, carrier))
    async with _served(place, carrier, talk) as address, made.wrap(address, server="s") as (read, write):
        await write.send(item(id=1, method="ping"))
        before = -1
        while before < written:
            before = written
            await asyncio.sleep(0.1)
        assert written < many
        assert len(read._inbox) < 20 * AHEAD
        for _ in range(many):
            await within(anext(read))


async def test_a_server_that_does_not_read(place: Path, carrier: str) -> None:
    """Who sends more than the server reads waits, and is let go where the connection is lost."""
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.transport.abort()

    toml = "[core.bounds]\nbuffer_bytes = 100000\n"
    made = guard(*_plugins(place, carrier), toml=toml)
    sent = 0

    async def fill(write: Any) -> None:
        nonlocal sent
        for _ in range(100_000):
            await write.send(item(method="notifications/roots/list_changed", params={"_meta": {"x": "x" * 1000}}))
            sent += 1

    async with _served(place, carrier, talk, 4096) as address, made.wrap(address, server="s") as (_, write):
        filling = asyncio.create_task(fill(write))
        before = -1
        while before < sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 10_000
        assert not filling.done()
        gone.set()
        with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
            await within(filling)


async def test_nothing_is_left(place: Path, carrier: str) -> None:
    """A hundred connections, one after the other, leave no descriptor and no session behind."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        writer.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}).encode() + b"\n")
        await reader.read()

    made = guard(*_plugins(place, carrier))
    async with _served(place, carrier, talk) as address, made:
        open_ones: list[int] = []
        for _ in range(100):
            async with made.wrap(address, server="s") as (read, write):
                await write.send(item(id=1, method="ping"))
                await within(anext(read))
            open_ones.append(len(os.listdir("/dev/fd")))  # noqa: PTH208 - a number is all that is wanted
        assert made.sessions == ()
        assert open_ones[-1] <= open_ones[10] + 2
