"""The log: appending beside orjson and a MAC of the same entry, and committing many calls together."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from tests.bench.measure import Row, micros, ratio, rounds

from hauberk.event import Event
from hauberk_audit._chain import Chain
from hauberk_audit._entry import render
from hauberk_audit._log import Log
from hauberk_audit._writer import Durability, Writer

KEY: Final = bytes(range(7, 39))
IN_FLIGHT: Final = 100
CALLS: Final = 4000
EVENT: Final = Event(
    code="core.allowed",
    id="867f8af5-f5e1-83e7-b99d-000000000005",
    time=1_800_000_000.25,
    category="decision",
    action="allowed",
    host="default",
    server="files",
    principal="host:default",
    source="local",
    method="tools/call",
    tool="read_file",
    exchange="a323a9e86144.7",
    digest="sha256:" + "5" * 64,
    sizes={"request": 243},
    rule="files/read_*",
    plugin="sieve",
)


def run() -> list[Row]:
    """Measure appending, and commits of many calls."""
    with tempfile.TemporaryDirectory(prefix="hauberk-bench-") as folder:
        return [_append(Path(folder)), *_commit(Path(folder))]


def _append(folder: Path) -> Row:
    log = Log.open(folder / "append" / "audit.jsonl", Chain(KEY), sync=False)
    entry = orjson.loads(render(EVENT) + b"}")
    plain = (folder / "append" / "plain.jsonl").open("ab")
    with plain:
        candidates = {"ours": partial(_ours, log), "theirs": partial(_theirs, plain, entry)}
        times = rounds(candidates, repeat=21, count=2000)
    log.close()
    what = f"append an event, buffered ({micros(times, 'ours'):.1f} µs)"
    return Row("log / orjson.dumps + HMAC + write", what, ratio(times, "ours", "theirs"), bar=2.5, aim=1.6)


def _ours(log: Log) -> None:
    log.append(render(EVENT))


def _theirs(file: Any, entry: dict[str, Any]) -> None:
    data = orjson.dumps(entry)
    os.write(file.fileno(), data + hmac.digest(KEY, data, hashlib.sha256).hex().encode() + b"\n")


def _commit(folder: Path) -> list[Row]:
    rates: dict[str, list[float]] = {"event": [], "group": []}
    for number in range(7):
        for durability in ("event", "group"):
            path = folder / f"{durability}{number}" / "audit.jsonl"
            rates[durability].append(asyncio.run(_rate(path, durability)))
    gain = statistics.median(group / event for event, group in zip(rates["event"], rates["group"], strict=True))
    what = f"durable entries a second, {IN_FLIGHT} in flight ({statistics.median(rates['group']):,.0f})"
    return [Row("one sync each / group commit", what, 1 / gain, bar=1 / 12, aim=1 / 25)]


async def _rate(path: Path, durability: Durability) -> float:
    """Return how many entries a second are on the disk before their callers go on."""
    writer = Writer(Log.open(path, Chain(KEY), sync=True)).share(durability)
    count = CALLS if durability == "group" else CALLS // 10

    async def caller() -> None:
        for _ in range(count // IN_FLIGHT):
            writer.put(EVENT, durability)
            if (waiting := writer.settled()) is not None:
                await waiting

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    rate = count / (time.perf_counter() - start)
    writer.leave(durability)
    return rate
