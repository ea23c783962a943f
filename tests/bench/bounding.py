"""What a place in a room costs, and what a flood of one principal does to another's calls."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import orjson
from tests.bench.measure import SHUFFLE, Row, micros, ratio, rounds_async, run_async

from hauberk.connection import Connection
from hauberk.principal import Principal
from hauberk.session import Session
from hauberk.testing import Port, Rig, guard_from

_COST: Final = "one call and its answer through a guard with sieve and bulkhead / with sieve alone"
_SIEVE: Final = '[sieve]\nallow = ["files/*"]\n'
_FLOOD: Final = "p99 of one principal's calls beside another's flood / without it"
_ROUNDS: Final = 20
_CALLS: Final = 20
"""Calls of the quiet principal in one round."""
_WORK: Final = 0.04
"""Seconds that the server takes for a call."""
_TICK: Final = 0.01
_BURST: Final = 12
"""Calls of the flood each tick: six times what the room takes."""
_CALM: Final = "[bulkhead]\nin_flight = 8\nin_flight_per_principal = 4\nqueue = 1000\nbreaker.enabled = false\n"


def run() -> Iterator[Row]:
    """Measure the plugin without a queue and with one, and a flood against the caps and the fair queue."""
    times = run_async(_costs)
    for name, what in (("plain", "no queue"), ("queue", "a queue, which nobody is in")):
        yield Row(_COST, f"{what} ({micros(times, name):.0f} µs)", ratio(times, name, "none"))
    quiet, flooded = run_async(_flooded)
    value = statistics.median(b / a for a, b in zip(quiet, flooded, strict=True))
    what = f"{_BURST / _TICK:.0f} calls/s, {8 / _WORK:.0f} answers/s ({statistics.median(quiet) * 1e3:.1f} ms quiet)"
    yield Row(_FLOOD, what, value, bar=2.5, aim=1.5)


# --- what it costs ---


async def _costs() -> Any:
    bulkhead = f"{_SIEVE}[bulkhead]\n"
    async with guard_from(_SIEVE) as none, guard_from(f"{bulkhead}queue = 0\n") as plain, guard_from(bulkhead) as queue:
        candidates = {"none": _one(none), "plain": _one(plain), "queue": _one(queue)}
        return await rounds_async(candidates, repeat=31, count=200, clock=time.thread_time_ns)


def _one(rig: Rig) -> Callable[[], Awaitable[None]]:
    number = 0

    async def one() -> None:
        nonlocal number
        number += 1
        task = rig.session.receive(rig.from_client, _call(number))
        if task is not None:
            await task
        rig.session.receive(rig.from_server, _answer(number))
        rig.near.raw.clear()
        rig.far.raw.clear()

    return one


def _call(id: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"read","arguments":{"path":"a"}}}' % id


def _answer(id: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}' % id


# --- a flood ---


async def _flooded() -> tuple[list[float], list[float]]:
    """Return the 99th percentile of each round, quiet and flooded, in shuffled order within a pair."""
    found: dict[bool, list[float]] = {False: [], True: []}
    async with guard_from(_CALM, role="server") as rig:
        flood, quiet = await _peer(rig, "flood"), await _peer(rig, "quiet")
        for _ in range(_ROUNDS):
            order = [False, True]
            SHUFFLE.shuffle(order)
            for busy in order:
                found[busy].append(await _round(flood if busy else None, quiet))
        for one in (flood, quiet):
            await one.session.close()
    return found[False], found[True]


class _Peer:
    """One client of the server, whose calls are answered after a while."""

    def __init__(self, rig: Rig, connection: Connection) -> None:
        near, self.far = Port(), Port()
        self.session: Session = rig.guard.session(connection, near, self.far)
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        loop = asyncio.get_running_loop()
        near.on_deliver = lambda data: loop.call_later(_WORK, self._answered, orjson.loads(data)["id"])
        self.far.on_deliver = self._got

    def _answered(self, id: int) -> None:
        self.session.receive(self.session.out, _answer(id))

    def _got(self, data: bytes) -> None:
        future = self.waiting.pop(orjson.loads(data)["id"], None)
        if future is not None and not future.done():
            future.set_result(None)

    def call(self, *, waited: bool = False) -> asyncio.Future[None]:
        self._number += 1
        future = asyncio.get_running_loop().create_future()
        if waited:
            self.waiting[self._number] = future
        self.session.receive(self.session.inn, _call(self._number))
        return future


async def _peer(rig: Rig, name: str) -> _Peer:
    connection = await rig.guard.connect("files", "server")
    connection.principal = Principal(id=name, kind="user", method="mtls")
    return _Peer(rig, connection)


async def _round(flood: _Peer | None, quiet: _Peer) -> float:
    over = asyncio.Event()
    task = asyncio.ensure_future(_rush(flood, over)) if flood is not None else None
    await asyncio.sleep(10 * _TICK)
    taken = []
    for _ in range(_CALLS):
        start = time.perf_counter()
        await quiet.call(waited=True)
        taken.append(time.perf_counter() - start)
    over.set()
    if task is not None:
        await task
        await asyncio.sleep(1.0 + 2 * _WORK)  # what waits has been answered, or is late
    return sorted(taken)[int(len(taken) * 0.99)]


async def _rush(flood: _Peer, over: asyncio.Event) -> None:
    while not over.is_set():
        for _ in range(_BURST):
            _ = flood.call()
        flood.far.raw.clear()
        await asyncio.sleep(_TICK)
