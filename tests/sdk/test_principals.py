"""Two principals that are served at once never mix, however their messages interleave (A74)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.harness import Port, call_params, request, ring
from tests.sdk.everything import Everything
from tests.sdk.kit import Streams, behind, client, guard, within

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.exchange import Exchange
from hauberk.message import Message, ToolCall
from hauberk.principal import Principal
from hauberk.session import Session
from hauberk.verdict import Allow, Approved, Ask

_OWN: Final[ContextVar[str]] = ContextVar("_OWN")
"""Set by the first hook that a message meets, read by the others; and, as a sender would, by the carrier."""
_NAMES: Final = ("alice", "bob")
_TOML: Final = '[core]\napprovers = ["watch"]\n'


class _Watch:
    """Hooks that wait for their turn, and check at each step whose message they have."""

    def __init__(self, turn: Any) -> None:
        self._turn = turn
        self.events: list[Event] = []
        self.steps = 0
        self.plugin = ring(
            "watch",
            on_connect=self._name,
            on_receive=self._receive,
            on_send=self._send,
            on_tool_call=self._judge,
            on_audit=self._record,
            approve=self._approve,
            required=True,
        )

    @staticmethod
    def _name(connection: Connection) -> None:
        who = Principal(id=connection.server, kind="user", groups=frozenset({connection.server}), method="test")
        connection.verify.append(lambda peer: who)

    async def _receive(self, message: Message, connection: Connection) -> Message:
        await self._step(message.principal, connection)
        return message.with_principal(message.principal.narrow())

    async def _send(self, message: Message, connection: Connection) -> None:
        assert message.exchange is None or isinstance(message.exchange, Exchange)
        await self._step(message.exchange.principal if message.exchange else connection.principal, connection)

    async def _judge(self, call: ToolCall, connection: Connection) -> Any:
        await self._step(call.principal, connection)
        assert call.arguments.get("who", connection.server) == connection.server
        return Ask("sure?") if call.arguments.get("ask") else Allow()

    async def _approve(self, call: ToolCall, connection: Connection) -> Approved:
        await self._step(call.principal, connection)
        return Approved(call.digest)

    async def _record(self, event: Event) -> None:
        await self._turn()
        self.events.append(event)

    async def _step(self, principal: Principal, connection: Connection) -> None:
        self._check(principal, connection)
        before = _OWN.get(connection.server)
        assert before == connection.server
        _OWN.set(connection.server)
        await self._turn()
        assert _OWN.get() == connection.server
        self._check(principal, connection)
        self.steps += 1

    @staticmethod
    def _check(principal: Principal, connection: Connection) -> None:
        assert principal.id == connection.principal.id == connection.server
        assert principal.groups == {connection.server}


class _Turns:
    """Lets one of those that wait go on, chosen by the test."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def run(self, choose: random.Random, until: Callable[[], bool]) -> None:
        """Let them go on in random order, until something is true."""
        while not until():
            await asyncio.sleep(0)
            if self._waiting:
                self._waiting.pop(choose.randrange(len(self._waiting))).set_result(None)


async def _interleave(seed: int, rounds: int) -> int:
    """Let two sessions of one guard cross in random order; return how often a hook had its turn."""
    turns, choose = _Turns(), random.Random(seed)
    watch = _Watch(turns)
    made = guard(watch.plugin, toml=_TOML)
    opening = asyncio.create_task(_connected(made))
    await turns.run(choose, opening.done)
    sessions = await opening

    def quiet() -> bool:
        return not any(session._underway for session in sessions.values())

    for n in range(rounds):
        for who, session in sessions.items():
            sent = copy_context()
            sent.run(_OWN.set, who)
            for id in range(2):
                asked = request("tools/call", call_params("t", {"who": who, "ask": bool(id)}), id=id)
                session.receive_object(session.inn, asked, context=sent)
        await turns.run(choose, quiet)
        for session in choose.sample(list(sessions.values()), 2):
            for id in choose.sample(range(2), 2):
                answered = {"jsonrpc": "2.0", "id": id, "result": {"who": session.connection.server, "n": n}}
                session.receive_object(session.out, answered)
        await turns.run(choose, quiet)
        assert not any(session.busy for session in sessions.values())
    _check_sessions(sessions, rounds)
    assert {(event.server, event.principal) for event in watch.events if event.tool} == {(who, who) for who in _NAMES}
    closing = asyncio.create_task(made.close())
    await turns.run(choose, closing.done)
    await closing
    return watch.steps


async def _connected(made: Any) -> dict[str, Session]:
    await made.open()
    found = {}
    for who in _NAMES:
        connection = await made.connect(who, "server")
        connection.proved(None)
        found[who] = made.session(connection, Port(bytes_only=False), Port(bytes_only=False))
    return found


def _check_sessions(sessions: dict[str, Session], rounds: int) -> None:
    """Each server got its own caller's calls, and each caller its own answers."""
    for who, session in sessions.items():
        near: Any = session.inn.target
        far: Any = session.inn.source
        assert [data["params"]["arguments"]["who"] for data in near.got] == [who] * 2 * rounds
        assert [data["result"]["who"] for data in far.got] == [who] * 2 * rounds


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_two_principals_interleaved_at_every_await(seed: int) -> None:
    """Whatever the order in which hooks of two callers go on, each sees its own principal, context and answers (A74).

    50 schedules of 25 rounds with 12 turns or more each: more than 10 000 interleavings.
    """
    assert asyncio.run(_interleave(seed, 25)) >= 25 * 12


async def test_two_principals_through_the_sdk() -> None:
    """The same with two clients and two servers of the SDK on one guard."""

    async def turn() -> None:
        for _ in range(choose.randrange(4)):
            await asyncio.sleep(0)

    choose = random.Random(7)
    watch = _Watch(turn)
    made = guard(watch.plugin, toml=_TOML)
    servers = {who: Everything() for who in _NAMES}

    async def speak(who: str) -> None:
        async with behind(servers[who].server, made, who) as streams, client(Streams(streams), "legacy") as c:
            calls = (c.call_tool("echo", {"who": who, "n": n, "ask": n % 2}) for n in range(50))
            for n, result in enumerate(await within(asyncio.gather(*calls), 15)):
                assert result.structured_content["got"] == {"who": who, "n": n, "ask": n % 2}

    await asyncio.gather(*map(speak, _NAMES))
    for who, everything in servers.items():
        assert {arguments["who"] for _, arguments in everything.calls} == {who}
    assert {(event.server, event.principal) for event in watch.events if event.tool} == {(who, who) for who in _NAMES}
