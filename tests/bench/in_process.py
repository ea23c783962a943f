"""tools/call through the SDK's client: in memory and over stdio, guarded against bare."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson
from mcp import Client, StdioServerParameters
from mcp.client._memory import InMemoryTransport
from tests.bench import samples
from tests.bench.measure import Row, Times, micros, ratio, rounds, rounds_async, run_async
from tests.bench.servers import echo

from hauberk import Config, Guard

ALLOW = """
[core]
state_dir = "{path}"
[plugins]
disable = ["pins"]
[sieve]
allow = ["bench/*"]
[audit]
path = "{path}/audit.jsonl"
key_file = "{path}/audit.key"
"""
PAYLOADS: Final[dict[str, dict[str, Any]]] = {
    "200 B": {"text": samples.text(60)},
    "16 KiB of JSON": samples.dense(16_000)["params"]["arguments"],
    "16 KiB of text": {"text": samples.text(16_000)},
    "256 KiB of text": {"text": samples.text(256_000)},
}


IN_FLIGHT: Final = 100
_STDIO: Final = (("200 B", 1.0, 0.9), ("16 KiB of text", 1.15, 1.0), ("256 KiB of text", 1.15, 0.95))


def run() -> list[Row]:
    """Measure the in-memory transport and stdio."""
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o700)
        rows = [*run_async(lambda: _in_memory(directory)), *run_async(lambda: _stdio(directory))]
        return [*rows, *run_async(lambda: _durable(directory))]


def both(directory: str, name: str, *, more: str = "") -> Guard:
    """Return a guard with sieve and audit, which writes to a directory of its own."""
    path = Path(directory) / name
    path.mkdir(mode=0o700)
    return Guard.load(Config.from_toml(ALLOW.format(path=path) + more, base=path))


async def _in_memory(directory: str) -> list[Row]:
    rows = []
    for mode in ("legacy", "auto"):
        async with AsyncExitStack() as stack:
            targets = {
                "bare": InMemoryTransport(echo()),
                "empty": Guard(Config.default()).wrap(echo(), server="bench"),
                "both": both(directory, f"memory-{mode}").wrap(echo(), server="bench"),
            }
            clients = {k: await stack.enter_async_context(Client(t, mode=mode)) for k, t in targets.items()}
            for size in ("200 B", "16 KiB of JSON", "16 KiB of text"):
                times = await _call(clients, PAYLOADS[size], repeat=25, count=40, clock=time.process_time_ns)
                rows += _memory_rows(mode, size, times)
    return rows


def _memory_rows(mode: str, size: str, times: Times) -> list[Row]:
    group = f"SDK in memory, {mode} / bare"
    cost = f"({micros(times, 'bare'):.0f} µs bare)"
    empty, full = ratio(times, "empty", "bare"), ratio(times, "both", "bare")
    if size == "200 B":
        return [
            Row(group, f"{size}, no plugin {cost}", empty, bar=1.15, aim=1.08),
            Row(group, f"{size}, sieve and audit", full, bar=1.30, aim=1.20),
        ]
    text = orjson.dumps(PAYLOADS[size])
    codec = rounds({"codec": lambda: orjson.dumps(orjson.loads(text))}, repeat=9, count=200)
    bar = 1.3 + 2.5 * micros(codec, "codec") / micros(times, "bare")
    return [
        Row(group, f"{size}, no plugin {cost}", empty, bar=bar),
        Row(group, f"{size}, sieve and audit (bar: 1.3 + 2.5 orjson)", full, bar=bar),
    ]


async def _durable(directory: str) -> list[Row]:
    """Calls that wait together until their decisions are on the disk, against those that do not wait."""
    async with AsyncExitStack() as stack:
        targets = {
            "not": both(directory, "interval"),
            "durable": both(directory, "group", more='required = true\ndurability = "group"\n'),
        }
        clients = {
            k: await stack.enter_async_context(Client(guard.wrap(echo(), server="bench"), mode="legacy"))
            for k, guard in targets.items()
        }

        def together(client: Any) -> Any:
            async def calls() -> None:
                await asyncio.gather(*(client.call_tool("echo", PAYLOADS["200 B"]) for _ in range(IN_FLIGHT)))

            return calls

        times = await rounds_async(
            {k: together(c) for k, c in clients.items()}, repeat=15, count=3, clock=time.perf_counter_ns
        )
    what = f"200 B, {IN_FLIGHT} in flight ({micros(times, 'not') / IN_FLIGHT:.0f} µs a call that does not wait)"
    return [Row("SDK in memory, on the disk before it goes on / not", what, ratio(times, "durable", "not"), bar=1.15)]


async def _stdio(directory: str) -> list[Row]:
    server = StdioServerParameters(command=sys.executable, args=["-m", "tests.bench.servers"])
    rows = []
    async with AsyncExitStack() as stack:
        targets: dict[str, Any] = {"bare": server, "both": both(directory, "stdio").wrap(server, server="bench")}
        clients = {k: await stack.enter_async_context(Client(t, mode="legacy")) for k, t in targets.items()}
        for size, bar, aim in _STDIO:
            times = await _call(clients, PAYLOADS[size], repeat=25, count=20, clock=time.perf_counter_ns)
            what = f"{size}, sieve and audit ({micros(times, 'bare'):.0f} µs unguarded)"
            rows.append(
                Row("own stdio transport / the SDK's, unguarded", what, ratio(times, "both", "bare"), bar=bar, aim=aim)
            )
    return rows


async def _call(clients: dict[str, Any], arguments: dict[str, Any], *, repeat: int, count: int, clock: Any) -> Times:
    def caller(client: Any) -> Any:
        async def call() -> None:
            await client.call_tool("echo", arguments)

        return call

    return await rounds_async({k: caller(c) for k, c in clients.items()}, repeat=repeat, count=count, clock=clock)
