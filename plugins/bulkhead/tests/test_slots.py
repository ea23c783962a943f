"""Places in a real guard: taken once, freed once, on every way out."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from plugins.bulkhead.tests.conftest import Opened, codes, nothing_held, plugin_of

from hauberk.config import Options
from hauberk.connection import Role
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.principal import Principal
from hauberk.refusals import Refused
from hauberk.testing import Clock, Rig, notification, request
from hauberk.verdict import Approved, Ask, Deny

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
ROLES: tuple[Role, ...] = ("client", "server")
both = pytest.mark.parametrize("role", ROLES)
queued = pytest.mark.parametrize("queue", [0, 5])


def held(rig: Rig, server: str = "files") -> int:
    room = plugin_of(rig).gate.state.rooms.get(server)
    return 0 if room is None else room.held


def ring(layer: Layer, **members: Any) -> Any:
    """Return another plugin, whose hooks are these functions."""
    attributes: dict[str, Any] = {"name": "other", "layer": layer, "Options": Options}
    return type("Other", (), attributes | members)()


# --- caps ---


@both
@queued
async def test_one_call_too_many_is_refused(guarded: Opened, role: Role, queue: int) -> None:
    """Past the cap a call is refused with a code that a peer may read, when to come again, and 429 (S4.17, S1.42)."""
    async with guarded(f"in_flight = 2\nqueue = {queue}\nqueue_seconds = 0.02\n", role=role) as rig:
        await rig.call("a", id=1)
        await rig.call("b", id=2)
        await rig.call("c", id=3)
        error = rig.error()
        assert error["data"]["code"] == ("bulkhead.late" if queue else "bulkhead.full")
        assert (error["code"], error["data"]["httpStatus"], error["data"]["retryAfter"]) == (-32005, 429, 1.0)
        assert len(rig.reached) == held(rig) == 2
        await rig.answer(id=1)
        await rig.call("d", id=4)
        assert len(rig.reached) == 3


@both
async def test_call_waits_for_a_place(guarded: Opened, role: Role) -> None:
    """A call within the queue's depth is sent once another one is answered, and not before."""
    async with guarded("in_flight = 1\nqueue = 1\nqueue_seconds = 1.5\n", role=role) as rig:
        await rig.call("a", id=1)
        rig.post(rig.from_client, request("tools/call", {"name": "b"}, id=2))
        await asyncio.sleep(0.01)
        assert len(rig.reached) == 1
        await rig.answer(id=1)
        assert [one["id"] for one in rig.reached] == [1, 2]
        assert held(rig) == 1


async def test_call_beyond_the_queue_is_refused_at_once(guarded: Opened) -> None:
    """With the queue full the next call is refused without any wait (S4.17)."""
    async with guarded("in_flight = 1\nqueue = 1\nqueue_seconds = 1.5\n") as rig:
        await rig.call("a", id=1)
        rig.post(rig.from_client, request("tools/call", {"name": "b"}, id=2))
        assert rig.post(rig.from_client, request("tools/call", {"name": "c"}, id=3)) is not None
        await asyncio.sleep(0.01)
        assert rig.codes == ["bulkhead.full"]
        await rig.answer(id=1)
        await rig.answer(id=2)
        assert nothing_held(rig)


async def test_tool_and_principal_have_caps_of_their_own(guarded: Opened) -> None:
    """One tool, or one principal, takes no more than its part; the rest of the room is there for others (S1.42)."""
    async with guarded("queue = 0\nin_flight_per_tool = 2\nin_flight_per_principal = 3\ntools.slow = 1\n") as rig:
        await rig.call("slow", id=1)
        await rig.call("slow", id=2)
        rig.assert_refused("bulkhead.full")
        assert rig.error()["data"]["rule"] == "at most 1 of this tool at once"
        for number in range(3, 6):
            await rig.call("fast", id=number)
        assert rig.error()["data"]["rule"] == "at most 2 of this tool at once"
        await rig.call("other", id=6)
        assert rig.error()["data"]["rule"] == "bulkhead.in_flight_per_principal = 3"


@both
async def test_other_requests_take_places_too(guarded: Opened, role: Role) -> None:
    """What is no call counts in the same room; ``ping`` does not, so a full server can be told from a dead one."""
    async with guarded("in_flight = 1\n", role=role) as rig:
        await rig.request("resources/read", {"uri": "note://1"}, id=1)
        await rig.request("prompts/list", id=2)
        rig.assert_refused("bulkhead.full")
        await rig.request("ping", id=3)
        assert [one["method"] for one in rig.reached] == ["resources/read", "ping"]


@both
async def test_what_a_server_asks_has_a_room_of_its_own(guarded: Opened, role: Role) -> None:
    """A server that asks without end fills its own room, and leaves that of its clients as it is."""
    async with guarded("in_flight = 2\nin_flight_per_principal = 2\n", role=role) as rig:
        for number in range(5):
            await rig.send(rig.from_server, request("roots/list", id=f"s{number}"))
        assert len([one for one in rig.replies if one.get("method") == "roots/list"]) == 2
        await rig.call("a", id=1)
        assert [one["method"] for one in rig.reached if "method" in one] == ["tools/call"]


async def test_zero_lets_nothing_pass(guarded: Opened) -> None:
    """A cap of 0 is none at all (S1.41)."""
    async with guarded("in_flight = 0\nqueue = 3\nqueue_seconds = 0.02\n") as rig:
        await rig.call("a", id=1)
        rig.assert_refused("bulkhead.late")


# --- every way out ---


async def _answer(rig: Rig) -> None:
    await rig.answer(id=1)


async def _error(rig: Rig) -> None:
    await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no"}})


async def _cancel(rig: Rig) -> None:
    await rig.send(rig.from_client, notification("notifications/cancelled", {"requestId": 1}))


async def _disconnect(rig: Rig) -> None:
    await rig.session.close()


async def _oversize(rig: Rig) -> None:
    await rig.answer({"content": [{"type": "text", "text": "x" * 3000}]}, id=1)


async def _malformed(rig: Rig) -> None:
    await rig.send(rig.from_server, b'{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}')


WAYS = (_answer, _error, _cancel, _disconnect, _oversize, _malformed)


@both
@queued
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
async def test_each_way_out_frees_the_place(guarded: Opened, role: Role, queue: int, way: Any) -> None:
    """Whatever ends a call, its place, its bytes and its permit are given back (A64, S4.16)."""
    async with guarded(f"queue = {queue}\nto_client_bytes = 2048\n", role=role) as rig:
        await rig.call("a", id=1)
        assert held(rig) == 1
        await way(rig)
        assert nothing_held(rig)


@both
async def test_time_out_frees_the_place(guarded: Opened, role: Role) -> None:
    """A call that is not answered in time gives its place back (A64)."""
    toml = "[core]\nrequest_timeout = 0.02\n[bulkhead]\n"
    async with guarded(toml, role=role) as rig:
        await rig.call("a", id=1)
        await asyncio.sleep(0.05)
        await rig.settle()
        assert rig.codes == ["core.timed_out"]
        assert nothing_held(rig)


@both
@pytest.mark.parametrize("hook", ["on_send", "on_receive", "on_tool_call"])
@pytest.mark.parametrize("layer", [Layer.GATE, Layer.ADMIT, Layer.POLICY, Layer.CONTENT])
async def test_crash_of_a_plugin_frees_the_place(guarded: Opened, role: Role, hook: str, layer: Layer) -> None:
    """A plugin that raises in any hook, on the way there or back, leaves nothing held (A64)."""
    if hook == "on_tool_call" and layer < Layer.ADMIT:
        pytest.skip("no judge stands there")

    def crash(self: Any, message: Any) -> None:
        if crashes:
            raise ValueError

    def crash_of_call(self: Any, call: Any) -> None:
        crash(self, call)

    crashes: list[int] = []
    method = hookimpl(crash_of_call if hook == "on_tool_call" else crash)
    async with guarded("", ring(layer, **{hook: method}), role=role) as rig:
        crashes.append(1)
        await rig.call("a", id=1)
        crashes.clear()
        await rig.call("b", id=2)
        crashes.append(1)
        await rig.answer(id=2)
        assert held(rig) == sum(one["id"] == 1 for one in rig.reached if "id" in one)
        await rig.session.close()
        assert nothing_held(rig)


@both
async def test_call_that_is_cancelled_in_the_queue_is_never_sent(guarded: Opened, role: Role) -> None:
    """Who goes while he waits leaves the queue, and the next one gets the place (A64)."""
    async with guarded("in_flight = 1\nqueue = 5\nqueue_seconds = 1.5\n", role=role) as rig:
        await rig.call("a", id=1)
        for number in (2, 3):
            rig.post(rig.from_client, request("tools/call", {"name": "b"}, id=number))
        await asyncio.sleep(0.01)
        rig.post(rig.from_client, notification("notifications/cancelled", {"requestId": 2}))
        await asyncio.sleep(0.01)
        await rig.answer(id=1)
        assert [one["id"] for one in rig.reached if one.get("method") == "tools/call"] == [1, 3]
        await rig.answer(id=3)
        assert nothing_held(rig)


@both
async def test_connection_that_ends_with_a_queue_leaves_nothing(guarded: Opened, role: Role) -> None:
    """A disconnect ends those who wait as well as those who are in (A64)."""
    async with guarded("in_flight = 1\nqueue = 50\nqueue_seconds = 1.5\n", role=role) as rig:
        for number in range(20):
            rig.post(rig.from_client, request("tools/call", {"name": "b"}, id=number))
        await asyncio.sleep(0.01)
        assert held(rig) == 1
        await rig.session.close()
        assert nothing_held(rig)


class Moody:
    """Fails in one way or another, as the tool's name says."""

    name = "other"
    layer = Layer.POLICY
    Options = Options

    @hookimpl
    def on_tool_call(self, call: Any) -> Deny | None:
        if call.name == "raises":
            raise ValueError
        if call.name == "refused":
            raise Refused("other.no", "no")
        return Deny("other.no", "no") if call.name == "denied" else None

    @hookimpl
    def on_receive(self, message: Any) -> None:
        if message.kind == "result" and "bad" in message.result:
            raise ValueError


ENDS: dict[str, dict[str, Any] | None] = {
    "answer": {"result": {"content": []}},
    "failed": {"result": {"content": [], "isError": True}},
    "error": {"error": {"code": -32603, "message": "no"}},
    "bad": {"result": {"bad": 1}},
    "large": {"result": {"text": "x" * 3000}},
    "cancel": None,
    "denied": None,
    "refused": None,
    "raises": None,
}
"""What a server answers, by the tool's name; some are never asked, and one is withdrawn."""


def _answer_late(rig: Rig) -> None:
    """Answer what was asked after its first answer had come, which answered nothing."""
    for exchange in tuple(rig.from_client.exchanges.flight.values()):
        if exchange.sent:
            rig.post(rig.from_server, {"jsonrpc": "2.0", "id": exchange.id, "result": {"content": []}})


@queued
@pytest.mark.timeout(300)
async def test_ten_thousand_ends_leave_nothing(guarded: Opened, queue: int) -> None:
    """After 10 000 calls that ended in all these ways, overtaking each other, nothing is held (A64)."""
    toml = f"queue = {queue}\nqueue_seconds = 0.01\nin_flight = 6\nbreaker.enabled = false\nto_client_bytes = 2048\n"
    async with guarded(toml, Moody()) as rig:
        for number, kind in zip(range(10_000), itertools.cycle(ENDS), strict=False):
            rig.post(rig.from_client, request("tools/call", {"name": kind}, id=number))
            for _ in range(number % 11):
                await asyncio.sleep(0)
            answer = ENDS[kind]
            if kind == "cancel":
                rig.post(rig.from_client, notification("notifications/cancelled", {"requestId": number}))
            elif answer is not None:
                for _ in range(1 + number % 2):
                    rig.post(rig.from_server, {"jsonrpc": "2.0", "id": number, **answer})
            if number % 10 == 0:
                _answer_late(rig)
        await rig.settle()
        while rig.from_client.exchanges.flight:
            _answer_late(rig)
            await rig.settle()
        assert nothing_held(rig)
        assert len(rig.reached) > 3000


@queued
async def test_answer_to_what_was_not_sent_gives_nothing_back(guarded: Opened, queue: int) -> None:
    """A server that answers a call before it was let in answers nothing: the call takes its place and leaves (A64)."""

    class Waits:
        name = "other"
        layer = Layer.POLICY
        Options = Options

        @hookimpl
        async def on_tool_call(self, call: Any) -> None:
            await turn.wait()

    turn = asyncio.Event()
    async with guarded(f"queue = {queue}\n", Waits()) as rig:
        rig.post(rig.from_client, request("tools/call", {"name": "a"}, id=1))
        await asyncio.sleep(0)
        rig.post(rig.from_server, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
        turn.set()
        await rig.settle()
        assert len(rig.reached) == 1
        assert not nothing_held(rig)
        await rig.answer(id=1)
        assert nothing_held(rig)


# --- what is judged, asked and tried again ---


@pytest.mark.parametrize("role", ROLES)
async def test_call_that_waits_for_a_person_holds_no_place(guarded: Opened, role: Role) -> None:
    """While somebody is asked no place is taken; after the yes the call takes its place once (S4.16)."""
    seen: list[int] = []

    class Approves:
        name = "policy"
        layer = Layer.POLICY
        Options = Options

        @hookimpl
        def on_tool_call(self, call: Any) -> Ask:
            return Ask("a person must say so")

        async def approve(self, call: Any, connection: Any) -> Approved:
            seen.append(held(rig))
            return Approved(call.digest)

    toml = '[core]\napprovers = ["policy"]\n[bulkhead]\n'
    async with guarded(toml, Approves(), role=role) as rig:
        await rig.call("a", id=1)
        assert (seen, held(rig)) == ([0], 1)
        await rig.answer(id=1)
        assert nothing_held(rig)


class Person:
    """Is asked about each call to ``ask``, and does not answer before he is told to."""

    name = "policy"
    layer = Layer.POLICY
    Options = Options

    def __init__(self) -> None:
        self.answer = asyncio.Event()

    @hookimpl
    def on_tool_call(self, call: Any) -> Ask | None:
        return Ask("a person must say so") if call.name == "ask" else None

    async def approve(self, call: Any, connection: Any) -> Approved:
        await self.answer.wait()
        return Approved(call.digest)


@both
async def test_memory_of_calls_that_wait_for_a_person_is_counted(guarded: Opened, role: Role) -> None:
    """While somebody is asked the bytes of a call are held, once; they are given back however it ends (S4.18, A64)."""
    person = Person()
    toml = '[core]\napprovers = ["policy"]\n[bulkhead]\nmemory_bytes = 4096\n'
    async with guarded(toml, person, role=role) as rig:
        account = plugin_of(rig).gate.state.account
        ask = request("tools/call", {"name": "ask", "arguments": {"x": "x" * 1500}}, id=1)
        rig.post(rig.from_client, ask)
        rig.post(rig.from_client, {**ask, "id": 2})
        await asyncio.sleep(0.01)
        two = account.total
        assert two > 3000
        assert held(rig) == 0
        rig.post(rig.from_client, {**ask, "id": 3})
        await asyncio.sleep(0.01)
        rig.assert_refused("bulkhead.memory")
        rig.post(rig.from_client, notification("notifications/cancelled", {"requestId": 2}))
        await asyncio.sleep(0.01)
        assert account.total == two // 2
        person.answer.set()
        await asyncio.sleep(0.01)
        await rig.settle()
        assert (account.total, held(rig)) == (two // 2, 1)
        await rig.answer(id=1)
        assert nothing_held(rig)


async def test_calls_that_wait_for_a_person_have_a_cap(guarded: Opened) -> None:
    """A caller has as many of them as he may have in flight, and leaves the others theirs (S4.16)."""
    person = Person()
    toml = '[core]\napprovers = ["policy"]\n[bulkhead]\nin_flight_per_principal = 2\nqueue = 0\n'
    async with guarded(toml, person, role="server") as rig:
        state = plugin_of(rig).gate.state
        for name in ("one", "two"):
            rig.connection.principal = Principal(id=name, kind="user")
            for number in range(3):
                rig.post(rig.from_client, request("tools/call", {"name": "ask"}, id=f"{name}{number}"))
            await asyncio.sleep(0.01)
        assert rig.codes == ["bulkhead.full", "bulkhead.full"]
        assert state.asking == {"one": 2, "two": 2}
        person.answer.set()
        await asyncio.sleep(0.01)
        await rig.settle()
        assert (state.asking, held(rig)) == ({}, 4)
        await rig.session.close()
        assert nothing_held(rig)


@both
async def test_denied_call_takes_nothing(guarded: Opened, role: Role) -> None:
    """What a judge denies has taken no place, no byte and no permit."""
    peak: list[int] = []

    class Denies:
        name = "other"
        layer = Layer.CONTENT
        Options = Options

        @hookimpl
        def on_tool_call(self, call: Any) -> Deny:
            peak.append(held(rig))
            return Deny("other.no", "no")

    async with guarded("", Denies(), role=role) as rig:
        await rig.call("a", id=1)
        assert peak == [0]
        assert nothing_held(rig)


@both
async def test_retry_of_a_call_takes_a_place_too(guarded: Opened, role: Role) -> None:
    """A retry with the state that an answer minted is a request in flight like any other: it goes round no cap."""
    async with guarded("in_flight = 1\nqueue = 0\n", role=role) as rig:
        await rig.call("a", id=1, _meta=META)
        asks = {"q": {"method": "roots/list", "params": {}}}
        await rig.answer({"resultType": "input_required", "inputRequests": asks, "requestState": "s1"}, id=1)
        assert nothing_held(rig)
        retry = {"_meta": META, "requestState": "s1", "inputResponses": {"q": {"roots": []}}}
        await rig.call("a", id=2, **retry)
        assert held(rig) == 1
        await rig.call("b", id=3)
        rig.assert_refused("bulkhead.full")
        await rig.answer(id=2)
        assert nothing_held(rig)


@both
async def test_forged_retry_takes_one_place(guarded: Opened, role: Role) -> None:
    """A call that claims to be a retry, and is none, takes one place, not two and not none."""
    async with guarded("queue = 0\n", role=role) as rig:
        await rig.call("a", id=1, _meta=META, requestState="made up")
        assert held(rig) == 1
        await rig.answer(id=1)
        assert nothing_held(rig)


# --- a reload ---


async def test_reload_keeps_who_is_in(guarded: Opened, clock: Clock) -> None:
    """Calls in flight count in the new policy, whose caps hold from the next one on; each is freed once (S0.35)."""
    async with guarded("in_flight = 2\nqueue = 0\n") as rig:
        await rig.call("a", id=1)
        await rig.call("b", id=2)
        config = rig.guard.config
        text = config.content.decode().replace("in_flight = 2", "in_flight = 3")
        await rig.guard.reload(type(config).from_toml(text, base=config.base))
        assert held(rig) == 2
        await rig.call("c", id=3)
        await rig.call("d", id=4)
        rig.assert_refused("bulkhead.full")
        for number in (1, 2, 3):
            await rig.answer(id=number)
        assert nothing_held(rig)


# --- alerts, modes ---


async def test_nearly_full_room_is_an_alert(guarded: Opened, clock: Clock) -> None:
    """From 80 % of a cap on there is an alert, one each ten seconds."""
    async with guarded("in_flight = 5\n") as rig:
        for number in range(5):
            await rig.call("a", id=number)
        (alert,) = rig.recorder.of("bulkhead.near_limit")
        assert alert.details == {"what": "in_flight", "used": 4, "limit": 5, "percent": 80.0}


async def test_mode_audit_refuses_nothing(guarded: Opened) -> None:
    """In mode ``audit`` a call too many passes, with the event of what would have been."""
    async with guarded('mode = "audit"\nin_flight = 1\nqueue = 0\n') as rig:
        await rig.call("a", id=1)
        await rig.call("b", id=2)
        assert len(rig.reached) == 2
        assert [event.details["code"] for event in rig.recorder.of("core.would_refuse")] == ["bulkhead.full"]
        await rig.answer(id=1)
        await rig.answer(id=2)
        assert nothing_held(rig)
        assert codes(rig) == ["bulkhead.near_limit"]
