"""Silent connections: which end, which do not, and when."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.bulkhead.tests.conftest import Opened, plugin_of
from plugins.bulkhead.tests.test_options import merged

from hauberk.config import Config
from hauberk.connection import Carrier, Role
from hauberk.session import Session
from hauberk.testing import Rig, notification, request
from hauberk.ways import Way
from hauberk_bulkhead import Bulkhead
from hauberk_bulkhead._idle import SUBSCRIBE, UNSUBSCRIBE, Life, silent
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._options import Options, shortest_idle

IDLE = "idle_seconds = 300\n"
URI = {"uri": "note://1"}


async def met(rig: Rig, carrier: Carrier = "unix", role: Role = "server", server: str = "files") -> Session:
    """Return a session of a connection by a carrier."""
    connection = await rig.guard.admit(server, role, carrier=carrier, peer="/run/x.sock")
    return rig.guard.session(connection, rig.near, rig.far)


def ended(session: Session) -> str:
    """Return why a connection was hung up; empty while it was not."""
    return session.connection.over


async def pass_time(rig: Rig, seconds: float, step: float = 30.0) -> None:
    """Let time pass, and let the guard look as often as it does."""
    while seconds > 0:
        rig.clock.turn(min(step, seconds))
        seconds -= step
        await plugin_of(rig).care.look()
    await rig.settle()


async def say(session: Session, way: Way, message: dict[str, Any]) -> None:
    waiting = session.receive_object(way, message)
    if waiting is not None:
        await waiting


def answer(id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": {}}


# --- what ends ---


@pytest.mark.parametrize("carrier", ["unix", "tls"])
async def test_silent_connection_is_hung_up(guarded: Opened, carrier: Carrier) -> None:
    """Nobody says anything for 300 s, looked at each 60 s: it is hung up within 420 s, with one event (S4.21)."""
    async with guarded(IDLE) as rig:
        session = await met(rig, carrier)
        await pass_time(rig, 299, step=1.0)
        assert not ended(session)
        await pass_time(rig, 121, step=1.0)
        assert ended(session) == "bulkhead.idle"
        (event,) = rig.recorder.of("bulkhead.idle")
        assert (event.category, event.server, event.exchange) == ("connection", "files", session.connection.id)
        assert 300 <= event.details["seconds"] <= 420
        assert event.details["ended"] is True
        assert event.details["carrier"] == carrier
        await session.close()
        await pass_time(rig, 1000)
        assert len(rig.recorder.of("bulkhead.idle")) == 1


async def test_one_that_never_came_to_a_session_is_hung_up(guarded: Opened) -> None:
    """Who connects, answers a guard's ping and says nothing more is as silent as anybody (S4.21, A65)."""
    async with guarded(IDLE) as rig:
        connection = await rig.guard.admit("files", "server", carrier="unix", peer="/run/x.sock")
        await pass_time(rig, 420)
        assert connection.over == "bulkhead.idle"
        connection.end()


async def test_nothing_is_left_of_connections(guarded: Opened) -> None:
    """What is known of a connection goes with it: ended, hung up, or forgotten by whoever made it (X.6)."""
    async with guarded(IDLE) as rig:
        lives = plugin_of(rig).gate.state.lives
        for _ in range(100):
            session = await met(rig)
            await session.close()
            connection = await rig.guard.admit("files", "server", carrier="tls", peer="192.0.2.1:1")
            del connection
        gc.collect()
        assert not lives
        silent_one = await met(rig)
        await pass_time(rig, 420)
        assert ended(silent_one)
        await silent_one.close()
        assert not lives


# --- what does not ---


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("inn", request("ping", id="p")),
        ("out", request("ping", id="p")),
        ("inn", notification("notifications/progress")),
        ("out", notification("notifications/tools/list_changed")),
    ],
    ids=["asked", "asks", "refused", "told"],
)
async def test_any_message_is_life(guarded: Opened, way: str, message: dict[str, Any]) -> None:
    """A ``ping`` either way, what is refused, and the news of a server: it is not silent for its time from then on."""
    async with guarded(IDLE) as rig:
        session = await met(rig)
        there, back = (session.inn, session.out) if way == "inn" else (session.out, session.inn)
        for _ in range(10):
            await pass_time(rig, 270)
            await say(session, there, message)
            if "id" in message:
                await say(session, back, answer("p"))
        assert not ended(session)
        await pass_time(rig, 420)
        assert ended(session)
        await session.close()


@pytest.mark.parametrize(
    ("way", "method", "params"),
    [
        ("inn", "tools/call", {"name": "slow"}),
        ("inn", "subscriptions/listen", {"notifications": {}}),
        ("inn", "ping", None),
        ("out", "sampling/createMessage", {"messages": [], "maxTokens": 1}),
    ],
)
async def test_request_in_flight_is_no_silence(
    guarded: Opened, way: str, method: str, params: dict[str, Any] | None
) -> None:
    """A slow call, a stream that is listened to, and what a server asks a person hold a connection (S4.21)."""
    async with guarded(IDLE) as rig:
        session = await met(rig)
        there, back = (session.inn, session.out) if way == "inn" else (session.out, session.inn)
        await say(session, there, request(method, params, id="a"))
        await pass_time(rig, 3600)
        assert not ended(session)
        await say(session, back, answer("a"))
        await pass_time(rig, 420)
        assert ended(session)
        await session.close()


INPUT = {
    "resultType": "input_required",
    "requestState": "s",
    "inputRequests": {"q": {"method": "elicitation/create", "params": {"mode": "form", "message": "?"}}},
}
"""An answer by which a person is asked."""
ELSEWHERE = {"mode": "url", "message": "?", "url": "https://x.example/", "elicitationId": "e"}


@pytest.mark.parametrize(
    ("message", "revision"),
    [
        (answer("a") | {"result": INPUT}, "2026-07-28"),
        (
            {
                "jsonrpc": "2.0",
                "method": "notifications/tasks",
                "params": {"taskId": "t", "status": "input_required", **INPUT},
            },
            "2026-07-28",
        ),
        (
            {
                "jsonrpc": "2.0",
                "id": "a",
                "error": {"code": -32042, "message": "?", "data": {"elicitations": [ELSEWHERE]}},
            },
            "2025-11-25",
        ),
    ],
    ids=["answer", "task", "url"],
)
async def test_person_who_is_asked_by_an_answer_has_his_time(
    guarded: Opened, message: dict[str, Any], revision: str
) -> None:
    """Nothing is in flight meanwhile: for as long as an approver may take it is no silence, and then it is (S4.21)."""
    async with guarded(f"[bulkhead]\n{IDLE}[core.bounds]\napproval_deadline = 900\n") as rig:
        session = await met(rig)
        meta = {"io.modelcontextprotocol/protocolVersion": revision}
        await say(session, session.inn, request("tools/call", {"name": "ask", "_meta": meta}, id="a"))
        await say(session, session.out, message)
        if "id" not in message:
            await say(session, session.out, answer("a"))
        assert not session.busy
        await pass_time(rig, 1190, step=10.0)
        assert not ended(session)
        await pass_time(rig, 150, step=10.0)
        assert ended(session)
        await session.close()


async def test_part_of_a_message_is_no_silence(guarded: Opened) -> None:
    """Who still reads an answer, or still sends a request, is not silent for its time from the last byte on (S4.21)."""
    async with guarded(IDLE) as rig:
        session = await met(rig)
        moving = [True]
        session.connection.watch(lambda: None, moves=lambda: moving[0])
        await pass_time(rig, 3600)
        moving.clear()
        moving.append(False)
        await pass_time(rig, 299, step=1.0)
        assert not ended(session)
        await pass_time(rig, 121, step=1.0)
        assert ended(session)
        await session.close()


A, B = "note://a", "note://b"


async def news(session: Session, *steps: tuple[str, str]) -> None:
    """Subscribe (``+``) or unsubscribe (``-``), and let that be answered."""
    for number, (what, uri) in enumerate(steps):
        method = "resources/subscribe" if what == "+" else "resources/unsubscribe"
        await say(session, session.inn, request(method, {"uri": uri}, id=number))
        await say(session, session.out, answer(number))


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([("+", A)], [("-", A)]),
        ([("+", A), ("-", B)], [("-", A)]),
        ([("+", A), ("+", B), ("-", B)], [("-", A)]),
        ([("+", A), ("+", A)], [("-", A)]),
        ([("-", A), ("+", A)], [("-", A)]),
    ],
    ids=["one", "another", "two", "twice", "none"],
)
async def test_subscription_to_a_resource_holds_a_connection(
    guarded: Opened, steps: list[tuple[str, str]], left: list[tuple[str, str]]
) -> None:
    """Until this very one is taken back: whoever waits for rare news asks for nothing meanwhile (S4.21)."""
    async with guarded(IDLE) as rig:
        session = await met(rig)
        await news(session, *steps)
        await pass_time(rig, 3600)
        assert not ended(session)
        await news(session, *left)
        await pass_time(rig, 420)
        assert ended(session)
        await session.close()


def test_subscriptions_that_are_known_are_bounded() -> None:
    """Past the bound a connection counts as one with subscriptions for good; up to it, all can be taken back."""
    life, most = Life("files", 0.0), LIMITS.subscriptions
    for number in (*range(most), 0, 1):
        life.answered(SUBSCRIBE, f"note://{number}")
    assert (len(life.subscribed), life.many, life.waits) == (most, False, True)
    for number in range(most):
        life.answered(UNSUBSCRIBE, f"note://{number}")
    assert not life.waits
    for number in range(most + 1):
        life.answered(SUBSCRIBE, f"note://{number}")
    for number in range(most):
        life.answered(UNSUBSCRIBE, f"note://{number}")
    assert (len(life.subscribed), life.waits) == (0, True)


async def test_level_of_logging_holds_nothing(guarded: Opened) -> None:
    """Most clients set one and wait for nothing; one that is dialled again by itself expects as little (S4.21)."""
    async with guarded(IDLE) as rig:
        session = await met(rig)
        await say(session, session.inn, request("logging/setLevel", {"level": "debug"}, id=1))
        await say(session, session.out, answer(1))
        await pass_time(rig, 420)
        assert ended(session)
        await session.close()


async def test_subscription_that_failed_holds_nothing(guarded: Opened) -> None:
    """One that the server answers with an error is none; nor does taking back what is not there count below none."""
    async with guarded(IDLE) as rig:
        session = await met(rig)
        await say(session, session.inn, request("resources/unsubscribe", URI, id=1))
        await say(session, session.out, answer(1))
        await say(session, session.inn, request("resources/subscribe", URI, id=2))
        await say(session, session.out, {"jsonrpc": "2.0", "id": 2, "error": {"code": -32602, "message": "no"}})
        await pass_time(rig, 420)
        assert ended(session)
        await session.close()


@pytest.mark.parametrize(
    ("carrier", "role"),
    [("unix", "client"), ("tls", "client"), ("pipe", "client"), ("pipe", "server"), ("memory", "server")],
)
async def test_own_connections_are_not_ended(guarded: Opened, carrier: Carrier, role: Role) -> None:
    """Beside a client, and where the other end is a pipe, silence ends nothing: nobody would come back (S4.21)."""
    async with guarded(IDLE) as rig:
        session = await met(rig, carrier, role)
        await pass_time(rig, 3600)
        assert not ended(session)
        assert not rig.recorder.of("bulkhead.idle")
        await session.close()


# --- how long ---


async def test_each_server_has_its_own_time(guarded: Opened) -> None:
    """A server's table sets a shorter one, which is looked for often enough; without one nothing ends."""
    async with guarded("[bulkhead]\n[server.search.bulkhead]\nidle_seconds = 8\n") as rig:
        docs, search = await met(rig, server="docs"), await met(rig, server="search")
        await pass_time(rig, 7, step=0.5)
        assert not ended(search)
        await pass_time(rig, 5, step=0.5)
        assert ended(search)
        await pass_time(rig, 3600)
        assert not ended(docs)
        await docs.close()
        await search.close()


def test_time_is_300_seconds_in_production() -> None:
    """Without the option it is 300 s in production and for ever in development; a server's table only narrows."""
    assert Options().idle(production=True) == 300.0
    assert Options().idle(production=False) is None
    assert Options(idle_seconds=9.0).idle(production=True) == 9.0
    assert merged("idle_seconds = 10", "idle_seconds = 20").idle_seconds == 10
    assert merged("idle_seconds = 10", "override = true\nidle_seconds = 20").idle_seconds == 20
    for production, shortest in ((True, 300.0), (False, None)):
        config = SimpleNamespace(production=production, servers_of=lambda word: ())
        guard = SimpleNamespace(config=config, options_for=lambda plugin, server: Options())
        assert shortest_idle(guard, Bulkhead) == shortest


async def test_reload_sets_another_time(guarded: Opened) -> None:
    """Connections that are there are silent for as long as the new table lets them be (S0.35)."""
    async with guarded("[bulkhead]\nidle_seconds = 3000\n") as rig:
        session = await met(rig)
        await pass_time(rig, 420)
        assert not ended(session)
        config = rig.guard.config
        text = config.content.decode().replace("3000", "300")
        await rig.guard.reload(Config.from_toml(text, base=config.base))
        await pass_time(rig, 60)
        assert ended(session)
        await session.close()


async def test_mode_audit_ends_nothing(guarded: Opened) -> None:
    """In mode ``audit`` it is told, once each time it would have ended, and goes on."""
    async with guarded(f'mode = "audit"\n{IDLE}') as rig:
        session = await met(rig)
        await pass_time(rig, 700)
        assert not ended(session)
        assert [event.details["ended"] for event in rig.recorder.of("bulkhead.idle")] == [False, False]
        await session.close()


async def test_guard_looks_by_itself(guarded: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to call it: the task of the plugin looks."""
    monkeypatch.setattr("hauberk_bulkhead._care.LIMITS", SimpleNamespace(look_seconds=0.001, written_seconds=1e9))
    async with guarded(IDLE) as rig:
        session = await met(rig)
        rig.clock.turn(400)
        async with asyncio.timeout(20):
            while not ended(session):  # noqa: ASYNC110 - a condition of anybody's
                await asyncio.sleep(0.001)
        await session.close()


# --- any order of messages and looks ---


@given(
    steps=st.lists(st.tuples(st.sampled_from(["say", "look"]), st.floats(0, 40)), max_size=60),
    most=st.floats(1, 100),
)
def test_silence_is_what_it_says(steps: list[tuple[str, float]], most: float) -> None:
    """Found is who said nothing since a look that is at least its time ago, and never who spoke since (S4.21)."""
    now = last = seen = 0.0
    spoke = False
    life = Life("files", now)
    for what, seconds in steps:
        now += seconds
        if what == "say":
            life.said = spoke = True
            last = now
            continue
        found = silent({"a": life}, now, most=lambda _: most, working=())
        seen, spoke = now if spoke else seen, False
        assert found == ([("a", now - seen)] if now - seen >= most else [])
        assert not found or now - last >= most


def test_work_that_ends_between_two_looks_is_life() -> None:
    """Nobody says when the last byte was read: who worked at one look is silent from the next one on."""
    lives = {"a": Life("files", 0.0), "b": Life("files", 0.0)}

    def look(now: float, *working: str) -> list[tuple[str, float]]:
        return silent(lives, now, most=lambda _: 10.0, working=working)

    assert look(5.0, "a") == []
    assert look(10.0) == [("b", 10.0)]
    assert look(19.0) == [("b", 19.0)]
    assert look(20.0) == [("a", 10.0), ("b", 20.0)]
