"""Dialling: each way in which it ends, and that no way goes round TLS, the owner of a socket, or a check."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.core.harness import Port, Recorder, ring
from tests.core.secured import Secured, context, securing

from hauberk.carriers.stream import Stream
from hauberk.config import Config
from hauberk.connection import Connection, Peer
from hauberk.guard import Guard
from hauberk.hosts import _dial
from hauberk.message import Message
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import ConfigError, Refused

pytestmark = pytest.mark.timeout(120)
PRODUCTION = "profile = 'production'\n"
PING_METHOD = "ping"
Talk = Callable[["Caller"], Awaitable[None]]


class Caller:
    """One connection, as a server in the test sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def line(self) -> Any:
        """Return the next message; None at the end."""
        try:
            found = await self._reader.readline()
        except ConnectionError:
            return None
        return orjson.loads(found) if found.endswith(b"\n") else None

    async def say(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            self._writer.write(message if isinstance(message, bytes) else orjson.dumps(message) + b"\n")
        await self._writer.drain()


class Server:
    """A server that does with each connection what a test says, and remembers what came first."""

    def __init__(self, talk: Talk | None = None) -> None:
        self.talk = talk or self.welcome
        self.got: list[Any] = []
        """Each message; None is the end."""
        self.met = 0
        self._news = asyncio.Event()

    async def welcome(self, caller: Caller) -> None:
        """Take the connection."""
        await caller.say({"jsonrpc": "2.0", "id": self.got[-1]["id"], "result": {}})
        await self.take(caller)

    async def take(self, caller: Caller) -> None:
        """Remember the next message."""
        self.got.append(await caller.line())
        self._news.set()

    async def heard(self, number: int) -> None:
        """Wait until so many messages, ends included, have come."""
        while len(self.got) < number:
            self._news.clear()
            await self._news.wait()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        caller = Caller(reader, writer)
        try:
            await self.take(caller)
            if self.got[-1] is not None:
                await self.talk(caller)
        finally:
            writer.close()

    @asynccontextmanager
    async def at(self, path: Path) -> AsyncIterator[str]:
        """Listen at a socket; give its address."""
        async with await asyncio.start_unix_server(self, path):
            yield f"unix://{path}"

    @asynccontextmanager
    async def on_port(self, tls: Any = None) -> AsyncIterator[str]:
        """Listen on a port of the loopback interface; give its address."""
        async with await asyncio.start_server(self, "127.0.0.1", 0, ssl=tls) as server:
            yield f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a private folder with a short name: a socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="hauberk-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


async def turns() -> None:
    """Let the recorder get what waits for nothing but its turn."""
    for _ in range(5):
        await asyncio.sleep(0)


class Rig:
    """A guard that dials, and what it recorded."""

    def __init__(self, *plugins: Any, toml: str = "") -> None:
        self.recorder = Recorder()
        self.guard = Guard(Config.from_toml(toml), [*plugins, self.recorder])

    async def dial(self, target: str | None = None, *, server: str = "files") -> _dial.Dialled:
        made = await _dial.dial(self.guard, server, target)
        await turns()
        return made

    async def refused(self, target: str | None = None) -> Refused:
        """Dial, and return what it was refused with."""
        with pytest.raises(Refused) as caught:
            await self.dial(target)
        await turns()
        return caught.value

    @property
    def codes(self) -> list[str]:
        of_the_guard = {"core.started", "policy.loaded", "core.stopped"}
        return [event.code for event in self.recorder.events if event.code not in of_the_guard]

    def event(self, code: str) -> Any:
        (found,) = [event for event in self.recorder.events if event.code == code]
        return found


@asynccontextmanager
async def rig(*plugins: Any, toml: str = "") -> AsyncIterator[Rig]:
    made = Rig(*plugins, toml=toml)
    async with made.guard:
        yield made


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def table(**words: Any) -> str:
    """Return ``[server.files]``."""
    return "\n".join(["[server.files]", *(f"{word} = {orjson.dumps(value).decode()}" for word, value in words.items())])


# --- where to ---


def shown(toml: str, target: str | None = None, *, production: bool = False) -> list[str]:
    options = Config.from_toml(toml).server("files")
    return [str(one) for one in _dial.ways(options, target, "<inline>", production=production)]


SOCKET = "/run/files.sock"
URL = "tls://files.example:8443"


@pytest.mark.parametrize(
    ("words", "development", "production"),
    [
        ({"url": URL}, [URL], [URL]),
        ({"socket": SOCKET}, [f"unix://{SOCKET}"], [f"unix://{SOCKET}"]),
        ({"socket": SOCKET, "url": URL}, [f"unix://{SOCKET}"], [f"unix://{SOCKET}"]),
        ({"socket": SOCKET, "url": URL, "transport": "unix"}, [f"unix://{SOCKET}"], [f"unix://{SOCKET}"]),
        ({"socket": SOCKET, "url": URL, "transport": "tcp"}, [URL], [URL]),
        (
            {"socket": SOCKET, "url": URL, "transport": "unix-with-tcp-fallback"},
            [f"unix://{SOCKET}", URL],
            [f"unix://{SOCKET}"],
        ),
        (
            {"socket": SOCKET, "url": URL, "transport": "unix-with-tcp-fallback", "allow_tcp_fallback": True},
            [f"unix://{SOCKET}", URL],
            [f"unix://{SOCKET}", URL],
        ),
        ({"socket": SOCKET, "url": URL, "allow_tcp_fallback": True}, [f"unix://{SOCKET}"], [f"unix://{SOCKET}"]),
    ],
)
def test_strategies(words: dict[str, Any], development: list[str], production: list[str]) -> None:
    """Each strategy goes where it says; the fallback has to be allowed twice in production (S4.7, S4.9)."""
    assert shown(table(**words)) == development
    assert shown(table(**words), production=True) == production


def test_an_address_goes_before_the_configuration() -> None:
    """What the caller names is dialled, and nothing beside it."""
    both = table(socket=SOCKET, url=URL, transport="unix-with-tcp-fallback")
    assert shown(both, "tls://other.example:1") == ["tls://other.example:1"]


@pytest.mark.parametrize("toml", ["", table(command="x"), table(url="https://files.example/mcp")])
def test_nothing_to_dial(toml: str) -> None:
    """A server without a socket and without ``tls://`` cannot be dialled."""
    with pytest.raises(ConfigError, match="neither a socket nor a url"):
        shown(toml)


def test_a_long_path() -> None:
    """A path that the system would cut is refused before anything is dialled."""
    with pytest.raises(ConfigError, match="108 bytes"):
        shown(table(socket="/" + "x" * 107))


# --- a Unix socket ---


async def test_a_connection_is_made(place: Path) -> None:
    """Hooks come first, then the checks, then one answered ping; only then is the connection recorded."""
    order: list[str] = []
    server = Server()

    def check(peer: Peer | None) -> Principal:
        assert peer is not None
        assert peer.credentials is not None
        assert (peer.carrier, peer.address) == ("unix", str(place / "s"))
        assert (peer.credentials.uid, peer.credentials.pid) == (os.geteuid(), os.getpid())
        order.append("checked")
        assert server.got == []
        return Principal(id="files", kind="server", method="unix")

    def admit(connection: Connection) -> None:
        order.append("admitted")
        assert (connection.carrier, connection.role, connection.target) == ("unix", "client", f"unix://{place / 's'}")
        assert server.met == 0
        connection.verify.append(check)

    look = ring("look", on_connect=admit)
    async with server.at(place / "s") as address, rig(look) as r:
        connection, made = await r.dial(address)
        assert order == ["admitted", "checked"]
        assert server.got[0]["method"] == PING_METHOD
        assert connection.principal.id == "files"
        assert r.codes == ["core.connected"]
        assert r.event("core.connected").details == {
            "role": "client",
            "carrier": "unix",
            "target": address,
            "peer": str(place / "s"),
        }
        await made.closed(1)


async def unreachable(place: Path, how: str) -> str:
    path = place / "s"
    if how == "nobody listens":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    return f"unix://{path}" if how != "no port" else f"tls://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("how", ["no socket", "nobody listens", "no port"])
async def test_nobody_is_there(place: Path, how: str) -> None:
    """Nobody at the address is ``core.unreachable``, with a hint and an event."""
    secured = Secured(context(place, "client"))
    async with rig(securing(secured)) as r:
        error = await r.refused(await unreachable(place, how))
        assert error.code == "core.unreachable"
        assert error.hint == "check that `hauberk serve` runs there"
        assert r.codes == ["core.unreachable"]


async def test_what_is_no_socket(place: Path) -> None:
    """A file, and a link to a socket, in the place of a socket are refused (A80)."""
    server = Server()
    (place / "file").touch()
    (place / "link").symlink_to(place / "s")
    async with server.at(place / "s"), rig() as r:
        for name in ("file", "link"):
            assert (await r.refused(f"unix://{place / name}")).code == "core.not_a_socket"
        assert server.met == 0


async def test_a_socket_of_another_user(place: Path) -> None:
    """A socket whose other end is held by a user who is not named is refused, and gets no byte (S4.8, S4.9, A80)."""
    server = Server()
    other = os.geteuid() + 1
    async with server.at(place / "s"), rig(toml=table(socket=str(place / "s"), uids=[other])) as r:
        error = await r.refused()
        assert (error.code, error.rule) == ("core.peer_user", f"uids [{other}]")
        assert f"user {os.geteuid()} holds" in error.message
        assert r.codes == ["core.peer_user"]
        await server.heard(1)
        assert server.got == [None]


SQUATTER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print("there", flush=True)
c, _ = s.accept(); print(c.recv(100), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
@pytest.mark.parametrize("fallback", [False, True])
async def test_a_squatter(place: Path, fallback: bool) -> None:
    """A process of another user that listens at the path is refused, gets nothing, and is no reason to fall back."""
    os.chmod(place, 0o777)  # noqa: PTH101, S103 - for the squatter
    squatter = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", SQUATTER, str(place / "s"), stdout=asyncio.subprocess.PIPE
    )
    assert squatter.stdout is not None
    try:
        assert await squatter.stdout.readline() == b"there\n"
        words: dict[str, Any] = {"socket": str(place / "s")}
        server = Server()
        async with server.on_port(context(place, "server")) as address:
            if fallback:
                words |= {"url": address, "transport": "unix-with-tcp-fallback"}
            async with rig(securing(Secured(context(place, "client"))), toml=table(**words)) as r:
                error = await r.refused()
                assert error.code == "core.peer_user"
                assert "user 65534 holds" in error.message
        assert await squatter.stdout.readline() == b"b''\n"
        assert server.met == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            squatter.kill()
        await squatter.wait()


async def test_a_check_that_says_no(place: Path) -> None:
    """A plugin's check refuses under its own code; nothing was sent by then."""

    def check(peer: Peer | None) -> None:
        raise Refused("look.no", "no", plugin="look")

    server = Server()
    look = ring("look", on_connect=lambda connection: connection.verify.append(check))
    async with server.at(place / "s") as address, rig(look) as r:
        assert (await r.refused(address)).code == "look.no"
        assert r.codes == ["look.no"]
        await server.heard(1)
        assert server.got == [None]


async def test_a_plugin_that_says_no(place: Path) -> None:
    """What ``on_connect`` refuses is not dialled."""
    server = Server()

    def no(connection: Connection) -> None:
        raise Refused("look.no", "no", plugin="look")

    async with server.at(place / "s") as address, rig(ring("look", on_connect=no)) as r:
        assert (await r.refused(address)).code == "look.no"
        assert server.met == 0


# --- the ping ---


async def says(caller: Caller, *what: Any) -> None:
    await caller.say(*what)
    await caller.line()


async def test_no_answer(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer in time is left; the connection was never made."""
    monkeypatch.setattr(_dial, "ANSWER_SECONDS", 0.1)

    async def silent(caller: Caller) -> None:
        await caller.line()

    async with Server(silent).at(place / "s") as address, rig() as r:
        error = await r.refused(address)
        assert error.code == "core.unanswered"
        assert "did not answer in time" in error.message
        assert r.codes == ["core.unanswered"]


@pytest.mark.parametrize(
    "what",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}\n',
        b'{"jsonrpc":"2.0","id":"hauberk:00000000000000000000000000000000","result":{}}\n',
        b'{"jsonrpc":"2.0","id":1,"method":"roots/list"}\n',
        b"[]\n",
    ],
)
async def test_another_answer(place: Path, what: bytes) -> None:
    """A server that closes, or says something else first, is none that takes the connection."""

    async def other(caller: Caller) -> None:
        await caller.say(what)

    async with Server(other).at(place / "s") as address, rig() as r:
        assert (await r.refused(address)).code == "core.unanswered"
        assert r.codes == ["core.unanswered"]


@pytest.mark.parametrize("id", [True, False], ids=["its id", "no id"])
async def test_refused_by_the_peer(place: Path, id: bool) -> None:
    """A server that says no is believed, and its public code is told."""
    server = Server()

    async def no(caller: Caller) -> None:
        error = {"code": -32005, "message": "refused", "data": {"code": "core.too_many_connections"}}
        await caller.say({"jsonrpc": "2.0", "id": server.got[-1]["id"] if id else None, "error": error})

    server.talk = no
    async with server.at(place / "s") as address, rig() as r:
        error = await r.refused(address)
        assert (error.code, error.details) == ("core.refused_by_peer", {"code": "core.too_many_connections"})
        assert r.codes == ["core.refused_by_peer"]


async def test_a_server_without_ping(place: Path) -> None:
    """An error that is no refusal answers the ping as well: the server is there."""
    server = Server()

    async def unknown(caller: Caller) -> None:
        error = {"code": -32601, "message": "Method not found"}
        await says(caller, {"jsonrpc": "2.0", "id": server.got[-1]["id"], "error": error})

    server.talk = unknown
    async with server.at(place / "s") as address, rig() as r:
        await (await r.dial(address)).stream.closed(1)
        assert r.codes == ["core.connected"]


async def test_a_connection_that_cannot_be_recorded(place: Path) -> None:
    """Where a required sink cannot record it, the connection is closed again."""

    def fail(event: Any) -> None:
        if event.code == "core.connected":
            raise OSError

    server = Server()
    async with server.at(place / "s") as address, rig(ring("sink", on_audit=fail, required=True)) as r:
        assert (await r.refused(address)).code == "core.unrecorded"
        await server.heard(2)
        assert server.got[1] is None


# --- TLS ---


async def test_tls(place: Path) -> None:
    """The peer is checked with its TLS at hand, and the ticket is kept once the server has answered (S0.14)."""
    secured, peers = Secured(context(place, "client")), list[Peer]()
    server = Server()
    async with server.on_port(context(place, "server")) as address, rig(securing(secured, peers)) as r:
        connection, made = await r.dial(address)
        assert secured.established_with == ["TLSv1.3"]
        assert (peers[0].carrier, f"tls://{peers[0].address}") == ("tls", address)
        assert peers[0].tls is not None
        assert peers[0].tls.selected_alpn_protocol() == "hauberk.jsonl/1"
        assert connection.principal.id == "localhost"
        assert r.event("core.connected").principal == "localhost"
        await made.closed(1)


async def test_tls_without_the_plugin() -> None:
    """Where no plugin gives TLS, nothing is dialled: ``tls://`` is never spoken to in the clear."""
    server = Server()
    async with server.on_port() as address, rig() as r:
        assert (await r.refused(address)).code == "core.no_tls"
        assert r.codes == ["core.no_tls"]
        assert server.met == 0


@pytest.mark.parametrize("insecure", [False, True])
async def test_an_untrusted_server(place: Path, insecure: bool) -> None:
    """A failed check is the end, whatever fallback is allowed: nobody is asked again without TLS (S0.4, A81)."""
    secured = Secured(context(place, "client", trusting=False), insecure=insecure)
    server = Server()
    async with server.on_port(context(place, "server")) as address, rig(securing(secured)) as r:
        assert (await r.refused(address)).code == "tls.untrusted"
        assert r.codes == ["tls.untrusted"]
        assert server.got == []
        assert secured.established_with == []


async def test_a_server_that_refuses_the_client(place: Path) -> None:
    """A client without a certificate finishes its handshake, and yet is not connected (S0.14, V8)."""
    secured = Secured(context(place, "client", mtls=False), insecure=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listening, context(place, "server")))
        async with rig(securing(secured)) as r:
            assert (await r.refused(f"tls://127.0.0.1:{listening.getsockname()[1]}")).code == "tls.refused_by_peer"
            assert r.codes == ["tls.refused_by_peer"]
        await refusing
    # A server on asyncio closes without an alert.
    async with Server().on_port(context(place, "server")) as address, rig(securing(secured)) as r:
        assert (await r.refused(address)).code == "tls.cut_off"
    assert secured.established_with == []


def refuse(listening: socket.socket, tls: ssl.SSLContext) -> None:
    """Refuse one client as OpenSSL does: with an alert, after it has finished its handshake."""
    accepted, _ = listening.accept()
    secured = tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    with pytest.raises(ssl.SSLError):
        secured.do_handshake()
    with socket.socket(fileno=secured.detach()) as plain:
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(4096):  # or what was not read makes the kernel take the alert back
            pass


async def test_a_server_without_tls(place: Path) -> None:
    """A server that offers no TLS is refused, and gets no message."""
    server = Server(lambda caller: caller.say(b"hello\n"))
    async with server.on_port() as address, rig(securing(Secured(context(place, "client")))) as r:
        with contextlib.suppress(orjson.JSONDecodeError):
            assert (await r.refused(address)).code in {"tls.not_tls", "tls.cut_off"}
        assert "core.connected" not in r.codes


class Clear(Server):
    """A server without TLS: it answers a ClientHello with an HTTP error, as web servers do."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        first = await reader.readexactly(1)
        if first == b"\x16":
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()
            return
        self.got.append(orjson.loads(first + await reader.readline()))
        await self.talk(Caller(reader, writer))
        writer.close()


async def test_doing_without_tls(place: Path) -> None:
    """In development, where it is allowed and the server offers no TLS, it is done without, with an event (S0.4)."""
    secured, peers, server = Secured(context(place, "client"), insecure=True), list[Peer](), Clear()
    async with server.on_port() as address, rig(securing(secured, peers)) as r:
        connection, made = await r.dial(address)
        assert r.codes == ["tls.fallback", "core.connected"]
        assert r.event("tls.fallback").severity == "warning"
        assert r.event("tls.fallback").details["target"] == address
        assert peers[0].tls is None
        assert connection.principal is ANONYMOUS
        assert secured.established_with == []
        await made.closed(1)


@pytest.mark.parametrize(("insecure", "toml"), [(False, ""), (True, PRODUCTION)])
async def test_never_without_tls(place: Path, insecure: bool, toml: str) -> None:
    """Without the permission, and in production whatever is permitted, a server without TLS is refused (S0.3, X.5)."""
    server = Clear()
    async with (
        server.on_port() as address,
        rig(securing(Secured(context(place, "client"), insecure=insecure)), toml=toml) as r,
    ):
        assert (await r.refused(address)).code == "tls.not_tls"
        assert (server.met, server.got) == (1, [])


async def test_a_check_after_doing_without_tls(place: Path) -> None:
    """Where TLS is done without, the plugins' checks are not."""
    secured = Secured(context(place, "client"), insecure=True)

    def no(peer: Peer | None) -> None:
        raise Refused("look.no", "no", plugin="look")

    look = ring("look", on_connect=lambda connection: connection.verify.append(no))
    server = Clear()
    async with server.on_port() as address, rig(securing(secured), look) as r:
        assert (await r.refused(address)).code == "look.no"
        assert server.got == []


async def test_a_slow_handshake(place: Path) -> None:
    """A server that does not finish the handshake is left in time."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    secured = Secured(context(place, "client"), seconds=0.1, insecure=True)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server, rig(securing(secured)) as r:
        address = f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await r.refused(address)).code == "tls.handshake_timeout"
        assert r.codes == ["tls.handshake_timeout"]


async def test_a_server_that_vanishes(place: Path) -> None:
    """A server that goes after the handshake, or within it, has refused: nothing is taken for a connection."""

    async def bye(caller: Caller) -> None:
        return

    secured = Secured(context(place, "client"), insecure=True)
    async with Server(bye).on_port(context(place, "server")) as address, rig(securing(secured)) as r:
        assert (await r.refused(address)).code == "tls.cut_off"

    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(at_once, "127.0.0.1", 0) as server, rig(securing(secured)) as r:
        address = f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await r.refused(address)).code == "tls.cut_off"


# --- the fallback ---


def fallback(place: Path, address: str, **more: Any) -> str:
    return table(socket=str(place / "s"), url=address, transport="unix-with-tcp-fallback", **more)


@pytest.mark.parametrize(("profile", "allowed"), [("", {}), (PRODUCTION, {"allow_tcp_fallback": True})])
async def test_fallback_is_tls(place: Path, profile: str, allowed: dict[str, Any]) -> None:
    """Where nobody listens at the socket, TLS with every check takes its place, and each time it is an event (S4.9)."""
    secured, peers = Secured(context(place, "client")), list[Peer]()
    plugin = securing(secured, peers)
    async with Server().on_port(context(place, "server")) as address:  # noqa: SIM117 - its address is needed
        async with rig(plugin, toml=profile + fallback(place, address, **allowed)) as r:
            for _ in range(2):
                connection, made = await r.dial()
                assert (connection.carrier, connection.target) == ("tls", address)
                assert peers[-1].tls is not None
                await made.closed(1)
            assert r.codes.count("core.fallback") == 2
            first = next(event for event in r.recorder.events if event.code == "core.fallback")
            assert (first.severity, first.server) == ("warning", "files")
            assert (first.details["from"], first.details["to"]) == (f"unix://{place / 's'}", address)


async def test_production_does_not_fall_back(place: Path) -> None:
    """In production the fallback has to be allowed, and whoever asked for one and gets none is told (S4.9, X.16)."""
    server = Server()
    async with server.on_port(context(place, "server")) as address:
        toml = PRODUCTION + fallback(place, address)
        async with rig(securing(Secured(context(place, "client"))), toml=toml) as r:
            refused = await r.refused()
            assert (refused.code, refused.hint) == (
                "core.unreachable",
                "in production the fallback needs allow_tcp_fallback = true in [server.files]",
            )
            assert "core.fallback" not in r.codes
            assert server.met == 0


async def test_removing_the_socket_gives_no_plaintext(place: Path) -> None:
    """Whoever takes the socket away gets the client onto TLS, or nowhere: never onto TCP in the clear (S4.9, A81)."""
    server = Clear()
    async with server.on_port() as address:
        async with rig(toml=fallback(place, address)) as r:
            assert (await r.refused()).code == "core.no_tls"
            assert server.met == 0
        async with rig(securing(Secured(context(place, "client"))), toml=fallback(place, address)) as r:
            assert (await r.refused()).code == "tls.not_tls"
            assert server.got == []


async def test_no_fallback_after_a_check(place: Path) -> None:
    """A file in the place of the socket, another user's socket, and a refusal there are no reason to fall back."""
    there = Server()
    async with there.on_port(context(place, "server")) as address:
        plugin = securing(Secured(context(place, "client")))
        (place / "s").touch()
        async with rig(plugin, toml=fallback(place, address)) as r:
            assert (await r.refused()).code == "core.not_a_socket"
        (place / "s").unlink()
        async with (
            Server().at(place / "s"),
            rig(plugin, toml=fallback(place, address, uids=[os.geteuid() + 1])) as r,
        ):
            assert (await r.refused()).code == "core.peer_user"
        async with (
            Server(lambda caller: caller.say(b"no\n")).at(place / "s"),
            rig(plugin, toml=fallback(place, address)) as r,
        ):
            assert (await r.refused()).code == "core.unanswered"
        assert there.met == 0


async def test_a_socket_goes_first(place: Path) -> None:
    """Where somebody listens at the socket, the address beside it is not dialled."""
    near, far = Server(), Server()
    async with near.at(place / "s"), far.on_port(context(place, "server")) as address:  # noqa: SIM117 - as above
        async with rig(securing(Secured(context(place, "client"))), toml=fallback(place, address)) as r:
            connection, made = await r.dial()
            assert connection.carrier == "unix"
            await made.closed(1)
    assert (near.met, far.met) == (1, 0)


# --- what a peer says of itself ---


async def test_a_message_proves_nothing(place: Path) -> None:
    """Nothing in a message becomes a header or an identity: who speaks is what the channel proved (S4.10)."""
    seen: list[Message] = []
    heard = asyncio.Event()
    claims = {
        "headers": {"authorization": "Bearer x", "x-forwarded-for": "127.0.0.1"},
        "_meta": {"principal": "admin", "headers": {"x-user": "admin"}},
        "principal": {"id": "admin"},
    }

    async def talk(caller: Caller) -> None:
        await caller.say({"jsonrpc": "2.0", "id": server.got[-1]["id"], "result": {}})
        await says(
            caller,
            {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1} | claims},
        )

    def look(message: Message, connection: Connection) -> None:
        seen.append(message)
        heard.set()

    server = Server(talk)
    async with server.at(place / "s") as address, rig(ring("look", on_receive=look)) as r:
        connection, made = await r.dial(address)
        session = r.guard.session(connection, Port(bytes_only=True), made)
        take(session, made)
        await heard.wait()
        assert dict(seen[0].headers) == {}
        assert seen[0].principal is connection.principal is ANONYMOUS
        await session.close()
        await made.closed(1)


def take(session: Any, made: Stream) -> None:
    made.attach(lambda frame: session.receive(session.inn, frame), lambda: None)
