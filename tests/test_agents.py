"""Channels between agents with the memory of replay: a message is taken once, in its time, over a restart too."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hauberk.refusals import Refused
from hauberk_envelope.agents import Channel, Identity, Metadata, Rules, Trust, seal
from hauberk_replay import Checker, LocalNonces, SqliteNonces, Window

NOW = 1_790_000_000.0
WINDOW = Window()
ALICE, BOB = (Identity.generate(name, now=NOW - 1000) for name in ("alice", "bob"))
TRUST = Trust(
    {one.key_id: one.public for one in (ALICE, BOB)}, rules=Rules(can_communicate_with={"alice": frozenset({"bob"})})
)


class Bob:
    """Who receives: a memory, and a clock."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.now = NOW
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.channel = Channel(
            self.queue.put,
            self.queue.get,
            identity=BOB,
            trust=TRUST,
            replay=Checker(WINDOW, memory),
            peer="alice",
            clock=lambda: self.now,
        )

    async def take(self, data: bytes) -> str:
        """Return the code that refuses a message, or nothing."""
        await self.queue.put(data)
        try:
            await self.channel.receive()
        except Refused as exc:
            return exc.code
        return ""


def local() -> Bob:
    return Bob(LocalNonces(WINDOW, 1000, since=NOW - 1000))


def message(now: float = NOW, ttl: int | None = None) -> bytes:
    about = None if ttl is None else Metadata(message_id=uuid.uuid4(), ttl=ttl)
    return seal(b"x", sender=ALICE, to=BOB.public, now=now, metadata=about).encode()


@pytest.fixture
async def durable(tmp_path: Path) -> AsyncIterator[Any]:
    """Return a function that opens the memory of a directory, as the next process would."""
    opened: list[SqliteNonces] = []

    async def start() -> Bob:
        memory = SqliteNonces(tmp_path / "nonces.db", WINDOW, 1000, now=lambda: NOW - 1000)
        await memory.open()
        opened.append(memory)
        return Bob(memory)

    yield start
    for memory in opened:
        await memory.close()


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (0, ""),
        (300, ""),
        (300.001, "replay.too_old"),
        (-60, ""),
        (-60.001, "replay.from_the_future"),
        (-10 * 365 * 86_400, "envelope.key_not_yet_valid"),
        (3600, "replay.too_old"),
    ],
)
async def test_message_has_an_age(age: float, code: str) -> None:
    """A message is taken at 300 s and 60 s ahead exactly, and not a millisecond beyond (S0.31, S0.32, A13)."""
    bob = local()
    data = message()
    bob.now = NOW + age
    assert await bob.take(data) == code


async def test_time_to_live_is_within_the_window() -> None:
    """A message is refused after its time to live, and a long one makes no window longer (S0.30)."""
    for ttl, now, code in ((5, 5, ""), (5, 5.001, "replay.expired"), (3600, 301, "replay.too_old")):
        bob = local()
        data = message(ttl=ttl)
        bob.now = NOW + now
        assert await bob.take(data) == code


async def test_message_is_taken_once() -> None:
    """The second time is refused, however the clock goes in between (S0.33, A13)."""
    bob = local()
    data = message()
    assert await bob.take(data) == ""
    for now in (NOW, NOW + 10, NOW - 30, NOW + 299, NOW + 301, NOW):
        bob.now = now
        assert (await bob.take(data)).startswith("replay.")


async def test_message_is_taken_once_by_tasks_that_race() -> None:
    """Of a hundred tasks with one message, one gets it (A15)."""
    bob = local()
    data = message()
    for _ in range(100):
        await bob.queue.put(data)
    found = await asyncio.gather(*(bob.channel.receive() for _ in range(100)), return_exceptions=True)
    codes = [one.code if isinstance(one, Refused) else "" for one in found]
    assert sorted(codes) == ["", *["replay.detected"] * 99]


async def test_message_is_not_taken_again_after_a_restart(durable: Any) -> None:
    """What one process took, the next one on the same memory refuses (S0.34, A11)."""
    data = message()
    assert await (await durable()).take(data) == ""
    assert await (await durable()).take(data) == "replay.detected"
    assert await Bob(LocalNonces(WINDOW, 1000, since=NOW + 1)).take(data) == "replay.not_remembered"


async def test_flood_of_messages_forgets_none() -> None:
    """A memory that is full refuses; it does not forget what could come again (S0.34, A14)."""
    bob = Bob(LocalNonces(WINDOW, 10, since=NOW - 1000))
    first = message()
    assert await bob.take(first) == ""
    codes = [await bob.take(message()) for _ in range(20)]
    assert "replay.full" in codes
    assert await bob.take(first) == "replay.detected"


async def test_forgeries_fill_no_memory() -> None:
    """What does not open is not remembered: an outsider cannot fill the memory (S0.34, A14)."""
    memory = LocalNonces(WINDOW, 10, since=NOW - 1000)
    bob = Bob(memory)
    for number in range(50):
        forged = message().replace(b'"priority":128', f'"priority":{number + 1}'.encode())
        assert await bob.take(forged) == "envelope.forged"
    assert memory.held == 0
