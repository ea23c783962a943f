"""`hauberk serve` for tests: in this process with servers that are none, and as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from tests.core.harness import Recorder
from tests.core.secured import Secured, context, securing
from tests.running import PATIENCE, configure, environment

from hauberk._servers import Listen
from hauberk.carriers import ping
from hauberk.carriers.address import Address
from hauberk.config import Config
from hauberk.connection import Connection
from hauberk.guard import Guard
from hauberk.hosts._relay import Side
from hauberk.hosts.serve import Server
from hauberk.refusals import FAILED_HOOK, Refused

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Let the event loop turn until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a condition of anybody's
            await asyncio.sleep(0.001)


# --- servers that are none ---


class Stub:
    """A server in this process: it answers each request with an empty result, unless it is told not to."""

    bytes_only = True
    flooded = False
    why = "ended by itself"
    impatient = False

    def __init__(self, stubs: Stubs) -> None:
        self._stubs = stubs
        self._paused = 0
        self._waits: deque[bytes] = deque()
        self.got: list[Any] = []
        self.input_ended = self.ended = False

    @property
    def outlet(self) -> Any:
        return self

    @property
    def inlet(self) -> Any:
        return self

    def attach(self, side: Side, on_frame: Any, on_gone: Any, on_burst: Any) -> None:
        self._side, self._on_frame, self.gone = side, on_frame, on_gone

    def start(self) -> None:
        self._stubs.there.append(self)

    def deliver(self, data: bytes, _ticket: Any) -> None:
        message = orjson.loads(data)
        self.got.append(message)
        if self._stubs.answers and "id" in message and "method" in message:
            self.answer(message["id"])

    def answer(self, id: Any, **result: Any) -> None:
        self.say({"jsonrpc": "2.0", "id": id, "result": result})

    def say(self, message: dict[str, Any]) -> None:
        asyncio.get_running_loop().call_soon(self._hand_over, orjson.dumps(message))

    def _hand_over(self, frame: bytes) -> None:
        self._waits.append(frame)
        while self._waits and not self._paused:
            self._on_frame(self._waits.popleft())

    def unanswered(self, _ticket: Any) -> None:
        pass

    def pause(self) -> None:
        self._paused += 1

    def resume(self) -> None:
        self._paused -= 1
        if self._waits:
            asyncio.get_running_loop().call_soon(self._hand_over, self._waits.pop())

    async def flushed(self) -> None:
        pass

    def end_input(self) -> None:
        self.input_ended = True

    async def finish(self) -> None:
        self.end_input()

    async def end(self) -> None:
        assert not self.ended, "ended twice"
        self.ended = True
        if self in self._stubs.there:
            self._stubs.there.remove(self)


class Stubs:
    """Where stubs come from."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.fails = False
        self.there: list[Stub] = []
        self.opened = 0
        self.closed = self.killed = False

    async def open(self, connection: Connection) -> Stub:
        if self.fails:
            raise Refused("core.not_started", "no", jsonrpc=FAILED_HOOK, public=True)
        self.opened += 1
        return Stub(self)

    async def close(self) -> None:
        self.closed = True

    def kill(self) -> None:
        self.killed = True


# --- offered in this process ---


class Offered:
    """A server that is offered in this process, and what was recorded."""

    def __init__(self, server: Server, guard: Guard, recorder: Recorder, target: Any, folder: Path) -> None:
        self.server = server
        self.guard = guard
        self.recorder = recorder
        self.target = target
        self.folder = folder
        self.address: Address
        self.running: asyncio.Task[None]
        self._dialled: list[Dialled] = []

    async def dial(self, *, tls: Any = None) -> Dialled:
        """Connect; under TLS, do the handshake."""
        if self.address.carrier == "unix":
            made = Dialled(*await asyncio.open_unix_connection(self.address.path))
        else:
            tls = context(self.folder, "client") if tls is None else tls
            made = Dialled(
                *await asyncio.open_connection("127.0.0.1", self.address.port, ssl=tls, server_hostname="localhost")
            )
        self._dialled.append(made)
        return made

    async def let_go(self) -> None:
        for one in self._dialled:
            one.writer.transport.abort()
        await asyncio.sleep(0.01)

    async def session(self) -> Dialled:
        """Connect, and be taken."""
        dialled = await self.dial()
        assert (await dialled.greet())["result"] == {}
        return dialled

    @property
    def codes(self) -> list[str]:
        return self.recorder.codes

    async def recorded(self, code: str, count: int = 1) -> Any:
        """Wait until there are so many events of a code; return the last."""
        await until(lambda: len(self.recorder.of(code)) >= count)
        return self.recorder.of(code)[-1]


class Dialled:
    """A peer with asyncio's own streams, which share no code with ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            self.writer.write(message if isinstance(message, bytes) else orjson.dumps(message) + b"\n")

    async def receive(self) -> Any:
        """Return the next message; None at the end."""
        async with asyncio.timeout(PATIENCE):
            try:
                found = await self.reader.readline()
            except ConnectionError:
                return None
        return orjson.loads(found) if found else None

    async def ask(self, message: dict[str, Any] = PING) -> Any:
        self.send(message)
        return await self.receive()

    async def greet(self) -> Any:
        """Say the first word of a guard, and return its answer."""
        return await self.ask(orjson.loads(ping.request()[1]))

    def vanish(self) -> None:
        """Go without a word."""
        sock = self.writer.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    def reads(self, reads: bool) -> None:
        transport: Any = self.writer.transport
        if reads:
            transport.resume_reading()
        else:
            transport.pause_reading()


def private(folder: Path) -> None:
    """Let nobody else swap what is in a folder."""
    folder.chmod(0o700)


@contextlib.asynccontextmanager
async def offered(
    folder: Path,
    *rings: Any,
    carrier: str = "unix",
    target: Any = None,
    toml: str = "",
    **listen: Any,
) -> AsyncIterator[Offered]:
    """Offer stubs, or what a target gives; what is left at the end is an error."""
    private(folder)
    recorder = Recorder()
    target = Stubs() if target is None else target
    plugins = [*rings]
    if carrier == "tls" and not any(ring.name == "tls" for ring in rings):
        plugins.append(securing(Secured(context(folder, "server"))))
    guard = Guard(Config.from_toml(toml), [*plugins, recorder])
    address = Address("unix", path=folder / "run" / "x.sock") if carrier == "unix" else Address("tls", "127.0.0.1", 0)
    async with guard:
        server = Server(guard, "files", target, Listen(**listen))
        made = Offered(server, guard, recorder, target, folder)
        (made.address,) = server.listen([address])
        made.running = asyncio.get_running_loop().create_task(server.run())
        try:
            yield made
        finally:
            server.stop()
            server.stop()
            await asyncio.wait_for(made.running, PATIENCE)
            await made.let_go()
            assert target.closed
            assert server.slots.taken == 0
            assert guard.sessions == ()
            assert getattr(target, "there", []) == []


# --- as a process of its own ---


class Serving:
    """One ``hauberk serve``."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], path: Path) -> None:
        self.folder = folder
        self.process = process
        self.path = path

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """Connect."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self.path))
            client = Client(sock)
            try:
                yield client
            finally:
                client.close()

    def status(self, patience: float = PATIENCE) -> int:
        """Wait for the exit, and return the status as a shell gives it."""
        code = self.process.wait(patience)
        return code if code >= 0 else 128 - code

    def stop(self) -> int:
        """End it, and return the status."""
        self.process.send_signal(signal.SIGTERM)
        return self.status()

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")

    def ready(self) -> None:
        """Wait until it listens."""
        until_true(lambda: "listening at" in self.stderr() or self.process.poll() is not None)
        assert self.process.poll() is None, self.stderr()

    def events(self, *codes: str) -> list[dict[str, Any]]:
        """Return what was recorded, of these codes if there are any; a line that is half written is not there yet."""
        path = self.folder / "events"
        written = path.read_bytes() if path.exists() else b""
        found = [json.loads(line) for line in written.split(b"\n")[:-1]]
        return [event for event in found if not codes or event["code"] in codes]

    def told(self, *codes: str, count: int = 1) -> list[dict[str, Any]]:
        """Return what was recorded of these codes as soon as there are so many: a peer may know of a refusal before."""
        until_true(lambda: len(self.events(*codes)) >= count)
        return self.events(*codes)

    def children(self) -> list[int]:
        """Return the processes that it has started and that are still there."""
        shown = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in shown.stdout.split()]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208


class Client:
    """A client of a process, without asyncio."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            self.sock.sendall(message if isinstance(message, bytes) else orjson.dumps(message) + b"\n")

    def receive(self) -> Any:
        """Return the next message; None at the end."""
        try:
            found = self._file.readline()
        except ConnectionError:
            return None
        return orjson.loads(found) if found else None

    def ask(self, message: dict[str, Any] = PING) -> Any:
        self.send(message)
        return self.receive()

    def close(self) -> None:
        """Go; the socket is open for as long as the file is."""
        self._file.close()

    def end(self) -> None:
        """End the input."""
        self.sock.shutdown(socket.SHUT_WR)


def until_true(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something outside holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


@contextlib.contextmanager
def serving(
    folder: Path,
    command: Sequence[str],
    *arguments: str,
    options: Sequence[str] | None = None,
    listen: Sequence[str] | None = None,
    wait: bool = True,
    **more: Any,
) -> Iterator[Serving]:
    """Offer a command on a Unix socket, with `configure`'s configuration unless options are given."""
    folder.chmod(0o700)
    path = folder / "run" / "x.sock"
    options = configure(folder) if options is None else options
    where = [f"unix://{path}"] if listen is None else listen
    line = [*options, *(f"--listen={one}" for one in where), *arguments, *(["--", *command] if command else [])]
    with (folder / "stderr").open("wb") as stderr:
        chosen: dict[str, Any] = {"env": environment(folder), "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-m", "hauberk", "serve", *line], stderr=stderr, **chosen | more)
    found = Serving(folder, process, path)
    try:
        if wait:
            found.ready()
        yield found
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
