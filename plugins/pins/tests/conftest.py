"""A server that shows what a test says, a guard with pins in front of it, and the commands of an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from click.testing import CliRunner, Result

from hauberk import plugins
from hauberk.connection import Role
from hauberk.testing import Clock, HostileServer, Rig, guard_from
from hauberk_pins import Pins
from hauberk_pins._commands import pins
from hauberk_pins._desk import Desk, hash_of

Json = dict[str, Any]
STRICT = "[pins]\n"


def tool(name: str, **fields: Any) -> Json:
    return {"name": name, "description": f"Do {name}.", "inputSchema": {"type": "object"}} | fields


class Showing(HostileServer):
    """A server that shows these pages of each list."""

    def __init__(self, *tools: Json, **lists: list[list[Json]]) -> None:
        super().__init__()
        self.pages: dict[str, list[list[Json]]] = {"tools": [list(tools)]} | lists
        self.about: Json = {"serverInfo": {"name": "shop", "version": "1"}, "instructions": "Be kind."}
        self.asked: list[str] = []

    def show(self, *tools: Json) -> None:
        self.pages["tools"] = [list(tools)]

    def _honest(self, message: Json) -> Json:
        method, params = message["method"], message.get("params") or {}
        self.asked.append(method)
        if method == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, **self.about}
        elif method == "server/discover":
            meta = {"_meta": {"io.modelcontextprotocol/serverInfo": self.about["serverInfo"]}}
            said = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}
            result = said | {"instructions": self.about["instructions"]} | meta
        elif method.endswith("/list"):
            member = {"resources/templates/list": "resourceTemplates"}.get(method, method.removesuffix("/list"))
            pages, at = self.pages.get(member, [[]]), int(params.get("cursor", 0))
            result = {member: pages[at], **({"nextCursor": str(at + 1)} if at + 1 < len(pages) else {})}
        else:
            result = {"content": [], "contents": [], "messages": []}
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}


class Guarded(Protocol):
    """Opens a guard with pins in front of a server."""

    def __call__(
        self, server: HostileServer, toml: str = STRICT, name: str = "files", role: Role = "client"
    ) -> AbstractAsyncContextManager[Rig]: ...


@pytest.fixture
def only_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pins be all that is installed."""
    source = plugins.Source("pins", "hauberk-pins", "0", lambda: Pins)
    monkeypatch.setattr(plugins, "installed", lambda: {"pins": source})


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the guard, which a test moves."""
    return Clock()


@pytest.fixture
def guarded(only_pins: None, tmp_path: Path, clock: Clock) -> Guarded:
    """Return a function that opens a guard whose state, and ``hauberk.lock``, stay for the next one."""

    @asynccontextmanager
    async def opened(
        server: HostileServer, toml: str = STRICT, name: str = "files", role: Role = "client"
    ) -> AsyncIterator[Rig]:
        config = tmp_path / "hauberk.toml"
        config.write_text(f'core.state_dir = "{tmp_path}/state"\n{toml}')
        text = toml.replace("[pins]\n", f'[pins]\nlock = "{tmp_path}/hauberk.lock"\n')
        async with guard_from(text, server=server, folder=tmp_path, clock=clock, name=name, role=role) as rig:
            yield rig

    return opened


@pytest.fixture
def hauberk(tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs ``hauberk pins …`` on the same files."""

    def run(command: str, *args: str) -> Result:
        return CliRunner().invoke(pins, [command, "--config", str(tmp_path / "hauberk.toml"), *args])

    return run


@pytest.fixture
def trust(tmp_path: Path) -> Callable[..., None]:
    """Return a function that trusts all that was seen, as ``hauberk pins trust`` does."""

    def accept(server: str | None = None) -> None:
        desk = desk_of(tmp_path)
        desk.accept([row for row in desk.rows(desk.trusted(), server) if row.status != "pinned"])

    return accept


def desk_of(folder: Path) -> Desk:
    from hauberk.config import Config

    return Desk(Config.read(folder / "hauberk.toml"))


def hash_seen(folder: Path) -> str:
    desk = desk_of(folder)
    return hash_of(row for row in desk.rows(desk.trusted()) if row.status != "pinned")


async def listed(rig: Rig, method: str = "tools/list", member: str = "tools", **params: Any) -> list[Any]:
    """Let the client list; return the names that it gets."""
    reply = await rig.request(method, params)
    assert reply is not None
    return [next(one[key] for key in ("name", "uri", "uriTemplate") if key in one) for one in reply["result"][member]]


def codes(rig: Rig) -> list[str]:
    """Return the codes of the events of pins so far."""
    return [event.code for event in rig.recorder.events if event.code.startswith("pins.")]


async def recorded(rig: Rig) -> None:
    """Wait until what was seen is on the disk."""
    await rig.guard.loaded["pins"].plugin.gate.writer.close()
