"""The three memories, made alike; a seal that proves whatever a message says of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import orjson
import pytest
from tests.redis_server import RedisServer, begun

from hauberk import plugins
from hauberk.config import Options
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Frame, Proof
from hauberk.refusals import Refused
from hauberk.testing import Rig, guard_from
from hauberk_replay import LocalNonces, Nonces, Replay, SharedNonces, SqliteNonces, Window

KINDS = ("memory", "sqlite", "shared")
WINDOW = Window()
WORKER = """
import asyncio, sys, time
from hauberk.refusals import Refused
from hauberk_replay import SharedNonces, SqliteNonces, Window
from pathlib import Path

async def main(where, most):
    if where.startswith("sqlite://"):
        nonces = SqliteNonces(Path(where.removeprefix("sqlite://")), Window(), 10**6, now=time.time, seconds=30)
    else:
        nonces = SharedNonces(where, Window(), 10**6, timeout=30)
    await nonces.open()
    print("ready", flush=True)
    sys.stdin.readline()
    async def said(number):
        now = time.time()
        try:
            await nonces.remember("k", b"%d" % number, now, now)
        except Refused as error:
            return error.code
        return "taken"
    answers = []
    for at in range(0, most, 50):
        answers += await asyncio.gather(*(said(number) for number in range(at, at + 50)))
    for answer in sorted(set(answers)):
        print(answer, answers.count(answer))
    print("end", flush=True)
    sys.stdin.readline()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
"""A process that takes so many nonces, and says how often it was told what."""


class Makes(Protocol):
    """Opens a memory; a second one of a kind is another process's or host's."""

    async def __call__(self, *, most: int = 10_000, window: Window = WINDOW, kind: str = "") -> Nonces: ...


async def made(path: Path) -> None:
    """Make a file whose memory began a second ago; in a new one it begins later, by ``skew``."""
    nonces = SqliteNonces(path, WINDOW, 1, now=lambda: time.time() - WINDOW.skew - 1)
    await nonces.open()  # what is there already stays as it is
    await nonces.close()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Return a running server, whose memory has begun."""
    with RedisServer() as running:
        begun(running)
        yield running


@pytest.fixture
async def makes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Makes]:
    """Return a function that opens a memory of the kind that the test asks for."""
    asked = getattr(request, "param", "")
    if asked == "shared":
        request.getfixturevalue("server")
    async with AsyncExitStack() as stack:

        async def opened(*, most: int = 10_000, window: Window = WINDOW, kind: str = "") -> Nonces:
            kind = kind or asked
            nonces: Nonces
            if kind == "memory":
                nonces = LocalNonces(window, most, since=time.time())
            elif kind == "sqlite":
                await made(tmp_path / "n" / "replay.sqlite")
                nonces = SqliteNonces(tmp_path / "n" / "replay.sqlite", window, most, now=time.time, seconds=20)
            else:
                running = request.getfixturevalue("server")
                nonces = SharedNonces(running.uri, window, most, timeout=5)
            await nonces.open()
            stack.push_async_callback(nonces.close)
            return nonces

        yield opened


async def said(nonces: Nonces, nonce: bytes, *, key: str = "k", issued: float | None = None) -> str:
    """Let a memory take a nonce; return ``"taken"``, or the code of what it says."""
    now = time.time()
    try:
        waiting = nonces.remember(key, nonce, now if issued is None else issued, now)
        if waiting is not None:
            await waiting
    except Refused as error:
        return error.code
    return "taken"


async def all_of(nonces: Nonces, *many: bytes, key: str = "k") -> list[str]:
    """Let a memory take many at once."""
    return list(await asyncio.gather(*(said(nonces, nonce, key=key) for nonce in many)))


# --- a guard ---


class Seal:
    """Takes the proof that stands in ``params.arguments.proof`` of a message; none for a message without."""

    name = "seal"
    layer = Layer.SEAL
    Options = Options

    @hookimpl
    def on_receive(self, message: Frame) -> Frame | None:
        said = orjson.loads(message.data).get("params", {}).get("arguments", {}).get("proof")
        if said is None:
            return None
        said["nonce"] = said["nonce"] if isinstance(said["nonce"], int) else bytes.fromhex(said["nonce"])
        return message.with_data(message.data, proof=Proof(**said))


class Now:
    """A clock that runs, and that a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def now() -> Now:
    """Return the clock of the guard."""
    return Now()


@pytest.fixture
def only_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let replay be all that is installed."""
    source = plugins.Source("replay", "hauberk-replay", "0", lambda: Replay)
    monkeypatch.setattr(plugins, "installed", lambda: {"replay": source})


@pytest.fixture
def guarded(only_replay: None, tmp_path: Path, now: Now) -> Callable[..., Any]:
    """Return a function that opens a guard in front of a server, behind a seal; its state stays for the next one."""

    @asynccontextmanager
    async def opened(toml: str = "[replay]\n", name: str = "files", state: str = "state") -> AsyncIterator[Rig]:
        text = f'core.state_dir = "{tmp_path}/{state}"\n{toml}'
        clock: Any = now
        if '"sqlite://"' in toml:
            await made(tmp_path / state / "replay" / "nonces.sqlite")
        async with guard_from(text, Seal(), folder=tmp_path, clock=clock, name=name, role="server") as rig:
            yield rig

    return opened


def sealed(now: Callable[[], float], nonce: str | int, *, key_id: str = "a", ago: float = 0.0, **more: Any) -> Any:
    """Return the arguments of a call that proves this."""
    return {"proof": {"key_id": key_id, "nonce": nonce, "issued": now() - ago, **more}}
