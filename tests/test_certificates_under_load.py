"""Certificates that change while connections come and calls are in flight, and clocks that jump."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.running import PATIENCE, environment
from tests.serving import Offered, offered

from hauberk import Config, Guard
from hauberk.hosts import _dial
from hauberk.refusals import Refused
from hauberk_tls import Tls

TABLE = """
[tls]
ca = "{path}/certs/ca/ca.pem"
crl = "{path}/certs/ca/crl.pem"
[server.files.tls]
certificate = "{path}/certs/{pair}/pair.pem"
key = "{path}/certs/{pair}/pair.pem"
server_name = "files"
"""


def certs(folder: Path, line: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "hauberk", "certs", *line.split(), "--dir", str(folder / "certs")],
        env=environment(folder),
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for line in ("init --no-passphrase", "issue files", "issue --client laptop", "issue --client other"):
        certs(folder, line)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "certs", tmp_path / "certs")
    tmp_path.chmod(0o700)
    return tmp_path


def ring(folder: Path, pair: str, now: Callable[[], float] = time.time) -> tuple[Config, Tls]:
    """Return the plugin as a host has it, and what it is configured by."""
    config = Config.from_toml(TABLE.format(path=folder, pair=pair), base=folder)
    view = Guard(config, now=now).policy.view
    return config, Tls(config.options("tls", Tls.Options), view)


def guard_of(folder: Path, pair: str, now: Callable[[], float] = time.time) -> Guard:
    config, plugin = ring(folder, pair, now)
    return Guard(config, [plugin], now=now)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Offered]:
    pair = "mcp-servers/files"
    _, plugin = ring(folder, pair)
    async with offered(folder, plugin, carrier="tls", toml=TABLE.format(path=folder, pair=pair)) as server:
        yield server


async def call(guard: Guard, target: str) -> bytes | None:
    """Connect, ask once, and leave in order; return the certificate that was shown."""
    connection, stream = await _dial.dial(guard, "files", target)
    answers: list[Any] = []
    stream.attach(answers.append, lambda: None)
    stream.deliver(b'{"jsonrpc":"2.0","id":1,"method":"ping"}', None)
    async with asyncio.timeout(PATIENCE):
        while not answers:  # noqa: ASYNC110 - each turn of the loop
            await asyncio.sleep(0)
    assert orjson.loads(answers[0]) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert connection.tls is not None
    assert stream.tls is not None
    shown = stream.tls.getpeercert(binary_form=True)
    await stream.closed(2)
    return shown


async def test_no_call_is_lost_while_certificates_change(place: Path) -> None:
    """S0.18, A84: keys and certificates of both sides change under load; no call fails, and the new ones are shown."""
    async with serving(place) as server, guard_of(place, "laptop") as guard:
        target = f"tls://127.0.0.1:{server.address.port}"
        done = asyncio.Event()
        shown: list[bytes | None] = []

        async def calling() -> None:
            while not done.is_set():
                shown.append(await call(guard, target))

        callers = [asyncio.create_task(calling()) for _ in range(4)]
        for _ in range(3):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(certs, place, "renew files laptop --new-key")
        await asyncio.sleep(0.2)
        done.set()
        await asyncio.gather(*callers)
        assert len(set(shown)) == 4
        assert shown[-1] == await call(guard, target)
        assert len(shown) > 20


async def test_revoked_client_is_refused_while_others_call(place: Path) -> None:
    """S0.19, A84: once the list names it a client is refused at its next connection, tickets or not; others are not."""
    async with serving(place) as server, guard_of(place, "laptop") as laptop, guard_of(place, "other") as other:
        target = f"tls://127.0.0.1:{server.address.port}"
        for guard in (laptop, other, laptop, other):
            assert await call(guard, target)
        await asyncio.to_thread(certs, place, "revoke laptop --reason key-compromise")
        with pytest.raises(Refused) as refused:
            await call(laptop, target)
        assert refused.value.code == "tls.refused_by_peer"
        assert (await server.recorded("tls.revoked")).details["reason"]
        assert await call(other, target)


@pytest.mark.parametrize(("days", "code"), [(-3000, "tls.not_yet_valid"), (4000, "tls.expired")])
async def test_clock_that_jumps(place: Path, days: int, code: str) -> None:
    """X.13: a wall clock that jumps refuses, with the reason; when it is right again so is everything else."""
    jump = 0.0
    async with serving(place) as server, guard_of(place, "laptop", lambda: time.time() + jump) as guard:
        target = f"tls://127.0.0.1:{server.address.port}"
        assert await call(guard, target)
        jump = days * 86400.0
        with pytest.raises(Refused) as refused:
            await call(guard, target)
        assert refused.value.code == code
        jump = 0.0
        assert await call(guard, target)
