"""``hauberk run`` as a process of its own: what a client can do to it, each wait with an end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hauberk import plugins

PATIENCE = 60.0
"""Seconds; whoever waits longer has found a hang."""
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

ANSWERING = """
import json, sys
for line in sys.stdin.buffer:
    request = json.loads(line)
    if "id" in request and "method" in request:
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": {}}
        sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\\n")
        sys.stdout.flush()
"""
"""A server that answers every request with an empty result."""

WITNESS = """
import msgspec
from hauberk import Options, hookimpl

class Policy:
    name = "policy"
    Options = Options

    def __init__(self, options, guard):
        pass

    @hookimpl
    def on_audit(self, event):
        with open({path!r}, "ab") as file:
            file.write(msgspec.json.encode(event) + b"\\n")
"""
"""A policy that writes down what is recorded."""

SLOW = (
    WITNESS.replace("import msgspec", "import asyncio\nimport msgspec")
    + """
    @hookimpl
    async def on_receive(self, message, connection):
        if message.kind == "result" and message.method == "tools/call":
            BODY
"""
)
"""The same, and what comes back from a call meets a BODY that may wait."""

KEEPING = SLOW.replace(
    "BODY",
    """try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(3600)""",
)
"""The same, with a hook that goes on when its time is over."""


class Running:
    """A client's view of one ``hauberk run``."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self._read = b""

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        """Write messages, or lines of bytes, at once."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(line(message) for message in messages))
        self.process.stdin.flush()

    def close(self) -> None:
        """End the input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def line(self) -> bytes:
        """Return the next line, without its line feed; empty at the end."""
        assert self.process.stdout is not None
        until = time.monotonic() + PATIENCE
        while b"\n" not in self._read:
            assert readable(self.process.stdout.fileno(), until - time.monotonic()), "no line came"
            chunk = os.read(self.process.stdout.fileno(), 1 << 20)
            if not chunk:
                break
            self._read += chunk
        found, _, self._read = self._read.partition(b"\n")
        return found

    def receive(self) -> Any:
        """Return the next message."""
        return json.loads(self.line())

    def rest(self) -> list[Any]:
        """Return all messages up to the end."""
        return [json.loads(found) for found in iter(self.line, b"")]

    def ask(self, message: dict[str, Any] = PING) -> Any:
        """Send one message and return the next that comes."""
        self.send(message)
        return self.receive()

    def end(self) -> int:
        """End the input and return the exit status."""
        self.close()
        return self.status()

    def status(self, patience: float = PATIENCE) -> int:
        """Wait for the exit, and return the status as a shell gives it."""
        code = self.process.wait(patience)
        return code if code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stderr(self) -> str:
        """Return what was written to standard error so far."""
        return (self.folder / "stderr").read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """Return what `WITNESS` wrote down; a line that is half written is not there yet."""
        path = self.folder / "events"
        written = path.read_bytes() if path.exists() else b""
        return [json.loads(found) for found in written.split(b"\n")[:-1]]

    def resident(self) -> int:
        """Return its memory (bytes)."""
        shown = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return int(shown.stdout) * 1024


def line(message: dict[str, Any] | bytes) -> bytes:
    """Return a message as a line."""
    return message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":")).encode() + b"\n"


def readable(fd: int, seconds: float) -> bool:
    """Wait until a descriptor can be read."""
    return bool(select.select([fd], [], [], max(seconds, 0))[0])


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a user who has no configuration and no state."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPYCACHEPREFIX") if name in os.environ}
    if path := os.environ.get("PYTHONPATH"):
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    return kept | {"HOME": str(folder)} | more


def server(folder: Path, text: str) -> list[str]:
    """Write a program, and return the command that runs it."""
    path = folder / "server.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, "-I", "-S", str(path)]


def configure(folder: Path, text: str = "", *, policy: str | None = WITNESS) -> list[str]:
    """Write a configuration with this policy and no other plugin; return the arguments that name it."""
    lines = [text, "[plugins]", f"disable = {json.dumps(sorted(plugins.installed()))}"]
    if policy is not None:
        (folder / "policy.py").write_text(policy.replace("{path!r}", repr(str(folder / "events"))))
        lines.append('policy = "policy.py"')
    (folder / "hauberk.toml").write_text("\n".join(lines))
    return ["--config", str(folder / "hauberk.toml")]


@contextlib.contextmanager
def running(
    folder: Path,
    command: Sequence[str],
    *,
    options: Sequence[str] | None = None,
    env: dict[str, str] | None = None,
    **channels: Any,
) -> Iterator[Running]:
    """Run a command under ``hauberk run``, with `configure`'s configuration unless options are given."""
    arguments = configure(folder) if options is None else options
    words = ["run", *arguments, *(["--", *command] if command else [])]
    with guarding(folder, words, env=env, **channels) as started:
        yield started


@contextlib.contextmanager
def guarding(
    folder: Path, words: Sequence[str], *, env: dict[str, str] | None = None, **channels: Any
) -> Iterator[Running]:
    """Run a command line of hauberk that stands between a client and a server."""
    with (folder / "stderr").open("wb") as stderr:
        chosen: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr} | channels
        process = subprocess.Popen(
            [sys.executable, "-m", "hauberk", *words],
            env=environment(folder) if env is None else env,
            **chosen,
        )
    try:
        yield Running(folder, process)
    finally:
        process.kill()
        process.wait()
        for channel in (process.stdin, process.stdout, process.stderr):
            if channel is not None:
                with contextlib.suppress(OSError):
                    channel.close()


class Fifo:
    """A named pipe between a test and a process that it did not start itself."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        # For writing too: so that opening waits for nobody.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def read(self) -> str:
        """Return what comes next."""
        assert readable(self._fd, PATIENCE), "nothing came"
        return os.read(self._fd, 65536).decode()

    def write(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until_nobody_has_it(self) -> None:
        """Wait until every other process that has it open has gone."""
        reading = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        os.close(self._fd)
        self._fd = reading
        until = time.monotonic() + PATIENCE
        while True:
            assert readable(reading, until - time.monotonic()), "a process is still there"
            if not os.read(reading, 65536):
                return

    def close(self) -> None:
        os.close(self._fd)
