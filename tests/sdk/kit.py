"""Guards, targets and clients for the tests with the SDK.

Use it so::

    async with target("http-sse", everything) as where, guarded(where, seen) as client:
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import anyio
import mcp_types as mt
import uvicorn
from mcp import Client, StdioServerParameters
from mcp.client._memory import InMemoryTransport
from mcp.server import Server
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.memory import create_client_server_memory_streams
from mcp.shared.message import SessionMessage
from mcp_types.jsonrpc import jsonrpc_message_adapter
from msgspec.structs import replace
from starlette.types import ASGIApp
from tests.sdk.everything import Everything, small

from hauberk.config import Config, Options
from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message
from hauberk.session import Session

MODES: Final = ("auto", "legacy", "2026-07-28")
KINDS: Final = ("child", "http-json", "http-sse", "http-stateless", "transport", "server", "mcpserver")
PROGRAM: Final = StdioServerParameters(
    command=sys.executable, args=[str(Path(__file__).with_name("everything.py"))], cwd=Path(__file__).parents[2]
)


class Seen:
    """A plugin that remembers each message and each event."""

    name = "seen"
    layer = Layer.POLICY
    Options = Options

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.received: list[Message] = []
        self.events: list[Event] = []

    @hookimpl
    def on_send(self, message: Message, connection: Connection) -> None:
        self.sent.append(message)

    @hookimpl
    def on_receive(self, message: Message, connection: Connection) -> None:
        self.received.append(message)

    @hookimpl
    def on_audit(self, event: Event) -> None:
        self.events.append(event)

    def out(self, kind: str = "request") -> list[str]:
        """Return the methods of what the host sent."""
        return [message.method for message in self.sent if message.kind == kind and message.embedded is None]

    def back(self, kind: str = "result") -> list[str]:
        """Return the methods of what came to the host."""
        return [message.method for message in self.received if message.kind == kind and message.embedded is None]

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.events]


def guard(*plugins: Any, toml: str = "") -> Guard:
    """Return a guard of these plugins."""
    return Guard(Config.from_toml(toml), plugins)


def session_of(guard: Guard) -> Session:
    """Return the only session of a guard."""
    (session,) = guard._sessions
    return session


@contextlib.contextmanager
def hurried(guard: Guard, seconds: float = 0.1) -> Iterator[None]:
    """Shorten the ``request_timeout`` in force for a while: all else has the time that it needs."""
    usual = guard.policy
    guard.policy = replace(usual, request_timeout=seconds)
    yield
    guard.policy = usual


# --- where to connect to ---


@asynccontextmanager
async def target(kind: str, everything: Everything | None = None) -> AsyncIterator[Any]:
    """Give what `Client` takes: of each kind one that serves everything, or the small server."""
    served = (everything or Everything()).server
    if kind == "child":
        yield PROGRAM
    elif kind == "transport":
        yield InMemoryTransport(served)
    elif kind == "server":
        yield served
    elif kind == "mcpserver":
        yield small()
    else:
        app = served.streamable_http_app(json_response=kind == "http-json", stateless_http=kind == "http-stateless")
        async with listening(app) as url:
            yield url + "/mcp"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@asynccontextmanager
async def listening(app: ASGIApp, **more: Any) -> AsyncIterator[str]:
    """Serve an application on a port of the loopback interface; give its URL, that of plain HTTP."""
    config = uvicorn.Config(app, log_level="error", ws="none", lifespan="on", timeout_graceful_shutdown=1, **more)
    server = _Server(config)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started:
            await asyncio.sleep(0)
            if serving.done():
                serving.result()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


# --- clients ---


class Told:
    """What a client's callbacks were told, and what they answer."""

    def __init__(self) -> None:
        self.logs: list[Any] = []
        self.messages: list[Any] = []
        self.asked: list[Any] = []
        self.steps: list[Any] = []

    async def log(self, params: mt.LoggingMessageNotificationParams) -> None:
        self.logs.append(params.model_dump(mode="json", by_alias=True))

    async def handle(self, message: Any) -> None:
        self.messages.append(
            message if isinstance(message, Exception) else message.model_dump(mode="json", by_alias=True)
        )

    async def sample(self, context: Any, params: mt.CreateMessageRequestParams) -> mt.CreateMessageResult:
        self.asked.append(params.model_dump(mode="json", by_alias=True))
        content = mt.TextContent(type="text", text="answer", _meta={"most": 2**64 - 1})
        return mt.CreateMessageResult(role="assistant", content=content, model="m", stop_reason="endTurn")

    async def elicit(self, context: Any, params: mt.ElicitRequestParams) -> mt.ElicitResult:
        self.asked.append(params.model_dump(mode="json", by_alias=True))
        return mt.ElicitResult(action="accept", content={"age": 2**53 + 1})

    async def roots(self, context: Any) -> mt.ListRootsResult:
        self.asked.append("roots")
        return mt.ListRootsResult(roots=[mt.Root.model_validate({"uri": "file:///a", "name": "a"})])

    async def step(self, progress: float, total: float | None, message: str | None) -> None:
        # On the wire the SDK's client makes floats of both; with a server in process, without a guard, it does not.
        self.steps.append([float(progress), None if total is None else float(total), message])


def client(where: Any, mode: str = "auto", told: Told | None = None, **more: Any) -> Client:
    """Return a client with every callback."""
    told = told or Told()
    options: dict[str, Any] = {
        "sampling_callback": told.sample,
        "elicitation_callback": told.elicit,
        "list_roots_callback": told.roots,
        "logging_callback": told.log,
        "message_handler": told.handle,
        "log_level": "debug",
    }
    return Client(where, mode=mode, **options | more)


@asynccontextmanager
async def guarded(
    where: Any, *plugins: Any, mode: str = "auto", toml: str = "", told: Told | None = None, **more: Any
) -> AsyncIterator[tuple[Client, Guard]]:
    """Give a client whose transport is guarded by these plugins, and the guard."""
    made = guard(*plugins, toml=toml)
    async with client(made.wrap(where, server="s"), mode, told, **more) as connected:
        yield connected, made


def exact(value: Any) -> str:
    """Return a value as text that tells integers from floats and keeps every digit; keys are sorted."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def plain(model: Any) -> Any:
    """Return a model of the SDK as JSON values, with what was set and nothing else."""
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


def leaf(error: BaseException) -> BaseException:
    """Return the one error in the groups that the SDK's task groups make of what leaves them."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


async def until(true: Callable[[], Any], turns: int = 20_000) -> None:
    """Give the loop turns until something is true."""
    for _ in range(turns):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come true")


async def settled(turns: int = 20) -> None:
    """Let everything happen that waits for nothing but its turn: the SDK gives each callback a task."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def within(awaitable: Awaitable[Any], seconds: float = 30.0) -> Any:
    """Await something that must not hang; a slow machine is no hang."""
    async with asyncio.timeout(seconds):
        return await awaitable


# --- a server that says what a test wants ---


class Tapped:
    """A transport that writes down what crosses it, on the wire's side of the guard."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.out: list[SessionMessage] = []
        self.back: list[SessionMessage] = []

    async def __aenter__(self) -> Any:
        read, write = await self._inner.__aenter__()
        return _TappedRead(read, self.back), _TappedWrite(write, self.out)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        closed: bool | None = await self._inner.__aexit__(kind, error, trace)
        return closed


class _TappedRead:
    def __init__(self, inner: Any, seen: list[SessionMessage]) -> None:
        self._inner = inner
        self._seen = seen

    async def receive(self) -> Any:
        received = await self._inner.receive()
        self._seen.append(received)
        return received

    async def aclose(self) -> None:
        await self._inner.aclose()

    @property
    def last_context(self) -> Any:
        return self._inner.last_context


class _TappedWrite:
    def __init__(self, inner: Any, seen: list[SessionMessage]) -> None:
        self._inner = inner
        self._seen = seen

    async def send(self, sent: SessionMessage) -> None:
        self._seen.append(sent)
        await self._inner.send(sent)

    async def aclose(self) -> None:
        await self._inner.aclose()


def item(metadata: Any = None, **members: Any) -> SessionMessage:
    """Return one message of the SDK's streams."""
    return SessionMessage(jsonrpc_message_adapter.validate_python({"jsonrpc": "2.0", **members}), metadata)


class Scripted:
    """A transport whose other end is written by a test: hostile, slow or silent.

    ``reply`` gets each request and returns the ``result`` object, an exception item for the stream, or None to leave it
    unanswered.
    """

    def __init__(self, reply: Callable[[mt.JSONRPCRequest], Any] = lambda request: None) -> None:
        self.reply = reply
        self.got: list[SessionMessage] = []
        """What reached this end."""
        self._arrived = asyncio.Event()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        async with create_client_server_memory_streams() as (near, (read, write)), asyncio.TaskGroup() as group:
            self._write = write
            serving = group.create_task(self._serve(read))
            try:
                yield near
            finally:
                serving.cancel()

    async def __aenter__(self) -> Any:
        self._context = self._connected()
        return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._context.__aexit__(kind, error, trace)

    async def _serve(self, read: Any) -> None:
        async for item in read:
            self.got.append(item)
            if isinstance(item.message, mt.JSONRPCRequest):
                answer = self.reply(item.message)
                if isinstance(answer, Exception):
                    await self._write.send(answer)
                elif answer is not None:
                    await self.say(id=item.message.id, result=answer)

    async def say(self, **members: Any) -> None:
        """Send one message."""
        await self._write.send(item(**members))

    async def fail(self, error: Exception) -> None:
        """Put an exception on the stream, as the SDK's transports do with what they cannot parse."""
        await self._write.send(error)

    async def end(self) -> None:
        """Close this end."""
        await self._write.aclose()

    @property
    def methods(self) -> list[str]:
        """Return the methods of what reached this end."""
        return [getattr(item.message, "method", "") for item in self.got]


@asynccontextmanager
async def dispatching(
    streams: tuple[Any, Any], answer: Callable[[str, Any], Any] = lambda method, params: {}
) -> AsyncIterator[JSONRPCDispatcher[Any]]:
    """Give the SDK's dispatcher on two streams: the layer below its client, which sends and returns plain JSON."""

    async def on_request(context: Any, method: str, params: Any) -> Any:
        return answer(method, params)

    async def on_notify(context: Any, method: str, params: Any) -> None:
        pass

    dispatcher: JSONRPCDispatcher[Any] = JSONRPCDispatcher(*streams)
    async with anyio.create_task_group() as group:
        await group.start(dispatcher.run, on_request, on_notify)
        yield dispatcher
        group.cancel_scope.cancel()


# --- the guard in front of a server ---


class Streams:
    """Two streams as the transport that a client takes."""

    def __init__(self, streams: tuple[Any, Any]) -> None:
        self._streams = streams

    async def __aenter__(self) -> Any:
        return self._streams

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave them to whoever made them."""


@asynccontextmanager
async def behind(server: Server[Any], made: Guard, name: str = "s") -> AsyncIterator[tuple[Any, Any]]:
    """Serve behind a guard; give the remote client's two streams, raw."""
    async with create_client_server_memory_streams() as (near, (read, write)), asyncio.TaskGroup() as group:
        ended = asyncio.Event()

        async def serve() -> None:
            try:
                async with made.serve(read, write, server=name) as (guarded_read, guarded_write):
                    await server.run(guarded_read, guarded_write, server.create_initialization_options())
            finally:
                ended.set()

        serving = group.create_task(serve())
        try:
            yield near
            await near[1].aclose()
            await within(ended.wait())
        finally:
            serving.cancel()
