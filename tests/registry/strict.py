"""One server behind a strict guard, in process and through ``hauberk run``: configuration, log, operator."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from mcp import Client, StdioServerParameters
from mcp.client._memory import InMemoryTransport
from tests.registry.bridge import bridge
from tests.sdk.guarded_run import environment
from tests.sdk.kit import Told, client

from hauberk.guard import Guard

Host = Literal["bare", "in process", "run"]
GUARDED: Final[tuple[Host, ...]] = ("in process", "run")
PATIENCE: Final = 90.0
"""Seconds for one answer or command; whoever waits longer has found a hang."""
_BRIDGE: Final = Path(__file__).with_name("bridge.py")
_RULES: Final = """
[core]
state_dir = "state"

[core.bounds]
deadline = 60
sink_deadline = 60

[plugins]
require = ["audit", "pins", "sieve"]

[audit]
path = "audit.jsonl"
key_file = "audit.key"

[pins]
auto_trust_first = false

[sieve]
allow = ["{name}/*", {{ server = "{name}", prompt = "*", resource = "*" }}]

[server.{name}]
command = {command}
args = {args}
env = {{ {env} }}

{more}
"""


class Strict:
    """A configuration that trusts nothing unasked, and one server in it."""

    def __init__(
        self, folder: Path, name: str, command: Sequence[str], env: dict[str, str], *, bridged: bool = False
    ) -> None:
        folder.mkdir(mode=0o700)
        self.name = name
        self._folder = folder
        self._config = folder / "hauberk.toml"
        self._server = StdioServerParameters(command=command[0], args=list(command[1:]), env=env)
        self._is_bridged = bridged
        self._known: set[str] = set()
        self.configure()

    def configure(self, more: str = "") -> None:
        """Write the configuration, with more tables."""
        words = [self._server.command, *self._server.args]
        if self._is_bridged:
            words = [sys.executable, str(_BRIDGE), *words]
        values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in (self._server.env or {}).items())
        command, args = json.dumps(words[0]), json.dumps(words[1:])
        text = _RULES.format(name=self.name, command=command, args=args, env=values, more=more)
        self._config.write_text(text, encoding="utf-8")
        self._config.chmod(0o600)

    @asynccontextmanager
    async def connected(self, host: Host, mode: str, told: Told | None = None) -> AsyncIterator[Client]:
        """Give a client of the server: alone, or behind the guard; without ``told`` one that cannot be asked back."""
        async with self._target(host) as where:
            made = (
                Client(where, mode=mode, read_timeout_seconds=PATIENCE)
                if told is None
                else client(where, mode, told, read_timeout_seconds=PATIENCE)
            )
            async with made as one:
                yield one

    @asynccontextmanager
    async def _target(self, host: Host) -> AsyncIterator[Any]:
        if host == "run":
            words = ["-m", "hauberk", "run", "--config", str(self._config), self.name]
            yield StdioServerParameters(command=sys.executable, args=words, env=environment())
            return
        async with AsyncExitStack() as stack:
            where: Any = self._server
            if self._is_bridged:
                where = InMemoryTransport(await stack.enter_async_context(bridge(self._server)))
            if host == "in process":
                guard = await stack.enter_async_context(Guard.load(self._config))
                where = guard.wrap(where, server=self.name)
            yield where

    async def trust(self, *options: str) -> str:
        """Look at what is new, and trust exactly that; return what is shown to whoever looks."""
        status, shown = await self._pins("trust", "--server", self.name, *options)
        (digest,) = re.findall(r"--yes --hash (sha256:[0-9a-f]{64})", shown)
        assert status != 0, "it asked nobody"
        status, said = await self._pins("trust", "--server", self.name, "--yes", "--hash", digest)
        assert status == 0, said
        return shown

    async def _pins(self, *words: str) -> tuple[int | None, str]:
        command = [sys.executable, "-m", "hauberk", "pins", words[0], "--config", str(self._config), *words[1:]]
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(),
        )
        said, _ = await asyncio.wait_for(child.communicate(), PATIENCE)
        return child.returncode, said.decode()

    def news(self) -> list[dict[str, Any]]:
        """Return each event in the logs of all hosts since this was asked last."""
        lines = [line for log in self._folder.glob("*.jsonl") for line in log.read_text("utf-8").splitlines()]
        found = [event for event in map(json.loads, lines) if event["id"] not in self._known]
        self._known.update(event["id"] for event in found)
        return found
