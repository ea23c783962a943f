"""Properties of the whole way: what no plugin touches is not changed, and a session survives any order of events."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.core.harness import META, Rig, make_rig, notification, request, rig, ring

from hauberk import Allow, Layer, Message, Refused
from hauberk.connection import Role
from hauberk.exchange import Exchange

pytestmark = pytest.mark.campaign

# --- what no plugin touches ---

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = (
    st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([2**53 + 1, -(2**63), 2**64 - 1, 2**63, 0, -0.0, 1e22, 5e-324, 1.7976931348623157e308])
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
UNKNOWN = st.dictionaries(TEXT.map("x-{}".format), VALUES, max_size=3)
"""Members that no revision has, under names that look like none."""
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)
IDS = st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8"), max_size=20)
ERRORS = st.builds(
    lambda code, message, data: {"code": code, "message": message, "data": data},
    st.integers(-(2**63), 2**63),
    TEXT,
    VALUES,
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Return a side and a valid message that it may send without being asked."""
    params = draw(UNKNOWN)
    if draw(st.booleans()):
        params["_meta"] = {**draw(UNKNOWN), **draw(st.sampled_from([{}, META, {"progressToken": "p"}]))}
    shapes: list[tuple[str, str, dict[str, Any]]] = [
        ("tools/call", "client", {"name": "ls", "arguments": draw(OBJECTS)}),
        ("tools/call", "client", {"name": draw(TEXT.filter(bool))}),
        ("prompts/get", "client", {"name": draw(TEXT), "arguments": draw(OBJECTS)}),
        ("ping", "client", {}),
        ("sampling/createMessage", "server", {"messages": draw(st.lists(VALUES, max_size=3))}),
        ("notifications/message", "server", {"level": "info", "data": draw(VALUES)}),
        ("notifications/roots/list_changed", "client", {}),
    ]
    method, side, more = draw(st.sampled_from(shapes))
    members = [("jsonrpc", "2.0"), ("method", method), ("params", params | more)]
    if not method.startswith("notifications/"):
        members.append(("id", draw(IDS)))
    members += draw(UNKNOWN).items()
    return side, dict(draw(st.permutations(members)))


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """Return a valid result or error, without its id."""
    body = {"result": draw(OBJECTS.filter(_plain))} if draw(st.booleans()) else {"error": draw(ERRORS)}
    members = [("jsonrpc", "2.0"), ("id", 0), *body.items(), *draw(UNKNOWN).items()]
    return dict(draw(st.permutations(members)))


def _plain(result: dict[str, Any]) -> bool:
    return not {"inputRequests", "requestState"} & result.keys()


def _none(_item: Any, _connection: Any) -> None:
    return None


async def _none_async(_item: Any, _connection: Any) -> None:
    return None


def passing(kind: str) -> list[Any]:
    """Return plugins that touch nothing: none at all, plain ones, async ones, judges that read, frame hooks."""
    if kind == "none":
        return []
    if kind == "frames":
        return [ring("frame", Layer.SEAL, on_send=_none, on_receive=_none)]
    hook = _none_async if kind == "async" else _none

    def judge(call: Any, _connection: Any) -> Allow:
        assert call.arguments is not None
        return Allow()

    return [ring("pass", on_send=hook, on_receive=hook, on_tool_call=judge)]


KINDS = st.sampled_from(["none", "plain", "async", "frames"])
ROLES: tuple[Role, ...] = ("client", "server")


@given(made=messages(), kind=KINDS, role=st.sampled_from(ROLES), spaced=st.booleans(), bytes_only=st.booleans())
def test_what_no_plugin_touches_arrives_as_it_left(
    made: tuple[str, dict[str, Any]], kind: str, role: Role, spaced: bool, bytes_only: bool
) -> None:
    """Any valid message arrives with its value, integers, key order and unknown members; compact, with its bytes."""
    side, data = made

    async def cross() -> None:
        async with rig(*passing(kind), role=role, bytes_only=bytes_only) as r:
            way, target = (r.from_client, r.server) if side == "client" else (r.from_server, r.client)
            compact = orjson.dumps(data)
            sent: Any = json.dumps(data).encode() if spaced and bytes_only else compact if bytes_only else data
            await r.send(way, sent)
            [got] = target.raw
            assert (got if bytes_only else orjson.dumps(got)) == compact
            assert (r.client if side == "client" else r.server).raw == []

    asyncio.run(cross())


@given(
    answer=answers(), id=IDS, kind=KINDS, role=st.sampled_from(ROLES), spaced=st.booleans(), bytes_only=st.booleans()
)
def test_an_answer_that_no_plugin_touches_arrives_as_it_left(
    answer: dict[str, Any], id: Any, kind: str, role: Role, spaced: bool, bytes_only: bool
) -> None:
    """Any valid answer arrives as it left, whatever its id."""
    data = answer | {"id": id}

    async def cross() -> None:
        async with rig(*passing(kind), role=role, bytes_only=bytes_only) as r:
            await r.send(r.from_client, request("ping", id=id))
            compact = orjson.dumps(data)
            sent: Any = json.dumps(data).encode() if spaced and bytes_only else compact if bytes_only else data
            await r.send(r.from_server, sent)
            [got] = r.client.raw
            assert (got if bytes_only else orjson.dumps(got)) == compact

    asyncio.run(cross())


@given(line=st.binary(max_size=60) | st.from_regex(rb'\{"(id|method|params|result)":[^\n]{0,40}\}', fullmatch=True))
def test_no_line_is_lost_without_a_word(line: bytes) -> None:
    """Whatever a client sends gets exactly one answer, is forwarded, or leaves an event (A51, A53, A55)."""

    async def cross() -> None:
        async with rig() as r:
            await r.send(r.from_client, line.replace(b"\n", b" "))
            refused = [event for event in r.recorder.events if event.category == "refusal"]
            assert len(r.reached) + len(refused) == 1
            assert len(r.replies) <= len(refused)

    asyncio.run(cross())


# --- whose context ---

WHO: contextvars.ContextVar[Any] = contextvars.ContextVar("WHO", default=None)


@settings(max_examples=200)
@given(turns=st.lists(st.tuples(st.sampled_from(["client", "server"]), st.integers(0, 6)), min_size=2, max_size=12))
def test_no_context_reaches_another_message(turns: list[tuple[str, int]]) -> None:
    """However messages of two principals interleave at every await, none sees another's context variables (A74)."""
    steps = 0

    async def enter(message: Message, _connection: Any) -> None:
        assert WHO.get() is None
        WHO.set(message.id)

    async def turn(item: Any, _connection: Any) -> None:
        nonlocal steps
        message = getattr(item, "message", item)
        for _ in range(message.params["turns"]):
            assert WHO.get() == message.id
            await asyncio.sleep(0)
            steps += 1
        assert WHO.get() == message.id

    async def cross() -> None:
        ends = ring("enter", on_send=enter, on_receive=enter)
        ends.layers = {"on_send": Layer.CONTENT, "on_receive": Layer.ADMIT}
        async with rig(ends, ring("turn", on_send=turn, on_receive=turn, on_tool_call=turn)) as r:
            for id, (side, count) in enumerate(turns, 1):
                method, params = REQUESTS[side]
                data = request(method, {**params, "turns": count}, id=id)
                r.post(r.from_client if side == "client" else r.from_server, data)
            await r.settle()
            assert r.recorder.of("core.hook_failed") == []
            assert len(r.reached) + len(r.replies) == len(turns)

    asyncio.run(cross())
    assert steps >= sum(count for _, count in turns)


# --- any order of events ---

SIDES = st.sampled_from(["client", "server"])
DOINGS = st.sampled_from(["pass", "pass", "wait", "refuse", "raise", "wait, refuse"])
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "client": ("tools/call", {"name": "ls"}),
    "server": ("sampling/createMessage", {"messages": []}),
}
NOTES = {"client": "notifications/roots/list_changed", "server": "notifications/tools/list_changed"}


class Life(RuleBasedStateMachine):
    """In any order of requests, answers, cancels, time-outs and refusals each request ends once, and order holds."""

    role: Role = "client"
    waits = True

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.count = 0
        self.gates: dict[int, asyncio.Event] = {}
        self.runs: Counter[int] = Counter()
        self.begun = 0
        self.asked: dict[str, dict[int, str]] = {"client": {}, "server": {}}
        """Ids of requests by side, with what became of them: ``open``, ``cancelled``, ``over``."""
        self.places: dict[str, dict[Any, int]] = {"client": {}, "server": {}}
        """Place of each notification and answer among those that its side sent."""
        self.nulls = {"client": 0, "server": 0}
        self.r: Rig = self.loop.run_until_complete(self._open())

    async def _open(self) -> Rig:
        hook = self._act if self.waits else self._act_plain
        act = ring("act", on_send=hook, on_receive=hook)
        gauge = ring("gauge", on_send=self._gauge, on_receive=self._gauge)
        gauge.layers = {"on_send": Layer.CONTENT, "on_receive": Layer.ADMIT}
        made = make_rig([act, gauge], toml="core.request_timeout = 3600.0\n[core.bounds]\nwaiting = 6\nexchanges = 12")
        await made.guard.open()
        await made.start(self.role)
        return made

    def _gauge(self, message: Message, _connection: Any) -> None:
        if message.kind == "request" and message.exchange is not None:
            number = message.exchange.number
            self.begun += 1
            message.exchange.defer(lambda _: self.runs.update([number]))

    def _act_plain(self, message: Message, _connection: Any) -> None:
        do = self._of(message).get("do", "pass")
        if do.endswith("refuse"):
            raise Refused("act.refused", "no")
        if do == "raise":
            raise ZeroDivisionError

    async def _act(self, message: Message, connection: Any) -> None:
        if self._of(message).get("do", "").startswith("wait"):
            await self.gates.setdefault(self._of(message)["n"], asyncio.Event()).wait()
        self._act_plain(message, connection)

    @staticmethod
    def _of(message: Message) -> dict[str, Any]:
        return message.result if message.result is not None else message.params

    def _post(self, side: str, data: dict[str, Any], when: Callable[[], bool] = lambda: True) -> None:
        async def post() -> None:  # the loop has turned before it runs, so what holds now is asked here
            if when():
                self.r.post(self.r.from_client if side == "client" else self.r.from_server, data)

        self.loop.run_until_complete(post())

    def _flies(self, side: str, id: int) -> bool:
        flies = self._table(side).find(id) is not None
        self.nulls[side] += flies
        return flies

    def _cancels(self, side: str, id: int) -> bool:
        if self._table(side).find(id) is not None:
            self.asked[side][id] = "cancelled"
        return True

    def _table(self, side: str) -> Any:
        return (self.r.from_client if side == "client" else self.r.from_server).exchanges

    def _port(self, side: str) -> Any:
        return self.r.client if side == "client" else self.r.server

    def _next(self) -> int:
        self.count += 1
        return self.count

    @rule(side=SIDES, do=DOINGS)
    def ask(self, side: str, do: str) -> None:
        n = self._next()
        method, params = REQUESTS[side]
        self._post(side, request(method, {**params, "do": do, "n": n, "_meta": {"progressToken": n}}, id=n))
        self.asked[side][n] = "open"

    @rule(side=SIDES, data=st.data())
    def ask_again(self, side: str, data: st.DataObject) -> None:
        flying = list(self._table(side).flight)
        if flying:
            id = data.draw(st.sampled_from(flying))
            method, params = REQUESTS[side]
            self._post(side, request(method, params, id=f"0{id}"), lambda: self._flies(side, id))

    @rule(side=SIDES, do=DOINGS)
    def tell(self, side: str, do: str) -> None:
        n = self._next()
        self._post(side, notification(NOTES[side], {"do": do, "n": n}))
        self.places[side][n] = n

    @rule(side=SIDES, do=DOINGS, data=st.data())
    def answer(self, side: str, do: str, data: st.DataObject) -> None:
        """Answer what was asked, or answer again, or answer what nobody asked."""
        known = [one["id"] for one in self._port(side).got if "method" in one and "id" in one] or [999]
        id = data.draw(st.sampled_from(known))
        n = self._next()
        self._post(side, {"jsonrpc": "2.0", "id": str(id), "result": {"do": do, "n": n}})
        self.places[side][n] = n

    @rule(side=SIDES, data=st.data())
    def cancel(self, side: str, data: st.DataObject) -> None:
        if self.asked[side]:
            id = data.draw(st.sampled_from(sorted(self.asked[side])))
            self._post(
                side, notification("notifications/cancelled", {"requestId": id}), lambda: self._cancels(side, id)
            )

    @rule(side=SIDES, data=st.data())
    def progress(self, side: str, data: st.DataObject) -> None:
        token = data.draw(st.integers(0, self.count + 1))
        self._post(side, notification("notifications/progress", {"progressToken": token, "progress": 1}))

    @rule(side=SIDES, data=st.data())
    def time_out(self, side: str, data: st.DataObject) -> None:
        flying = list(self._table(side).flight.values())
        if flying:
            self.loop.run_until_complete(self._run_out(data.draw(st.sampled_from(flying))))

    async def _run_out(self, exchange: Exchange) -> None:
        if exchange.timer is not None:
            exchange.timer._run()

    @rule(data=st.data())
    def open_gate(self, data: st.DataObject) -> None:
        if self.gates:
            self.gates[data.draw(st.sampled_from(sorted(self.gates)))].set()

    @rule(steps=st.integers(1, 4))
    def turn(self, steps: int) -> None:
        for _ in range(steps):
            self.loop.run_until_complete(asyncio.sleep(0))

    @invariant()
    def nobody_is_told_twice(self) -> None:
        for side, asked in self.asked.items():
            replies = Counter(one["id"] for one in self._port(side).got if "method" not in one)
            assert replies.pop(None, 0) == self.nulls[side]
            assert all(count == 1 and id in asked for id, count in replies.items())

    @invariant()
    def order_holds(self) -> None:
        for side, other in (("client", "server"), ("server", "client")):
            told = [one.get("result") or one.get("params") or {} for one in self._port(other).got if "error" not in one]
            numbers = [one["n"] for one in told if one.get("n") in self.places[side]]
            assert numbers == sorted(numbers)

    @invariant()
    def freed_at_most_once(self) -> None:
        assert all(count == 1 for count in self.runs.values())

    def teardown(self) -> None:
        self.loop.run_until_complete(self._finish())
        self.loop.close()

    async def _finish(self) -> None:
        r = self.r
        for _ in range(3):
            for gate in self.gates.values():
                gate.set()
            await r.settle()
        for side in ("client", "server"):
            for exchange in list(self._table(side).flight.values()):
                exchange.timer._run()
        await r.settle()
        for side, asked in self.asked.items():
            replies = {one["id"] for one in self._port(side).got if "method" not in one}
            missing = {id for id, state in asked.items() if state == "open" and id not in replies}
            assert missing == set()
            assert not self._table(side).flight
            assert not self._table(side)._tokens
        for way in (r.session.out, r.session.inn):
            assert (way.waiting, way.tail) == (0, None)
        assert sum(self.runs.values()) == self.begun
        await r.session.close()
        assert not r.session.busy
        await r.guard.close()


class LifeInFront(Life):
    """The same in front of a server."""

    role = "server"


class PlainLife(Life):
    """The same with hooks that never wait."""

    waits = False


for _machine in (Life, LifeInFront, PlainLife):
    _machine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLife = pytest.mark.timeout(300)(Life.TestCase)
TestLifeInFront = pytest.mark.timeout(300)(LifeInFront.TestCase)
TestPlainLife = pytest.mark.timeout(300)(PlainLife.TestCase)
