"""A connection ends with the plugin that proved who is there, or agreed on something with its peer (A04, S0.16)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.core.harness import Clock, Port, Recorder, Rig, call_params, notification, request
from tests.core.house import House, empty_house

from hauberk import admission
from hauberk.guard import Guard
from hauberk.refusals import Refused

HELLO = "com.example/hello"
PROVER = '''
from __future__ import annotations
import hauberk

class Plugin:
    name = "prover"
    answers = ("com.example/hello",)

    class Options(hauberk.Options):
        proves: bool = False
        asks: bool = False

    def __init__(self, options, guard):
        self.options = options

    @hauberk.hookimpl
    def on_connect(self, connection):
        """Leave a check that proves who is there, or one that proves nobody."""
        who = hauberk.Principal(id="alice", kind="service", method="proved") if self.options.proves else None
        connection.verify.append(lambda _: who)

    async def agree(self, connection, ask):
        if self.options.asks:
            await ask("com.example/hello", {}, seconds=5)

    def answer(self, method, params, connection):
        return {}
'''
GONE = ""
IDS = itertools.count(10)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = empty_house(tmp_path, monkeypatch)
    made.install("prover", PROVER)
    return made


def write(path: Path, text: str) -> None:
    """Write a configuration."""
    path.write_text(text)


@asynccontextmanager
async def standing(path: Path, text: str, role: Any) -> AsyncIterator[Rig]:
    """Open a guard with one session whose peer was checked."""
    write(path, text)
    recorder = Recorder()
    made = Rig(Guard.load(path, objects=(recorder,)), Clock(), recorder, Port(), Port())
    async with made.guard:
        made.connection = await made.guard.admit("files", role)
        admission.proved(made.guard, made.connection)
        made.session = made.guard.session(made.connection, made.near, made.far)
        yield made
        await made.session.close()


async def changed(path: Path, rig: Rig, text: str) -> None:
    """Put another policy in force."""
    write(path, text)
    await rig.guard.reload()


async def passes(rig: Rig) -> bool:
    """Whether a call of the client reaches the server."""
    before = len(rig.reached)
    await rig.send(rig.from_client, request("tools/call", call_params("ls", {}), id=next(IDS)))
    return len(rig.reached) > before


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("role", ["client", "server"])
async def test_who_was_proved_by_a_plugin_that_is_gone(tmp_path: Path, role: Any) -> None:
    """Once a reload takes out who proved a peer, nothing passes in its name, either way, and the host is told so."""
    path = tmp_path / "hauberk.toml"
    async with standing(path, "[prover]\nproves = true\n", role) as rig:
        assert rig.connection.principal.id == "alice"
        over: list[str] = []
        rig.connection.watch(lambda: over.append(rig.connection.over))
        assert await passes(rig)
        await changed(path, rig, "[prover]\nproves = true\nasks = true\n")
        assert await passes(rig)
        await changed(path, rig, GONE)
        written = len(rig.far.raw), len(rig.near.raw)
        assert not await passes(rig)
        await rig.send(rig.from_server, notification("notifications/tools/list_changed"))
        rig.session.overlong(rig.session.inn, 10, 3)
        rig.session.turn_away(rig.session.inn, 4, Refused("core.draining", "no"))
        with pytest.raises(Refused):
            await rig.session.request("tools/list", {})
        await rig.settle()
        assert (len(rig.far.raw), len(rig.near.raw)) == written
        assert over == ["policy.changed"]


@pytest.mark.usefixtures("house")
async def test_what_a_plugin_that_is_gone_has_answered(tmp_path: Path) -> None:
    """What a plugin in front of a server agreed on ends with it; a connection with which it did not stays."""
    path = tmp_path / "hauberk.toml"
    for agrees in (True, False):
        async with standing(path, "[prover]\n", "server") as rig:
            if agrees:
                await rig.send(rig.from_client, request(HELLO, {}, id=1))
            await changed(path, rig, GONE)
            assert await passes(rig) is not agrees


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("asks", [True, False])
async def test_what_a_plugin_that_is_gone_has_asked(tmp_path: Path, asks: bool) -> None:
    """What a plugin beside a client agreed on ends with it, in the middle of the agreement too."""
    path = tmp_path / "hauberk.toml"
    async with standing(path, f"[prover]\nasks = {str(asks).lower()}\n", "client") as rig:
        rig.far.on_deliver = lambda data: rig.session.receive(
            rig.session.inn, b'{"jsonrpc":"2.0","id":"' + data.split(b'"id":"')[1].split(b'"')[0] + b'","result":{}}'
        )
        await rig.session.agree()
        rig.far.on_deliver = lambda data: None
        await changed(path, rig, GONE)
        assert await passes(rig) is not asks


@pytest.mark.usefixtures("house")
async def test_a_session_that_comes_too_late(tmp_path: Path) -> None:
    """A connection whose peer was proved just before the reload gets no session on which anything passes."""
    path = tmp_path / "hauberk.toml"
    async with standing(path, "[prover]\nproves = true\n", "server") as rig:
        connection = await rig.guard.admit("files", "server")
        admission.proved(rig.guard, connection)
        await changed(path, rig, GONE)
        session = rig.guard.session(connection, rig.near, rig.far)
        assert session.severed
        assert connection.over == "policy.changed"
        await session.close()
