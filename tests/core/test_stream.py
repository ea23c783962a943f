"""The carrier on sockets: nothing is lost, nothing changes place, what waits has a bound, and the end is told once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.secured import Secured, context

from hauberk.bounds import Bounds
from hauberk.carriers import stream
from hauberk.carriers._kernel import credentials
from hauberk.carriers.address import Address
from hauberk.carriers.stream import Stream
from hauberk.edge import Overlong

BOUNDS = Bounds(line_bytes=100_000, buffer_bytes=10_000)
CARRIERS = pytest.mark.parametrize("carrier", ["unix", "tls"])
Frame = bytes | Overlong


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - each turn of the loop, not each so many seconds
            await asyncio.sleep(0)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Taken:
    """What an accepted stream told."""

    def __init__(self, made: Stream) -> None:
        self.made = made
        self.frames: list[Frame] = []
        self.calls: list[str] = []

    def attach(self) -> None:
        calls = self.calls
        self.made.attach(
            self.frames.append,
            lambda: calls.append("end"),
            on_full=lambda: calls.append("full"),
            on_drained=lambda: calls.append("drained"),
            on_broken=lambda: calls.append("broken"),
        )


class Client:
    """A peer with asyncio's own streams, which share no code with ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def close(self) -> None:
        self.writer.transport.abort()

    def reads(self, reads: bool) -> None:
        transport: Any = self.writer.transport
        if reads:
            transport.resume_reading()
        else:
            transport.pause_reading()


@contextlib.asynccontextmanager
async def pair(carrier: str, folder: Path, bounds: Bounds = BOUNDS) -> AsyncIterator[tuple[Taken, Client]]:
    """Give an accepted stream and its peer."""
    one, other = socket.socketpair() if carrier == "unix" else tcp_pair()
    one.setblocking(False)
    if carrier == "unix":
        made, client = await asyncio.gather(stream.accepted(one, bounds, None), asyncio.open_connection(sock=other))
    else:
        tls = Secured(context(folder, "server", mtls=False))
        hello = asyncio.open_connection(
            sock=other, ssl=context(folder, "client", mtls=False), server_hostname="localhost"
        )
        made, client = await asyncio.gather(stream.accepted(one, bounds, tls), hello)
    peer = Client(*client)
    try:
        yield Taken(made), peer
    finally:
        made.abort()
        peer.close()
        await turns(5)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        return listener.accept()[0], other


def run(carrier: str, body: Callable[[Taken, Client], Any], bounds: Bounds = BOUNDS) -> None:
    """Run a body with a pair; for Hypothesis, whose tests are plain functions."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with pair(carrier, Path(folder), bounds) as (taken, client):
                await body(taken, client)

    asyncio.run(main())


# --- in ---

LINES = st.lists(
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"\r")) | st.just(b"x" * 120_000), max_size=12
)


@pytest.mark.parametrize("carrier", ["unix", "tls"])
@settings(max_examples=40, deadline=None)
@given(lines=LINES, cuts=st.lists(st.integers(1, 3000), max_size=30), ended=st.booleans())
def test_frames_however_they_are_cut(carrier: str, lines: list[bytes], cuts: list[int], ended: bool) -> None:
    """Frames come whole and in order however their bytes are cut, the first apart from the others, then the end."""
    text = b"".join(line + b"\n" for line in lines) + (b"" if ended else b"rest")
    expected = [line for line in [*lines, b"" if ended else b"rest"] if line.strip()]

    async def body(taken: Taken, client: Client) -> None:
        async def write() -> None:
            rest = text
            for cut in [*cuts, len(text)]:
                client.writer.write(rest[:cut])
                rest = rest[cut:]
                await asyncio.sleep(0)
            if carrier == "unix":
                client.writer.write_eof()
            else:
                client.writer.close()

        writing = asyncio.get_running_loop().create_task(write())
        first = await taken.made.first()
        await turns(10)
        taken.attach()
        await until(lambda: "end" in taken.calls)
        await writing
        found = [] if first is None else [first, *taken.frames]
        assert [one if isinstance(one, bytes) else one.size for one in found] == [
            line if len(line) <= BOUNDS.line_bytes else len(line) for line in expected
        ]
        assert taken.calls.count("end") == 1

    run(carrier, body)


@CARRIERS
async def test_nothing_is_read_before_somebody_asks(carrier: str, tmp_path: Path) -> None:
    """A peer that nobody has looked at has nothing read: what it says waits in the socket (A65)."""
    async with pair(carrier, tmp_path) as (taken, client):
        client.writer.write(b'{"a":1}\n' * 100_000)
        await turns()
        assert taken.made.reader.taken == 0
        assert not taken.made.reader._framer.partial
        assert await taken.made.first() == b'{"a":1}'


@CARRIERS
async def test_one_frame_and_no_more(carrier: str, tmp_path: Path) -> None:
    """After the first frame nothing is read on: a peer that goes on fills its own socket and not our memory."""
    async with pair(carrier, tmp_path) as (taken, client):
        client.writer.write(b"1\n" * 4_000_000)
        assert await taken.made.first() == b"1"
        await turns()
        assert taken.made.reader.taken < 4
        taken.attach()
        await until(lambda: len(taken.frames) == 3_999_999)


@CARRIERS
async def test_paused_reader_holds_up_its_peer(carrier: str, tmp_path: Path) -> None:
    """Who is held up hands nothing over, and his peer cannot write on."""
    async with pair(carrier, tmp_path) as (taken, client):
        taken.attach()
        taken.made.reader.pause()
        client.writer.write(b"x" * 40_000_000 + b"\n")
        await turns()
        assert taken.frames == []
        assert not taken.made.reader.waits
        taken.made.reader.resume()
        await until(lambda: bool(taken.frames))


@CARRIERS
async def test_frame_that_does_not_end_is_seen(carrier: str, tmp_path: Path) -> None:
    """That a frame has begun and not ended can be seen, and that it has ended (A65)."""
    async with pair(carrier, tmp_path) as (taken, client):
        taken.attach()
        client.writer.write(b"12")
        await until(lambda: taken.made.reader.waits)
        client.writer.write(b"3\n")
        await until(lambda: not taken.made.reader.waits)
        assert (taken.frames, taken.made.reader.taken) == ([b"123"], 1)


async def test_half_closed_socket_is_written_to(tmp_path: Path) -> None:
    """Without TLS a peer may end what it writes and still read."""
    async with pair("unix", tmp_path) as (taken, client):
        taken.attach()
        client.writer.write_eof()
        await until(lambda: taken.calls == ["end"])
        taken.made.deliver(b"answer", None)
        assert await client.reader.readline() == b"answer\n"
        assert not taken.made.broken


async def test_end_of_tls_is_the_end(tmp_path: Path) -> None:
    """Under TLS the end of what a peer writes is the end of the connection."""
    async with pair("tls", tmp_path) as (taken, client):
        taken.attach()
        client.writer.close()
        await until(lambda: set(taken.calls) == {"end", "broken"})


@CARRIERS
async def test_end_before_the_first_frame(carrier: str, tmp_path: Path) -> None:
    """A peer that goes before it said anything is told from one that is silent."""
    async with pair(carrier, tmp_path) as (taken, client):
        client.close()
        assert await asyncio.wait_for(taken.made.first(), 10) is None
        taken.attach()
        await turns()
        if carrier == "unix":  # it may still read
            assert taken.calls == ["end"]
            taken.made.deliver(b"answer", None)
        await until(lambda: len(taken.calls) == 2)
        assert set(taken.calls) == {"end", "broken"}


# --- out ---


@CARRIERS
async def test_frames_out(carrier: str, tmp_path: Path) -> None:
    """Frames leave in order, small ones, large ones, and several at once."""
    frames = [b"a", b"b" * 70_000, b"c", b"d" * 300, b"e"]
    async with pair(carrier, tmp_path) as (taken, client):
        for frame in frames[:3]:
            taken.made.deliver(frame, None)
        taken.made.cork(True)
        for frame in frames[3:]:
            taken.made.deliver(frame, None)
        taken.made.cork(False)
        text = b"".join(frame + b"\n" for frame in frames)
        assert await client.reader.readexactly(len(text)) == text
        assert taken.made.written == len(text)
        await taken.made.flushed()
        assert taken.made.held == 0


@CARRIERS
async def test_writer_is_told_when_nobody_reads(carrier: str, tmp_path: Path) -> None:
    """Above the limit a writer is told, and told again when half of it is left."""
    async with pair(carrier, tmp_path) as (taken, client):
        taken.attach()
        client.reads(False)
        while not (taken.made.flooded and taken.calls):
            taken.made.deliver(b"x" * 60_000, None)
            await asyncio.sleep(0)
        assert taken.calls == ["full"]
        client.reads(True)
        reading = asyncio.get_running_loop().create_task(client.reader.read(-1))
        await until(lambda: taken.calls == ["full", "drained"])
        await taken.made.closed(10)
        assert len(await reading) == taken.made.written


@CARRIERS
async def test_part_of_a_frame_moves(carrier: str, tmp_path: Path) -> None:
    """While a frame has come in part, or waits to be read at the other end, something is on its way (S4.21)."""
    async with pair(carrier, tmp_path) as (taken, client):
        taken.attach()
        await until(lambda: not taken.made.moves)  # the handshake's own last bytes
        client.writer.write(b"half")
        await until(lambda: taken.made.moves)
        client.writer.write(b" and half\n")
        await until(lambda: not taken.made.moves)
        client.reads(False)
        taken.made.deliver(b"x" * 16_000_000, None)
        await turns()
        assert taken.made.moves
        client.reads(True)
        assert len(await client.reader.readexactly(16_000_001)) == taken.made.written
        await until(lambda: not taken.made.moves)


async def test_what_is_encrypted_waits_too(tmp_path: Path) -> None:
    """Under TLS, what a peer does not read is counted, encrypted or not (A65)."""
    async with pair("tls", tmp_path) as (taken, client):
        client.reads(False)
        taken.made.deliver(b"x" * 16_000_000, None)
        await turns()
        assert taken.made.held > 8_000_000
        assert taken.made.flooded


@CARRIERS
async def test_peer_that_vanishes_while_it_is_written_to(carrier: str, tmp_path: Path) -> None:
    """A peer that goes lets go of whoever was held up, is told once, and what comes after it is dropped."""
    async with pair(carrier, tmp_path) as (taken, client):
        taken.attach()
        client.reads(False)
        while not (taken.made.flooded and taken.calls):
            taken.made.deliver(b"x" * 60_000, None)
            await asyncio.sleep(0)
        client.close()
        await until(lambda: "end" in taken.calls)
        assert taken.calls == ["full", "drained", "broken", "end"]
        taken.made.deliver(b"more", None)
        assert taken.made.held == 0
        await asyncio.wait_for(taken.made.flushed(), 1)


# --- the end ---


@CARRIERS
async def test_end_in_order_loses_nothing(carrier: str, tmp_path: Path) -> None:
    """What waits is written before the connection ends."""
    async with pair(carrier, tmp_path) as (taken, client):
        taken.made.deliver(b"x" * 3_000_000, None)
        reading = asyncio.get_running_loop().create_task(client.reader.read(-1))
        await taken.made.closed(10)
        assert len(await reading) == 3_000_001


@CARRIERS
async def test_end_does_not_wait_for_ever(carrier: str, tmp_path: Path) -> None:
    """A peer that does not read keeps no connection open."""
    async with pair(carrier, tmp_path) as (taken, client):
        client.reads(False)
        taken.made.deliver(b"x" * 8_000_000, None)
        sock = taken.made.transport.get_extra_info("socket")
        await asyncio.wait_for(taken.made.closed(0.05), 10)
        await until(lambda: sock.fileno() < 0)


# --- made ---


async def failed(handshake: Callable[[socket.socket], Any], folder: Path, *, seconds: float = 10.0) -> OSError:
    """Accept what speaks TLS in some way of its own; return what came of it."""
    one, other = tcp_pair()
    one.setblocking(False)
    tls = Secured(context(folder, "server", mtls=False), seconds=seconds)
    handshake(other)
    with other, pytest.raises(OSError) as caught:  # noqa: PT011 - whatever it is, it is one
        await stream.accepted(one, BOUNDS, tls)
    await until(lambda: one.fileno() < 0)
    return caught.value


async def test_handshake_that_is_none(tmp_path: Path) -> None:
    """Plain bytes, an end, silence and a half of a handshake each fail in time, and close the socket (A65, A81)."""
    assert isinstance(await failed(lambda other: other.sendall(b'{"jsonrpc":"2.0"}\n'), tmp_path), ssl.SSLError)
    assert isinstance(await failed(lambda other: other.close(), tmp_path), ConnectionError)
    assert isinstance(await failed(lambda other: None, tmp_path, seconds=0.1), TimeoutError)
    begun = lambda other: other.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # noqa: E731
    assert isinstance(await failed(begun, tmp_path, seconds=0.1), TimeoutError)


async def test_client_learns_why_its_handshake_failed(tmp_path: Path) -> None:
    """S0.14, V8: a client without a certificate is told so by an alert, after its own handshake has succeeded."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    with listening:
        address = Address("tls", "localhost", listening.getsockname()[1])
        here, there = Secured(context(tmp_path, "server")), Secured(context(tmp_path, "client", mtls=False))

        async def accept() -> None:
            sock, _ = await asyncio.get_running_loop().sock_accept(listening)
            await stream.accepted(sock, BOUNDS, here)

        refusing = asyncio.create_task(accept())
        made = await stream.dialled(address, BOUNDS, there, seconds=5)
        assert await made.first() is None
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            await refusing
        made.abort()
    assert isinstance(made.error, ssl.SSLError)
    assert made.error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


async def test_handshake_is_cancelled_with_whoever_waits(tmp_path: Path) -> None:
    """A handshake that is given up leaves no socket."""
    one, other = tcp_pair()
    one.setblocking(False)
    tls = Secured(context(tmp_path, "server", mtls=False))
    task = asyncio.get_running_loop().create_task(stream.accepted(one, BOUNDS, tls))
    await turns()
    task.cancel()
    with other, pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: one.fileno() < 0)


async def test_who_is_there(tmp_path: Path) -> None:
    """Who holds the other end of a Unix socket is what the kernel says; under TLS it is an address (S4.7, A80)."""
    async with pair("unix", tmp_path) as (taken, _):
        peer = taken.made.peer(Address("unix", path=Path("/run/x.sock")))
        assert (peer.carrier, peer.address, peer.tls) == ("unix", "/run/x.sock", None)
        assert peer.credentials is not None
        assert (peer.credentials.uid, peer.credentials.gid) == (os.geteuid(), os.getegid())
    async with pair("tls", tmp_path) as (taken, client):
        host, port = client.writer.get_extra_info("sockname")
        peer = taken.made.peer(Address("tls", host="localhost", port=1))
        assert (peer.carrier, peer.address, peer.credentials) == ("tls", f"{host}:{port}", None)
        assert peer.tls is not None
        assert peer.tls.version() == "TLSv1.3"


async def test_peer_without_a_word_is_asked_for(tmp_path: Path) -> None:
    """A remote peer that is gone without a word is noticed: the kernel asks for it (A65)."""
    async with pair("tls", tmp_path) as (taken, _):
        sock = taken.made.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            idle, apart, count = (sock.getsockopt(socket.IPPROTO_TCP, name) for name in names)
            assert idle + apart * count <= 30


async def test_no_socket_of_the_kernels_has_nobody(tmp_path: Path) -> None:
    """Of a TCP socket the kernel names nobody."""
    one, other = tcp_pair()
    with one, other:
        assert credentials(one) is None


@CARRIERS
async def test_dialled(carrier: str, tmp_path: Path) -> None:
    """A stream that dials reads the answer to its first word, and nothing before it is asked for."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.readline() + b"more\n")
        writer.close()

    if carrier == "unix":
        path = tmp_path / "x.sock"
        server = await asyncio.start_unix_server(answer, path)
        address, tls = Address("unix", path=path), None
    else:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context(tmp_path, "server", mtls=False))
        address = Address("tls", host="localhost", port=server.sockets[0].getsockname()[1])
        tls = Secured(context(tmp_path, "client", mtls=False))
    async with server:
        made = await stream.dialled(address, BOUNDS, tls, seconds=10)
        made.deliver(b"word", None)
        assert await made.first() == b"got word"
        taken = Taken(made)
        taken.attach()
        await until(lambda: "end" in taken.calls)
        assert taken.frames == [b"more"]
        made.abort()
        await turns(5)


async def test_nobody_there(tmp_path: Path) -> None:
    """That nobody is there is told from a handshake that failed."""
    with pytest.raises(stream.Unreachable):
        await stream.dialled(Address("unix", path=tmp_path / "none"), BOUNDS, None, seconds=1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    tls = Secured(context(tmp_path, "client", mtls=False))
    with pytest.raises(stream.Unreachable):
        await stream.dialled(Address("tls", host="127.0.0.1", port=port), BOUNDS, tls, seconds=1)


@pytest.mark.parametrize("carrier", ["unix", "tls"])
async def test_long_frame_is_held_twice_at_most(carrier: str, tmp_path: Path) -> None:
    """S4.25: while a long frame is read, what is held is the frame, and the bytes that it is made of."""
    long = 8 * 1024 * 1024
    async with pair(carrier, tmp_path, Bounds()) as (taken, client):
        whole = b"x" * long + b"\n"
        child = asyncio.create_task(send_slowly(client, whole))
        taken.attach()
        tracemalloc.start()
        try:
            async with asyncio.timeout(30):
                while not taken.frames:  # noqa: ASYNC110 - each turn of the loop
                    await asyncio.sleep(0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        await child
        assert taken.frames == [whole[:-1]]
        assert peak < 2.5 * long


async def send_slowly(client: Client, data: bytes) -> None:
    """Write in pieces, so that what waits on this side does not count for the other."""
    view = memoryview(data)
    for at in range(0, len(data), 65536):
        client.writer.write(view[at : at + 65536])
        await client.writer.drain()
