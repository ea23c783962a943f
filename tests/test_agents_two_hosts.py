"""Agents on two hosts and one Redis: a sealed message that one host took is refused by the other, whatever fails."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tests.redis_server import RedisServer, begun, redis_server
from tests.serving import until

from hauberk.refusals import Refused
from hauberk_envelope.agents import Channel, Identity, Rules, Trust, seal
from hauberk_replay import Checker, LocalNonces, SharedNonces, Window

__all__ = ["redis_server"]

WINDOW = Window(300, 1)
ALICE, BOB = (Identity.generate(name, now=time.time() - 1000) for name in ("alice", "bob"))
TRUST = Trust(
    {one.key_id: one.public for one in (ALICE, BOB)}, rules=Rules(can_communicate_with={"alice": frozenset({"bob"})})
)
Told = list[tuple[bool, str, int]]


class Host:
    """One host on which the agent Bob runs."""

    def __init__(self, server: RedisServer, *, local: bool) -> None:
        self.told: Told = []
        own = LocalNonces(WINDOW, 10_000, since=time.time() - 10) if local else None
        self.memory = SharedNonces(
            server.uri, WINDOW, 10_000, local=own, timeout=1, on_change=lambda *what: self.told.append(what)
        )
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._channel = Channel(
            self._queue.put,
            self._queue.get,
            identity=BOB,
            trust=TRUST,
            replay=Checker(WINDOW, self.memory),
            peer="alice",
            clock=time.time,
        )

    async def take(self, data: bytes) -> str:
        """Return ``"taken"``, or the code that refuses a message."""
        await self._queue.put(data)
        try:
            await self._channel.receive()
        except Refused as error:
            return error.code
        return "taken"


@pytest.fixture
async def hosts(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[tuple[Host, Host]]:
    """Return two hosts; the test may ask for a bound of each alone."""
    local = getattr(request, "param", "refuse") == "local"
    begun(redis_server)
    here, there = Host(redis_server, local=local), Host(redis_server, local=local)
    async with AsyncExitStack() as stack:
        for each in (here, there):
            await each.memory.open()
            stack.push_async_callback(each.memory.close)
        yield here, there


def message() -> bytes:
    return seal(b"pay", sender=ALICE, to=BOB.public, now=time.time()).encode()


async def test_a_message_is_taken_by_one_host(hosts: tuple[Host, Host]) -> None:
    """A12, S0.33: replayed to the other host, a message is refused; raced to both, one takes it."""
    here, there = hosts
    data = message()
    assert [await one.take(data) for one in (here, there, here, there)] == ["taken", *["replay.detected"] * 3]
    for _ in range(50):
        data = message()
        answers = await asyncio.gather(here.take(data), there.take(data))
        assert sorted(answers) == ["replay.detected", "taken"]


@pytest.mark.parametrize("hosts", ["refuse", "local"], indirect=True)
@pytest.mark.parametrize("how", ["restart", "kill", "pause", "flush"])
async def test_whatever_happens_to_the_store(hosts: tuple[Host, Host], redis_server: RedisServer, how: str) -> None:
    """A16, S0.34: under load, a store that fails lets no message pass twice, or once on each host, as configured.

    Whichever: nothing hangs, and that it was lost is told.
    """
    here, there = hosts
    local = here.memory._local is not None
    taken: Counter[tuple[bytes, int]] = Counter()
    sent: list[bytes] = []

    async def load() -> None:
        """Give both hosts what is new, then both all there was."""
        fresh = [message() for _ in range(20)]
        sent.extend(fresh)
        for data in (*fresh, *sent):
            for number, answer in enumerate(await asyncio.gather(here.take(data), there.take(data))):
                taken[data, number] += answer == "taken"

    await load()
    working = asyncio.gather(load(), load())
    await asyncio.sleep(0)
    {"restart": redis_server.restart, "kill": redis_server.kill, "pause": redis_server.pause}.get(
        how, lambda: redis_server.ask("FLUSHALL")
    )()
    await asyncio.wait_for(working, 30)
    await load()
    if how == "kill":
        redis_server.start()
    if how == "pause":
        redis_server.resume()
    await until(lambda: here.memory._store.up and there.memory._store.up)
    await load()
    if how != "flush":
        assert here.told[0][0] is False, "it was told"
        assert here.told[-1][0] is True
    assert max(taken.values()) == 1, "no host takes a message twice"
    if not local:
        by_message = Counter(data for (data, _), count in taken.items() if count)
        assert max(by_message.values()) == 1, "no two hosts take a message"
