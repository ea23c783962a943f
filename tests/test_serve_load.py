"""Many connections: a thousand at once, ten thousand in turn, with a stub behind; what is left of them is counted."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.core.secured import Secured, context, securing
from tests.serving import Dialled, Offered, Stubs, offered, until

MANY = 1000


@pytest.fixture(autouse=True)
def _room() -> Iterator[None]:
    """Both ends of a thousand connections are here."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3 * MANY:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, 3 * MANY), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208


def resident() -> int:
    """Return what this process has in memory (bytes)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def settled(server: Offered) -> None:
    """Wait until nobody is connected."""
    await until(lambda: not server.server._tasks)
    await asyncio.sleep(0)
    gc.collect()


@pytest.mark.parametrize("carrier", ["unix", "tls"])
async def test_a_thousand_at_once(tmp_path: Path, carrier: str) -> None:
    """A thousand at once are each answered; when they go, descriptors and tasks are what they were (A85)."""
    arriving = asyncio.Semaphore(MANY if carrier == "unix" else 50)  # one core makes both ends of each handshake
    async with offered(tmp_path, carrier=carrier, connections=MANY) as server:
        (await server.session()).writer.close()
        await settled(server)
        tasks, files = len(asyncio.all_tasks()), descriptors()

        async def one(number: int) -> Dialled:
            async with arriving:
                client = await server.session()
            answer = await client.ask({"jsonrpc": "2.0", "id": number, "method": "ping"})
            assert answer == {"jsonrpc": "2.0", "id": number, "result": {}}
            return client

        clients = await asyncio.gather(*map(one, range(MANY)))
        assert server.server.slots.taken == len(server.target.there) == MANY
        one_more = await server.dial()
        assert "error" in await one_more.greet()
        for client in [*clients, one_more]:
            client.writer.close()
        await settled(server)
        await until(lambda: descriptors() <= files)
        assert len(asyncio.all_tasks()) <= tasks
        assert server.codes.count("core.connected") == server.codes.count("core.disconnected") == MANY + 1


async def test_ten_thousand_in_turn(tmp_path: Path) -> None:
    """Ten thousand connections, a few at a time, leave no descriptor, no task, and no memory behind (A85)."""
    total, at_once = 10_000, 20
    async with offered(tmp_path, connections=10 * at_once) as server:

        async def some(count: int) -> None:
            for number in range(count):
                reader, writer = await asyncio.open_unix_connection(server.address.path)
                writer.write(b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n' % number)
                assert await reader.readline() == b'{"jsonrpc":"2.0","id":%d,"result":{}}\n' % number
                if number % 2:
                    writer.close()
                else:
                    writer.transport.abort()
            server.recorder.events.clear()

        await asyncio.gather(*(some(20) for _ in range(at_once)))
        await settled(server)
        files, objects, memory = descriptors(), len(gc.get_objects()), resident()
        tasks = len(asyncio.all_tasks())
        await asyncio.gather(*(some(total // at_once) for _ in range(at_once)))
        await settled(server)
        await until(lambda: descriptors() <= files)
        assert len(asyncio.all_tasks()) <= tasks
        assert server.target.opened == total + 20 * at_once
        assert len(gc.get_objects()) - objects < 500
        if sys.platform == "linux":
            assert resident() - memory < 64 * 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_silent_connection_is_small(tmp_path: Path) -> None:
    """What a connection that is not proved costs is small, whatever it sends: nothing of it is read (A65)."""
    slow = securing(Secured(context(tmp_path, "server"), seconds=60))
    async with offered(tmp_path, slow, carrier="tls", connections=500) as server:
        before = resident()
        writers = []
        for _ in range(400):
            _, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
            writer.write(b"\x16\x03\x01\x40\x00" + b"x" * 16_000)
            writers.append(writer)
        await until(lambda: len(server.server._arriving) == 400)
        await asyncio.sleep(0.3)
        # asyncio gives each handshake two buffers of 256 KiB, of which what is touched counts.
        assert (resident() - before) / 400 < 700_000
        good = await server.session()
        assert (await good.ask())["result"] == {}
        for writer in writers:
            writer.transport.abort()


async def test_half_open_connections_do_not_slow_the_others(tmp_path: Path) -> None:
    """A good client's calls take no longer beside hundreds that send a byte now and then (A65)."""
    stubs = Stubs()
    async with offered(tmp_path, target=stubs, connections=400, stalled_seconds=5) as server:
        good = await server.session()
        alone = await timed(good)
        slow = [await server.session() for _ in range(300)]

        async def drip() -> None:
            while True:
                for one in slow:
                    one.send(b" ")
                await asyncio.sleep(1)

        dripping = asyncio.get_running_loop().create_task(drip())
        beside = await timed(good)
        dripping.cancel()
        assert beside < 3 * alone + 0.05
        assert stubs.opened == 1


async def timed(client: Dialled) -> float:
    """Return what the 99th of a hundred calls takes (seconds)."""
    loop, taken = asyncio.get_running_loop(), []
    for _ in range(200):
        began = loop.time()
        assert (await client.ask())["result"] == {}
        taken.append(loop.time() - began)
    return sorted(taken)[197]
