"""Replay: what a nonce takes in memory, and what a check costs as the memory fills (G17).

A check is what the plugin does with the proof of each message: its times, its key, its nonce in the spans of the
window, and its place among them. The floor is one look into a set of as many nonces, which remembers nothing, forgets
nothing and has no bound. A shared store is compared with a ``PING`` on the same connection: both are one round trip.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.bench.measure import Row, ratio, rounds, rounds_async, run_async
from tests.redis_server import RedisServer, begun

from hauberk.message import Proof
from hauberk_replay import Checker, Counters, LocalNonces, SharedNonces, Window

NOW: Final = 1_790_000_000.0
FEW: Final = 1_000
MANY: Final = 1_000_000
_WINDOW: Final = Window()
_BYTES: Final = "what a nonce takes, of {:,} (bytes)"


def run() -> list[Row]:
    """Measure memory, then time."""
    rows = [Row("replay", _BYTES.format(held), _bytes(held), bar=100, aim=60) for held in (FEW, 100_000, MANY)]
    rows.append(Row("replay", "memory of 10 sessions, 100,000 messages to 1,000", _by_session(), bar=1.1, aim=1.05))
    rows += _time_rows()
    if shutil.which("redis-server"):
        rows.append(run_async(_shared_row))
    return rows


# --- memory ---


def _bytes(held: int) -> float:
    """Return the bytes of one nonce in a memory that holds so many, made over a whole window."""
    nonces = [os.urandom(16) for _ in range(held)]
    memory = LocalNonces(_WINDOW, 10 * held, since=0)
    tracemalloc.start()
    try:
        for number, nonce in enumerate(nonces):
            at = NOW + number * _WINDOW.max_age / held
            memory.remember("alice", nonce, at, at)
        return tracemalloc.get_traced_memory()[0] / held
    finally:
        tracemalloc.stop()


def _by_session() -> float:
    """Return what ten sessions take after many messages, to what they take after few."""
    taken = []
    for messages in (FEW, 100_000):
        tracemalloc.start()
        counters = Counters()
        for number in range(messages):
            counters.see(f"s{number % 10}", 10_000_000 + number, NOW, NOW, _WINDOW)
        taken.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    return taken[1] / taken[0]


# --- time ---


def _time_rows() -> list[Row]:
    checks = {held: _check(held) for held in (FEW, MANY)}
    known = {os.urandom(16) for _ in range(MANY)}
    fresh = _fresh()
    times = rounds(
        {"few": checks[FEW], "many": checks[MANY], "look": lambda: next(fresh) in known, "counter": _counted()},
        repeat=60,
        count=40,
    )
    return [
        Row("replay", "a check, 1,000,000 held to 1,000 held", ratio(times, "many", "few"), bar=4, aim=2.5),
        Row("replay", "a check to one look in a set, 1,000,000 held", ratio(times, "many", "look")),
        Row("replay", "a counter of a session to a nonce, 1,000 held", ratio(times, "counter", "few")),
    ]


def _check(held: int) -> Callable[[], object]:
    checker = Checker(_WINDOW, LocalNonces(_WINDOW, 10 * held + 100_000, since=0))
    for number in range(held):
        at = NOW + number * _WINDOW.max_age / held
        checker.nonces.remember("alice", os.urandom(16), at, at)
    now = NOW + _WINDOW.max_age
    proofs = (Proof(key_id="alice", nonce=nonce, issued=now) for nonce in _fresh())
    return lambda: checker.check(next(proofs), now)


def _counted() -> Callable[[], object]:
    checker = Checker(_WINDOW, LocalNonces(_WINDOW, 1, since=0))
    proofs = (Proof(key_id="session", nonce=number, issued=NOW) for number in itertools.count())
    return lambda: checker.check(next(proofs), NOW)


def _fresh() -> Iterator[bytes]:
    """Yield nonces that were made before they are asked for."""
    yield from [os.urandom(16) for _ in range(10_000)]


async def _shared_row() -> Row:
    with RedisServer() as server:
        begun(server)
        nonces = SharedNonces(server.uri, _WINDOW, MANY, timeout=5)
        await nonces.open()
        store: Any = nonces._store

        async def check() -> None:
            now = time.time()
            await nonces.remember("alice", os.urandom(16), now, now)

        async def ping() -> None:
            await store.command("PING")

        times = await rounds_async({"check": check, "ping": ping}, repeat=40, count=25)
        await nonces.close()
        return Row("replay", "a check in Redis to a PING, wall", ratio(times, "check", "ping"))
