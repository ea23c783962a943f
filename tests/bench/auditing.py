"""The log: appending beside orjson and a MAC of the same entry, committing many calls together, verifying beside a MAC
of the same bytes; and that neither a start nor an append nor a verified entry costs more in a longer log.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from tests.bench.measure import Row, micros, ratio, rounds

from hauberk.event import Event
from hauberk_audit._entry import render
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing._chain import GENESIS, Chain
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._ratchet import first_root
from hauberk_audit.writing._writer import Durability, Writer

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


Candidates = dict[str, Callable[[], Any]]
SHORT: Final = 5000
"""Entries of a log, beside one of twenty times as many."""


def run() -> Iterator[Row]:
    """Measure appending, commits of many calls, verifying, and what a longer log costs."""
    with tempfile.TemporaryDirectory(prefix="hauberk-bench-") as name:
        folder = Path(name)
        yield _append(folder)
        yield from _commit(folder)
        yield from _verify(folder)
        yield from _longer(folder)


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


def _written(path: Path, count: int, commit: int = 0) -> Path:
    """Write a log; with ``commit`` its key goes forward after so many entries."""
    path.parent.mkdir(mode=0o700)
    rung, digest, body = first_root(KEY).first(), GENESIS, render(EVENT)
    signer = rung.signer() if commit else Chain(KEY)
    path.touch(mode=0o600)
    with path.open("wb") as file:
        for number in range(1, count + 1):
            line, digest = signer.seal(body, number, digest)
            file.write(line)
            if commit and number % commit == 0:
                rung = rung.next()
                signer = rung.signer()
    return path


def _whole(path: Path) -> None:
    report = verify([path], KEY)
    if report.status:
        raise RuntimeError(f"the log of the benchmark does not verify: {report.breaks[:1]}")


def macs(lines: list[bytes]) -> None:
    """Make an HMAC-SHA256 of each line, from states that were prepared, which is the fastest way here."""
    inner, outer = hashlib.sha256(bytes(64)), hashlib.sha256(bytes(64))
    for line in lines:
        first, second = inner.copy(), outer.copy()
        first.update(line)
        second.update(first.digest())
        second.digest()


def _verify(folder: Path) -> Iterator[Row]:
    count = 4 * SHORT
    plain = _written(folder / "plain" / "audit.jsonl", count)
    forward = _written(folder / "forward" / "audit.jsonl", count, commit=10)
    lines = plain.read_bytes().split(b"\n")[:-1]
    candidates: Candidates = {
        "plain": partial(_whole, plain),
        "forward": partial(_whole, forward),
        "macs": partial(macs, lines),
    }
    times = rounds(candidates, repeat=15, count=1)
    group = "verify / HMAC-SHA256 of each line"
    rate = count / statistics.median(times["plain"])
    yield Row(group, f"one key ({rate:,.0f} entries/s)", ratio(times, "plain", "macs"), bar=1 / 0.35, aim=1 / 0.5)
    yield Row(group, "a key that goes forward, ten entries a commit", ratio(times, "forward", "macs"))


def _longer(folder: Path) -> Iterator[Row]:
    short = _written(folder / "short" / "audit.jsonl", SHORT)
    long = _written(folder / "long" / "audit.jsonl", 20 * SHORT)
    group = "a log of 100,000 entries / of 5,000"
    times = rounds({"short": partial(_whole, short), "long": partial(_whole, long)}, repeat=5, count=1)
    yield Row(group, "verify, time of an entry", ratio(times, "long", "short") / 20, bar=1.2, aim=1.05)
    yield Row(group, "verify, peak of memory", _peak(long) / _peak(short), bar=1.2, aim=1.05)
    times = rounds({"short": partial(_opened, short), "long": partial(_opened, long)}, repeat=21, count=5)
    yield Row(group, "start, and end", ratio(times, "long", "short"), bar=1.5, aim=1.1)
    logs = {"short": Log.open(short, Chain(KEY), sync=False), "long": Log.open(long, Chain(KEY), sync=False)}
    times = rounds({name: partial(_ours, log) for name, log in logs.items()}, repeat=21, count=500)
    yield Row(group, "append an event", ratio(times, "long", "short"), bar=1.2, aim=1.05)
    for log in logs.values():
        log.close()


def _opened(path: Path) -> None:
    Log.open(path, Chain(KEY), sync=False).close()


def _peak(path: Path) -> int:
    """Return the most memory that verifying takes (bytes, as Python counts them)."""
    tracemalloc.start()
    try:
        _whole(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
