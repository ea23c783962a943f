"""What becomes of a sealed session in which somebody in the middle has meddled, from end to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from tests import test_sealed
from tests.running import PATIENCE, Running, guarding
from tests.serving import until
from tests.test_sealed import ENVELOPE, configured, placed, served

from hauberk import Config, Guard

made = test_sealed.made
PLAIN = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n'
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}},
}
Meddle = Callable[[bool, int, bytes], list[bytes]]


@contextlib.asynccontextmanager
async def meddling(far: Path, near: Path, meddle: Meddle) -> AsyncIterator[list[int]]:
    """Stand in the middle; of the first connection, each line becomes what ``meddle(to the server?, n, line)`` says."""
    met: list[int] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, out: bool, first: bool) -> None:
        count = 0
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                count += 1
                for one in meddle(out, count, line) if first else [line]:
                    writer.write(one)
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(1)
        first = len(met) == 1
        far_reader, far_writer = await asyncio.open_unix_connection(far, limit=1 << 20)
        there, back = pump(reader, far_writer, out=True, first=first), pump(far_reader, writer, out=False, first=first)
        await asyncio.gather(there, back)

    async with await asyncio.start_unix_server(meet, near, limit=1 << 20):
        yield met


def call(id: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "t"}}}


def answered(client: Running, message: dict[str, Any]) -> dict[str, Any]:
    """Ask, and return the answer, past whatever comes before it."""
    client.send(message)
    while (found := client.receive()).get("id") != message["id"]:
        pass
    assert isinstance(found, dict)
    return found


MEDDLES: dict[str, Meddle] = {
    # Ping, agreement, initialize, and what is said for the guard itself: the third line and later are sealed.
    "an answer is dropped": lambda out, n, line: [PLAIN] if not out and n == 4 else [line],
    "an answer is forged": lambda out, n, line: (
        [json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": {}}).encode() + b"\n"]
        if not out and n == 4
        else [line]
    ),
    "a request is doubled": lambda out, n, line: [line, line] if out and n == 5 else [line],
    "a request is dropped": lambda out, n, line: [PLAIN] if out and n == 5 else [line],
}


@pytest.mark.parametrize("meddle", MEDDLES)
async def test_a_session_that_is_over(made: Path, tmp_path: Path, meddle: str) -> None:
    """Whoever meddles ends one connection and no more: what was asked gets an error, and the next call is answered."""
    ours, theirs = tmp_path / "c", tmp_path / "s"
    placed(made, theirs, "vault")
    placed(made, ours, "laptop")
    envelope = ENVELOPE.format(sign="session", match="true")
    with served(theirs, envelope, listen=f"unix://{tmp_path}/s/x.sock") as serve:
        async with meddling(tmp_path / "s" / "x.sock", tmp_path / "m.sock", MEDDLES[meddle]) as met:
            configured(ours, f'[server.files]\nurl = "unix://{tmp_path}/m.sock"', envelope, 'peer = "vault"')
            with guarding(ours, ["connect", "--config", str(ours / "hauberk.toml"), "files"]) as client:
                assert "result" in await asyncio.to_thread(answered, client, HELLO)
                client.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
                found = await asyncio.to_thread(answered, client, call(2))
                assert found.get("error", {}).get("data", {}).get("code", "core.connection_lost") in (
                    "core.connection_lost",
                    "envelope.plain",
                )
                found = await asyncio.to_thread(answered, client, call(3))
                if "error" in found:  # asked before it was known
                    found = await asyncio.to_thread(answered, client, call(4))
                assert found["result"]["content"][0]["text"] == "t"
                await until(lambda: len(serve.children()) == 1, PATIENCE)
                assert await asyncio.to_thread(client.end) == 0
        assert len(met) == len(serve.told("envelope.agreed", count=2)) == 2


def _cut(out: bool, n: int, line: bytes) -> list[bytes]:
    """Lose the connection once the server has answered the first call."""
    if not out and n == 4:
        raise ConnectionResetError
    return [line]


async def test_a_lost_request_is_sealed_anew(made: Path, tmp_path: Path) -> None:
    """What is asked again is a message of the next session: sealed, numbered and recorded as any other (S4.21)."""
    ours, theirs = tmp_path / "c", tmp_path / "s"
    placed(made, theirs, "vault")
    placed(made, ours, "laptop")
    envelope = ENVELOPE.format(sign="session", match="true")
    server = f'[server.files]\nurl = "unix://{tmp_path}/m.sock"\n[server.files.retry]\ntools = ["echo"]'
    with served(theirs, envelope, listen=f"unix://{tmp_path}/s/x.sock") as serve:
        async with meddling(tmp_path / "s" / "x.sock", tmp_path / "m.sock", _cut) as met:
            configured(ours, server, envelope, 'peer = "vault"')
            with guarding(ours, ["connect", "--config", str(ours / "hauberk.toml"), "files"]) as client:
                assert "result" in await asyncio.to_thread(answered, client, HELLO)
                client.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
                found = await asyncio.to_thread(answered, client, call(2))
                assert found["result"]["content"][0]["text"] == "t"
                assert await asyncio.to_thread(client.end) == 0
        assert len(met) == 2
        calls = [one for one in serve.told() if one.get("tool") == "echo" and one.get("category") == "decision"]
        assert len({one["exchange"] for one in calls}) == len(calls) == 2
        assert not [one for one in serve.events() if one.get("action") == "blocked"]


async def test_the_sdk_in_process(made: Path, tmp_path: Path) -> None:
    """In process nothing is dialled again: who asks gets an error at once, and another transport a new session."""
    ours, theirs = tmp_path / "c", tmp_path / "s"
    placed(made, theirs, "vault")
    placed(made, ours, "laptop")
    envelope = ENVELOPE.format(sign="session", match="true")
    with served(theirs, envelope, listen=f"unix://{tmp_path}/s/x.sock") as serve:
        meddle = MEDDLES["an answer is dropped"]
        async with meddling(tmp_path / "s" / "x.sock", tmp_path / "m.sock", meddle) as met:
            url = f"unix://{tmp_path}/m.sock"
            text = configured(ours, f'[server.files]\nurl = "{url}"', envelope, 'peer = "vault"')
            async with Guard.load(Config.from_toml(text, base=ours)) as guard:
                async with Client(guard.wrap(server="files"), mode="legacy") as client:
                    for _ in range(2):
                        with pytest.raises(MCPError):
                            await asyncio.wait_for(client.call_tool("echo", {"text": "t"}), PATIENCE)
                    await until(lambda: serve.children() == [], PATIENCE)
                async with Client(guard.wrap(server="files"), mode="legacy") as client:
                    assert (await client.call_tool("echo", {"text": "t"})).content
        assert len(met) == 2


async def test_strangers(made: Path, tmp_path: Path) -> None:
    """Who has no key starts no server, keeps no place, and is not kept (A65)."""
    theirs = tmp_path / "s"
    placed(made, theirs, "vault")
    envelope = ENVELOPE.format(sign="session", match="true")
    with served(theirs, envelope, listen=f"unix://{tmp_path}/s/x.sock") as serve:
        started = time.monotonic()
        strangers = [await asyncio.open_unix_connection(tmp_path / "s" / "x.sock") for _ in range(20)]
        for _, writer in strangers:
            writer.write(b"x\n")
        for reader, writer in strangers:
            assert json.loads(await reader.readline())["error"]["data"] == {"code": "envelope.refused"}
            assert await reader.read() == b""
            writer.close()
        assert time.monotonic() - started < 8  # and not `first_seconds`
        assert serve.children() == []
