"""Two hosts and one Redis: what one accepted the other refuses, also when the store is killed, paused or emptied."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from plugins.replay.tests.conftest import all_of, said
from tests.redis_server import RedisServer, begun
from tests.serving import until

from hauberk.refusals import ConfigError, PluginError
from hauberk_replay import LocalNonces, SharedNonces, Window
from hauberk_replay._mark import Mark

WINDOW = Window(300, 1)
KEPT = ("appendonly yes", "appendfsync always")
Told = list[tuple[bool, str, int]]


@asynccontextmanager
async def host(
    server: RedisServer, *, local: bool = False, told: Told | None = None, **more: Any
) -> AsyncIterator[SharedNonces]:
    """Be one more host."""
    own = LocalNonces(WINDOW, 10_000, since=time.time()) if local else None
    tell = None if told is None else lambda *what: told.append(what)
    nonces = SharedNonces(server.uri, WINDOW, 10_000, local=own, on_change=tell, **more)
    await nonces.open()
    try:
        yield nonces
    finally:
        await nonces.close()


def numbered(first: int, count: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


async def test_a_message_to_one_host_is_refused_by_the_other(server: RedisServer) -> None:
    """A12, S0.33: what one host accepted, the other refuses, also after the first has gone."""
    async with host(server) as there:
        async with host(server) as here:
            assert await all_of(here, *numbered(0, 100)) == ["taken"] * 100
            assert await all_of(there, *numbered(0, 100)) == ["replay.detected"] * 100
        assert await all_of(there, *numbered(0, 10)) == ["replay.detected"] * 10


async def test_raced_to_both_hosts_one_passes(server: RedisServer) -> None:
    """A15: the same message to both hosts at the same instant, a thousand times: exactly one passes each time."""
    async with host(server, timeout=5) as here, host(server, timeout=5) as there:
        pairs = await asyncio.gather(
            *(asyncio.gather(said(here, nonce), said(there, nonce)) for nonce in numbered(0, 1000))
        )
        assert {tuple(sorted(pair)) for pair in pairs} == {("replay.detected", "taken")}


async def test_groups_accept_a_message_each(server: RedisServer) -> None:
    """Hosts of another group are another recipient: what is sent to all is accepted once in each."""
    begun(server, "a", "b")
    async with host(server, group="a") as here, host(server, group="b") as there, host(server, group="b") as third:
        assert await said(here, b"n") == "taken"
        assert await said(there, b"n") == "taken"
        assert await said(third, b"n") == "replay.detected"


async def test_a_check_is_one_command(server: RedisServer) -> None:
    """A message costs one round trip: one command of the client, and one key that goes by itself."""
    async with host(server) as here:
        assert await said(here, b"n") == "taken"
        before = calls(server)
        assert await said(here, b"m") == "taken"
        assert calls(server) == {name: count + 1 for name, count in before.items()}
        left = int(server.ask("PTTL", f"hauberk:replay:default:n:k:{b'n'.hex()}")[1:-2])
        assert 302_000 < left <= 303_100
        assert int(server.ask("PTTL", f"hauberk:replay:default:held:{int(time.time() // 150.5)}")[1:-2]) > left


# --- lost ---


async def test_killed_under_load_refuses_and_recovers(server: RedisServer) -> None:
    """A16, S0.34: killed in mid-call: each is refused, nothing hangs, it is told once; found again, it goes on."""
    told: Told = []
    async with host(server, told=told) as here, host(server) as there:
        assert await all_of(here, *numbered(0, 100)) == ["taken"] * 100
        waiting = asyncio.gather(*(said(here, nonce) for nonce in numbered(100, 500)))
        await asyncio.sleep(0)
        server.kill()
        answers = await asyncio.wait_for(waiting, 10)
        assert set(answers) <= {"taken", "replay.store_down"}
        started = time.monotonic()
        assert set(await all_of(here, *numbered(600, 1000))) == {"replay.store_down"}
        assert time.monotonic() - started < 2
        server.start()
        await until(lambda: len(told) == 2)
        # What it knew is lost. Nothing of before is accepted, by either host, until nobody's clock can be so far ahead.
        await until(lambda: there._store.up)
        for each in (here, there):
            assert "taken" not in await all_of(each, *numbered(0, 100))
        await until_taken(here)
        assert [(found, alone) for found, _, alone in told] == [(False, 0), (True, 0)]
        assert told[0][1]


async def test_no_replay_passes_while_a_store_is_killed_again_and_again(server: RedisServer) -> None:
    """A16, A12: under load, with the store restarted three times, no message is accepted twice by two hosts."""
    taken: dict[bytes, int] = {}

    async def sends(nonces: SharedNonces, many: list[tuple[bytes, float]]) -> None:
        for nonce, issued in many:
            if await said(nonces, nonce, issued=issued) == "taken":
                taken[nonce] = taken.get(nonce, 0) + 1

    async with host(server) as here, host(server) as there:
        sent: list[tuple[bytes, float]] = []
        for turn in range(3):
            fresh = [(nonce, time.time() + 0.9) for nonce in numbered(1000 * turn, 100)]
            sent += fresh
            await asyncio.gather(sends(here, fresh), sends(there, fresh))
            server.restart()
            await asyncio.gather(sends(here, sent), sends(there, sent))
            await until(lambda: here._store.up and there._store.up)
            await asyncio.gather(sends(here, sent), sends(there, sent))
            await until_taken(here)
            await asyncio.gather(sends(here, sent), sends(there, sent))
    assert len(taken) >= 100
    assert set(taken.values()) == {1}


async def test_paused_refuses_within_the_deadline(server: RedisServer) -> None:
    """A16: a store that hangs refuses within the deadline; what it did late is known when it goes on."""
    told: Told = []
    async with host(server, told=told, timeout=0.1) as here, host(server, timeout=5) as there:
        assert await said(here, b"before") == "taken"
        server.pause()
        try:
            started = time.monotonic()
            assert set(await all_of(here, *numbered(0, 50))) == {"replay.store_down"}
            assert time.monotonic() - started < 3
        finally:
            server.resume()
        await until(lambda: len(told) == 2)
        assert await said(here, b"before") == "replay.detected"
        assert await said(here, b"new") == "taken"
        # What was refused may have been done late: then it is known, and is not accepted later either.
        assert set(await all_of(there, *numbered(0, 50))) <= {"replay.detected", "taken"}
        assert set(await all_of(here, *numbered(0, 50))) == {"replay.detected"}
        assert "no answer" in told[0][1]


async def test_emptied_accepts_nothing_of_before(server: RedisServer) -> None:
    """A16: after FLUSHALL no replay passes, whichever host asks first, whatever time a message says."""
    async with host(server) as here, host(server) as there:
        ahead = time.time() + 0.95
        assert await said(here, b"n") == "taken"
        assert await said(here, b"ahead", issued=ahead) == "taken"
        server.ask("FLUSHALL")
        for each in (there, here, there):
            assert await said(each, b"n") == "replay.not_remembered"
            assert await said(each, b"ahead", issued=ahead) == "replay.not_remembered"
        await until_taken(here)
        for each in (here, there):
            assert await said(each, b"ahead", issued=ahead) != "taken"


async def test_a_host_that_begins_after_it_was_emptied_does_not_open_it(server: RedisServer) -> None:
    """A16: a host that did not know the store before begins it anew; who did know it moves the beginning forward."""
    async with host(server) as here:
        ahead = time.time() + 0.95
        assert await said(here, b"ahead", issued=ahead) == "taken"
        server.ask("FLUSHALL")
        async with host(server) as fresh:
            assert await said(here, b"other", issued=ahead) == "replay.not_remembered"
            assert await said(fresh, b"ahead", issued=ahead) == "replay.not_remembered"


async def test_a_store_that_kept_all_but_its_last_second_is_not_trusted_with_it() -> None:
    """A16: after a restart that may have lost what came last, as a failover does, nothing of before is accepted."""
    with RedisServer(*KEPT) as server:
        begun(server)
        async with host(server) as here:
            issued = time.time()
            assert await said(here, b"kept", issued=issued) == "taken"
            assert await said(here, b"lost", issued=issued) == "taken"
            server.ask("DEL", f"hauberk:replay:default:n:k:{b'lost'.hex()}")  # as if it had not come to the disk
            server.restart()
            await until(lambda: not here._store.up or here._store.why != "it was not opened")
            await until(lambda: here._store.up)
            assert await said(here, b"kept", issued=issued) == "replay.detected"
            assert await said(here, b"lost", issued=issued) == "replay.not_remembered"
            async with host(server) as there:
                assert await said(there, b"lost", issued=issued) == "replay.not_remembered"


# --- a local bound, by choice ---


async def test_a_local_bound_is_reported_and_bounded(server: RedisServer) -> None:
    """A16, S0.34: with on_store_failure = "local" each process accepts a message once, and says how many it judged."""
    told: Told = []
    async with host(server, local=True, told=told) as here, host(server, local=True) as there:
        assert await said(here, b"before") == "taken"
        server.kill()
        assert await said(here, b"x") == "taken"
        assert [await said(here, b"n") for _ in range(3)] == ["taken", "replay.detected", "replay.detected"]
        assert await said(here, b"before") == "replay.detected", "what it accepted itself it knows"
        assert await said(there, b"n") == "taken", "once in each: that is the bound"
        assert told == [(False, told[0][1], 0)]
        server.start()
        await until(lambda: len(told) == 2)
        assert told[1] == (True, "", 2)
        assert await said(here, b"n") == "replay.detected"


async def test_a_local_bound_knows_no_better_than_the_store(server: RedisServer) -> None:
    """What is from before a process began is the store's to judge; while it is lost, nobody can tell."""
    async with host(server) as there:
        issued = [time.time() for _ in range(2)]
        async with host(server, local=True) as here:
            assert await said(here, b"n", issued=issued[0]) == "taken"
            assert await said(there, b"n", issued=issued[0]) == "replay.detected"
            server.kill()
            assert await said(here, b"m", issued=issued[1]) == "replay.not_remembered"
            assert await said(here, b"m") == "taken"


async def test_a_local_bound_holds_while_the_store_hangs(server: RedisServer) -> None:
    """A16: paused, the process judges alone after one deadline, and what the store did late changes nothing."""
    async with host(server, local=True, timeout=0.1) as here:
        server.pause()
        try:
            assert await all_of(here, *numbered(0, 20)) == ["taken"] * 20
            assert await all_of(here, *numbered(0, 20)) == ["replay.detected"] * 20
        finally:
            server.resume()
        await until(lambda: here._store.up)
        assert await all_of(here, *numbered(0, 20)) == ["replay.detected"] * 20
        assert await all_of(here, *numbered(100, 20)) == ["taken"] * 20


# --- full, unfit ---


async def test_a_store_without_room_refuses() -> None:
    """A16: maxmemory reached: refused, and nothing is forgotten."""
    with RedisServer("maxmemory-policy noeviction") as server:
        begun(server)
        async with host(server, timeout=5) as here:
            assert await said(here, b"first") == "taken"
            server.ask("CONFIG", "SET", "maxmemory", "1")
            assert await said(here, b"n") == "replay.full"
            assert await said(here, b"first") in ("replay.full", "replay.detected")
            server.ask("CONFIG", "SET", "maxmemory", "0")
            assert await said(here, b"first") == "replay.detected"
            assert await said(here, b"n") == "taken"


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("key", ["state", "held"])
async def test_a_key_of_another_kind_refuses(server: RedisServer, key: str, local: bool) -> None:
    """A16: where another program wrote over our keys, nothing is accepted, nor judged alone; it is no lost store."""
    told: Told = []
    async with host(server, told=told, local=local) as here:
        assert await said(here, b"first") == "taken"
        issued = time.time()
        span = int(issued // 150.5)
        wrong = ["state"] if key == "state" else [f"held:{number}" for number in range(span, span + 3)]
        for name in wrong:
            server.ask("DEL", f"hauberk:replay:default:{name}")
            server.ask("LPUSH", f"hauberk:replay:default:{name}", "x")
        assert await all_of(here, *numbered(0, 20)) == ["replay.store_down"] * 20
        assert told == []
        if key == "state":
            with pytest.raises(PluginError, match=r"(?s)WRONGTYPE.*hauberk:\* keys"):
                await SharedNonces(server.uri, WINDOW, 100).open()
        for name in wrong:
            server.ask("DEL", f"hauberk:replay:default:{name}")
        await until_taken(here)
        assert await said(here, b"first") == "replay.detected"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_store_that_would_forget_stops_the_start(policy: str) -> None:
    """S0.34: a store that throws out keys when it is full is no memory; the error says what to set."""
    with (
        RedisServer("maxmemory 3mb", f"maxmemory-policy {policy}") as server,
        pytest.raises(PluginError, match="noeviction"),
    ):
        await SharedNonces(server.uri, WINDOW, 100).open()


async def test_what_cannot_be_opened_holds_nothing_open(tmp_path: Path) -> None:
    """Where the store is not there, the files of a local bound are let go of as well."""
    own = LocalNonces(WINDOW, 100, since=time.time(), mark=Mark(tmp_path / "state" / "latest"))
    nonces = SharedNonces(f"unix://{tmp_path}/none", WINDOW, 100, local=own)
    with pytest.raises(PluginError, match="is down"):
        await nonces.open()
    assert own.mark is not None
    assert nonces._mark is not None
    assert own.mark._file is nonces._mark._file is None


async def test_a_store_whose_clock_is_another_refuses(server: RedisServer) -> None:
    """A13: a message that is too old by the store's clock is refused, for its nonce could be gone already."""
    nonces = SharedNonces(server.uri, WINDOW, 100)
    await nonces.open()
    past = time.time() - 10_000
    await nonces._store.command("HSET", "hauberk:replay:default:state", "since", 0)
    with pytest.raises(Exception, match="by the store's clock") as caught:
        await nonces.remember("k", b"n", past, past)
    assert getattr(caught.value, "code", "") == "replay.too_old"
    await nonces.close()


def test_no_password_is_shown() -> None:
    """No text of it holds the password of its address."""
    nonces = SharedNonces("redis://:canary@127.0.0.1:1/0", WINDOW, 100)
    assert "canary" not in nonces.where + repr(nonces._store)
    with pytest.raises(ConfigError) as caught:
        SharedNonces("redis://:canary@/0", WINDOW, 100)
    assert "canary" not in str(caught.value)


async def until_taken(nonces: SharedNonces) -> None:
    """Wait until new messages are accepted again."""
    number = 0
    async with asyncio.timeout(20):
        while await said(nonces, b"probe %d" % number) != "taken":
            number += 1
            await asyncio.sleep(0.01)


def calls(server: RedisServer) -> dict[str, int]:
    """Return how often the store was asked, and how often it kept a nonce."""
    found = {}
    for line in server.ask("INFO", "commandstats").decode().splitlines():
        name, _, fields = line.partition(":calls=")
        if name in ("cmdstat_evalsha", "cmdstat_set"):
            found[name] = int(fields.partition(",")[0])
    return found
