"""A hostile server as a program: one JSON-RPC message a line. Its one argument is made by `HostileServer.state`."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import orjson

from hauberk.testing._hostile import HostileServer, Shown, Tool, line


class State(msgspec.Struct):
    """What a server begins with."""

    tools: list[Tool]
    shown: Shown
    armed: list[tuple[str, dict[str, Any]]]


def restored(text: str) -> HostileServer:
    """Return the server that a command was made from; tools stand as they were after the attacks on them."""
    state = msgspec.json.decode(text, type=State)
    server = HostileServer(*state.tools, shown=state.shown)
    for name, arguments in state.armed:
        if name != "rename":
            getattr(server, name)(**arguments)
    return server


def serve(server: HostileServer) -> None:
    """Serve until the input ends."""
    for received in sys.stdin.buffer:
        server.hear(orjson.loads(received))
        while server.outbox:
            sys.stdout.buffer.write(line(server.outbox.popleft()))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(restored(sys.argv[1]))
