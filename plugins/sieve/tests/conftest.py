"""A host and a server in memory, with a real guard between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from hauberk import plugins
from hauberk.config import Config
from hauberk.connection import Role
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.session import Session
from hauberk_sieve import Sieve

Json = dict[str, Any]


class Memory:
    """A port that keeps what is written to it."""

    bytes_only = False

    def __init__(self) -> None:
        self.got: list[Json] = []

    def deliver(self, data: Json, ticket: object) -> None:
        self.got.append(data)

    def unanswered(self, ticket: object) -> None:
        """Nothing waits here."""


class Events:
    """A required sink that keeps every event."""

    name = "events"
    required = "both"

    def __init__(self) -> None:
        self.seen: list[Event] = []

    @hookimpl
    def on_audit(self, event: Event) -> None:
        self.seen.append(event)


class Link:
    """One connection of one guard: what the client sends, what the server answers, and what reaches whom."""

    def __init__(self, guard: Guard, session: Session, near: Memory, far: Memory, sink: Events) -> None:
        self.guard, self.session, self.sink = guard, session, sink
        self._client_side = session.connection.role == "client"
        self.client, self.server = (near, far) if self._client_side else (far, near)

    def ask(self, method: str, params: Json | None = None, id: int | None = 1) -> Json | None:
        """Send a request of the client (a notification without an id); return the server's copy, or what came back."""
        data: Json = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        return self._send({**data, "id": id} if id is not None else data, to_server=True)

    def call(self, tool: str, id: int = 1) -> Json | None:
        """Call a tool; return the server's copy of the call, or the refusal."""
        return self.ask("tools/call", {"name": tool, "arguments": {}}, id)

    def answer(self, result: Any, id: int = 1) -> Json:
        """Let the server answer; return what the client gets."""
        got = self._send({"jsonrpc": "2.0", "id": id, "result": result}, to_server=False)
        assert got is not None
        return got

    def listed(self, result: Any, id: int = 1) -> Json:
        """Ask for the tools and answer with this result; return what the client gets."""
        self.ask("tools/list", id=id)
        return self.answer(result, id)

    def _send(self, data: Json, *, to_server: bool) -> Json | None:
        ports = (self.client, self.server)
        before = [len(port.got) for port in ports]
        way = self.session.out if to_server == self._client_side else self.session.inn
        assert self.session.receive_object(way, data) is None, "plain hooks do not wait"
        for port, count in zip(ports, before, strict=True):
            if len(port.got) > count:
                return port.got[-1]
        return None

    async def events(self, code: str) -> list[Event]:
        """Return the events of one code so far."""
        await self.guard.recorder.close()
        return [event for event in self.sink.seen if event.code == code]


class Connect(Protocol):
    """Connects a client and a server through a guard."""

    async def __call__(self, text: str, server: str = "files", role: Role = "client") -> Link: ...


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a user who has no state yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def only_sieve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sieve be all that is installed."""
    source = plugins.Source("sieve", "hauberk-sieve", "0", lambda: Sieve)
    monkeypatch.setattr(plugins, "installed", lambda: {"sieve": source})


@pytest.fixture
def load(only_sieve: None) -> Callable[[str], Guard]:
    """Return a function that loads a guard of the sieve from the text of a configuration."""
    return lambda text: Guard.load(Config.from_toml(text))


@pytest.fixture
def link(only_sieve: None) -> Connect:
    """Return a function that connects a client and a server through a guard with this configuration."""

    async def connect(text: str, server: str = "files", role: Role = "client") -> Link:
        sink = Events()
        guard = Guard.load(Config.from_toml(text), objects=[sink])
        connection = await guard.connect(server, role)
        near, far = Memory(), Memory()
        return Link(guard, guard.session(connection, near, far), near, far, sink)

    return connect
