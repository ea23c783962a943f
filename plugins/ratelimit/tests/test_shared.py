"""Limits that hosts share, on a real server."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.redis_server import RedisServer

from hauberk.refusals import PluginError, Refused
from hauberk.shared import Script, SharedStore
from hauberk_ratelimit import _seen
from hauberk_ratelimit._buckets import NEVER, Buckets
from hauberk_ratelimit._charge import Paid
from hauberk_ratelimit._desk import Desk
from hauberk_ratelimit._leased import Leased
from hauberk_ratelimit._ledger import Short
from hauberk_ratelimit._quotas import month_of, start_of
from hauberk_ratelimit._rates import Rate
from hauberk_ratelimit._rules import Bucket, Ref
from hauberk_ratelimit._scripts import MONTHS
from hauberk_ratelimit._shared import Exact, name_of
from hauberk_ratelimit._sync import Counted, Synced

_spec = importlib.util.spec_from_file_location("hauberk_ratelimit_hosts", Path(__file__).with_name("hosts.py"))
assert _spec is not None
assert _spec.loader is not None
hosts: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hosts)

FAR = "1/day burst 5"


async def opened(uri: str, seen: Any = None, **options: Any) -> Desk:
    desk: Desk = hosts.desk(seen, store=uri, **options)
    assert desk.store is not None
    await desk.store.open()
    return desk


def store_of(desk: Desk) -> Exact:
    assert desk.store is not None
    return desk.store


async def let(desk: Desk, count: int, wanted: Sequence[Ref] = (), cost: int = 1) -> int:
    """Charge so often, one after the other; return how often it passed."""
    wanted = wanted or hosts.refs(desk.book)
    return sum([callable(await store_of(desk).charge(wanted, cost)) for _ in range(count)])


# --- exact ---


async def test_two_hosts_have_one_bucket(server: RedisServer) -> None:
    """What one host has used another one has not: all together are let pass as often as the burst says."""
    one, other = await opened(server.uri, global_=FAR), await opened(server.tcp_uri, global_=FAR)
    assert await let(one, 3) == 3
    assert await let(other, 9) == 2
    assert await let(one, 9) == 0
    for desk in (one, other):
        await store_of(desk).close()


async def test_it_takes_from_all_or_from_none(server: RedisServer) -> None:
    """In the store, too, a refused call is charged to no bucket; the one that makes it wait longest is told (S3.44)."""
    desk = await opened(server.uri, global_="1/day burst 5", tools={"*": "1/hour burst 2, 3/month"})
    wanted = hosts.refs(desk.book)
    everything = {bucket.id: (bucket, "") for bucket in desk.book.calls}
    assert await let(desk, 9) == 2
    assert await let(desk, 9, [everything["global#day"]]) == 3
    short = await store_of(desk).charge(wanted, 1)
    assert isinstance(short, Short)
    assert (short.bucket.id, short.limit, short.remaining) == ("global#day", 5, 0)
    assert await let(desk, 9, [everything["tools.*#month"]]) == 1
    await store_of(desk).close()


async def test_the_time_that_the_store_tells_is_right(server: RedisServer) -> None:
    """By the store's clock a retry at the time that was told passes, and one before it does not."""
    desk = await opened(server.uri, global_="1/second burst 2")
    assert await let(desk, 2) == 2
    for at_that_time in (False, True):
        before = _store_time(server)
        short = await store_of(desk).charge(hosts.refs(desk.book), 1)
        after = _store_time(server)
        assert isinstance(short, Short)
        assert short.retry_after is not None
        assert 0 < short.retry_after <= 1
        if at_that_time:
            await _until(lambda told=after + short.retry_after: _store_time(server) >= told)
            assert await let(desk, 1) == 1
            continue
        while not await let(desk, 1):
            assert _store_time(server) < after + 20
        assert _store_time(server) - before >= short.retry_after
    await store_of(desk).close()


async def test_what_costs_too_much_never_passes(server: RedisServer) -> None:
    """A call that costs more than the burst is told that no time helps, and so is one that nothing is left for."""
    desk = await opened(server.uri, global_=FAR)
    short = await store_of(desk).charge(hosts.refs(desk.book), 6)
    assert isinstance(short, Short)
    assert (short.wait, short.retry_after) == (NEVER, None)
    assert await let(desk, 1, cost=5) == 1
    await store_of(desk).close()
    none = await opened(server.uri, global_="0/day")
    assert await let(none, 3) == 0
    await store_of(none).close()


async def test_a_refund_is_there_for_all(server: RedisServer) -> None:
    """What is given back can be used by any host; of a bucket and of a quota."""
    limits = {"global_": "1/day burst 3, 3/month"}
    one, other = await opened(server.uri, **limits), await opened(server.uri, **limits)
    paid = await store_of(one).charge(hosts.refs(one.book), 3)
    assert isinstance(paid, Paid)
    assert await let(other, 1) == 0
    paid.give()
    await store_of(one).close()
    assert await let(other, 9) == 3
    await store_of(other).close()


async def test_a_call_that_is_cancelled_gets_its_charge_back(server: RedisServer) -> None:
    """A call that ends while the store is asked is charged nothing in the end."""
    desk = await opened(server.uri, global_=FAR)
    assert await let(desk, 1) == 1  # so that the store knows the script
    for _ in range(9):
        task = asyncio.ensure_future(store_of(desk).charge(hosts.refs(desk.book), 1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    deadline = time.monotonic() + 20
    while (await _seen._stands(store_of(desk), desk.book.calls[0]))[0] < 4:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert await let(desk, 9) == 4
    await store_of(desk).close()


async def test_a_thousand_tasks_get_no_more_than_there_is(server: RedisServer) -> None:
    """A thousand calls at once on one connection are let pass as often as the burst says, and none fails."""
    for sharing in ("exact", "lease"):
        desk = await opened(server.uri, global_=f"1/day burst {100 if sharing == 'exact' else 200}", sharing=sharing)
        answers = await asyncio.gather(*(store_of(desk).charge(hosts.refs(desk.book), 1) for _ in range(1000)))
        assert sum(map(callable, answers)) == 100
        assert not any(isinstance(answer, Refused) for answer in answers)
        await store_of(desk).close()


async def test_the_store_keeps_nothing_that_is_full(server: RedisServer) -> None:
    """What a bucket needs in the store goes when it is full again, so its keys are bounded by what is in use (X.6)."""
    desk = await opened(server.uri, principals={"*": "1000/second burst 5 each"})
    (bucket,) = desk.book.calls
    for number in range(200):
        assert callable(await store_of(desk).charge([(bucket, f"id-{number}")], 1))
    await _until(lambda: server.ask("DBSIZE") == b":0\r\n")
    await store_of(desk).close()


async def test_a_refund_gives_no_second_burst_to_hosts(server: RedisServer) -> None:
    """In the store, too, what has come back by itself, or is of a month that is over, is not given back again."""
    desk = await opened(server.uri, global_="2/second burst 4, 100/month")
    store, wanted = store_of(desk), hosts.refs(desk.book)
    charges = [await store.charge(wanted[:1], 1) for _ in range(4)]
    await asyncio.sleep(2.1)  # until they have filled again
    assert callable(await store.charge(wanted[:1], 4))
    for paid in charges:
        assert isinstance(paid, Paid)
        paid.give()
    await asyncio.gather(*store._giving)
    assert isinstance(await store.charge(wanted[:1], 4), Short)
    quota = wanted[1:]
    name = name_of("test", *quota[0]).decode()
    paid = await store.charge(quota, 40)
    assert isinstance(paid, Paid)
    server.ask("SET", name, f"{month_of(time.time()) + 1}:100")
    paid.give()
    await asyncio.gather(*store._giving)
    assert server.ask("GET", name).endswith(b":100\r\n")
    await store.close()


async def test_a_lease_of_one_bucket_at_a_time_asks_once(server: RedisServer) -> None:
    """With room for one bucket, a call that needs two is charged for both, and asks the store once for it."""
    desk = await opened(server.uri, global_="1000/hour", calls="1000/hour", sharing="lease", max_ids=1)
    before = _scripts_run(server)
    assert await asyncio.wait_for(let(desk, 1), 5) == 1
    assert _scripts_run(server) - before == 1
    await store_of(desk).close()


# --- the calendar of the script ---


async def test_the_script_has_the_months_of_the_calendar(server: RedisServer) -> None:
    """The store finds the month of a moment, and the beginning of each month, as the calendar does (S1.24)."""
    store = SharedStore(server.uri)
    await store.open()
    script = Script(MONTHS + "return {month_of(tonumber(ARGV[1])), start_of(tonumber(ARGV[2]))}")
    chance = random.Random(8)
    moments = [chance.randrange(0, 8_000_000_000) for _ in range(2000)]
    edges = [start_of(month) + shift for month in range(1970 * 12 + 1, 2130 * 12) for shift in (-1, 0)]
    for moment in (*moments, *map(int, edges)):
        month = month_of(moment)
        assert await store.run(script, (), (moment, month)) == [month, int(start_of(month))]
    await store.close()


async def test_a_quota_in_the_store_is_of_this_month(server: RedisServer) -> None:
    """A quota tells when the month is over, is kept until then, and of a month that is over nothing counts."""
    desk = await opened(server.uri, global_="3/month")
    assert await let(desk, 9) == 3
    short = await store_of(desk).charge(hosts.refs(desk.book), 1)
    assert isinstance(short, Short)
    over = start_of(month_of(time.time()) + 1) - time.time()
    assert (short.limit, short.remaining) == (3, 0)
    assert short.wait == pytest.approx(over, abs=5)
    (bucket,) = desk.book.calls
    name = name_of("test", bucket, "").decode()
    server.ask("SET", name, f"{month_of(time.time()) - 1}:3")
    assert await let(desk, 9) == 3
    assert server.ask("GET", name).split(b"\r\n")[1] == f"{month_of(time.time())}:3".encode()
    await store_of(desk).close()


async def test_a_clock_of_the_store_that_went_back_locks_nobody_out(server: RedisServer) -> None:
    """Of a bucket whose time is far off, no more is believed than an empty bucket takes to fill (A63)."""
    desk = await opened(server.uri, global_="100/second burst 5")
    (bucket,) = desk.book.calls
    server.ask("SET", name_of("test", bucket, "").decode(), str((int(time.time()) + 86_400) * 1_000_000))
    short = await store_of(desk).charge(hosts.refs(desk.book), 1)
    assert isinstance(short, Short)
    assert short.wait <= 0.01
    await store_of(desk).close()


# --- leases ---


async def test_a_lease_saves_round_trips(server: RedisServer) -> None:
    """Of a bucket with enough left, eight calls ask the store once; near its end they get what there is."""
    desk = await opened(server.uri, global_="1/day burst 20", sharing="lease")
    before = _scripts_run(server)
    assert await let(desk, 16) == 16
    assert _scripts_run(server) - before == 2
    assert await let(desk, 9) == 4
    await store_of(desk).close()


async def test_as_many_are_leased_as_is_said(server: RedisServer) -> None:
    """``lease`` permits are fetched at once, of each caller apart, and no more are held after a call is given back."""
    desk = await opened(server.uri, principals={"*": "1/hour burst 20 each"}, sharing="lease", lease=3)
    store, (bucket,) = store_of(desk), desk.book.calls
    assert isinstance(store, Leased)
    before = _scripts_run(server)
    for who in "ab" * 3:
        assert callable(await store.charge([(bucket, who)], 1))
    assert _scripts_run(server) - before == 2
    paid = await store.charge([(bucket, "a")], 5)
    assert isinstance(paid, Paid)
    held = store.held
    paid.give()
    assert (held, store.held) == (0, 2)
    await store.close()


async def test_leases_of_those_who_come_and_go_are_bounded(server: RedisServer) -> None:
    """Of many callers whose buckets fill again soon, no more leases are held than is said (X.6)."""
    desk = await opened(server.uri, principals={"*": "5000/second burst 9 each"}, sharing="lease", max_ids=10)
    store, (bucket,) = store_of(desk), desk.book.calls
    assert isinstance(store, Leased)
    for number in range(300):
        await store.charge([(bucket, f"id-{number}")], 1)
        assert len(store._held) <= 11
    await store.close()


async def test_a_lease_takes_before_it_is_used(server: RedisServer) -> None:
    """All hosts together are let pass no more than the burst; what one holds another cannot use, until it ends."""
    limits = {"global_": "1/day burst 20", "sharing": "lease"}
    desks = [await opened(server.uri, **limits) for _ in range(2)]
    stores = [store_of(desk) for desk in desks]
    assert [await let(desks[0], 1), await let(desks[1], 1)] == [1, 1]
    assert [store.held for store in stores if isinstance(store, Leased)] == [7, 7]
    assert await let(desks[1], 99) == 11
    await stores[0].close()
    assert await let(desks[1], 99) == 7
    await stores[1].close()


async def test_a_host_holds_no_more_than_a_lease_less_one(server: RedisServer) -> None:
    """However many calls wait, a process never holds more than the lease less one of any bucket: its overshoot."""
    desk = await opened(server.uri, global_="1/hour burst 500", tools={"*": "1/hour burst 900"}, sharing="lease")
    store = store_of(desk)
    assert isinstance(store, Leased)
    most = 0

    async def call() -> None:
        nonlocal most
        await asyncio.sleep(random.random() / 50)
        await store.charge(hosts.refs(desk.book), 1)
        most = max(most, *store._held.values())

    await asyncio.gather(*(call() for _ in range(300)))
    assert most <= 7
    await store.close()


@pytest.mark.parametrize("sharing", ["exact", "lease", "sync"])
async def test_a_store_holds_no_more_than_its_hosts(server: RedisServer, sharing: str) -> None:
    """Thousands of identities take no more keys than a host has buckets, and get no fresh budget by it (X.6)."""
    limits = {"principals": {"*": "1/hour burst 5, 100/month each"}, "max_ids": 100, "sync_seconds": 1000.0}
    desk = await opened(server.uri, sharing=sharing, **limits)
    store, buckets = store_of(desk), desk.book.calls

    async def passes(who: str) -> bool:
        wanted = [(bucket, who) for bucket in buckets]
        if sharing == "sync":
            return callable(desk.local.charge(wanted))
        return callable(await store.charge(wanted, 1))

    assert [await passes("victim") for _ in range(6)] == [True] * 5 + [False]
    let_pass = sum([await passes(f"id-{number}") for number in range(3000)])
    assert let_pass <= 99 + 5
    assert not await passes("victim")
    if isinstance(store, Synced):
        await store.tell()
    elif isinstance(store, Leased):
        assert len(store._held) <= 2 * 101
    assert int(server.ask("DBSIZE")[1:-2]) <= 2 * 101
    await store.close()


async def test_a_store_that_throws_keys_out_is_no_store() -> None:
    """A store that forgets what was used when it is full would give fresh budgets: no start with it (X.6)."""
    with (
        RedisServer("maxmemory 64mb", "maxmemory-policy allkeys-lru") as server,
        pytest.raises(PluginError, match="maxmemory-policy 'allkeys-lru'"),
    ):
        await opened(server.uri, global_=FAR)


def _scripts_run(server: RedisServer) -> int:
    stats = server.ask("INFO", "commandstats").decode()
    found = [line for line in stats.splitlines() if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in found if "failed_calls=0" in line) + sum(
        int(line.split("calls=")[1].split(",")[0]) - int(line.split("failed_calls=")[1].split(",")[0])
        for line in found
        if "failed_calls=0" not in line
    )


# --- told now and then ---


async def test_hosts_that_tell_learn_what_all_have_used(server: RedisServer) -> None:
    """After both have told, neither is let pass before the burst of both has filled again, and a refund is told."""
    limits = {"global_": "1/hour burst 5, 100/month", "sharing": "sync", "sync_seconds": 7200.0}
    desks = [await opened(server.uri, **limits) for _ in range(2)]
    stores = [store_of(desk) for desk in desks]
    for desk in desks:
        wanted = hosts.refs(desk.book)
        charges = [desk.local.charge(wanted) for _ in range(9)]
        assert sum(map(callable, charges)) == 5
        paid = charges[4]
        assert isinstance(paid, Paid)
        paid.give()
        assert callable(desk.local.charge(wanted))
    for store in (*stores, *stores):
        assert isinstance(store, Synced)
        for desk in desks:
            desk.local.charge(hosts.refs(desk.book))
        await store.tell()
    for desk in desks:
        short = desk.local.charge(hosts.refs(desk.book))
        assert isinstance(short, Short)
        assert short.wait == pytest.approx(6 * 3600, abs=60)
        quota = next(bucket for bucket in desk.book.calls if bucket.monthly)
        assert quota.table.left("", time.time())[1] == 90
    for store in stores:
        await store.close()


def test_what_is_to_be_told_is_bounded() -> None:
    """However many come and go until the store is told, little is kept of them (X.6)."""
    times = iter(range(10_000))
    counted, rate = Counted(lambda: float(next(times)), time.time, 10), Rate(1000, 1, 5)
    bucket = Bucket("r", "r#0", rate, Buckets(rate, 10), shared=False)
    for number in range(1000):
        assert callable(counted.charge([(bucket, f"id-{number}")]))
    assert len(counted.used) == 10


async def test_what_could_not_be_told_is_told_later() -> None:
    """While the store is down each host holds the limits by itself; what was used meanwhile is told once it is back."""
    with RedisServer() as server:
        limits = {"global_": "1/hour burst 9", "sharing": "sync", "sync_seconds": 1000.0}
        one, other = [await opened(server.uri, **limits) for _ in range(2)]
        server.kill()
        assert sum(callable(one.local.charge(hosts.refs(one.book))) for _ in range(20)) == 9
        store = store_of(one)
        assert isinstance(store, Synced)
        await store.tell()
        server.start()
        await _until(lambda: store.store.up and store_of(other).store.up)
        await store.tell()
        other.local.charge(hosts.refs(other.book))
        there = store_of(other)
        assert isinstance(there, Synced)
        await there.tell()
        short = other.local.charge(hosts.refs(other.book))
        assert isinstance(short, Short)
        assert short.remaining == 0
        for each in (store, there):
            await each.close()


# --- four processes ---


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sharing", ["exact", "lease"])
def test_four_hosts_at_ten_times_the_limit(server: RedisServer, sharing: str) -> None:
    """Four processes at ten times the limit get burst and rate together, each at least half an equal share (S1.24)."""
    rate, burst, seconds = 100, 20, 4.0
    options = {"global": f"{rate}/second burst {burst}", "store": server.uri, "sharing": sharing}
    children = hosts.Hosts(4, options, 10 * rate / 4, seconds)
    before = _store_time(server)
    children.begin()
    said = children.said()
    elapsed = _store_time(server) - before
    let_pass = [one["passed"] for one in said]
    assert sum(let_pass) <= burst + rate * elapsed
    assert sum(let_pass) >= 0.8 * rate * seconds
    assert min(let_pass) >= sum(let_pass) / 4 / 2
    assert [one["failed"] for one in said] == [0] * 4


@pytest.mark.timeout(300)
def test_two_hosts_that_tell_now_and_then(server: RedisServer) -> None:
    """Two processes that tell the store each second let pass at most twice the limit (S1.24: at most 100 %)."""
    rate, burst, seconds = 100, 20, 5.0
    options = {"global": f"{rate}/second burst {burst}", "store": server.uri, "sharing": "sync", "sync_seconds": 1.0}
    children = hosts.Hosts(2, options, 5 * rate, seconds)
    before = _store_time(server)
    children.begin()
    total = sum(one["passed"] for one in children.said())
    allowed = burst + rate * (_store_time(server) - before)
    assert total <= allowed + burst + rate * 1.5
    assert total <= 2 * allowed
    assert total >= 0.5 * rate * seconds


def _store_time(server: RedisServer) -> float:
    seconds, micros = server.ask("TIME").split(b"\r\n")[2::2][:2]
    return int(seconds) + int(micros) / 1e6


# --- the store fails (A63, S1.43) ---


async def _until(true: Any) -> None:
    start = time.monotonic()
    while not true():
        assert time.monotonic() < start + 30, "it took too long"
        await asyncio.sleep(0.02)


def test_a_store_that_is_not_there_is_no_start(tmp_path: Path) -> None:
    """A host whose store cannot be reached does not start, and is told where it is not."""
    with pytest.raises(PluginError, match=r"nowhere\.sock"):
        asyncio.run(opened(f"unix://{tmp_path}/nowhere.sock", global_=FAR))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sharing", ["exact", "lease"])
@pytest.mark.parametrize("choice", ["refuse", "local"])
async def test_a_store_that_is_killed_and_comes_back(sharing: str, choice: str) -> None:
    """Each call is refused, or held to the limits by this process, while the store is gone; then it is asked again."""
    events: list[Any] = []
    seen = SimpleNamespace(**{**vars(hosts.guard()), "emit": events.append})
    with RedisServer() as server:
        desk = await opened(server.uri, seen, global_=FAR, sharing=sharing, on_store_failure=choice)
        store, wanted = store_of(desk), hosts.refs(desk.book)
        used = 5 if choice == "refuse" else 3  # what is leased is this process's own, whatever becomes of the store
        assert await let(desk, used) == used
        server.kill()
        start = time.monotonic()
        answers = [await store.charge(wanted, 1) for _ in range(200)]
        assert time.monotonic() - start < 20
        if choice == "refuse":
            assert all(isinstance(answer, Refused) and answer.code == "ratelimit.store_down" for answer in answers)
            assert all(answer.retry_after and answer.jsonrpc == -32005 for answer in answers)  # type: ignore[union-attr]
        else:
            assert sum(map(callable, answers)) == 2  # what it knows of itself was used all the same
            assert all(callable(answer) or isinstance(answer, Short) for answer in answers)
        server.start()
        await _until(lambda: store.store.up)
        assert await let(desk, 9) == 5
        assert [event.code for event in events] == ["ratelimit.store_lost", "ratelimit.store_found"]
        await store.close()


@pytest.mark.timeout(300)
async def test_a_store_that_hangs_delays_nobody_for_long() -> None:
    """Of a store that is stopped each call hears within its deadline, and the next ones at once; then it goes on."""
    with RedisServer() as server:
        desk = await opened(server.uri, global_="100/second burst 100", store_timeout=0.1)
        store, wanted = store_of(desk), hosts.refs(desk.book)
        assert await let(desk, 3) == 3
        server.pause()
        start = time.monotonic()
        answers = await asyncio.gather(*(store.charge(wanted, 1) for _ in range(500)))
        assert time.monotonic() - start < 20  # one after the other they would take 50 s
        assert all(isinstance(answer, Refused) for answer in answers)
        start = time.monotonic()
        assert all([isinstance(await store.charge(wanted, 1), Refused) for _ in range(500)])
        assert time.monotonic() - start < 20
        server.resume()
        await _until(lambda: store.store.up)
        deadline = time.monotonic() + 20
        while not await let(desk, 1):  # what was asked before it hung may have been done, and used the burst up
            assert time.monotonic() < deadline
        await store.close()


async def test_a_store_may_take_as_long_as_is_said() -> None:
    """Nobody gives a store up before ``store_timeout`` is over."""
    with RedisServer() as server:
        desk = await opened(server.uri, global_="100/second burst 100", store_timeout=0.7)
        server.pause()
        start = time.monotonic()
        assert isinstance(await store_of(desk).charge(hosts.refs(desk.book), 1), Refused)
        assert time.monotonic() - start >= 0.65
        server.resume()
        await store_of(desk).close()


@pytest.mark.timeout(300)
async def test_a_store_that_refuses_is_one_that_is_down() -> None:
    """A store that is full, or may only be read, lets nothing pass unlimited; it is said once."""
    events: list[Any] = []
    seen = SimpleNamespace(**{**vars(hosts.guard()), "emit": events.append})
    with RedisServer() as server:
        desk = await opened(server.uri, seen, global_=FAR)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        for _ in range(3):
            assert isinstance(await store_of(desk).charge(hosts.refs(desk.book), 1), Refused)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert await let(desk, 1) == 1
        assert [event.code for event in events] == ["ratelimit.store_lost"]
        store_of(desk)._erred -= 6
        assert await let(desk, 1) == 1
        assert [event.code for event in events] == ["ratelimit.store_lost", "ratelimit.store_found"]
        await store_of(desk).close()


async def test_one_bad_key_is_no_flood_of_events(server: RedisServer) -> None:
    """A key of a wrong type is told of once, however the calls of others go between its errors (A63)."""
    events: list[Any] = []
    seen = SimpleNamespace(**{**vars(hosts.guard()), "emit": events.append})
    desk = await opened(server.uri, seen, principals={"*": "1000/minute each"})
    (bucket,) = desk.book.calls
    server.ask("LPUSH", name_of("test", bucket, "bad").decode(), "x")
    for _ in range(20):
        assert isinstance(await store_of(desk).charge([(bucket, "bad")], 1), Refused)
        assert callable(await store_of(desk).charge([(bucket, "good")], 1))
    assert [event.code for event in events] == ["ratelimit.store_lost"]
    await store_of(desk).close()


async def test_one_bad_key_stops_no_telling(server: RedisServer) -> None:
    """Where the store is told now and then, a key of a wrong type is said, and the others are told once each."""
    events: list[Any] = []
    seen = SimpleNamespace(**{**vars(hosts.guard()), "emit": events.append})
    options = {"sharing": "sync", "sync_seconds": 600.0, "principals": {"*": "10/hour each"}}
    desk = await opened(server.uri, seen, **options)
    store, (bucket,) = store_of(desk), desk.book.calls
    assert isinstance(store, Synced)
    server.ask("LPUSH", name_of("test", bucket, "bad").decode(), "x")
    for who in ("before", "bad", "later"):
        assert callable(desk.local.charge([(bucket, who)]))
    for _ in range(3):
        await store.tell()
    for who in ("before", "later"):
        full = float(server.ask("GET", name_of("test", bucket, who).decode()).split(b"\r\n")[1]) / 1e6
        assert full - time.time() == pytest.approx(360, abs=5)
    assert [event.code for event in events] == ["ratelimit.store_lost"]
    await store.close()


# --- against the local buckets ---


async def test_the_store_decides_as_this_process_does(server: RedisServer) -> None:
    """Random charges and refunds, one after the other, are let pass by the store as by buckets in this process."""
    chance = random.Random(44)
    for _ in range(6):
        limits = {
            "global_": f"1/hour burst {chance.randint(1, 9)}",
            "tools": {"*": f"2/hour burst {chance.randint(1, 9)}, {chance.randint(1, 9)}/month"},
            "principals": {"*": f"1/day burst {chance.randint(1, 4)} each"},
        }
        server.ask("FLUSHALL")
        desk, alone = await opened(server.uri, **limits), hosts.desk(**limits)
        paid: list[tuple[Paid, Paid]] = []
        for _ in range(60):
            who, cost = chance.choice("ab"), chance.randint(1, 3)
            places = chance.sample(range(len(desk.book.calls)), chance.randint(1, len(desk.book.calls)))
            wanted, same = (
                [(one, "" if one.shared else who) for one in (of.book.calls[place] for place in places)]
                for of in (desk, alone)
            )
            if paid and chance.random() < 0.2:
                there, here = paid.pop(chance.randrange(len(paid)))
                there.give()
                await asyncio.gather(*store_of(desk)._giving)
                here.give()
                continue
            said, expected = await store_of(desk).charge(wanted, cost), alone.local.charge(same, cost)
            if isinstance(expected, Paid):
                if isinstance(said, Short) and said.wait < 0.1:  # what has filled again until the refund was there
                    await asyncio.sleep(said.wait)
                    said = await store_of(desk).charge(wanted, cost)
                assert isinstance(said, Paid)
                paid.append((said, expected))
                continue
            assert isinstance(said, Short)
            assert said.wait == expected.wait or math.isclose(said.wait, expected.wait, rel_tol=0.01, abs_tol=2)
            if expected.wait != NEVER:
                assert (said.bucket.id, said.limit, said.remaining) == (
                    expected.bucket.id,
                    expected.limit,
                    expected.remaining,
                )
        await store_of(desk).close()


def test_a_month_of_the_store_is_one_of_the_calendar() -> None:
    """What the tests compare the store with is the calendar itself."""
    assert month_of(datetime(2028, 2, 29, tzinfo=UTC).timestamp()) == 2028 * 12 + 1


# --- through a guard ---


@pytest.mark.parametrize("sharing", ["exact", "lease", "sync"])
async def test_guards_of_several_hosts_share(server: RedisServer, limited: Any, sharing: str) -> None:
    """Two guards with one store let pass what one limit allows; the doctor finds each of them live, at no cost."""
    from hauberk import doctor

    toml = f'[ratelimit]\nstore = "{server.uri}"\nsharing = "{sharing}"\nglobal = "1/hour burst 4"\n'
    async with limited(toml) as one, limited(toml) as other:
        for rig in (one, other):
            report = await doctor.examine(rig.guard, rig.guard.policy)
            found = [finding.state for finding in report.findings if finding.name == "ratelimit.refuses_call"]
            assert found == ["ok"]
        for _ in range(9):
            await one.call("ls")
            await other.call("ls")
        passed = len(one.reached) + len(other.reached)
        assert passed == (8 if sharing == "sync" else 4)
        assert set(one.codes) == {"ratelimit.exceeded"}
        assert one.error()["data"]["httpStatus"] == 429


async def test_a_call_that_another_plugin_stops_is_given_back_to_all(server: RedisServer, limited: Any) -> None:
    """A shared charge is refunded, too, where the call is not sent in the end."""
    from hauberk.config import Options as Base
    from hauberk.hookspecs import hookimpl
    from hauberk.layers import Layer
    from hauberk.message import Message

    class Late:
        """Refuses what was charged, on its way out."""

        name = "late"
        layer = Layer.ADMIT

        class Options(Base, frozen=True):
            """No options."""

        @hookimpl
        def on_send(self, message: Message) -> None:
            if message.method == "tools/call":
                raise Refused("late.no", "no")

    toml = f'[ratelimit]\nstore = "{server.uri}"\nglobal = "1/hour burst 4"\n'
    async with limited(toml, Late()) as one, limited(toml) as other:
        for _ in range(9):
            await one.call("ls")
            await asyncio.gather(*one.guard.loaded["ratelimit"].plugin.desk.store._giving)
        assert set(one.codes) == {"late.no"}
        for _ in range(9):
            await other.call("ls")
        assert len(other.reached) == 4


async def test_a_guard_whose_store_is_lost_says_when_to_come_again(limited: Any) -> None:
    """A call while the store is down is refused with a code of its own, 429 and a time, and the loss is an event."""
    with RedisServer() as server:
        async with limited(f'[ratelimit]\nstore = "{server.uri}"\nglobal = "9/hour"\n') as rig:
            await rig.call("ls")
            server.kill()
            await rig.call("ls")
            data = rig.error()["data"]
            assert (data["code"], data["retryAfter"], data["httpStatus"]) == ("ratelimit.store_down", 1.0, 429)
            assert "ratelimit.store_lost" in [event.code for event in rig.recorder.events]
            assert len(rig.reached) == 1


async def test_a_reload_goes_on_with_the_store(server: RedisServer, limited: Any) -> None:
    """After a reload, of another limit too, what was used of the shared ones is used."""
    from hauberk.config import Config

    toml = f'[ratelimit]\nstore = "{server.uri}"\nglobal = "1/hour burst 4"\n'
    async with limited(toml) as rig:
        for _ in range(3):
            await rig.call("ls")
        await rig.guard.reload(Config.from_toml(toml + 'calls = "99/hour"\n'))
        for _ in range(3):
            await rig.call("ls")
        assert len(rig.reached) == 4


@pytest.mark.timeout(300)
@pytest.mark.parametrize("choice", ["refuse", "local"])
def test_four_hosts_whose_store_is_killed_under_load(choice: str) -> None:
    """Under load no call hangs while the store is gone, each is decided as configured, and all go on after it."""
    with RedisServer() as server:
        options = {"global": "100/second burst 20", "store": server.uri, "on_store_failure": choice}
        children = hosts.Hosts(4, options, 250, 6.0)
        children.begin()
        time.sleep(1.5)
        server.kill()
        time.sleep(1.0)
        server.start()
        said = children.said()
        assert max(one["longest"] for one in said) < 10
        assert all((one["failed"] > 0) == (choice == "refuse") for one in said)
        assert all(one["passed"] > 0 for one in said)
        clients = server.ask("INFO", "stats").decode().split("total_connections_received:")[1].splitlines()[0]
        assert int(clients) < 60  # each looks for it with longer and longer waits, and none storms it
