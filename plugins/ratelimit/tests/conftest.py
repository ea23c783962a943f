"""A guard with limits, between a client and a server in memory; and a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
from tests.redis_server import RedisServer

from hauberk import plugins
from hauberk.connection import Role
from hauberk.principal import Principal
from hauberk.testing import Clock, Rig, guard_from
from hauberk_ratelimit import RateLimit


class Limited(Protocol):
    """Opens a guard with these limits."""

    def __call__(
        self, toml: str, *more: Any, name: str = "files", role: Role = "client"
    ) -> AbstractAsyncContextManager[Rig]: ...


@pytest.fixture(scope="module")
def one_server() -> Iterator[RedisServer]:
    """Return a server that no test of this module ends."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(one_server: RedisServer) -> RedisServer:
    """Return a server that holds nothing."""
    one_server.ask("FLUSHALL")
    return one_server


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the guard, which a test moves."""
    return Clock()


@pytest.fixture
def only_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the limits be all that is installed."""
    source = plugins.Source("ratelimit", "hauberk-ratelimit", "0", lambda: RateLimit)
    monkeypatch.setattr(plugins, "installed", lambda: {"ratelimit": source})


@pytest.fixture
def limited(only_limits: None, clock: Clock) -> Limited:
    """Return what opens a guard with limits."""

    @asynccontextmanager
    async def opened(toml: str, *more: Any, name: str = "files", role: Role = "client") -> AsyncIterator[Rig]:
        async with guard_from(toml, *more, name=name, role=role, clock=clock) as rig:
            yield rig

    return opened


def passed(rig: Rig) -> int:
    """Return how many messages reached the server."""
    return len(rig.reached)


def as_principal(rig: Rig, id: str, **more: Any) -> None:
    """Let the peer be somebody who has proved who he is."""
    rig.connection.principal = Principal(id=id, kind="user", method="mtls", **more)
