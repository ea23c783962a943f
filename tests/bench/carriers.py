"""Sockets: the carrier against a bare asyncio echo on the same kind of socket, the guard on it, and handshakes.

The other end is a process of its own, on the same core. A round trip is the work of both ends and of the system between
them, in CPU time of both processes: what else runs on the machine is not counted. The bare echo is an
`asyncio.Protocol` at each end that knows how many bytes to expect; ours finds each frame's end. TLS is what the plugin
makes of certificates of ``hauberk certs``, for the bare echo too: what differs is who reads and writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import orjson
from tests.bench import samples
from tests.bench.measure import Row, Times, micros, ratio, rounds, rounds_async, run_async, work_of
from tests.bench.proxied import one_core

from hauberk import Config, Guard
from hauberk.carriers import stream
from hauberk.carriers.address import Address, parse
from hauberk.connection import Connection, Tls

SIZES: Final = {"200 B": 1.15, "16 KiB": 1.2, "256 KiB": 2.5}
_CONFIG: Final = """
[core]
state_dir = "{path}/state"
[plugins]
disable = ["pins", "sieve", "audit"]
[tls]
ca = "{path}/certs/ca/ca.pem"
[server.here.tls]
certificate = "{path}/certs/mcp-servers/bench/pair.pem"
key = "{path}/certs/mcp-servers/bench/pair.pem"
[server.there.tls]
certificate = "{path}/certs/client/pair.pem"
key = "{path}/certs/client/pair.pem"
server_name = "bench"
[server.once.tls]
certificate = "{path}/certs/client/pair.pem"
key = "{path}/certs/client/pair.pem"
server_name = "bench"
session_tickets = false
"""
_SECONDS: Final = 5.0
Trip = Callable[[bytes], Awaitable[None]]


def run() -> list[Row]:
    """Measure carriers, the guard on them, and handshakes."""
    with one_core(), TemporaryDirectory() as directory:
        return run_async(lambda: _measured(Path(directory)))  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def grounded(path: Path) -> AsyncIterator[Ground]:
    """Make certificates in a folder, and a guard with TLS."""
    _certificates(path / "certs")
    (path / "state").mkdir(mode=0o700)
    async with Guard.load(Config.from_toml(_CONFIG.format(path=path), base=path)) as guard:
        yield Ground(guard, path)


async def _measured(path: Path) -> list[Row]:
    async with grounded(path) as ground:
        rows: list[Row] = []
        trips = {}
        for size in SIZES:
            times = await _trips(ground, path, size)
            trips[size] = times
            rows += _carrier_rows(size, times)
        rows.sort(key=lambda row: row.group)
        return [*rows, *_order_rows(trips), *await _handshake_rows(ground)]


def _certificates(folder: Path) -> None:
    """Make a CA, a server's certificate and a client's."""
    hauberk = [sys.executable, "-m", "hauberk", "certs"]
    for words in (["init", "--no-passphrase"], ["issue", "bench"], ["issue", "--client", "client"]):
        subprocess.run([*hauberk, *words, "--dir", str(folder)], check=True, capture_output=True)


class Ground:
    """Where it is measured: a guard with TLS, and sockets to connect."""

    def __init__(self, guard: Guard, path: Path) -> None:
        self.guard: Final = guard
        self._path: Final = path

    def unused(self) -> Path:
        """Return a path for a Unix socket."""
        return self._path / f"{os.getpid()}.sock"

    async def connection(self, server: str, role: Any, address: Address) -> Connection:
        """Let the plugin settle how a connection is secured."""
        return await self.guard.admit(server, role, carrier=address.carrier, target=str(address))

    async def tls(self, server: str, role: Any, address: Address) -> Tls:
        """Return how a connection is secured."""
        return cast("Tls", (await self.connection(server, role, address)).tls)


@contextlib.asynccontextmanager
async def _listening(ground: Ground, kind: str) -> AsyncIterator[tuple[socket.socket, Address]]:
    if kind == "unix":
        path = ground.unused()
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        address = Address("unix", path=path)
    else:
        sock = socket.create_server(("127.0.0.1", 0))
        address = parse(f"tls://127.0.0.1:{sock.getsockname()[1]}")
    sock.listen()
    sock.setblocking(False)
    with sock:
        yield sock, address


# --- who answers ---

_ID: Final = b'"id":'


def _answer(size: int) -> Callable[[bytes], bytes]:
    """Return what answers a request with about as many bytes, under its id."""
    answer = orjson.dumps({"content": [{"type": "text", "text": samples.text(max(1, size - 100))}]})

    def to(frame: bytes) -> bytes:
        start = frame.index(_ID) + len(_ID)
        end = min(at for at in (frame.find(b",", start), frame.find(b"}", start)) if at > 0)
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (frame[start:end], answer)

    return to


class Bare(asyncio.Protocol):
    """One end of a bare echo: it knows how many bytes come."""

    transport: asyncio.Transport

    def __init__(self, answer: Callable[[bytes], bytes] | None, expected: int) -> None:
        self._answer: Final = answer
        self._expected: Final = expected
        self._left = expected
        self._came: list[bytes] = []
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        self._came.append(data)
        if self._left > 0:
            return
        self._left = self._expected
        came, self._came = self._came, []
        if self._answer is not None:
            self.transport.write(self._answer(came[0]) + b"\n")
        elif self._done is not None:
            self._done.set_result(None)

    async def trip(self, frame: bytes) -> None:
        """Send one frame and wait for its answer."""
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(frame + b"\n")
        await self._done


class Ours:
    """One end of our own carrier."""

    def __init__(self, made: stream.Stream, answer: Callable[[bytes], bytes] | None) -> None:
        self._stream: Final = made
        self._answer: Final = answer
        self._done: asyncio.Future[None] | None = None
        made.attach(self._take, _nothing)

    def _take(self, frame: Any) -> None:
        if self._answer is not None:
            self._stream.deliver(self._answer(frame), None)
        elif self._done is not None:
            self._done.set_result(None)

    async def trip(self, frame: bytes) -> None:
        """Send one frame and wait for its answer."""
        self._done = asyncio.get_running_loop().create_future()
        self._stream.deliver(frame, None)
        await self._done


class Guarded:
    """A host whose guard stands on our own carrier."""

    bytes_only = True

    def __init__(self, guard: Guard, connection: Connection, made: stream.Stream) -> None:
        self._session: Final = guard.session(connection, self, made)
        self._done: asyncio.Future[None] | None = None
        made.attach(lambda frame: self._session.receive(self._session.inn, cast("bytes", frame)), _nothing)

    def deliver(self, _data: Any, _ticket: Any) -> None:
        """Take what the guard lets pass to the host."""
        if self._done is not None:
            self._done.set_result(None)

    def unanswered(self, _ticket: Any) -> None:
        """Take no notice."""

    async def trip(self, frame: bytes) -> None:
        """Send one frame through the guard and wait for its answer."""
        self._done = asyncio.get_running_loop().create_future()
        self._session.receive(self._session.out, frame)
        await self._done


def _nothing() -> None:
    """Do nothing."""


# --- the other end, in a process of its own ---


async def _serving(path: Path, kind: str, size: int) -> None:
    """Answer on one socket, first bare, then on our own carrier; where is said on standard output."""
    loop, answer = asyncio.get_running_loop(), _answer(size)
    request = len(_frame(size)) + 1
    async with Guard.load(Config.from_toml(_CONFIG.format(path=path), base=path)) as guard:
        ground = Ground(guard, path)
        async with _listening(ground, kind) as (sock, address):
            tls = await ground.tls("here", "server", address) if kind == "tls" else None
            print(address, flush=True)
            context = None if tls is None else tls.context
            accepted, _ = await loop.sock_accept(sock)
            await loop.connect_accepted_socket(lambda: Bare(answer, request), accepted, ssl=context)
            while True:
                accepted, _ = await loop.sock_accept(sock)
                Ours(await stream.accepted(accepted, guard.bounds, tls), answer)


@contextlib.contextmanager
def _other(path: Path, kind: str, size: int) -> Iterator[tuple[Address, int]]:
    """Start the other end; yield where it listens, and its process id."""
    command = [sys.executable, "-m", "tests.bench.carriers", str(path), kind, str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        try:
            yield parse(child.stdout.readline().strip()), child.pid
        finally:
            child.kill()


async def _bare(ground: Ground, address: Address, kind: str, size: int) -> Trip:
    loop = asyncio.get_running_loop()
    expected = len(_answer(size)(b'{"id":1}')) + 1
    if kind == "unix":
        _, client = await loop.create_unix_connection(lambda: Bare(None, expected), str(address.path))
        return client.trip
    context = (await ground.tls("there", "client", address)).context if kind == "tls" else None
    _, client = await loop.create_connection(
        lambda: Bare(None, expected),
        address.host,
        address.port,
        ssl=context,
        server_hostname=None if context is None else "bench",
    )
    return client.trip


async def _ours(ground: Ground, address: Address, kind: str, *, guarded: bool = False) -> Trip:
    connection = await ground.connection("there", "client", address)
    tls = connection.tls if kind == "tls" else None
    made = await stream.dialled(address, ground.guard.bounds, tls, seconds=_SECONDS)
    return Guarded(ground.guard, connection, made).trip if guarded else Ours(made, None).trip


def _frame(size: int) -> bytes:
    return samples.compact(samples.long_string(size - 100))


async def _trips(ground: Ground, path: Path, size: str) -> Times:
    length = samples.SIZES[size]
    frame = _frame(length)
    ends = {}
    others = []
    with contextlib.ExitStack() as stack:
        for kind in ("unix", "tcp", "tls"):
            address, pid = stack.enter_context(_other(path, kind, length))
            others.append(pid)
            ends[f"{kind} bare"] = await _bare(ground, address, kind, length)
            ends[f"{kind} ours"] = await _ours(ground, address, kind)
            if kind != "tcp":
                ends[f"{kind} guarded"] = await _ours(ground, address, kind, guarded=True)
        candidates = {name: (lambda trip=trip: trip(frame)) for name, trip in ends.items()}
        count = 100 if length < 100_000 else 12
        return await rounds_async(candidates, repeat=31, count=count, clock=work_of(*others))


def _carrier_rows(size: str, times: Times) -> list[Row]:
    rows = []
    frame = _frame(samples.SIZES[size])
    codec = rounds({"codec": lambda: orjson.dumps(orjson.loads(frame))}, repeat=9, count=100)
    for kind in ("unix", "tls"):
        bare, ours, guarded = f"{kind} bare", f"{kind} ours", f"{kind} guarded"
        what = f"{kind} {size} ({micros(times, ours):.0f} µs; bare {micros(times, bare):.0f})"
        rows.append(Row("carrier / bare asyncio echo", what, ratio(times, ours, bare), bar=SIZES[size]))
        if size == "200 B":
            rows.append(
                Row(
                    "guarded / bare asyncio echo",
                    f"{kind} {size}, no plugin but tls",
                    ratio(times, guarded, bare),
                    bar=1.5,
                )
            )
            continue
        # Both messages of a trip are parsed and written anew.
        bar = 1 + 2 * 2.2 * micros(codec, "codec") / micros(times, ours)
        rows.append(
            Row("guarded / carrier", f"{kind} {size} (bar: carrier + 2.2 orjson)", ratio(times, guarded, ours), bar=bar)
        )
    return rows


def _order_rows(trips: dict[str, Times]) -> list[Row]:
    """Compare the carriers with each other."""
    rows = []
    for size, times in trips.items():
        for name, other in (("unix", "tcp"), ("tcp", "tls")):
            what = f"{name} / {other}, {size}"
            rows.append(Row("one carrier / another", what, ratio(times, f"{name} ours", f"{other} ours"), bar=1.0))
    return rows


async def shaking(ground: Ground) -> Callable[[str], None]:
    """Return what shakes hands in full (``once``) or resumed (``there``): both ends, without any socket."""
    address = parse("tls://127.0.0.1:1")
    here = (await ground.tls("here", "server", address)).context
    there = {server: await ground.tls(server, "client", address) for server in ("there", "once")}

    def shake(server: str) -> None:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        caller = there[server].context.wrap_bio(down, up, server_hostname="bench")
        called = here.wrap_bio(up, down, server_side=True)
        for end in (caller, called, caller, called):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
        called.write(b"{}")
        caller.read()
        there[server].established(caller)

    return shake


async def _handshake_rows(ground: Ground) -> list[Row]:
    """Measure handshakes with certificates on both sides, in full and resumed."""
    shake = await shaking(ground)
    times = rounds({"full": lambda: shake("once"), "resumed": lambda: shake("there")}, repeat=21, count=20)
    what = f"resumed / full ({micros(times, 'resumed'):.0f} µs; full {micros(times, 'full'):.0f})"
    return [Row("TLS handshake, certificates on both sides, CPU", what, ratio(times, "resumed", "full"), bar=0.6)]


if __name__ == "__main__":
    asyncio.run(_serving(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
