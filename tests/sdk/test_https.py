"""``wrap("https://…")``: each TCP connection is checked after its TLS, and before a request leaves on it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from mcp import Client, MCPError
from tests.core import secured as made_for_tests
from tests.core.harness import ring
from tests.core.secured import Secured, context, securing
from tests.sdk.everything import Everything
from tests.sdk.kit import Seen, client, guard, leaf, listening, within

from hauberk import plugins
from hauberk.config import Config
from hauberk.connection import Connection, Peer
from hauberk.guard import Guard
from hauberk.hosts import _https
from hauberk.hosts._targets import Web
from hauberk.principal import Principal
from hauberk.refusals import ConfigError, Refused
from hauberk_tls import Tls

_ALPN: Final = "http/1.1"
_INITIALIZED: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "stub", "version": "1"},
}
_RESULTS: Final[dict[str, Any]] = {
    "initialize": _INITIALIZED,
    "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]},
    "tools/call": {"content": []},
}


class Stub:
    """A small HTTP server of an older revision, that knows on which TCP connection each request came."""

    def __init__(self) -> None:
        self.met = 0
        """TCP connections on which TLS is done."""
        self.requests: list[tuple[int, str, dict[str, str], Any]] = []
        """Connection, method of HTTP, headers, message."""
        self.who: dict[int, str] = {}
        """The common name that each connection's client proved."""
        self.together = 1
        """Calls that are answered once so many are there."""
        self.answer: Callable[[str], bytes | None] = lambda path: None
        """An answer in place of the usual one, by path."""
        self._here = 0
        self._all = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    def methods(self) -> list[str]:
        return [message["method"] for _, _, _, message in self.requests if message]

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        number = self.met
        self._writers.append(writer)
        certificate = writer.get_extra_info("peercert")
        if certificate:
            self.who[number] = certificate["subject"][0][0][1]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                message = json.loads(body) if body else None
                verb, path, _ = first.split(" ")
                self.requests.append((number, verb, headers, message))
                writer.write(self.answer(path) or await self._answered(verb, message))
                await writer.drain()
        writer.close()

    async def _answered(self, verb: str, message: Any) -> bytes:
        if verb != "POST":
            return b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n"
        if "id" not in message:
            return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        result = _RESULTS.get(message["method"], {})
        if message["method"] == "tools/call":
            self._here += 1
            if self._here >= self.together:
                self._all.set()
            await self._all.wait()
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    @asynccontextmanager
    async def on_port(self, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
        """Listen on a port of the loopback interface; give its URL."""
        async with await asyncio.start_server(self, "127.0.0.1", 0, ssl=tls) as server:
            yield f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}/mcp"
            for writer in self._writers:
                writer.transport.abort()


def _server(folder: Path, *, mtls: bool = True) -> ssl.SSLContext:
    found: ssl.SSLContext = context(folder, "server", alpn=_ALPN, mtls=mtls)
    return found


def _mine(folder: Path, *, insecure: bool = False, **more: Any) -> Secured:
    return Secured(context(folder, "client", alpn=_ALPN, **more), insecure=insecure)


@asynccontextmanager
async def _meeting(url: str, *rings: Any, toml: str = "", mode: str = "legacy") -> AsyncIterator[Client]:
    async with client(guard(*rings, toml=toml).wrap(url, server="s"), mode) as connected:
        yield connected


async def _refused(url: str, *rings: Any, toml: str = "", mode: str = "legacy") -> Refused:
    """Connect, and return what it was refused with."""
    with pytest.raises((Refused, ExceptionGroup)) as caught:
        async with asyncio.timeout(10), _meeting(url, *rings, toml=toml, mode=mode):
            raise AssertionError
    error = leaf(caught.value)
    assert isinstance(error, Refused)
    return error


async def _call(c: Client) -> None:
    await within(c.call_tool("t", {}))


# --- with the plugin ---


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Guard]:
    """Return a function that loads a guard with the real plugin, for the authority and the client of these tests."""
    monkeypatch.setattr(plugins, "installed", lambda: {"tls": plugins.Source("tls", "hauberk-tls", "0", lambda: Tls)})
    certificate, key = made_for_tests.CLIENT.split("-----BEGIN PRIVATE", 1)
    for name, text in (("ca.pem", made_for_tests.CA), ("me.pem", certificate), ("me.key", "-----BEGIN PRIVATE" + key)):
        path = tmp_path / name
        path.touch(0o600)
        path.write_text(text)

    def load(*objects: Any, table: str = "", toml: str = "") -> Guard:
        text = f'{toml}\n[tls]\nca = "ca.pem"\ncertificate = "me.pem"\nkey = "me.key"\n{table}'
        return Guard.load(Config.from_toml(text, base=tmp_path), objects=objects)

    return load


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_everything_passes(tmp_path: Path, real: Callable[..., Guard], mode: str) -> None:
    """With client certificates on both sides the official client speaks to a real server, in each mode (S0.8)."""
    _server(tmp_path)
    (tmp_path / "authority.pem").write_text(made_for_tests.CA)
    seen = Seen()
    tls = {
        "ssl_certfile": str(tmp_path / "server.pem"),
        "ssl_ca_certs": str(tmp_path / "authority.pem"),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }
    async with listening(Everything().server.streamable_http_app(), **tls) as url:
        secure = url.replace("http://127.0.0.1", "https://localhost") + "/mcp"
        async with client(real(seen).wrap(secure, server="s"), mode) as c:
            assert (await within(c.list_tools())).tools
            assert (await within(c.call_tool("echo", {"a": 1}))).structured_content is not None
    (made,) = [event for event in seen.events if event.code == "core.connected"]
    assert made.principal == "localhost"
    assert (made.details["carrier"], made.details["target"]) == ("https", secure)


async def test_an_untrusted_server(tmp_path: Path, real: Callable[..., Guard]) -> None:
    """A server under another name is refused with the plugin's own code, as a clear error, and gets no request."""
    stub, seen = Stub(), Seen()
    async with stub.on_port(_server(tmp_path)) as url:
        made = real(seen, table='server_name = "other.example"')
        with pytest.raises((Refused, ExceptionGroup)) as caught:
            async with client(made.wrap(url, server="s"), "legacy"):
                raise AssertionError
    error = leaf(caught.value)
    assert isinstance(error, Refused)
    assert error.code == "tls.name_mismatch"
    assert error.hint
    assert "tls.name_mismatch" in seen.codes
    assert "core.connected" not in seen.codes
    assert stub.requests == []


# --- each connection ---


async def test_checked_before_anything_leaves(tmp_path: Path) -> None:
    """What a check refuses gets no request, and no header with a secret in it."""

    def no(peer: Peer | None) -> None:
        raise Refused("look.no", "no", plugin="look")

    seen, stub, mine = Seen(), Stub(), _mine(tmp_path)
    look = ring("look", on_connect=lambda connection: connection.verify.append(no))
    async with stub.on_port(_server(tmp_path)) as url:
        assert (await _refused(url, securing(mine), look, seen)).code == "look.no"
    assert stub.met == 1
    assert stub.requests == []
    assert seen.codes.count("look.no") == 1
    assert mine.established_with == []


async def test_every_connection_is_checked(tmp_path: Path) -> None:
    """Each TCP connection of the pool is checked, with its own TLS; each one's ticket is kept once it has answered."""
    stub, mine, peers = Stub(), _mine(tmp_path), list[Peer]()
    stub.together = 5
    async with stub.on_port(_server(tmp_path)) as url, _meeting(url, securing(mine, peers)) as c:
        await asyncio.gather(*(_call(c) for _ in range(5)))
        assert stub.met >= 5
    assert len(peers) == stub.met
    assert len({id(peer.tls) for peer in peers}) == len(peers)
    assert {peer.carrier for peer in peers} == {"https"}
    assert len(mine.established_with) == len({number for number, *_ in stub.requests})


async def test_a_later_connection_that_is_refused(tmp_path: Path) -> None:
    """A connection that is refused later carries nothing, though the first one was let in."""
    met = 0

    def once(peer: Peer | None) -> None:
        nonlocal met
        met += 1
        if met > 3:
            raise Refused("look.no", "no", plugin="look")

    stub, seen = Stub(), Seen()
    stub.together = 10
    look = ring("look", on_connect=lambda connection: connection.verify.append(once))
    with pytest.raises((Refused, ExceptionGroup)) as caught:
        async with stub.on_port(_server(tmp_path)) as url, _meeting(url, securing(_mine(tmp_path)), look, seen) as c:
            await asyncio.gather(*(_call(c) for _ in range(10)))
    assert "look.no" in repr(caught.value) or isinstance(leaf(caught.value), MCPError | Refused)
    assert "look.no" in seen.codes
    assert {number for number, *_ in stub.requests} <= {1, 2, 3}


async def test_a_session_has_one_peer(tmp_path: Path) -> None:
    """Another connection of a session on which somebody else answers is refused: one session speaks with one peer."""
    names = iter(["a", "b", "c", "d", "e", "f"])

    def who(peer: Peer | None) -> Principal:
        return Principal(id=next(names), kind="server", method="look")

    def secure(connection: Connection) -> None:
        connection.tls = _mine(tmp_path)
        connection.verify.append(who)

    stub, seen = Stub(), Seen()
    stub.together = 2
    with contextlib.suppress(Refused, ExceptionGroup, MCPError):
        async with stub.on_port(_server(tmp_path)) as url, _meeting(url, ring("look", on_connect=secure), seen) as c:
            await asyncio.gather(*(_call(c) for _ in range(2)))
    assert "core.peer_changed" in seen.codes
    assert {number for number, *_ in stub.requests} == {1}


async def test_connected_once_it_has_answered(tmp_path: Path) -> None:
    """The connection is recorded once a request was taken, and no second time (S0.14)."""
    seen, stub = Seen(), Stub()
    async with stub.on_port(_server(tmp_path)) as url:
        made = guard(securing(_mine(tmp_path)), seen)
        async with made.wrap(url, server="s"):
            assert "core.connected" not in seen.codes
        async with client(made.wrap(url, server="s"), "legacy") as c:
            await _call(c)
    assert seen.codes.count("core.connected") == 1


async def test_a_connection_that_cannot_be_recorded(tmp_path: Path) -> None:
    """Where a required sink cannot record the connection, it is refused."""

    def fail(event: Any) -> None:
        if event.code == "core.connected":
            raise OSError

    stub = Stub()
    async with stub.on_port(_server(tmp_path)) as url:
        sink = ring("sink", on_audit=fail, required=True)
        assert (await _refused(url, securing(_mine(tmp_path)), sink)).code == "core.unrecorded"
    assert stub.methods() == ["initialize"]


async def test_a_server_that_refuses_the_client(tmp_path: Path) -> None:
    """A client without a certificate finishes its handshake, and is told that it was refused (S0.14, V8)."""
    stub, seen, mine = Stub(), Seen(), _mine(tmp_path, mtls=False, insecure=True)
    async with stub.on_port(_server(tmp_path)) as url:
        assert (await _refused(url, securing(mine), seen)).code in {"tls.cut_off", "tls.refused_by_peer"}
    assert "core.connected" not in seen.codes
    assert "tls.fallback" not in seen.codes
    assert mine.established_with == []


async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    """A server that closes the connection before it has said anything has refused it, whatever it read by then."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    seen, mine = Seen(), _mine(tmp_path)
    async with await asyncio.start_server(close, "127.0.0.1", 0, ssl=_server(tmp_path)) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/mcp"
        assert (await _refused(url, securing(mine), seen)).code == "tls.cut_off"
    assert "tls.cut_off" in seen.codes
    assert mine.established_with == []


@pytest.mark.parametrize("insecure", [False, True])
async def test_a_failed_check_is_the_end(tmp_path: Path, insecure: bool) -> None:
    """A server whose certificate is not trusted is not asked again without TLS (S0.4, A81)."""
    stub, seen = Stub(), Seen()
    async with stub.on_port(_server(tmp_path, mtls=False)) as url:
        mine = _mine(tmp_path, trusting=False, insecure=insecure)
        assert (await _refused(url, securing(mine), seen)).code == "tls.untrusted"
    assert stub.requests == []
    assert "tls.fallback" not in seen.codes


class _Clear(Stub):
    """The same without TLS: it answers a ClientHello with an HTTP error, as web servers do."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if first == b"\x16":
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()
            return
        reader._buffer[:0] = first  # type: ignore[attr-defined]
        await super().__call__(reader, writer)


@pytest.mark.parametrize(
    ("insecure", "toml", "code"),
    [(True, "", "tls.fallback"), (False, "", "tls.not_tls"), (True, "profile = 'production'\n", "tls.not_tls")],
)
async def test_doing_without_tls(tmp_path: Path, insecure: bool, toml: str, code: str) -> None:
    """In development, where it is allowed and the server offers no TLS, it is done without, with an event (S0.4)."""
    stub, seen, mine = _Clear(), Seen(), _mine(tmp_path, insecure=insecure)
    async with stub.on_port(None) as url:
        secure = url.replace("http:", "https:")
        if code == "tls.fallback":
            async with _meeting(secure, securing(mine), seen, toml=toml) as c:
                await _call(c)
        else:
            assert (await _refused(secure, securing(mine), seen, toml=toml)).code == code
            assert stub.requests == []
            assert "tls.fallback" not in seen.codes
    assert code in seen.codes
    assert mine.established_with == []


class _Turning(_Clear):
    """It speaks TLS until it is told to turn; then it answers in clear, as whoever stands between could."""

    def __init__(self, secure: ssl.SSLContext) -> None:
        super().__init__()
        self.turned = False
        self._secure = secure

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.turned:
            await writer.start_tls(self._secure)
        await super().__call__(reader, writer)


async def test_no_way_back_from_tls(tmp_path: Path) -> None:
    """Once a connection of a session had TLS, none does without, though that was allowed (S0.4, A81)."""
    stub, seen, mine = _Turning(_server(tmp_path)), Seen(), _mine(tmp_path, insecure=True)
    with contextlib.suppress(Refused, ExceptionGroup, MCPError, TimeoutError):
        async with (
            stub.on_port(None) as url,
            _meeting(url.replace("http:", "https:"), securing(mine), seen) as c,
        ):
            await _call(c)
            before = len(stub.requests)
            stub.turned = True
            await _cut(stub)
            await _call(c)
    assert "core.connected" in seen.codes
    assert len(stub.requests) == before
    assert "tls.not_tls" in seen.codes
    assert "tls.fallback" not in seen.codes


async def test_what_proves_nobody_is_nobody(tmp_path: Path) -> None:
    """A later connection whose checks prove nobody is not who the first one was (S0.8)."""
    met = 0

    def once(peer: Peer | None) -> Principal | None:
        nonlocal met
        met += 1
        return Principal(id="a", kind="server", method="look") if met == 1 else None

    def secure(connection: Connection) -> None:
        connection.tls = _mine(tmp_path)
        connection.verify.append(once)

    stub, seen = Stub(), Seen()
    with contextlib.suppress(Refused, ExceptionGroup, MCPError, TimeoutError):
        async with stub.on_port(_server(tmp_path)) as url, _meeting(url, ring("look", on_connect=secure), seen) as c:
            await _call(c)
            await _cut(stub)
            await _call(c)
    assert "core.peer_changed" in seen.codes
    assert {number for number, *_ in stub.requests} == {1}


async def _cut(stub: Stub) -> None:
    """Let every connection that is there end."""
    for writer in stub._writers:
        writer.transport.abort()
    await asyncio.sleep(0.1)


async def test_a_later_connection_sees_the_files(tmp_path: Path, real: Callable[..., Guard]) -> None:
    """Each TCP connection of a session is made by the files as they are then (S0.18, S0.19, A84)."""
    stub, seen = Stub(), Seen()
    with contextlib.suppress(Refused, ExceptionGroup, MCPError, TimeoutError):
        async with (
            stub.on_port(_server(tmp_path)) as url,
            client(real(seen).wrap(url, server="s"), "legacy") as c,
        ):
            await _call(c)
            before, met = len(stub.requests), stub.met
            (tmp_path / "ca.pem").unlink()
            await _cut(stub)
            await _call(c)
    assert "core.connected" in seen.codes
    assert "tls.ca_unusable" in seen.codes
    assert (len(stub.requests), stub.met) == (before, met)


# --- where TLS is asked for ---


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_feature_needs_the_plugin(scheme: str) -> None:
    """With ``mcp_tls_enabled`` and without the plugin nothing is dialled: no silent plain connection (S0.8)."""
    stub, seen = Stub(), Seen()
    async with stub.on_port(None) as url:
        toml = "[features]\nmcp_tls_enabled = true\n"
        assert (await _refused(url.replace("http", scheme, 1), seen, toml=toml)).code == "core.no_tls"
    assert stub.met == 0
    assert "core.no_tls" in seen.codes


async def test_the_transport_needs_tls(tmp_path: Path) -> None:
    """``transport = "https"`` wants the plugin, and no URL without TLS, whoever names it (S0.8)."""
    stub, mine = Stub(), _mine(tmp_path)
    toml = '[server.s]\nurl = "https://localhost:1/mcp"\ntransport = "https"\n'
    always = ring("always", on_connect=lambda connection: setattr(connection, "tls", mine))
    async with stub.on_port(None) as url:
        assert (await _refused(url, toml=toml)).code == "core.no_tls"
        assert (await _refused(url, always, toml=toml)).code == "core.no_tls"
        assert (await _refused(url.replace("http:", "https:"), toml=toml)).code == "core.no_tls"
    assert stub.met == 0
    with pytest.raises(ConfigError, match="another one"):
        guard(toml=toml).wrap(Everything().server, server="s")


async def test_without_the_plugin(tmp_path: Path) -> None:
    """Without the plugin a server is judged as the system does: one that it does not trust is not spoken to."""
    stub = Stub()
    async with stub.on_port(_server(tmp_path, mtls=False)) as url:
        with pytest.raises(ExceptionGroup) as caught:
            async with _meeting(url):
                raise AssertionError
    assert isinstance(leaf(caught.value), httpx2.ConnectError)
    assert stub.requests == []


# --- what could weaken it ---


def _elsewhere(location: str) -> Callable[[str], bytes]:
    text = f"HTTP/1.1 307 There\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    return lambda path: text


@pytest.mark.parametrize("to", ["http", "another"])
async def test_a_redirect_leads_nowhere_else(tmp_path: Path, to: str) -> None:
    """A redirect to a place without TLS, or to another one, is not followed: no request leaves the checks."""
    stub, other = Stub(), Stub()
    async with other.on_port(None if to == "http" else _server(tmp_path)) as there:
        stub.answer = _elsewhere(there)
        async with stub.on_port(_server(tmp_path)) as url:
            with pytest.raises((MCPError, ExceptionGroup, Refused)):
                async with asyncio.timeout(10), _meeting(url, securing(_mine(tmp_path))):
                    raise AssertionError
    assert other.met == 0


async def test_a_redirect_to_the_same_place(tmp_path: Path) -> None:
    """A redirect within the endpoint's origin is followed."""
    stub = Stub()
    stub.answer = lambda path: _elsewhere("/mcp/")(path) if path == "/mcp" else None
    async with stub.on_port(_server(tmp_path)) as url, _meeting(url, securing(_mine(tmp_path))) as c:
        await _call(c)


@pytest.mark.parametrize(
    ("url", "other", "passes"),
    [
        ("https://a.example/mcp", "https://a.example/other", True),
        ("https://a.example/mcp", "https://a.example:443/mcp", True),
        ("https://a.example/mcp", "http://a.example/mcp", False),
        ("https://a.example/mcp", "https://b.example/mcp", False),
        ("https://a.example/mcp", "https://a.example:8443/mcp", False),
        ("https://a.example:8443/mcp", "http://a.example:8443/mcp", False),
        ("http://a.example/mcp", "https://a.example/mcp", True),
        ("http://a.example:80/mcp", "https://a.example/mcp", True),
        ("http://a.example:8080/mcp", "https://a.example:8080/mcp", False),
    ],
)
async def test_no_request_leaves_for_another_place(url: str, other: str, passes: bool) -> None:
    """Whatever the SDK does with redirects, no request goes to another origin than the one that was asked for."""
    sent: list[str] = []

    def answered(request: httpx2.Request) -> httpx2.Response:
        sent.append(str(request.url))
        return httpx2.Response(200)

    hooks: Any = {"request": [_https._Origin(url, upgrade=True)]}
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answered), event_hooks=hooks) as web:
        if passes:
            await web.post(other)
            return
        with pytest.raises(Refused) as caught:
            await web.post(other)
    assert caught.value.code == "core.redirected"
    assert sent == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZIP", "identity, gzip", "x"])
async def test_nothing_is_decompressed(coding: str) -> None:
    """An answer that is compressed unasked is refused before any of it is read, however small it came (S4.18)."""
    read: list[bytes] = []

    async def bomb() -> AsyncIterator[bytes]:
        read.append(b"")
        yield gzip.compress(bytes(1 << 20))

    def answered(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["accept-encoding"] == "identity"
        return httpx2.Response(200, headers={"content-encoding": coding}, content=bomb())

    connection = Connection(id="1", host="h", server="s", role="client", carrier="http")
    connection.headers["accept-encoding"] = "gzip"
    web = Web("http://a.example/mcp", {"ACCEPT-ENCODING": "br"})
    async with _https._client(web, connection, None) as client:
        client._transport = httpx2.MockTransport(answered)
        client._mounts = {}
        with pytest.raises(Refused) as caught:
            await client.post("http://a.example/mcp")
    assert (caught.value.code, read) == ("core.compressed", [])


@pytest.mark.parametrize("plugin", [True, False])
async def test_the_environment_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: bool) -> None:
    """No variable adds an authority, takes a key, or puts a proxy between, in production (X.5, A81)."""
    (tmp_path / "authority.pem").write_text(made_for_tests.CA)
    proxy, stub = Stub(), Stub()
    async with proxy.on_port(None) as there, stub.on_port(_server(tmp_path, mtls=False)) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, there.removesuffix("/mcp"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        rings = [securing(_mine(tmp_path, trusting=False))] if plugin else []
        with pytest.raises((Refused, ExceptionGroup)) as caught:
            async with asyncio.timeout(10), _meeting(url, *rings, toml="profile = 'production'\n"):
                raise AssertionError
    error = leaf(caught.value)
    assert isinstance(error, Refused | httpx2.ConnectError)
    assert (proxy.met, stub.requests) == (0, [])
    assert not (tmp_path / "keys").exists()


async def test_identities_do_not_mix(tmp_path: Path) -> None:
    """Two identities that call one server at a time have a pool each: no request leaves under the other's (S4.26)."""
    stub = Stub()
    stub.together = 8
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    tls = _server(tmp_path)
    tls.verify_mode = ssl.CERT_OPTIONAL

    def named(name: str) -> Any:
        return ring("name", on_connect=lambda connection: connection.headers.update({"x-who": name}))

    first = [securing(_mine(folders[0])), named("client.example")]
    second = [securing(_mine(folders[1], mtls=False)), named("nobody")]
    async with stub.on_port(tls) as url, _meeting(url, *first) as one, _meeting(url, *second) as other:
        await asyncio.gather(*(_call(c) for c in (one, other) * 4))
    assert {stub.who.get(number, "nobody") for number, *_ in stub.requests} == {"client.example", "nobody"}
    assert [headers["x-who"] for number, _, headers, _ in stub.requests] == [
        stub.who.get(number, "nobody") for number, *_ in stub.requests
    ]


async def test_headers_of_the_configuration(tmp_path: Path) -> None:
    """A server of the configuration is called with its headers; what a plugin sets goes before them."""
    stub, shown = Stub(), list[str]()

    def mint(connection: Connection) -> None:
        shown.append(connection.target)
        connection.headers["x-token"] = "minted"

    async with stub.on_port(None) as url:
        toml = f'[server.s]\nurl = "{url}"\nheaders = {{ x-token = "old", x-team = "blue" }}\n'
        async with client(guard(ring("mint", on_connect=mint), toml=toml).wrap(server="s"), "legacy") as c:
            await _call(c)
    assert {(headers["x-token"], headers["x-team"]) for _, _, headers, _ in stub.requests} == {("minted", "blue")}
    assert shown == [url]


async def test_keys_are_not_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the plugin's context no key is written, whatever ``SSLKEYLOGFILE`` says."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    stub = Stub()
    async with stub.on_port(_server(tmp_path)) as url, _meeting(url, securing(_mine(tmp_path))) as c:
        await _call(c)
    assert not (tmp_path / "keys").exists()
