"""A server that answers HTTP behind the carrier and the TLS of ``hauberk serve``: tlsfuzzer asks for that.

As a program: ``python -m tests.tls_scan.responder CONFIG``. It prints its port, then a line for each connection that
failed. The socket, the handshake, the alerts and the end are those of ``hauberk serve``: its guard's ``on_connect``,
`hauberk.carriers.stream`. What is left out is what comes after a handshake: no protocol has to be agreed on (ALPN), no
suite is looked at (tlsfuzzer's scripts offer TLS_AES_128_GCM_SHA256 alone), and what is said is HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path
from typing import Any, Final

from hauberk.carriers import tcp
from hauberk.carriers.address import Address
from hauberk.carriers.stream import Stream, accepted
from hauberk.config import Config
from hauberk.edge import Overlong
from hauberk.guard import Guard
from hauberk.hosts._dial import secured
from hauberk.plugins import installed

SERVER: Final = "files"
ANSWER: Final = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"
SUITES: Final = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"


class Responder:
    """All connections."""

    def __init__(self, guard: Guard) -> None:
        self._guard: Final = guard
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def accept(self, listening: socket.socket) -> None:
        """Take one connection."""
        try:
            sock, peer = listening.accept()
        except OSError:
            return
        sock.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._serve(sock, "{}:{}".format(*peer[:2])))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        address = Address("tls", "127.0.0.1", 0)
        connection = await self._guard.admit(SERVER, "server", carrier="tls", target=str(address), peer=peer)
        tls = secured(connection, address)
        assert tls is not None
        if (limit := getattr(tls.context, "set_ciphersuites", None)) is not None:  # from Python 3.15 on
            limit(SUITES)
        try:
            stream = await accepted(sock, self._guard.bounds, tls)
        except OSError as error:
            say(peer, tls.refusal(error).code)
        else:
            gone = asyncio.Event()
            stream.attach(lambda frame: _answer(stream, frame), _nothing, on_broken=gone.set)
            await gone.wait()
            if stream.error is not None:
                say(peer, tls.refusal(stream.error).code)
        connection.end()


def _answer(stream: Stream, frame: bytes | Overlong) -> None:
    if isinstance(frame, bytes) and frame.startswith(b"GET "):
        stream.transport.write(ANSWER)


def _nothing() -> None:
    pass


def say(*words: Any) -> None:
    """Print a line at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main(path: Path) -> None:
    """Answer until it is killed."""
    config = Config.read(path)
    async with Guard.load(config, disable=[name for name in installed() if name != "tls"]) as guard:
        [listener] = tcp.listeners("127.0.0.1", 0)
        responder = Responder(guard)
        asyncio.get_running_loop().add_reader(listener.sock, responder.accept, listener.sock)
        say(listener.sock.getsockname()[1])
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))
