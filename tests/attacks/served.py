"""The hostile server of the matrix as a program: its state is a file, read again when it changed.

usage: served.py STATE CALLED      the names of the tools that are called are written to the file CALLED
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from hauberk.testing import HostileServer
from hauberk.testing._attacks_wire import line
from hauberk.testing._program import restored


def main(state: Path, called: Path) -> None:
    """Serve until the input ends."""
    now, server = "", HostileServer()
    for received in sys.stdin.buffer:
        if (text := state.read_text("utf-8")) != now:
            now, server = text, restored(text)
        server.hear(message := orjson.loads(received))
        if message.get("method") == "tools/call":
            with called.open("a") as file:
                file.write(message["params"]["name"] + "\n")
        while server.outbox:
            sys.stdout.buffer.write(line(server.outbox.popleft()))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
