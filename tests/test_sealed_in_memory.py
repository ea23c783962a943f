"""Sealed sessions over the streams in memory of the official SDK, under callers that come all at once and give up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.server.mcpserver import Context, MCPServer
from plugins.envelope.tests import guards
from tests.sdk.kit import Seen, Streams, behind

from hauberk.config import Config
from hauberk.guard import Guard

FEATURES = "[features]\nagent_security_enabled = true\n"


def server(chance: random.Random) -> MCPServer:
    """Return a server whose tool reports how far it is, at turns that nobody foresees."""
    made = MCPServer("s")

    @made.tool()
    async def work(n: int, ctx: Context[Any, Any]) -> str:
        for step in range(3):
            await ctx.report_progress(step, 3)
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        return str(n)

    return made


async def told(progress: float, total: float | None = None, message: str | None = None) -> None:
    """Take a turn of the loop over each report; the names are the protocol's."""
    await asyncio.sleep(0)


class Ends:
    """A client, and what both guards recorded."""

    def __init__(self, client: Client, seen: list[Seen]) -> None:
        self.client = client
        self._seen = seen

    async def called(self, number: int) -> str:
        answer = await self.client.call_tool("work", {"n": number}, progress_callback=told)
        (content,) = answer.content
        return str(getattr(content, "text", ""))

    def blocked(self) -> list[str]:
        return [event.code for seen in self._seen for event in seen.events if event.action == "blocked"]


@asynccontextmanager
async def sealed(
    path: Path, monkeypatch: pytest.MonkeyPatch, chance: random.Random, mode: Any = "legacy"
) -> AsyncIterator[Ends]:
    """Connect a client and a server through two guards that seal."""
    monkeypatch.setattr(guards, "START", time.time())
    yard, seen = guards.Yard(path), [Seen(), Seen()]
    near, far = (
        Guard.load(Config.from_toml(FEATURES + yard.toml(name), base=path), objects=[one], disable=("audit",))
        for name, one in zip(("laptop", "vault"), seen, strict=True)
    )
    async with (
        behind(server(chance)._lowlevel_server, far, name="files") as streams,
        Client(near.wrap(Streams(streams), server="files"), mode=mode) as client,
    ):
        await client.list_tools()
        yield Ends(client, seen)


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
async def test_calls_pass_in_each_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any) -> None:
    """A sealed call shows no name, and passes all the same where the SDK makes headers of what a message shows."""
    async with sealed(tmp_path, monkeypatch, random.Random(1), mode) as ends:
        assert await ends.called(7) == "7"
        assert ends.blocked() == []


@pytest.mark.parametrize("seed", range(3))
async def test_many_callers_at_once_are_all_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Messages are written in the order in which they were sealed, however many wait for room (A16)."""
    async with sealed(tmp_path, monkeypatch, random.Random(seed)) as ends:
        for _ in range(4):
            answers = await asyncio.gather(*map(ends.called, range(40)))
            assert answers == [str(number) for number in range(40)]
        assert ends.blocked() == []


@pytest.mark.parametrize("seed", range(3))
async def test_a_caller_that_gives_up_ends_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What was sealed is written though its caller is gone: the next message would be one too many else."""
    chance = random.Random(seed)
    async with sealed(tmp_path, monkeypatch, chance) as ends:
        for _ in range(8):
            going = [asyncio.create_task(ends.called(number)) for number in range(24)]
            staying = [asyncio.create_task(ends.called(number)) for number in range(4)]
            for _ in range(chance.randrange(1, 8)):
                await asyncio.sleep(0)
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)
            assert await asyncio.gather(*staying) == [str(number) for number in range(4)]
        assert "envelope.out_of_order" not in ends.blocked()
