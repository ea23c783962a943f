"""One decision, whatever the carrier: a random session goes the same way on pipes, sockets, under TLS, in process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import mcp_types
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from tests.core.secured import Secured, context, securing

from hauberk import Config, Guard, Options, hookimpl
from hauberk.carriers import ping, stream
from hauberk.carriers.address import Address, parse
from hauberk.carriers.stdio import Reader, Writer
from hauberk.edge import Framer
from hauberk.event import Event
from hauberk.hosts import _dial
from hauberk.hosts._relay import take
from hauberk.hosts._translate import from_sdk, to_sdk
from hauberk.hosts.sdk import around

CARRIERS: Final = ("pipe", "unix", "tls", "memory")
POLICY: Final = """
[core.bounds]
line_bytes = 4096
[plugins]
disable = ["audit", "pins"]
[sieve]
allow = ["files/read_*", "files/list_*"]
deny = ["files/read_secret"]
"""
_TOOLS: Final = [
    {"name": name, "description": "A tool.", "inputSchema": {"type": "object"}}
    for name in ("read_note", "read_secret", "delete_all", "list_notes")
]


class Witness:
    """Keeps what the guard records of messages; of the connections themselves it differs, as they do."""

    name = "witness"
    Options = Options

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    @hookimpl
    def on_audit(self, event: Event) -> None:
        if event.category not in {"connection", "system"}:
            about = (event.code, event.action, event.method, event.tool, event.rule, event.plugin, event.digest)
            self.events.append((*about, event.count))


class Course:
    """What came of one session."""

    def __init__(self) -> None:
        self.witness = Witness()
        self.served: list[Any] = []
        """What the server got, without its ids: they are the guard's own."""
        self.answers: list[Any] = []

    def serve(self, frame: bytes) -> bytes | None:
        """Answer as a server does that knows its tools and echoes the rest."""
        message = orjson.loads(frame)
        self.served.append({key: value for key, value in message.items() if key != "id"})
        if "id" not in message or "method" not in message:
            return None
        result = {"tools": _TOOLS} if message["method"] == "tools/list" else {"content": []}
        return orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def take(self, frame: Any) -> None:
        """Keep what the client got."""
        message = orjson.loads(frame) if isinstance(frame, bytes) else frame
        if message.get("method") != "ping":
            self.answers.append(message)

    def seen(self) -> tuple[Any, ...]:
        return self.answers, self.served, self.witness.events


Send = Callable[[bytes], Any]


class Near:
    """The host's side of a session on bytes."""

    bytes_only = True

    def __init__(self, course: Course) -> None:
        self.deliver = lambda data, _ticket: course.take(data)

    def unanswered(self, _ticket: Any) -> None:
        pass


# --- the carriers ---


@asynccontextmanager
async def on_pipes(guard: Guard, course: Course) -> AsyncIterator[Send]:
    to, back = os.pipe(), os.pipe()
    answering = Writer(back[1], limit=1 << 20)

    def answer(frame: Any) -> None:
        if (reply := course.serve(frame)) is not None:
            answering.deliver(reply, None)

    connection = await guard.connect("files", "client")
    far = Writer(to[1], limit=1 << 20)
    session = guard.session(connection, Near(course), far)
    server = Reader(to[0], answer, _nothing, bounds=guard.bounds)
    client = Reader(back[0], lambda frame: take(session, session.inn, frame), _nothing, bounds=guard.bounds)
    server.start()
    client.start()
    try:
        yield lambda frame: _received(guard, session, frame)
    finally:
        await session.close()
        for one in (server, client):
            one.stop()
        for writer in (far, answering):
            writer.close(close_fd=True)
        for fd in (to[0], back[0]):
            os.close(fd)


@asynccontextmanager
async def on_a_socket(guard: Guard, course: Course, address: Address, here: Secured | None) -> AsyncIterator[Send]:
    accepted: list[stream.Stream] = []

    async def answer(sock: Any) -> None:
        made = await stream.accepted(sock, guard.bounds, here)
        accepted.append(made)
        first = await made.first()
        assert isinstance(first, bytes)
        id = ping.id_of(first)
        assert id is not None
        made.deliver(ping.accepted(id), None)

        def reply(frame: Any) -> None:
            if (said := course.serve(frame)) is not None:
                made.deliver(said, None)

        made.attach(reply, _nothing)

    if address.carrier == "unix":
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(address.path))
    else:
        listening = socket.create_server(("127.0.0.1", 0))
        address = parse(f"tls://localhost:{listening.getsockname()[1]}")
    with listening:
        listening.listen()
        listening.setblocking(False)
        loop = asyncio.get_running_loop()

        async def accept() -> None:
            sock, _ = await loop.sock_accept(listening)
            await answer(sock)

        accepting = loop.create_task(accept())
        connection, made = await _dial.dial(guard, "files", str(address))
        await accepting
        session = guard.session(connection, Near(course), made)
        made.attach(lambda frame: take(session, session.inn, frame), _nothing)
        try:
            yield lambda frame: _received(guard, session, frame)
        finally:
            await session.close()
            await made.closed(2)
            accepted[0].abort()
            if address.carrier == "unix":
                address.path.unlink()


async def _received(guard: Guard, session: Any, frame: bytes) -> None:
    """Hand a frame to the session as a carrier does that reads it: lines over the bound as such."""
    for one in Framer(guard.bounds).feed(frame + b"\n"):
        take(session, session.out, one)
    await session.quiet()


@asynccontextmanager
async def in_process(guard: Guard, course: Course) -> AsyncIterator[Send]:
    """Go through the streams of the SDK; what is no message of it cannot be sent there."""
    to_server, from_client = anyio.create_memory_object_stream[Any](100)
    to_client, from_server = anyio.create_memory_object_stream[Any](100)
    connection = await guard.connect("files", "client")

    async def serving() -> None:
        async with from_client:
            async for item in from_client:
                if (reply := course.serve(orjson.dumps(from_sdk(item.message)))) is not None:
                    await to_client.send(to_sdk(orjson.loads(reply), None))

    async def reading(read: Any) -> None:
        async for item in read:
            course.take(from_sdk(item.message))

    async with AsyncExitStack() as stack:
        read, write = await stack.enter_async_context(around(guard, connection, from_server, to_server))
        tasks = [asyncio.create_task(serving()), asyncio.create_task(reading(read))]

        async def send(frame: bytes) -> None:
            message = mcp_types.jsonrpc_message_adapter.validate_json(frame, by_name=False)
            try:
                await write.send(SessionMessage(message))
            except MCPError as error:  # how the SDK's caller learns of a refusal
                data = {"code": error.error.code, "message": error.error.message, "data": error.error.data}
                course.take({"jsonrpc": "2.0", "id": orjson.loads(frame)["id"], "error": data})

        try:
            yield send
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for one in (to_server, to_client, from_client, from_server):
                one.close()


def _nothing() -> None:
    pass


@asynccontextmanager
async def on(carrier: str, folder: Path, guard: Guard, course: Course) -> AsyncIterator[Send]:
    async with AsyncExitStack() as stack:
        if carrier == "memory":
            yield await stack.enter_async_context(in_process(guard, course))
        elif carrier == "pipe":
            yield await stack.enter_async_context(on_pipes(guard, course))
        else:
            here = Secured(context(folder, "server")) if carrier == "tls" else None
            address = Address("unix", path=folder / "s") if carrier == "unix" else Address("tls", "localhost", 1)
            yield await stack.enter_async_context(on_a_socket(guard, course, address, here))


# --- the sessions ---

NAMES: Final = st.sampled_from(["read_note", "read_secret", "delete_all", "list_notes", "READ_NOTE", "read_note ", ""])
ARGUMENTS: Final = st.dictionaries(
    st.text(max_size=4), st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8), max_size=3
)
METHODS: Final = st.sampled_from(["tools/list", "prompts/list", "resources/read", "no/such", "initialize", "ping"])
MESSAGES: Final = st.one_of(
    st.builds(
        lambda name, args: {"method": "tools/call", "params": {"name": name, "arguments": args}}, NAMES, ARGUMENTS
    ),
    st.builds(lambda method: {"method": method}, METHODS),
    st.builds(lambda: {"method": "tools/call", "params": {"name": 7}}),
    st.builds(lambda: {"method": "resources/read", "params": {"uri": "file:///etc/passwd"}}),
)
NOTIFICATIONS: Final = st.sampled_from(
    [
        {"method": "notifications/initialized"},
        {"method": "notifications/roots/list_changed"},
        {"method": "notifications/tools/list_changed"},
        {"method": "notifications/none"},
    ]
)
RAW: Final = st.sampled_from(
    [
        b'{"jsonrpc":"2.0","id":900,"method":"tools/list","id":901}',
        b'[{"jsonrpc":"2.0","id":902,"method":"tools/list"}]',
        b'{"jsonrpc":"2.0","id":903,"method":"tools/call","params":{"name":"read_note","arguments":{"a":1e999}}}',
        b'{"jsonrpc":"2.0","id":904,"method":"tools/list","params":{"x":"' + b"y" * 5000 + b'"}}',
        b"not json",
        b'{"jsonrpc":"2.0","id":905,"result":{}}',
        b'{"jsonrpc": "2.0", "id": 906, "method": "tools/list"}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
    ]
)


@st.composite
def sessions(draw: st.DrawFn, *, raw: bool) -> list[bytes]:
    """Return the frames of a client, each request under an id of its own."""
    frames = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["request", "request", "notification", *(["raw"] if raw else [])]))
        if kind == "raw":
            frames.append(draw(RAW))
        elif kind == "notification":
            frames.append(orjson.dumps({"jsonrpc": "2.0", **draw(NOTIFICATIONS)}))
        else:
            frames.append(orjson.dumps({"jsonrpc": "2.0", "id": number, **draw(MESSAGES)}))
    return frames


async def course_of(carrier: str, folder: Path, frames: list[bytes]) -> tuple[Any, ...]:
    """Send the frames, one after the other, and return what came of them."""
    course = Course()
    tls = [securing(Secured(context(folder, "client")))] if carrier == "tls" else []
    guard = Guard.load(
        Config.from_toml(POLICY + f'[core]\nstate_dir = "{folder}/state"\n', base=folder),
        objects=[course.witness, *tls],
    )
    async with guard, on(carrier, folder, guard, course) as send:
        for number, frame in enumerate(frames):
            await send(frame)
            # What is asked last is answered last: then all that came of the frame is here.
            await send(orjson.dumps({"jsonrpc": "2.0", "id": f"last-{number}", "method": "tools/list"}))
            async with asyncio.timeout(20):
                while not any(answer.get("id") == f"last-{number}" for answer in course.answers):  # noqa: ASYNC110
                    await asyncio.sleep(0)
    return course.seen()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("agree")
    made.chmod(0o700)
    return made


def differing(folder: Path, frames: list[bytes], carriers: tuple[str, ...]) -> None:
    first, *others = carriers
    expected = asyncio.run(course_of(first, folder, frames))
    for carrier in others:
        for what, mine, theirs in zip(
            ("answers", "served", "events"), asyncio.run(course_of(carrier, folder, frames)), expected, strict=True
        ):
            assert mine == theirs, f"{what} on {carrier} and on {first}"


@given(sessions(raw=True))
@settings(max_examples=20)
def test_sockets_decide_as_pipes_do(folder: Path, frames: list[bytes]) -> None:
    """S4.24: the carrier decides speed and nothing else, whatever is sent: the same answers, events, messages."""
    differing(folder, frames, CARRIERS[:3])


@given(sessions(raw=False))
@settings(max_examples=20)
def test_the_process_decides_as_a_socket_does(folder: Path, frames: list[bytes]) -> None:
    """S4.24: the same with messages that the SDK's streams can carry."""
    differing(folder, frames, ("unix", "memory"))


def test_courses_differ_where_the_policy_does(folder: Path) -> None:
    """What is compared tells an allowed call from a refused one, and a hidden tool from one that is shown."""
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}
        for name in ("read_note", "delete_all")
    ]
    allowed, refused = (asyncio.run(course_of("unix", folder, [orjson.dumps(call)])) for call in calls)
    assert [what for what, one, other in zip("ase", allowed, refused, strict=True) if one == other] == []
    listed = allowed[0][-1]["result"]["tools"]
    assert {tool["name"] for tool in listed} == {"read_note", "list_notes"}
    assert refused[0][0]["error"]["data"]["code"] == "sieve.denied"
