"""Breakers that several hosts keep together, on a real ``redis-server``."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from plugins.bulkhead.tests.conftest import Opened, codes, nothing_held, plugin_of
from plugins.bulkhead.tests.test_breaker import Model
from tests.redis_server import RedisServer, redis_server

from hauberk.exchange import Exchange
from hauberk.refusals import PluginError
from hauberk.shared import SharedStore
from hauberk.testing import Clock, Rig, notification
from hauberk_bulkhead._breaker import Terms
from hauberk_bulkhead._breakers import Key, Pass
from hauberk_bulkhead._hold import Hold
from hauberk_bulkhead._shared import SharedBreakers

__all__ = ["redis_server"]
pytestmark = pytest.mark.campaign
KEY = Key("files", "read", "ann")
TERMS = Terms(minimum=1)
OWN = "local now = tonumber(redis.call('GET', 'clock'))\n"
"""A clock that the test moves, in place of the store's."""


@asynccontextmanager
async def shared(server: RedisServer) -> AsyncIterator[SharedBreakers]:
    """Open the breakers of one host, by a clock that a test moves."""
    store = SharedStore(server.uri)
    await store.open()
    try:
        yield SharedBreakers(store, OWN)
    finally:
        await store.close()


async def at(breakers: SharedBreakers, seconds: float) -> None:
    await breakers.store.command("SET", "clock", round(seconds * 1000))


async def broken(breakers: SharedBreakers, key: Key = KEY, terms: Terms = TERMS) -> None:
    await at(breakers, 0.0)
    opened = [await breakers.fail(key, terms, 1) for _ in range(terms.failures)]
    assert opened == [False] * (terms.failures - 1) + [True]


# --- the rules ---


async def test_failures_of_two_hosts_count_together(redis_server: RedisServer) -> None:
    """Three failures here and two there open it for both, and both learn of it (issue 8)."""
    async with shared(redis_server) as one, shared(redis_server) as two:
        await at(one, 0.0)
        assert [await one.fail(KEY, TERMS, 1) for _ in range(3)] == [False] * 3
        assert [await two.fail(KEY, TERMS, 1) for _ in range(2)] == [False, True]
        assert await one.all_open() == await two.all_open() == {KEY}
        assert (await one.ask(KEY, TERMS)).answer == "open"


async def test_all_hosts_together_have_one_probe(redis_server: RedisServer) -> None:
    """When it half-opens, a hundred requests of two hosts are one probe (A66)."""
    async with shared(redis_server) as one, shared(redis_server) as two:
        await broken(one)
        await at(one, 30.0)
        told = await asyncio.gather(*(who.ask(KEY, TERMS) for who in (one, two) for _ in range(50)))
        assert sorted({answer.answer for answer in told}) == ["busy", "probe"]
        assert sum(answer.answer == "probe" for answer in told) == 1


async def test_few_requests_open_nothing_together(redis_server: RedisServer) -> None:
    """The least number of requests holds for all hosts together."""
    terms = TERMS._replace(failures=2, minimum=6)
    async with shared(redis_server) as one:
        await at(one, 0.0)
        assert [await one.fail(KEY, terms, 2) for _ in range(3)] == [False, False, True]


async def test_closing_by_hand_leaves_nothing(redis_server: RedisServer) -> None:
    """What a person closes is closed for all hosts, and no key of it is left."""
    async with shared(redis_server) as one:
        await broken(one)
        await one.close({KEY})
        assert await one.all_open() == set()
        assert (await one.ask(KEY, TERMS)).answer == "closed"
        assert redis_server.ask("KEYS", "hauberk:*") == b"*0\r\n"


async def test_keys_end_by_themselves(redis_server: RedisServer) -> None:
    """Each key has an end, so hosts that go leave nothing behind for ever (X.6)."""
    async with shared(redis_server) as one:
        await broken(one)
        await one.fail(KEY._replace(tool="other"), TERMS, 1)
        await at(one, 30.0)
        await one.ask(KEY, TERMS)
        keys = await one.store.command("KEYS", "hauberk:bulkhead:*")
        lives = [await one.store.command("PTTL", key) for key in keys if not key.endswith(b":open")]
        assert len(lives) >= 4
        assert all(life > 0 for life in lives)


async def test_hosts_cannot_open_more_than_the_bound(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many tools fail, the list of what is open has a bound (X.6)."""
    monkeypatch.setattr("hauberk_bulkhead._shared._BOUND", 10)
    terms = TERMS._replace(failures=1)
    async with shared(redis_server) as one:
        await at(one, 0.0)
        for number in range(50):
            await one.fail(KEY._replace(tool=f"t{number}"), terms, 1)
        assert len(await one.all_open()) == await one.store.command("ZCARD", "hauberk:bulkhead::open") == 10


# --- a plain model ---


class Together(Model):
    """As the model of one breaker; a failure from before a change of state counts: the store knows no requests."""

    def end(self, number: int, age: int, how: str, now: float) -> None:
        if self.state == "closed" and how == "nothing":
            return
        if self.state == "closed" and how == "failed":
            age = self.age
        super().end(number, age, how, now)


class SharedMachine(RuleBasedStateMachine):
    """Two hosts and one store do what the model does (issue 8, point 1)."""

    server: RedisServer
    loop: asyncio.AbstractEventLoop

    def run(self, waiting: Any) -> Any:
        return self.loop.run_until_complete(waiting)

    @initialize(failures=st.integers(1, 4), probes=st.integers(1, 3), successes=st.integers(1, 3))
    def begin(self, failures: int, probes: int, successes: int) -> None:
        self.terms = Terms(failures, 60.0, 1, 30.0, probes, successes, 20.0)
        self.now, self.model = 0.0, Together(self.terms)
        self.stores = [SharedStore(self.server.uri) for _ in range(2)]
        for store in self.stores:
            self.run(store.open())
        self.run(self.stores[0].command("FLUSHALL"))
        self.hosts = [SharedBreakers(store, OWN) for store in self.stores]
        self.going: dict[int, tuple[str, int]] = {}
        self.numbers = itertools.count(1)
        self.move()

    def move(self) -> None:
        self.run(at(self.hosts[0], self.now))

    @rule(host=st.integers(0, 1))
    def ask(self, host: int) -> None:
        number = next(self.numbers)
        expected = self.model.allow(number, self.now)
        told = self.run(self.hosts[host].ask(KEY, self.terms))
        assert (told.answer in {"closed", "probe"}) is expected
        assert (told.answer == "closed") is (self.model.state == "closed")
        if expected:
            self.going[number] = told.probe, self.model.age

    @precondition(lambda self: self.going)
    @rule(data=st.data(), host=st.integers(0, 1), how=st.sampled_from(("ok", "failed", "failed", "nothing")))
    def end(self, data: Any, host: int, how: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.going)))
        probe, age = self.going.pop(number)
        if probe and age != self.model.age:
            return  # of a probe whose time was over: only its own half-open state listens to it
        self.model.end(number, age, how, self.now)
        if probe:
            self.run(self.hosts[host].end(KEY, self.terms, probe, "succeeded" if how == "ok" else how))  # type: ignore[arg-type]
        elif how == "failed":
            self.run(self.hosts[host].fail(KEY, self.terms, 1))

    @rule(seconds=st.sampled_from((0.1, 5.0, 20.0, 30.0, 61.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.move()

    @invariant()
    def they_agree(self) -> None:
        if hasattr(self, "hosts"):
            assert self.run(self.hosts[0].all_open()) == (set() if self.model.state == "closed" else {KEY})

    def teardown(self) -> None:
        for store in getattr(self, "stores", ()):
            self.run(store.close())


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_store_does_what_the_model_does(redis_server: RedisServer, loop: asyncio.AbstractEventLoop) -> None:
    """Whatever two hosts do in which order, the store's breaker is that of the model."""

    class Machine(SharedMachine):
        server = redis_server

    Machine.loop = loop
    quick = settings(max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Machine, settings=quick)


# --- four processes ---

HOST = """
import asyncio, sys
from hauberk.shared import SharedStore
from hauberk_bulkhead._breaker import Terms
from hauberk_bulkhead._breakers import Key, Pass
from hauberk_bulkhead._shared import SharedBreakers

async def main():
    store = SharedStore(sys.argv[1])
    await store.open()
    shared, key = SharedBreakers(store), Key("files", "read", "")
    terms = Terms(minimum=1, open_seconds=0.3, slow=60.0)
    for _ in range(2):
        await shared.fail(key, terms, 1)
    while (await shared.ask(key, terms)).answer == "closed":
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.4)
    told = await asyncio.gather(*(shared.ask(key, terms) for _ in range(200)))
    print(sum(one.answer == "probe" for one in told), flush=True)
    await asyncio.sleep(0.5)
    await store.close()

asyncio.run(main())
"""


@pytest.mark.timeout(300)
def test_four_processes_have_one_probe(redis_server: RedisServer) -> None:
    """Of eight hundred requests of four processes, once it may be tried, one is (A66)."""
    hosts = [
        subprocess.Popen([sys.executable, "-c", HOST, redis_server.uri], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert sum(int(host.communicate(timeout=50)[0]) for host in hosts) == 1


# --- in a guard ---


def sharing(server: RedisServer, more: str = "") -> str:
    return f'[bulkhead]\nqueue = 0\n[bulkhead.breaker]\nstore = "{server.uri}"\n{more}'


async def failing(rig: Rig, first: int, count: int = 5) -> None:
    for number in range(first, first + count):
        await rig.call("read", id=number)
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": number, "error": {"code": -32603, "message": "no"}})
    await asyncio.sleep(0.05)


async def look(rig: Rig) -> None:
    await plugin_of(rig).care.look()


async def test_another_guard_learns_of_an_open_breaker(redis_server: RedisServer, guarded: Opened) -> None:
    """What one guard found out, the other refuses after its next look, without a failure of its own."""
    async with guarded(sharing(redis_server)) as one, guarded(sharing(redis_server)) as two:
        await failing(one, 1)
        assert codes(one) == ["bulkhead.opened"]
        await look(two)
        await two.call("read", id=1)
        two.assert_refused("bulkhead.open")
        assert two.reached == []
        assert 0 < two.error()["data"]["retryAfter"] <= 30.0
        assert nothing_held(one)
        assert nothing_held(two)


async def test_probes_of_a_guard_close_it_for_all(redis_server: RedisServer, guarded: Opened, clock: Clock) -> None:
    """After its time, three answered calls close it in the store, and for the guard that was told of it."""
    toml = sharing(redis_server, "open_seconds = 0.05\n")
    async with guarded(toml) as one, guarded(toml) as two:
        await failing(one, 1)
        await look(two)
        await asyncio.sleep(0.06)
        for number in range(11, 14):
            await two.call("read", id=number)
            assert two.reached[-1]["id"] == number
            await two.answer(id=number)
            await asyncio.sleep(0.02)
        assert await plugin_of(two).gate.sharing.shared.all_open() == set()  # type: ignore[union-attr]
        clock.turn(10)
        await look(one)
        await one.settle()
        assert codes(one) == ["bulkhead.opened", "bulkhead.closed"]
        await one.call("read", id=99)
        assert one.reached[-1]["id"] == 99


@pytest.mark.parametrize("choice", ["local", "refuse"])
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_store_that_is_lost(redis_server: RedisServer, guarded: Opened, choice: str, how: str) -> None:
    """Killed or stopped: calls go by this host's breaker or none passes, as chosen; no hang; an event (A16, A63)."""
    async with guarded(sharing(redis_server, f'on_store_failure = "{choice}"\n')) as rig:
        await rig.call("read", id=1)
        await rig.answer(id=1)
        getattr(redis_server, how)()
        async with asyncio.timeout(20):
            while "bulkhead.store_lost" not in codes(rig):
                await look(rig)
                await asyncio.sleep(0.02)
            await rig.call("read", id=2)
            if choice == "refuse":
                rig.assert_refused("bulkhead.store_down")
            else:
                await rig.answer(id=2)
                await failing(rig, 10)
                await rig.call("read", id=20)
                rig.assert_refused("bulkhead.open")
            assert nothing_held(rig)
            redis_server.resume() if how == "pause" else redis_server.start()
            while "bulkhead.store_back" not in codes(rig):
                await look(rig)
                await asyncio.sleep(0.02)
            if choice == "refuse":
                await rig.call("read", id=3)
                await rig.answer(id=3)
        assert codes(rig).count("bulkhead.store_lost") == codes(rig).count("bulkhead.store_back") == 1


async def test_flushed_store_closes_breakers_and_lets_no_flood_pass(
    redis_server: RedisServer, guarded: Opened, clock: Clock
) -> None:
    """After FLUSHALL the breaker is closed, as a new one is, and opens after as many failures (A16)."""
    async with guarded(sharing(redis_server)) as rig:
        await failing(rig, 1)
        redis_server.ask("FLUSHALL")
        clock.turn(10)
        await look(rig)
        await failing(rig, 11)
        await rig.call("read", id=30)
        rig.assert_refused("bulkhead.open")


async def test_reset_is_one_for_all(redis_server: RedisServer, guarded: Opened, clock: Clock) -> None:
    """``hauberk bulkhead reset`` closes it in the store, too."""
    from hauberk_bulkhead._book import Book

    async with guarded(sharing(redis_server)) as rig:
        await failing(rig, 1)
        clock.turn(1)
        Book(rig.guard.config.state_dir, now=rig.guard.now).reset()
        await look(rig)
        assert await plugin_of(rig).gate.sharing.shared.all_open() == set()  # type: ignore[union-attr]
        await rig.call("read", id=30)
        assert rig.reached[-1]["id"] == 30


async def test_store_that_cannot_be_reached_stops_the_start(redis_server: RedisServer, guarded: Opened) -> None:
    """A host does not start without the store that its configuration names (issue 8, point 5)."""
    redis_server.kill()
    with pytest.raises(PluginError, match="shared store"):
        async with guarded(sharing(redis_server)):
            pass


async def test_call_that_ends_while_the_store_is_asked_takes_nothing(
    redis_server: RedisServer, guarded: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that is cancelled before the store has let it pass leaves no place taken (A64)."""
    async with guarded(sharing(redis_server)) as rig:
        gate, turn = plugin_of(rig).gate, asyncio.Event()
        assert gate.sharing is not None
        await failing(rig, 1)

        async def ask(passed: Pass) -> tuple[Pass, str, float]:
            await turn.wait()
            return passed, "", 0.0

        monkeypatch.setattr(gate.sharing, "ask", ask)
        rig.post(rig.from_client, {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "read"}})
        await asyncio.sleep(0.01)
        rig.post(rig.from_client, notification("notifications/cancelled", {"requestId": 9}))
        turn.set()
        await rig.settle()
        assert nothing_held(rig)


async def test_probe_of_a_call_that_is_over_is_given_back(
    redis_server: RedisServer, guarded: Opened, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that is cancelled while the store is asked, and lets it pass, keeps nobody else out (A64, A66)."""
    async with guarded(sharing(redis_server, "open_seconds = 0.05\n")) as rig:
        gate, turn = plugin_of(rig).gate, asyncio.Event()
        assert gate.sharing is not None
        await failing(rig, 1)
        await asyncio.sleep(0.06)
        shared = gate.sharing.shared
        ask = shared.ask

        async def slow(key: Key, terms: Terms) -> Any:
            told = await ask(key, terms)
            await turn.wait()
            return told

        monkeypatch.setattr(shared, "ask", slow)
        rig.post(rig.from_client, {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "read"}})
        await asyncio.sleep(0.02)
        rig.post(rig.from_client, notification("notifications/cancelled", {"requestId": 9}))
        await asyncio.sleep(0.01)
        turn.set()
        await asyncio.sleep(0.05)
        await rig.settle()
        assert nothing_held(rig)
        monkeypatch.setattr(shared, "ask", ask)
        await rig.call("read", id=10)
        assert rig.reached[-1]["id"] == 10


async def test_answer_of_the_store_for_a_call_that_is_over(
    redis_server: RedisServer, guarded: Opened, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that has ended when the store's answer is read keeps nothing of it: no probe, here or there (A64, A66)."""
    async with guarded(sharing(redis_server)) as rig:
        gate = plugin_of(rig).gate
        assert gate.sharing is not None
        await failing(rig, 1)
        clock.turn(30)
        rules, breakers = gate.rules("files"), gate.state.breakers
        (key,) = (key for key, _ in breakers.items())
        exchange = Exchange("over", "over", "tools/call", rig.connection.principal, 0.0, 99)
        exchange.end("cancelled")
        told: list[tuple[str, str]] = []

        def end(_: Pass, probe: str, how: str) -> bool:
            told.append((probe, how))
            return True

        monkeypatch.setattr(gate.sharing, "end", end)
        for probe, refused in (("", False), ("", True), ("p1", False)):
            own = breakers.allow(key, rules.terms, clock())
            assert isinstance(own, Pass), "the one probe that there may be is free"
            hold, asks = Hold(rig.connection, rules, clock()), Pass(key, rules.terms)
            setattr(hold, "passed", asks)  # noqa: B010 - or what it becomes would be taken for unreachable

            async def ask(_: Pass, own: Pass = own, probe: str = probe, no: bool = refused) -> Any:
                return None if no else own, probe, 1.0

            monkeypatch.setattr(gate.sharing, "ask", ask)
            await gate.ask(hold, exchange)
            assert hold.passed is None
            if refused or probe:  # nothing of this host's own was to be given back
                breakers.forget(own)
        assert told == [("p1", "nothing")]


async def test_name_without_a_breaker_is_forgotten(redis_server: RedisServer, guarded: Opened, clock: Clock) -> None:
    """What the list of the store has and the store does not is taken for open once, and not each second anew."""
    async with guarded(sharing(redis_server)) as rig:
        redis_server.ask("ZADD", f"hauberk:bulkhead:{rig.guard.host}:open", "9e15", '["files","read","host:default"]')
        for number in range(5):
            clock.turn(10)
            await look(rig)
            await rig.call("read", id=number)
            await rig.answer(id=number)
        assert codes(rig) == ["bulkhead.opened", "bulkhead.closed"]


async def test_store_that_answers_with_errors_is_told_of(redis_server: RedisServer, guarded: Opened) -> None:
    """A list of a wrong type is told of, once; this host's own breaker stands in (A16)."""
    async with guarded(sharing(redis_server)) as rig:
        redis_server.ask("SET", f"hauberk:bulkhead:{rig.guard.host}:open", "x")
        for _ in range(3):
            await look(rig)
        await failing(rig, 1)
        await rig.call("read", id=20)
        rig.assert_refused("bulkhead.open")
        await rig.settle()
        assert [code for code in codes(rig) if "store" in code] == ["bulkhead.store_lost"]


async def test_hosts_of_other_names_have_other_breakers(redis_server: RedisServer) -> None:
    """Two hosts in one store share breakers where they have one name, and no others'; no name is too long (X.6)."""
    async with shared(redis_server) as one:
        await broken(one)
        other = SharedBreakers(one.store, OWN, "other")
        assert (await other.ask(KEY, TERMS)).answer == "closed"
        assert await other.all_open() == set()
        await one.store.command("ZADD", "hauberk:bulkhead::open", "9e15", f'["files","{"x" * 300}",""]')
        assert await one.all_open() == {KEY}


async def test_what_is_told_to_a_store_is_bounded(redis_server: RedisServer, guarded: Opened) -> None:
    """Of ten thousand failures while the store hangs a thousand are on their way to it; each counts here (X.6)."""
    async with guarded(sharing(redis_server, "failures = 1000\n")) as rig:
        gate = plugin_of(rig).gate
        assert gate.sharing is not None
        redis_server.pause()
        passed = Pass(KEY, gate.rules("files").terms)
        for _ in range(10_000):
            gate.sharing.end(passed, "", "failed")
        assert len(gate.sharing._tasks) == 1024
        redis_server.resume()
