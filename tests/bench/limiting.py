"""Rate limits: a check here and over a shared store, what an identity takes, and the longest check of many (G15, G16).

A check is what the plugin does for a call whose buckets are known: the clock, the lock, the buckets. Beside it stands a
hit of the library `limits` in its memory, with a fixed window, the fastest of its strategies. A shared store is
compared with a ``PING`` of the client library on a connection of its own, as whoever has no plugin would send it, and
with a bare one on our connection, which is the least that a round trip takes.
"""

from __future__ import annotations

import gc
import itertools
import random
import shutil
import statistics
import time
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from limits import RateLimitItemPerHour
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from redis.asyncio import Redis
from tests.bench.measure import Row, micros, ratio, rounds, rounds_async, run_async
from tests.redis_server import RedisServer

from hauberk import Config
from hauberk_ratelimit._buckets import Buckets
from hauberk_ratelimit._desk import Desk
from hauberk_ratelimit._ledger import Local
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._rates import Rate
from hauberk_ratelimit._rules import Bucket, Ref

MANY: Final = 1_000_000
_RATE: Final = Rate(100_000, 1, 10_000_000)
_ITEM: Final = RateLimitItemPerHour(1_000_000_000)
_SCOPES: Final = ("global", "files", "files/read", "alice")
_LEASE: Final = 8
_CHECKS: Final = 1_000
_ROUNDS: Final = 51


def run() -> list[Row]:
    """Measure time, then memory, then the longest check; then over a store."""
    rows = [*_time_rows(), _memory_row(), _longest_row()]
    if shutil.which("redis-server"):
        rows += run_async(_shared_rows)
    return rows


def _local(*tables: Buckets) -> tuple[Local, tuple[Ref, ...]]:
    """Return a ledger with one bucket of each table, under the names of the scopes."""
    refs = [
        (Bucket(name, f"{name}#0", table.rate, table, shared=False), name)
        for name, table in zip(_SCOPES, tables, strict=False)
    ]
    return Local(time.monotonic, time.time), tuple(refs)


def _time_rows() -> list[Row]:
    one, one_ref = _local(Buckets(_RATE, 1))
    four, four_refs = _local(*(Buckets(_RATE, 1) for _ in _SCOPES))
    limiter = FixedWindowRateLimiter(MemoryStorage())

    def hits() -> None:
        for name in _SCOPES:
            limiter.hit(_ITEM, name)

    times = rounds(
        {
            "one": lambda: one.charge(one_ref),
            "hit": lambda: limiter.hit(_ITEM, "global"),
            "four": lambda: four.charge(four_refs),
            "hits": hits,
        },
        repeat=41,
        count=500,
    )
    what = f"one bucket / a hit of limits ({micros(times, 'one'):.2f} µs; {micros(times, 'hit'):.2f})"
    all_or_none = f"four, all or none / four hits ({micros(times, 'four'):.2f} µs; {micros(times, 'hits'):.2f})"
    return [
        Row("rate limits in memory", what, ratio(times, "one", "hit"), bar=0.3, aim=0.1),
        Row("rate limits in memory", all_or_none, ratio(times, "four", "hits"), bar=0.8),
    ]


# --- many identities ---


def _filled_buckets(count: int) -> Buckets:
    buckets = Buckets(Rate(10, 3600, 10), 2 * count)
    for number in range(count):
        buckets.hit(f"client-{number}", 1.0)
    return buckets


def _filled_limits(count: int) -> FixedWindowRateLimiter:
    limiter = FixedWindowRateLimiter(MemoryStorage())
    for number in range(count):
        limiter.hit(_ITEM, f"client-{number}")
    return limiter


def _memory_row() -> Row:
    """Compare what one identity takes, its name included."""
    taken = []
    for fill in (_filled_buckets, _filled_limits):
        gc.collect()
        tracemalloc.start()
        kept: Any = fill(MANY)
        taken.append(tracemalloc.get_traced_memory()[0] / MANY)
        tracemalloc.stop()
        del kept
    ours, theirs = taken
    what = f"bytes an identity, of {MANY:,} ({ours:.0f}; {theirs:.0f})"
    return Row("rate limits in memory", what, ours / theirs, bar=0.5, aim=0.25)


def _longest_row() -> Row:
    """Compare the longest of so many checks among many identities, in the middle one of the rounds."""
    chance = random.Random(15)
    names = [f"client-{chance.randrange(MANY)}" for _ in range(_CHECKS)]
    buckets = _filled_buckets(MANY)
    ours = statistics.median(_longest(lambda name: buckets.hit(name, 2.0), names) for _ in range(_ROUNDS))
    limiter = _filled_limits(MANY)  # from here on its thread holds up whatever runs
    theirs = statistics.median(_longest(lambda name: limiter.hit(_ITEM, name), names) for _ in range(_ROUNDS))
    what = f"the longest of {_CHECKS:,} checks, {MANY:,} held ({ours * 1e6:.0f} µs; {theirs * 1e6:.0f})"
    return Row("rate limits in memory", what, ours / theirs, bar=0.1, aim=0.01)


def _longest(check: Callable[[str], object], names: list[str]) -> float:
    worst = 0
    for name in names:
        start = time.perf_counter_ns()
        check(name)
        worst = max(worst, time.perf_counter_ns() - start)
    return worst / 1e9


# --- over a store ---


def _desk(uri: str, sharing: Any) -> Desk:
    guard = SimpleNamespace(
        host=sharing, clock=time.monotonic, now=time.time, emit=lambda _: None, config=Config.default()
    )
    options = Options(store=uri, sharing=sharing, lease=_LEASE, calls=str(_RATE), store_timeout=2)
    return Desk(SimpleNamespace(name="ratelimit"), options, guard)


async def _shared_rows() -> list[Row]:
    with RedisServer() as server:
        exact, leased = _desk(server.uri, "exact"), _desk(server.uri, "lease")
        stores: list[Any] = [exact.store, leased.store]
        for store in stores:
            await store.open()
        ((bucket, leased_bucket),) = zip(exact.book.calls, leased.book.calls, strict=True)
        ids = itertools.repeat("files")

        async def check() -> None:
            assert callable(await stores[0].charge(((bucket, next(ids)),)))

        async def check_leased() -> None:
            assert callable(await stores[1].charge(((leased_bucket, next(ids)),)))

        async def bare() -> None:
            await stores[0].store.command("PING")

        client: Any = Redis(unix_socket_path=str(server.path))

        async def ping() -> None:
            await client.ping()

        candidates = {"exact": check, "leased": check_leased, "bare": bare, "ping": ping}
        times = await rounds_async(candidates, repeat=41, count=20 * _LEASE)
        await client.aclose()
        for store in stores:
            await store.close()
    exactly = f"exact / PING ({micros(times, 'exact'):.0f} µs; {micros(times, 'ping'):.0f})"
    barely = f"exact / a bare PING ({micros(times, 'bare'):.0f} µs)"
    by_lease = f"with leases of {_LEASE} / PING ({micros(times, 'leased'):.1f} µs)"
    return [
        Row("rate limits over Redis", exactly, ratio(times, "exact", "ping"), bar=1.4, aim=1.2),
        Row("rate limits over Redis", by_lease, ratio(times, "leased", "ping"), bar=0.25, aim=0.15),
        Row("rate limits over Redis", barely, ratio(times, "exact", "bare")),
        Row("rate limits over Redis", "with leases / a bare PING", ratio(times, "leased", "bare")),
    ]
