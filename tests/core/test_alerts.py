"""The last word of TLS that fails after its handshake: it is an alert, and never stands in the middle of a record."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.core.secured import Secured, context

from hauberk.bounds import Bounds
from hauberk.carriers import stream
from hauberk.carriers._alerts import Speaking
from hauberk.carriers.stream import Stream

BOUNDS = Bounds(line_bytes=100_000, buffer_bytes=10_000)
SECONDS = 20.0


def broken(record: bytes) -> bytes:
    """Return a record of which one bit is another."""
    return record[:-1] + bytes([record[-1] ^ 1])


class End:
    """One end in memory."""

    def __init__(self, made: Any, *, server_side: bool = False) -> None:
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.tls = made.wrap_bio(self.into, self.out, server_side=server_side, server_hostname=name)

    def shake(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()


class Peer:
    """A client that sends what it likes; each method waits, and runs in a thread of its own."""

    def __init__(self, sock: socket.socket, made: ssl.SSLContext) -> None:
        self.sock = sock
        self.sock.settimeout(SECONDS)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = made.wrap_bio(self.into, self.out, server_hostname="localhost")

    def shake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.out.read())
                self.into.write(self.sock.recv(65536))
            else:
                self.sock.sendall(self.out.read())
                return

    def send_broken(self) -> None:
        self.tls.write(b"{}\n")
        self.sock.sendall(broken(self.out.read()))

    def read_all(self) -> Exception:
        """Read up to whatever ends it, and return that."""
        while True:
            try:
                self.tls.read(65536)
            except ssl.SSLWantReadError:
                try:
                    data = self.sock.recv(65536)
                except OSError as error:
                    return error
                if not data:
                    return EOFError()
                self.into.write(data)
            except ssl.SSLError as error:
                return error


async def meet(folder: Path) -> tuple[Stream, Peer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        one = listener.accept()[0]
    one.setblocking(False)
    peer = Peer(other, context(folder, "client", mtls=False))
    tls = Secured(context(folder, "server", mtls=False))
    made, _ = await asyncio.gather(stream.accepted(one, BOUNDS, tls), asyncio.to_thread(peer.shake))
    return made, peer


async def test_a_record_that_does_not_decrypt_is_answered_by_an_alert(tmp_path: Path) -> None:
    """Whoever sends a broken record is told so, and the connection ends with the same error (RFC 8446, 6.2)."""
    made, peer = await meet(tmp_path)
    over = asyncio.Event()
    made.attach(lambda _: None, over.set)
    await asyncio.to_thread(peer.send_broken)
    said = await asyncio.to_thread(peer.read_all)
    assert isinstance(said, ssl.SSLError)
    assert said.reason == "SSLV3_ALERT_BAD_RECORD_MAC"
    await asyncio.wait_for(over.wait(), SECONDS)
    assert isinstance(made.error, ssl.SSLError)
    peer.sock.close()


@pytest.mark.parametrize("waits", [False, True])
def test_no_alert_in_the_middle_of_a_record(tmp_path: Path, waits: bool) -> None:
    """Where bytes wait to be written, of a record perhaps, nothing is written past them."""
    mine, other = socket.socketpair()
    with mine, other:
        client = End(context(tmp_path, "client", mtls=False))
        server = End(Speaking(context(tmp_path, "server", mtls=False), mine, lambda: waits), server_side=True)
        for _ in range(3):
            client.shake()
            server.into.write(client.out.read())
            server.shake()
            client.into.write(server.out.read())
        client.tls.write(b"{}\n")
        server.into.write(broken(client.out.read()))
        with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
            server.tls.read(100)
        mine.close()
        assert bool(other.recv(100)) is not waits
