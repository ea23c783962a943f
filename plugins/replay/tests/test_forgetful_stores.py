"""A store that forgets in ways of its own: its clock, snapshots, evictions, hosts that disagree on how long."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from plugins.replay.tests.conftest import said
from tests.redis_server import RedisServer, begun
from tests.serving import until

from hauberk.refusals import PluginError, Refused
from hauberk.shared import Script
from hauberk_replay import SharedNonces, Window, _shared

WINDOW = Window(300, 1)
STATE = "hauberk:replay:default:state"
AHEAD = "hauberk:test:ahead"
CLOCK = f"""
local function clock()
  local time = redis.call('TIME')
  return {{time[1] + (redis.call('GET', '{AHEAD}') or 0), time[2]}}
end
"""
GONE = "replay.not_remembered"


@asynccontextmanager
async def host(server: RedisServer, window: Window = WINDOW) -> AsyncIterator[SharedNonces]:
    nonces = SharedNonces(server.uri, window, 10_000, timeout=5)
    await nonces.open()
    try:
        yield nonces
    finally:
        await nonces.close()


def forget(server: RedisServer, nonce: bytes) -> None:
    """Let a nonce be gone, as by its time."""
    assert server.ask("DEL", f"hauberk:replay:default:n:k:{nonce.hex()}") == b":1\r\n"


@pytest.fixture
def moved_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts read a clock that a key puts ahead."""
    for name in ("REACHED", "REMEMBER"):
        source = getattr(_shared, name).source
        assert "redis.call('TIME')" in source
        script = Script(CLOCK + source.replace("redis.call('TIME')", "clock()"))
        monkeypatch.setattr(_shared, name, script)


async def test_a_new_store_begins_when_nobody_can_be_so_far_ahead() -> None:
    """A16: a store that nobody knows may have been another's: memory begins ``skew`` from now, for a fresh host too."""
    with RedisServer() as server:
        async with host(server) as here:
            ahead = time.time() + 0.9
            assert await said(here, b"n", issued=ahead) == GONE
            until_then = time.time() + 1.2
            await until(lambda: time.time() > until_then)
            assert await said(here, b"n") == "taken"
        server.ask("FLUSHALL")
        async with host(server) as fresh:
            assert await said(fresh, b"n", issued=time.time() + 0.5) == GONE


async def test_a_new_store_begins_by_the_longest_skew_of_its_hosts() -> None:
    """A16: whoever begins a store, a host that takes messages from further ahead begins it as late as it must."""
    with RedisServer() as server:
        async with host(server), host(server, Window(300, 30)) as far:
            assert await said(far, b"n", issued=time.time() + 10) == GONE


async def test_a_snapshot_from_after_it_was_emptied_is_not_gone_on_with() -> None:
    """A16: a state that a message has begun names its server too, so a restart from its snapshot begins anew."""
    with RedisServer() as server:
        begun(server)
        async with host(server) as here:
            server.ask("FLUSHALL")
            assert await said(here, b"first") == GONE
            begun(server)
            server.ask("SAVE")
            issued = time.time()
            assert await said(here, b"n", issued=issued) == "taken"
            server.restart()
            await until(lambda: here._store.up and here._store.why != "it was not opened")
            assert server.ask("EXISTS", STATE) == b":1\r\n"
            assert await said(here, b"n", issued=issued) == GONE


async def test_a_state_without_its_server_begins_anew(server: RedisServer) -> None:
    """A16: whatever made it, a state that does not name the server that is asked is not trusted."""
    for change in (("HDEL", STATE, "run"), ("HSET", STATE, "run", "other")):
        begun(server)
        async with host(server) as here:
            assert await said(here, change[0].encode()) == "taken"
            server.ask(*change)
            assert await said(here, b"more", issued=time.time() + 0.5) == GONE


async def test_a_store_that_does_not_name_itself_stops_the_start(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A16: without a run id, or a policy, nobody knows what the store may have lost."""
    for missing, text in (("run_id", "which server"), ("maxmemory_policy", "noeviction")):
        monkeypatch.undo()
        found = _shared._fields

        def less(info: bytes, missing: str = missing) -> dict[str, str]:
            return {name: value for name, value in found(info).items() if name != missing}  # noqa: B023 - used at once

        monkeypatch.setattr(_shared, "_fields", less)
        with pytest.raises(PluginError) as caught:
            await SharedNonces(server.uri, WINDOW, 100).open()
        assert text in f"{caught.value} {caught.value.hint}"


@pytest.mark.usefixtures("moved_clock")
async def test_a_clock_of_the_store_that_was_ahead_brings_nothing_back(server: RedisServer) -> None:
    """A13: what went while the store's clock was ahead is refused when it is set right; new messages pass at once."""
    for seconds in (3600, 3 * 10**8):
        server.ask("DEL", STATE)
        begun(server)
        async with host(server) as here:
            issued, nonce = time.time(), b"%d" % seconds
            assert await said(here, nonce, issued=issued) == "taken"
            server.ask("SET", AHEAD, str(seconds))
            assert await said(here, b"other", issued=issued) == "replay.too_old"
            forget(server, nonce)
            server.ask("DEL", AHEAD)
            assert await said(here, nonce, issued=issued) == GONE
            assert await said(here, b"new %d" % seconds, issued=issued + 2) == "taken"


async def test_hosts_that_disagree_remember_for_the_longest(server: RedisServer) -> None:
    """S0.34: a nonce is kept for as long as the longest window of a group; what went before it grew is refused."""
    async with host(server, Window(1, 0)) as short:
        issued = time.time()
        assert await said(short, b"n", issued=issued) == "taken"
        await until(lambda: server.ask("EXISTS", f"hauberk:replay:default:n:k:{b'n'.hex()}") == b":0\r\n")
        async with host(server) as long:
            assert await said(long, b"n", issued=issued) == GONE
            server.ask("HSET", STATE, "looked", "0")  # a second later
            later = time.time()
            assert await said(short, b"first", issued=later) == "taken"
            assert await said(short, b"later", issued=later) == "taken"
            left = int(server.ask("PTTL", f"hauberk:replay:default:n:k:{b'later'.hex()}")[1:-2])
            assert left > 300_000
            assert await said(long, b"later", issued=later) == "replay.detected"


async def test_a_store_that_begins_to_forget_is_asked_no_more(server: RedisServer) -> None:
    """S0.34: a policy that is changed while we are connected is seen within a second, and refuses until it is right."""
    async with host(server) as here:
        assert await said(here, b"n") == "taken"
        server.ask("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        server.ask("HSET", STATE, "looked", "0")  # a second later
        with pytest.raises(Refused, match="volatile-ttl") as caught:
            await here.remember("k", b"m", time.time(), time.time())
        assert caught.value.code == "replay.store_down"
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.ask("HSET", STATE, "looked", "0")
        assert await said(here, b"m") == "taken"
        assert await said(here, b"n") == "replay.detected"


async def test_a_store_that_has_forgotten_begins_anew(server: RedisServer) -> None:
    """S0.34: keys that were thrown out may have been nonces: memory begins anew."""
    async with host(server) as here:
        issued = time.time() + 0.9
        assert await said(here, b"n", issued=issued) == "taken"
        forget(server, b"n")
        server.ask("HSET", STATE, "looked", "0", "evicted", "7")  # it is 0 now, so it has moved
        assert await said(here, b"n", issued=issued) == GONE
