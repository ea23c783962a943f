"""A guard in memory between two ports: what a host sends goes in at one, what a server gets comes out at the other."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from hauberk.connection import Connection, Role
from hauberk.edge import Framer, loose_id
from hauberk.guard import Guard
from hauberk.session import Session
from hauberk.testing._asserting import assert_refused
from hauberk.testing._clock import Clock
from hauberk.testing._faces import Face
from hauberk.testing._hostile import HostileServer, line
from hauberk.testing._loading import load
from hauberk.testing._messages import answer, call_params, request
from hauberk.testing._recorder import Recorder
from hauberk.ways import Way

RESULT: Final[dict[str, Any]] = {"content": []}
_TURNS: Final = 10


class Port:
    """One side of a session; it remembers what was written to it."""

    def __init__(self, *, bytes_only: bool = True) -> None:
        self.bytes_only = bytes_only
        self.raw: list[Any] = []
        """What was delivered: frames, or objects."""
        self.tickets: list[Any] = []
        self.unanswered_tickets: list[Any] = []
        self.held: asyncio.Event | None = None
        """Set it to an event, and each write waits for it."""
        self.on_deliver: Callable[[Any], object] = lambda _: None

    def deliver(self, data: Any, ticket: Any) -> Awaitable[None] | None:
        """Take one message."""
        self.on_deliver(data)
        self.raw.append(data)
        self.tickets.append(ticket)
        return None if self.held is None or self.held.is_set() else self._room(self.held)

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:
        """Learn that a request gets no answer."""
        self.unanswered_tickets.append(ticket)
        return None

    async def _room(self, held: asyncio.Event) -> None:
        await held.wait()

    @property
    def got(self) -> list[dict[str, Any]]:
        """Return the messages that were delivered, parsed."""
        return [orjson.loads(data) if isinstance(data, bytes) else data for data in self.raw]


class Rig:
    """A guard, one session of it, and what it did."""

    def __init__(self, guard: Guard, clock: Clock, recorder: Recorder, near: Port, far: Port) -> None:
        self.guard = guard
        self.clock = clock
        self.recorder = recorder
        self.near = near
        self.far = far
        self.hostile: HostileServer | None = None
        self.connection: Connection
        self.session: Session
        self._ids: Final = itertools.count(1)

    async def start(self, role: Role = "client", server: str = "files", hostile: HostileServer | None = None) -> None:
        """Connect, and stand between the two ports; what reaches the server's port reaches the hostile server."""
        self.connection = await self.guard.connect(server, role)
        self.session = self.guard.session(self.connection, self.near, self.far)
        if hostile is not None:
            self._attach(hostile)

    def _attach(self, hostile: HostileServer) -> None:
        hostile.attach("bytes" if self.server.bytes_only else "objects")
        self.hostile, self._framer = hostile, Framer(self.guard.bounds)
        self.server.on_deliver = lambda data: hostile.hear(orjson.loads(data) if isinstance(data, bytes) else data)
        loop = asyncio.get_running_loop()
        hostile.wake = lambda: loop.call_soon(self._listen)

    def _listen(self) -> None:
        """Let come in what the hostile server says."""
        outbox = self.hostile.outbox if self.hostile is not None else ()
        while outbox:
            said = outbox.popleft()
            if self.server.bytes_only:
                self._read(line(said))
            elif isinstance(said, dict):
                self.session.receive_object(self.from_server, said)

    def _read(self, chunk: bytes) -> None:
        for frame in self._framer.feed(chunk):
            if isinstance(frame, bytes):
                self.session.receive(self.from_server, frame)
            else:
                self.session.overlong(self.from_server, frame.size, loose_id(frame.head, frame.tail))

    # --- who is who: calls travel from the client's port to the server's ---

    @property
    def client(self) -> Port:
        """Return the client's port."""
        return self.near if self.connection.role == "client" else self.far

    @property
    def server(self) -> Port:
        """Return the server's port."""
        return self.far if self.connection.role == "client" else self.near

    @property
    def from_client(self) -> Way:
        """Return the way that requests of the client take."""
        return self.session.out if self.connection.role == "client" else self.session.inn

    @property
    def from_server(self) -> Way:
        """Return the way that answers to the client take."""
        return self.from_client.opposite

    # --- what comes in ---

    def post(self, way: Way, data: Any, *, ticket: Any = None) -> asyncio.Task[Any] | None:
        """Let one message come in; return its task if it has to wait. Bytes, or an object, as the port takes it."""
        if way.source.bytes_only:
            raw = data if isinstance(data, bytes) else orjson.dumps(data)
            return self.session.receive(way, raw)
        return self.session.receive_object(way, data, ticket=ticket)

    async def send(self, way: Way, data: Any, *, ticket: Any = None) -> None:
        """Let one message come in, and wait until no message waits and every event is recorded."""
        self.post(way, data, ticket=ticket)
        await self.settle()

    async def settle(self) -> None:
        """Wait until no message waits, the hostile server has said all, and every event is recorded."""
        before = None
        while before != (before := (len(self.near.raw), len(self.far.raw))):
            await self.session.quiet()
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    async def request(self, method: str, params: Any = None, *, id: Any = None) -> dict[str, Any] | None:
        """Let the client ask; return the answer that came to it, or None where none did."""
        id = next(self._ids) if id is None else id
        before = len(self.client.raw)
        await self.send(self.from_client, request(method, params, id=id))
        return next((reply for reply in self.replies[before:] if reply.get("id") == id and "method" not in reply), None)

    async def call(
        self, name: str = "ls", arguments: Any = None, *, id: Any = None, **params: Any
    ) -> dict[str, Any] | None:
        """Let the client call a tool; return the answer that came to it, or None where none did."""
        return await self.request("tools/call", call_params(name, arguments, **params), id=id)

    async def answer(self, result: Any = None, *, id: Any = 1) -> None:
        """Let the server answer."""
        await self.send(self.from_server, answer(RESULT if result is None else result, id=id))

    # --- what came of it ---

    @property
    def reached(self) -> list[dict[str, Any]]:
        """Return what the server got."""
        return self.server.got

    @property
    def replies(self) -> list[dict[str, Any]]:
        """Return what the client got."""
        return self.client.got

    def error(self, at: int = -1) -> dict[str, Any]:
        """Return the ``error`` member of what the client got."""
        error: dict[str, Any] = self.replies[at]["error"]
        return error

    @property
    def codes(self) -> list[str]:
        """Return the codes of the refusals that the client got."""
        return [reply["error"]["data"]["code"] for reply in self.replies if "error" in reply]

    def assert_refused(self, code: str) -> None:
        """Check that the last that the client got is a refusal with this code."""
        assert_refused(self.replies[-1] if self.replies else None, code)


@asynccontextmanager
async def guard_from(
    toml: str = "",
    *plugins: Any,
    server: HostileServer | None = None,
    name: str = "files",
    role: Role = "client",
    face: Face = "bytes",
    clock: Clock | None = None,
    folder: Path | None = None,
) -> AsyncIterator[Rig]:
    r"""Open a guard of inline TOML, between a client and a server in memory.

    What has no table in the TOML, is not required by it and not given here does not run, whatever is installed. State
    is kept in ``folder``, unless the TOML says where.

    >>> async def main() -> None:
    ...     async with guard_from('[sieve]\ndeny = ["*/write"]', server=HostileServer()) as rig:
    ...         await rig.call("write")
    ...         rig.assert_refused("sieve.denied")
    >>> asyncio.run(main())

    Args:
        toml: The configuration.
        plugins: Further plugin objects.
        server: What answers; without one, nothing does.
        name: The server's name in rules and events.
        role: Where the guard stands: beside a client, or in front of a server.
        face: What crosses: bytes, as in ``hauberk run``, or objects, as around the SDK.
        clock: The guard's clock and its time of day.
        folder: Where relative paths of the TOML start; a new one that goes when the guard closes, if it is not given.

    Yields:
        The rig: the guard, what both sides got, and every event.

    Raises:
        ConfigError: The TOML says something that nothing reads.
        PluginError: A plugin is missing or broken.
    """
    with ExitStack() as stack:
        home = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hauberk-")))
        clock, recorder = clock or Clock(), Recorder()
        guard = load(toml, home, (*plugins, recorder), clock)
        ports = Port(bytes_only=face == "bytes"), Port(bytes_only=face == "bytes")
        rig = Rig(guard, clock, recorder, *ports)
        async with guard:
            await rig.start(role, name, server)
            yield rig
            await rig.session.close()
