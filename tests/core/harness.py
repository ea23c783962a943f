"""A session in memory: plugins made of functions, two ports that remember, and a clock that a test turns.

Use it so::

    async with rig(ring("no", on_tool_call=Deny("no.way", "no"))) as r:
        await r.call("ls", {"path": "/"})
        assert r.reached == []
        assert r.codes == ["no.way"]
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from hauberk import hookspecs
from hauberk.config import Config, Options
from hauberk.connection import Connection, Role
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.session import Session
from hauberk.ways import Way

HOOKS: Final = ("on_connect", "on_send", "on_receive", "on_tool_call", "on_audit")
RESULT: Final[dict[str, Any]] = {"content": []}
META: Final = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
"""``_meta`` of a request of the 2026 revision."""


class Clock:
    """Monotonic seconds that only a test turns."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def turn(self, seconds: float) -> None:
        self.time += seconds


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
        self.on_deliver(data)
        self.raw.append(data)
        self.tickets.append(ticket)
        return None if self.held is None or self.held.is_set() else self._room(self.held)

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:
        self.unanswered_tickets.append(ticket)
        return None

    async def _room(self, held: asyncio.Event) -> None:
        await held.wait()

    @property
    def got(self) -> list[dict[str, Any]]:
        """Return the messages that were delivered, parsed."""
        return [orjson.loads(data) if isinstance(data, bytes) else data for data in self.raw]


class Recorder:
    """A sink that is not required and keeps every event."""

    name = "recorder"
    layer = Layer.POLICY
    Options = Options

    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def on_audit(self, event: Event) -> None:
        self.events.append(event)

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.events]

    def of(self, code: str) -> list[Event]:
        return [event for event in self.events if event.code == code]


def ring(name: str = "ring", layer: Any = Layer.POLICY, **members: Any) -> Any:
    """Return a plugin object made of functions.

    A member named like a hook is a function ``(item, connection)`` (``(event)`` for ``on_audit``), plain or async, or a
    constant answer. Any other member is an attribute: ``mode``, ``layers``, ``must_judge``, ``required``, ``approve``.
    """
    attributes: dict[str, Any] = {"name": name, "layer": layer, "Options": Options}
    for member, value in members.items():
        attributes[member] = _hook(member, value) if member in HOOKS else value
        if inspect.isfunction(value) and member not in HOOKS:
            attributes[member] = staticmethod(value)
    return type("Ring", (), attributes)()


def _hook(hook: str, value: Any) -> Any:
    if inspect.iscoroutinefunction(value):

        async def method(self: Any, *args: Any) -> Any:
            return await value(*args)

        made: Any = method
    elif callable(value):
        made = lambda self, *args: value(*args)  # noqa: E731
    else:
        made = lambda self, *args: value  # noqa: E731
    made.__name__ = hook
    of_spec = inspect.signature(getattr(hookspecs, hook)).parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    made.__signature__ = inspect.Signature([itself, *of_spec])
    return hookimpl(made)


class Rig:
    """A guard, one session of it, and what it did."""

    def __init__(self, guard: Guard, clock: Clock, recorder: Recorder, near: Port, far: Port) -> None:
        self.guard = guard
        self.clock = clock
        self.recorder = recorder
        self.near = near
        self.far = far
        self.connection: Connection
        self.session: Session

    async def start(self, role: Role = "client", server: str = "files") -> None:
        """Connect, and stand between the two ports."""
        self.connection = await self.guard.connect(server, role)
        self.session = self.guard.session(self.connection, self.near, self.far)

    # --- who is who: calls travel from the client's port to the server's ---

    @property
    def client(self) -> Port:
        return self.near if self.connection.role == "client" else self.far

    @property
    def server(self) -> Port:
        return self.far if self.connection.role == "client" else self.near

    @property
    def from_client(self) -> Way:
        return self.session.out if self.connection.role == "client" else self.session.inn

    @property
    def from_server(self) -> Way:
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
        """Wait until no message waits and every event is recorded."""
        await self.session.quiet()
        for _ in range(10):
            await asyncio.sleep(0)

    async def call(self, name: str = "ls", arguments: Any = None, *, id: Any = 1, **params: Any) -> None:
        """Let the client call a tool."""
        await self.send(self.from_client, request("tools/call", call_params(name, arguments, **params), id=id))

    async def answer(self, result: Any = None, *, id: Any = 1) -> None:
        """Let the server answer."""
        await self.send(self.from_server, {"jsonrpc": "2.0", "id": id, "result": RESULT if result is None else result})

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


def request(method: str, params: Any = None, *, id: Any = 1) -> dict[str, Any]:
    """Return a JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": id, "method": method} | ({} if params is None else {"params": params})


def notification(method: str, params: Any = None) -> dict[str, Any]:
    """Return a JSON-RPC notification."""
    return {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})


def call_params(name: str, arguments: Any = None, **more: Any) -> dict[str, Any]:
    """Return the params of a ``tools/call``."""
    return {"name": name} | ({} if arguments is None else {"arguments": arguments}) | more


def make_rig(
    plugins: Iterable[Any], *, toml: str = "", bytes_only: bool = True, clock: Clock | None = None, record: bool = True
) -> Rig:
    """Return a rig that has not started."""
    clock, recorder = clock or Clock(), Recorder()
    objects = [*plugins, recorder] if record else list(plugins)
    guard = Guard(Config.from_toml(toml), objects, clock=clock, now=clock)
    return Rig(guard, clock, recorder, Port(bytes_only=bytes_only), Port(bytes_only=bytes_only))


@asynccontextmanager
async def rig(
    *plugins: Any,
    toml: str = "",
    role: Role = "client",
    bytes_only: bool = True,
    clock: Clock | None = None,
    record: bool = True,
) -> AsyncIterator[Rig]:
    """Open a guard of these plugins with one session; ``record=False`` leaves out the recorder."""
    made = make_rig(plugins, toml=toml, bytes_only=bytes_only, clock=clock, record=record)
    async with made.guard:
        await made.start(role)
        yield made
        await made.session.close()
