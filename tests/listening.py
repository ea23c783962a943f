"""A server on a Unix socket that says what a test wants, one line after the other, each wait with an end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.running import PATIENCE, line


class Listener:
    """A Unix socket that is listened at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix://{path}"
        self.accepted: list[Accepted] = []
        self.listen()

    def listen(self) -> None:
        """Begin to listen."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.path))
        self._socket.listen()

    def leave(self) -> None:
        """Listen no more, and take the socket away."""
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def accept(self, *, patience: float = PATIENCE) -> Accepted:
        """Return the next connection."""
        self._socket.settimeout(patience)
        self.accepted.append(Accepted(self._socket.accept()[0]))
        return self.accepted[-1]

    def welcome(self) -> Accepted:
        """Return the next connection, once its ping was answered."""
        return self.accept().welcome()

    def close(self) -> None:
        """Close everything."""
        for one in self.accepted:
            one.close()
        self.leave()


class Accepted:
    """One connection, from the server's side."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(PATIENCE)
        self._lines = connected.makefile("rb")

    def welcome(self) -> Self:
        """Answer the ping that comes first."""
        ping = self.receive()
        assert ping["method"] == "ping"
        self.send({"jsonrpc": "2.0", "id": ping["id"], "result": {}})
        return self

    def receive(self) -> Any:
        """Return the next message; None at the end."""
        found = self._lines.readline()
        return json.loads(found) if found else None

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        """Write messages, or lines of bytes."""
        self._socket.sendall(b"".join(line(message) for message in messages))

    def answer(self, request: dict[str, Any], **result: Any) -> None:
        """Answer a request."""
        self.send({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._socket.close()


@contextlib.contextmanager
def listener(folder: Path) -> Iterator[Listener]:
    """Listen at a socket, in a folder whose name may be long."""
    # A socket's path has at most 107 bytes, and a test's folder may have more.
    place = Path(f"/tmp/hauberk-{os.getpid()}-{abs(hash(folder)) % 10**8}")  # noqa: S108 - private, as made below
    place.mkdir(mode=0o700)
    made = Listener(place / "files.sock")
    try:
        yield made
    finally:
        made.close()
        place.rmdir()
