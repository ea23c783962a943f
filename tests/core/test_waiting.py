"""Messages that wait: order of arrival, cancelling, time-outs, closing, and the guard's own requests."""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from typing import Any

import pytest
from tests.core.harness import Rig, notification, request, rig, ring

from hauberk import Event, Layer, Message, Refused
from hauberk.connection import Role

ROLES: tuple[Role, ...] = ("client", "server")
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")
LISTEN = request("subscriptions/listen", {"notifications": {}})


class Gates:
    """An async hook that holds each message until its gate opens, and remembers what it saw."""

    def __init__(self, *layers: Layer, held: Any = lambda _message: True) -> None:
        self._events: defaultdict[Any, asyncio.Event] = defaultdict(asyncio.Event)
        self._held = held
        self.seen: list[Any] = []
        self.stopped: list[Any] = []
        self.plugins = [
            ring(f"gate{layer}", layer, on_send=self._hook, on_receive=self._hook)
            for layer in layers or (Layer.POLICY,)
        ]

    async def _hook(self, message: Any, _connection: Any) -> None:
        if not self._held(message):
            return
        name = self.name(message)
        self.seen.append(name)
        try:
            await self._events[name].wait()
        except asyncio.CancelledError:
            self.stopped.append(name)
            raise

    @staticmethod
    def name(message: Any) -> Any:
        data = message.data
        if isinstance(data, bytes):
            return "frame"
        return data.get("params", {}).get("data") or data.get("id")

    def open(self, *names: Any) -> None:
        for name in names:
            self._events[name].set()


def note(n: Any) -> dict[str, Any]:
    """Return a log notification that carries ``n``."""
    return notification("notifications/message", {"level": "info", "data": n})


def names(messages: list[dict[str, Any]]) -> list[Any]:
    return [data.get("params", {}).get("data") or data.get("id") for data in messages]


def cancel(id: Any) -> dict[str, Any]:
    return notification("notifications/cancelled", {"requestId": id})


def call(id: Any, tool: str = "ls", **params: Any) -> dict[str, Any]:
    return request("tools/call", {"name": tool, **params}, id=id)


def result(id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": {"content": []}}


def outcomes_of(seen: list[tuple[Any, str]]) -> Any:
    """Return a plugin that defers a note of each request's outcome."""

    def hook(message: Message, _connection: Any) -> None:
        if message.kind == "request" and message.exchange is not None:
            id = message.id
            message.exchange.defer(lambda outcome: seen.append((id, outcome)))

    return ring("outcomes", Layer.CONTENT, on_send=hook, on_receive=hook)


def fire(r: Rig, id: Any) -> None:
    """Let the timer of a request run out."""
    exchange = r.from_client.exchanges.find(id)
    assert exchange is not None
    timer = exchange.timer
    timer._run()
    assert exchange.timer is None


# --- plain chains ---


async def test_plain_chains_never_touch_the_loop() -> None:
    """A message whose hooks are plain has left when ``receive`` returns, without a task."""
    plain = ring("plain", on_send=lambda _m, _c: None, on_receive=lambda _m, _c: None, on_tool_call=None)
    async with rig(plain) as r:
        for way, data in (
            (r.from_client, call(1)),
            (r.from_server, result(1)),
            (r.from_server, note(1)),
            (r.from_client, call(2, "")),
        ):
            assert r.post(way, data) is None
        assert (names(r.reached), names(r.replies)) == ([1], [1, 1, 2])
        assert not r.session.busy


# --- order of arrival ---


async def test_notifications_leave_in_order_of_arrival() -> None:
    """A later notification waits for an earlier one, even when both came in one chunk and its own hooks are done."""
    gates = Gates()
    async with rig(*gates.plugins) as r:
        for n in "abc":
            r.post(r.from_server, note(n))
        gates.open("b", "c")
        for _ in range(5):
            await asyncio.sleep(0)
        assert r.replies == []
        gates.open("a")
        await r.settle()
        assert names(r.replies) == ["a", "b", "c"]


async def test_plain_messages_wait_behind_one_that_waits() -> None:
    """A notification or answer whose hooks are plain does not overtake one that waits."""
    gates = Gates(held=lambda message: message.data.get("params", {}).get("data") == "a")
    async with rig(*gates.plugins) as r:
        await r.send(r.from_client, call(1))
        r.post(r.from_server, note("a"))
        r.post(r.from_server, result(1))
        r.post(r.from_server, note("b"))
        assert r.replies == []
        gates.open("a")
        await r.settle()
        assert names(r.replies) == ["a", 1, "b"]


async def test_an_answer_that_waits_holds_up_what_came_later() -> None:
    """Progress after an answer, or an answer after another, leaves in order of arrival."""
    gates = Gates(held=lambda message: message.kind == "result")
    async with rig(*gates.plugins) as r:
        for id in (1, 2):
            await r.send(r.from_client, call(id))
        for data in (result(2), result(1), note("n")):
            r.post(r.from_server, data)
        gates.open(1)
        for _ in range(5):
            await asyncio.sleep(0)
        assert r.replies == []
        gates.open(2)
        await r.settle()
        assert names(r.replies) == [2, 1, "n"]


async def test_nothing_waits_behind_a_request() -> None:
    """A request that waits holds up neither requests nor notifications nor answers."""
    gates = Gates(held=lambda message: message.id == 1)
    async with rig(*gates.plugins) as r:
        await r.send(r.from_server, request("roots/list", id="s"))
        r.post(r.from_client, call(1))
        r.post(r.from_client, {"jsonrpc": "2.0", "id": "s", "result": {"roots": []}})
        r.post(r.from_client, call(2))
        r.post(r.from_client, notification("notifications/initialized"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert [data.get("id") for data in r.reached] == ["s", 2, None]
        gates.open(1)
        await r.settle()
        assert r.reached[-1]["id"] == 1


async def test_a_request_does_not_overtake_a_notification() -> None:
    """A request leaves after a notification that came before it and still waits."""
    gates = Gates(held=lambda message: message.kind == "notification")
    async with rig(*gates.plugins) as r:
        r.post(r.from_client, notification("notifications/roots/list_changed"))
        r.post(r.from_client, call(1))
        for _ in range(5):
            await asyncio.sleep(0)
        assert r.reached == []
        gates.open(None)
        await r.settle()
        assert [data["method"] for data in r.reached] == ["notifications/roots/list_changed", "tools/call"]


async def test_a_refused_message_lets_the_next_one_go() -> None:
    """What waits behind a message that is refused, or whose hook fails, leaves after all."""

    async def hook(message: Message, _connection: Any) -> None:
        await asyncio.sleep(0)
        if message.params.get("data") == "a":
            raise Refused("no.a", "no")
        if message.params.get("data") == "b":
            raise ZeroDivisionError

    async with rig(ring("no", on_receive=hook)) as r:
        for n in "abcd":
            r.post(r.from_server, note(n))
        await r.settle()
        assert names(r.replies) == ["c", "d"]


@pytest.mark.parametrize("refuse", [False, True])
async def test_one_that_ends_early_lets_nothing_overtake(refuse: bool) -> None:
    """A message that is refused, or dropped, while an earlier one still waits lets no later one pass before that."""
    gates = Gates()
    middle = note("b") if refuse else result(99)

    def no(message: Message, _connection: Any) -> None:
        if message.params.get("data") == "b":
            raise Refused("no.b", "no")

    async with rig(*gates.plugins, ring("no", on_receive=no)) as r:
        for data in (note("a"), middle, note("c")):
            r.post(r.from_server, data)
        gates.open("b", "c")
        for _ in range(5):
            await asyncio.sleep(0)
        assert r.replies == []
        gates.open("a")
        await r.settle()
        assert names(r.replies) == ["a", "c"]
        assert r.session.inn.tail is None


async def test_the_two_directions_do_not_wait_for_each_other() -> None:
    """What waits on its way in holds up nothing on its way out."""
    gates = Gates(held=lambda message: message.toward == "client")
    async with rig(*gates.plugins) as r:
        r.post(r.from_server, note("a"))
        r.post(r.from_client, call(1))
        await asyncio.sleep(0)
        assert names(r.reached) == [1]
        gates.open("a")


async def test_frames_that_wait_are_matched_in_order() -> None:
    """Behind a GATE that waits, progress before an answer is still progress of a request in flight."""
    turns: list[asyncio.Event] = []

    async def gate(_frame: Any, _connection: Any) -> None:
        turns.append(asyncio.Event())
        await turns[-1].wait()

    async with rig(ring("gate", Layer.GATE, on_receive=gate)) as r:
        await r.call(_meta={"progressToken": "p"})
        r.post(r.from_server, notification("notifications/progress", {"progressToken": "p", "progress": 1}))
        r.post(r.from_server, result(1))
        await asyncio.sleep(0)
        turns[1].set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert r.replies == []
        turns[0].set()
        await r.settle()
        assert [data.get("method") for data in r.replies] == ["notifications/progress", None]


async def test_nothing_waits_behind_a_request_that_was_a_frame_first() -> None:
    """A request behind a GATE that waits holds up the others only until it is known to be a request."""
    gates = Gates(held=lambda message: getattr(message, "id", None) == 1)

    async def gate(_frame: Any, _connection: Any) -> None:
        await asyncio.sleep(0)

    async with rig(ring("first", Layer.GATE, on_receive=gate), *gates.plugins, role="server") as r:
        for data in (call(1), call(2), notification("notifications/initialized")):
            r.post(r.from_client, data)
        for _ in range(20):
            await asyncio.sleep(0)
        assert [data.get("id") for data in r.reached] == [2, None]
        await r.send(r.from_client, cancel(1))
        assert (gates.stopped, r.session.busy) == ([1], True)  # request 2 is in flight
        assert len(r.reached) == 2


# --- cancelling ---


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_a_waiting_request_that_is_cancelled_just_ends(steps: int, role: Role) -> None:
    """A cancelled request that waits in a hook ends: nothing is forwarded, nobody is answered, its task stops (A58)."""
    seen: list[str] = []
    gates = Gates()
    async with rig(*gates.plugins, role=role) as r:
        task = r.post(r.from_client, call("7"))
        assert task is not None
        r.from_client.exchanges.flight[7].defer(seen.append)
        for _ in range(steps):
            await asyncio.sleep(0)
        r.post(r.from_client, cancel(7))
        await r.settle()
        assert task.cancelled()
        assert (r.reached, r.replies) == ([], [])
        assert seen == ["cancelled"]
        assert gates.stopped == (["7"] if steps else [])
        assert not r.session.busy
        await r.answer(id=7)
        assert r.replies == []


async def test_a_cancelled_waiting_request_makes_its_ticket_known_once() -> None:
    """The carrier learns once that a cancelled request gets no answer."""
    gates = Gates()
    async with rig(*gates.plugins, bytes_only=False) as r:
        r.post(r.from_client, call(1), ticket="t1")
        await asyncio.sleep(0)
        r.post(r.from_client, cancel(1))
        await r.settle()
        assert r.client.unanswered_tickets == ["t1"]
        assert [event.code for event in r.recorder.events if event.category == "outcome"] == []


async def test_a_cancelled_call_is_recorded_once() -> None:
    """A call that is cancelled while it waits for its verdict has one outcome in the record."""

    async def judge(_call: Any, _connection: Any) -> None:
        await asyncio.Event().wait()

    async with rig(ring("judge", on_tool_call=judge)) as r:
        r.post(r.from_client, call(1))
        await asyncio.sleep(0)
        await r.send(r.from_client, cancel(1))
        assert r.recorder.codes.count("core.cancelled") == 1


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("named", ["7", 7, "07"])
async def test_a_cancel_is_forwarded_with_the_asker_s_id(named: Any, role: Role) -> None:
    """A sent request that is cancelled is cancelled at its peer, under the id that the peer knows (A58)."""
    seen: list[tuple[Any, str]] = []
    async with rig(outcomes_of(seen), role=role) as r:
        await r.send(r.from_client, call("7"))
        await r.send(r.from_client, cancel(named))
        assert r.reached[1]["params"] == {"requestId": "7"}
        assert seen == [("7", "cancelled")]
        await r.answer(id=7)
        assert r.replies == []
        assert "core.unmatched" not in r.recorder.codes  # late, and expected
        await r.answer(id=7)
        assert r.recorder.codes[-1] == "core.unmatched"


async def test_a_cancel_of_what_is_not_in_flight_is_dropped() -> None:
    """A cancel of an unknown id, of an answered request, or of the other side's request reaches nobody (A58)."""
    async with rig() as r:
        await r.call(id=1)
        await r.answer(id=1)
        await r.call(id=2)
        for id in (1, 5, "x"):
            await r.send(r.from_client, cancel(id))
        await r.send(r.from_server, cancel(2))
        assert (len(r.reached), len(r.replies)) == (2, 1)
        await r.answer(id=2)
        assert len(r.replies) == 2


async def test_a_refused_cancel_cancels_nothing() -> None:
    """A cancel that a rule refuses leaves its request in flight."""

    def hook(message: Message, _connection: Any) -> None:
        if message.method == "notifications/cancelled":
            raise Refused("no.cancel", "no")

    async with rig(ring("no", on_send=hook)) as r:
        await r.call()
        await r.send(r.from_client, cancel(1))
        await r.answer()
        assert (len(r.reached), len(r.replies)) == (1, 1)


async def test_a_cancel_that_waits_may_come_too_late() -> None:
    """A request that is answered while its cancel waits in a hook is answered; the cancel is dropped."""
    gates = Gates(held=lambda message: message.kind == "notification")
    async with rig(*gates.plugins) as r:
        await r.call()
        r.post(r.from_client, cancel(1))
        await asyncio.sleep(0)
        r.post(r.from_server, result(1))
        gates.open(None)
        await r.settle()
        assert (len(r.reached), len(r.replies)) == (1, 1)


async def test_a_cancel_without_an_id_passes() -> None:
    """Since 2025-11-25 a cancel may name no request."""
    async with rig() as r:
        await r.send(r.from_client, notification("notifications/cancelled", {"reason": "x"}))
        assert len(r.reached) == 1


# --- too many wait ---


async def test_what_waits_is_bounded() -> None:
    """When too many messages of one direction wait, a request is refused as busy and a notification dropped (X.6)."""
    gates = Gates()
    async with rig(*gates.plugins, toml="[core.bounds]\nwaiting = 2") as r:
        for id in (1, 2, 3):
            r.post(r.from_client, call(id))
        r.post(r.from_client, notification("notifications/initialized"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert (names(r.replies), r.codes) == ([3], ["core.busy"])
        assert gates.seen == [1, 2]
        gates.open(1, 2)
        await r.settle()
        assert names(r.reached) == [1, 2]
        assert r.recorder.codes.count("core.busy") == 2
        gates.open(4)
        await r.send(r.from_client, call(4))
        assert names(r.reached) == [1, 2, 4]


async def test_an_answer_that_may_not_wait_becomes_an_error() -> None:
    """When too many messages wait, the asker of one more answer is told."""
    gates = Gates(held=lambda message: message.toward == "client")
    async with rig(*gates.plugins, toml="[core.bounds]\nwaiting = 1") as r:
        await r.call()
        r.post(r.from_server, note("a"))
        r.post(r.from_server, result(1))
        for _ in range(5):
            await asyncio.sleep(0)
        gates.open("a")
        await r.settle()
        assert (names(r.replies), r.codes) == (["a", 1], ["core.busy"])


async def test_a_refusal_is_recorded_even_when_too_many_wait() -> None:
    """A refusal that may not wait for its sink is recorded all the same, and its asker is told."""
    recorded: list[str] = []
    go = asyncio.Event()

    async def sink(event: Event) -> None:
        if event.category == "refusal":
            await go.wait()
        recorded.append(event.code)

    slow = ring("sink", on_audit=sink, required=True)
    async with rig(slow, toml="[core.bounds]\nwaiting = 1", record=False) as r:
        for id in (1, 2):
            r.post(r.from_client, request("no/such", id=id))
        for _ in range(5):
            await asyncio.sleep(0)
        assert names(r.replies) == [2]
        go.set()
        await r.settle()
        assert names(r.replies) == [2, 1]
        assert recorded.count("core.method_unknown") == 2


# --- time-outs ---

TIMEOUT = "core.request_timeout = 60.0"


@pytest.mark.parametrize("role", ROLES)
async def test_a_request_without_an_answer_ends(role: Role) -> None:
    """After the time-out the asker gets an error, the peer a cancel, and a late answer is dropped quietly."""
    seen: list[tuple[Any, str]] = []
    async with rig(outcomes_of(seen), toml=TIMEOUT, role=role) as r:
        await r.call(id="7")
        fire(r, 7)
        await r.settle()
        assert seen == [("7", "timed_out")]
        assert (r.replies[0]["id"], r.codes, r.error()["code"]) == ("7", ["core.timed_out"], -32005)
        assert r.reached[1]["method"] == "notifications/cancelled"
        assert r.reached[1]["params"]["requestId"] == "7"
        await r.answer(id=7)
        assert len(r.replies) == 1
        assert "core.unmatched" not in r.recorder.codes
        assert r.recorder.codes.count("core.timed_out") == 1


async def test_a_request_that_timed_out_was_answered() -> None:
    """The carrier of a request that times out is not told that it gets no answer: it got an error."""
    async with rig(toml=TIMEOUT, bytes_only=False) as r:
        r.post(r.from_client, call(1), ticket="t1")
        fire(r, 1)
        await r.settle()
        assert (r.client.tickets, r.client.unanswered_tickets) == (["t1"], [])


async def test_a_time_out_of_another_request_is_recorded_too() -> None:
    """A request that is no call and times out leaves an event."""
    async with rig(toml=TIMEOUT) as r:
        await r.send(r.from_client, request("tools/list"))
        fire(r, 1)
        await r.settle()
        [event] = r.recorder.of("core.timed_out")
        assert (event.method, event.exchange) == ("tools/list", f"{r.connection.id}.1")


async def test_an_answer_stops_the_timer() -> None:
    """A request that is answered, cancelled or refused has no timer left."""
    async with rig(toml=TIMEOUT) as r:
        await r.call(id=1)
        await r.call(id=2)
        timers = [r.from_client.exchanges.flight[id].timer for id in (1, 2)]
        await r.answer(id=1)
        await r.send(r.from_client, cancel(2))
        assert all(timer.cancelled() for timer in timers)


async def test_a_subscription_never_times_out() -> None:
    """``subscriptions/listen`` has no timer: it lasts as long as its stream."""
    async with rig(toml=TIMEOUT) as r:
        await r.send(r.from_client, LISTEN)
        assert r.from_client.exchanges.flight[1].timer is None
        await r.call(id=2)
        assert r.from_client.exchanges.flight[2].timer is not None


async def test_a_waiting_request_that_times_out_is_not_sent() -> None:
    """A request that times out in a hook stops there: its asker is told, its peer never heard of it."""
    gates = Gates()
    async with rig(*gates.plugins, toml=TIMEOUT) as r:
        r.post(r.from_client, call(1))
        await asyncio.sleep(0)
        fire(r, 1)
        await r.settle()
        assert (r.reached, r.codes, gates.stopped) == ([], ["core.timed_out"], [1])


@pytest.mark.parametrize("refuse", [False, True])
async def test_an_answer_that_waits_past_the_time_out_is_dropped(refuse: bool) -> None:
    """An asker that was told of a time-out gets no second answer, neither the answer nor its refusal."""
    go = asyncio.Event()

    async def hook(message: Message, _connection: Any) -> None:
        await go.wait()
        if refuse:
            raise Refused("no.answers", "no")

    seen: list[tuple[Any, str]] = []
    async with rig(ring("slow", on_receive=hook), outcomes_of(seen), toml=TIMEOUT) as r:
        await r.call()
        exchange = r.from_client.exchanges.flight[1]
        r.post(r.from_server, result(1))
        await asyncio.sleep(0)
        exchange.timer._run()
        go.set()
        await r.settle()
        assert r.codes == ["core.timed_out"]
        assert (len(r.replies), seen) == (1, [(1, "timed_out")])


async def test_a_hook_that_refuses_as_it_is_stopped_answers_nobody_twice() -> None:
    """A hook that turns its cancellation into a refusal changes nothing for an asker that was told already."""

    async def hook(_message: Message, _connection: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Refused("no.way", "no") from None

    async with rig(ring("no", on_send=hook), toml=TIMEOUT) as r:
        r.post(r.from_client, call(1))
        await asyncio.sleep(0)
        fire(r, 1)
        await r.settle()
        assert (r.codes, r.reached) == (["core.timed_out"], [])


async def test_an_answer_whose_record_is_late_answers_nobody_twice() -> None:
    """An answer that waits for a sink past the time-out is dropped: its asker was told."""
    go = asyncio.Event()

    async def sink(event: Event) -> None:
        if event.category == "outcome":
            await go.wait()

    async with rig(ring("sink", on_audit=sink, required="both"), toml=TIMEOUT) as r:
        await r.call()
        exchange = r.from_client.exchanges.flight[1]
        r.post(r.from_server, result(1))
        await asyncio.sleep(0)
        exchange.timer._run()
        go.set()
        await r.settle()
        assert r.codes == ["core.timed_out"]
        assert len(r.replies) == 1


# --- closing ---


@pytest.mark.parametrize("role", ROLES)
async def test_closing_ends_everything(role: Role) -> None:
    """Closing ends requests in flight, requests and answers that wait, and tells the guard; nothing is left."""
    seen: list[str] = []
    gates = Gates(held=lambda message: message.id == 2 or message.kind in ("result", "notification"))
    async with rig(*gates.plugins, role=role) as r:
        for id in (1, 2, 3):
            r.post(r.from_client, call(id))
            r.from_client.exchanges.flight[id].defer(seen.append)
        for _ in range(5):
            await asyncio.sleep(0)
        for data in (result(3), note("a"), note("b")):
            r.post(r.from_server, data)
        await asyncio.sleep(0)
        session = r.session
        assert session in r.guard._sessions
        await session.close()
        assert seen == ["closed"] * 3
        assert not session.busy
        assert session not in r.guard._sessions
        assert (names(r.reached), r.replies) == ([1, 3], [])
        await session.close()
        await r.settle()
        assert r.recorder.codes.count("core.disconnected") == 1


async def test_a_closed_session_takes_nothing() -> None:
    """What comes in after the end reaches nobody and opens nothing."""
    async with rig() as r:
        await r.session.close()
        await r.call()
        await r.send(r.from_server, note("a"))
        assert await r.passed(call(2)) is None
        assert (r.reached, r.replies, r.session.busy) == ([], [], False)
        with pytest.raises(Refused, match="closed"):
            await r.session.request("ping")


async def test_closing_does_not_wait_for_ever() -> None:
    """A hook that swallows its cancellation holds up the end of its session for the deadline, not longer."""
    stubborn = asyncio.Event()

    async def hook(_message: Message, _connection: Any) -> None:
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue

    async with rig(ring("stubborn", on_send=hook), toml="[core.bounds]\ndeadline = 0.05") as r:
        r.post(r.from_client, call(1))
        await asyncio.sleep(0)
        await r.session.close()
        assert r.reached == []
        stubborn.set()
        await r.settle()
        assert r.reached == []


# --- in the caller's own task ---


async def test_a_refused_request_is_returned_to_the_caller() -> None:
    """A host's own task gets the refusal of a request, and writes it nowhere."""

    async def judge(_call: Any, _connection: Any) -> None:
        await asyncio.sleep(0)
        raise Refused("no.way", "no")

    async with rig(ring("no", on_tool_call=judge), bytes_only=False) as r:
        reply = await r.passed(call(1))
        assert reply is not None
        assert (reply["id"], reply["error"]["data"]["code"]) == (1, "no.way")
        assert (r.reached, r.replies) == ([], [])


async def test_a_caller_that_goes_away_leaves_nothing() -> None:
    """A request whose sender is cancelled while it waits ends, in a hook and while its refusal is recorded."""
    seen: list[str] = []

    async def sink(event: Any) -> None:
        if event.code == "no.way":
            await asyncio.Event().wait()

    async def hook(message: Message, _connection: Any) -> None:
        if message.id == 1:
            await asyncio.Event().wait()
        raise Refused("no.way", "no")

    slow = ring("sink", on_audit=sink, required=True)
    async with rig(ring("no", on_send=hook), slow, bytes_only=False, record=False) as r:
        for id in (1, 2):
            task = asyncio.ensure_future(r.passed(call(id)))
            await asyncio.sleep(0)
            r.session.out.exchanges.flight[id].defer(seen.append)
            for _ in range(5):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert (seen, r.session.busy, r.reached) == (["cancelled"] * 2, False, [])


@pytest.mark.parametrize("end", ["cancel", "time out", "close"])
async def test_the_end_of_an_exchange_stops_what_its_caller_waits_for(end: str) -> None:
    """A request that waits in its caller's own task stops when it is cancelled, times out, or its session closes."""
    gates = Gates()
    toml = TIMEOUT + "\n[core.bounds]\ndeadline = 3600.0"
    async with rig(*gates.plugins, bytes_only=False, toml=toml) as r:
        task = asyncio.ensure_future(r.passed(call(1)))
        for _ in range(3):
            await asyncio.sleep(0)
        if end == "cancel":
            gates.open(None)
            assert await r.passed(cancel(1)) is None
        elif end == "time out":
            fire(r, 1)
        else:
            await r.session.close()
        async with asyncio.timeout(20):
            assert await task is None
        assert (gates.stopped, r.reached, r.codes) == ([1], [], ["core.timed_out"] if end == "time out" else [])


async def test_context_variables_of_a_caller_are_its_own() -> None:
    """What a hook sets while a message crosses in its caller's task does not reach the caller (A74)."""
    seen: list[str] = []

    def hook(_message: Message, _connection: Any) -> None:
        seen.append(WHO.get())
        WHO.set("hook")

    async with rig(ring("who", on_send=hook), bytes_only=False) as r:
        WHO.set("caller")
        for id in (1, 2):
            assert await r.passed(call(id)) is None
        assert (seen, WHO.get()) == (["caller", "caller"], "caller")


async def test_what_waits_for_its_write_is_written_in_order() -> None:
    """Notifications that wait for a slow port leave in order of arrival."""
    async with rig(bytes_only=False) as r:
        r.client.held = asyncio.Event()
        for n in "abc":
            r.post(r.from_server, note(n))
        await asyncio.sleep(0)
        r.client.held.set()
        await r.settle()
        assert names(r.replies) == ["a", "b", "c"]


# --- ports that break ---


@pytest.mark.parametrize("role", ROLES)
async def test_a_port_that_fails_stops_no_session(role: Role, caplog: pytest.LogCaptureFixture) -> None:
    """A port that raises costs its own message: exchanges end, and the session goes on."""
    seen: list[tuple[Any, str]] = []
    async with rig(outcomes_of(seen), role=role) as r:
        deliver = r.client.deliver

        def broken(data: Any, ticket: Any) -> Any:
            raise OSError("gone")

        await r.call(id=1)
        await r.call(id=2)
        r.client.deliver = broken  # type: ignore[method-assign]
        await r.answer(id=1)
        await r.send(r.from_client, call(3, ""))
        await r.send(r.from_server, note("a"))
        r.client.deliver = deliver  # type: ignore[method-assign]
        await r.answer(id=2)
        assert names(r.replies) == [2]
        assert (1, "refused") in seen
        assert (2, "answered") in seen
        assert not r.session.busy
        assert "could not be written" in caplog.text


async def test_a_request_that_cannot_be_written_is_refused_and_not_sent() -> None:
    """A request that its port does not take is answered with an error, and its exchange was never sent."""
    kept: list[Any] = []

    def hook(message: Message, _connection: Any) -> None:
        kept.append(message.exchange)

    async with rig(ring("keep", on_send=hook)) as r:

        def broken(data: Any, ticket: Any) -> Any:
            raise OSError("gone")

        r.server.deliver = broken  # type: ignore[method-assign]
        await r.call()
        assert (r.codes, kept[0].sent, kept[0].outcome) == (["core.internal"], False, "refused")
        assert not r.from_client.exchanges.tombstones


# --- context variables ---


async def test_context_variables_stay_with_their_message() -> None:
    """What a hook leaves in a context variable is gone with its message, in plain and in async chains (A74)."""
    seen: list[tuple[Any, str, str]] = []

    def plain(message: Message, _connection: Any) -> None:
        before = WHO.get()
        WHO.set(str(message.params["data"]))
        seen.append((message.params["data"], "plain", before))

    async def slow(message: Message, _connection: Any) -> None:
        await asyncio.sleep(0)
        seen.append((message.params["data"], "async", WHO.get()))

    async with rig(ring("plain", Layer.POLICY, on_receive=plain)) as r:
        for n in "ab":
            r.post(r.from_server, note(n))
        assert seen == [("a", "plain", "nobody"), ("b", "plain", "nobody")]
    del seen[:]
    async with rig(ring("plain", Layer.ADMIT, on_receive=plain), ring("slow", on_receive=slow)) as r:
        for n in "ab":
            r.post(r.from_server, note(n))
        await r.settle()
        assert sorted(seen) == [(n, *rest) for n in "ab" for rest in (("async", n), ("plain", "nobody"))]
    assert WHO.get() == "nobody"


async def test_a_given_context_is_read_and_not_changed() -> None:
    """A message runs in the context of its sender; what its hooks set does not reach the sender."""
    seen: list[str] = []

    def hook(_message: Message, _connection: Any) -> None:
        seen.append(WHO.get())
        WHO.set("hook")

    sender = contextvars.copy_context()
    sender.run(WHO.set, "sender")
    async with rig(ring("who", on_receive=hook)) as r:
        r.session.receive(r.session.inn, b'{"jsonrpc":"2.0","method":"notifications/initialized"}', context=sender)
        r.session.receive(
            r.session.inn,
            b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}',
            context=sender,
        )
        assert (seen, sender[WHO]) == (["sender"], "sender")


# --- the guard as asker ---


async def asked(r: Rig, method: str = "ping", **options: Any) -> tuple[asyncio.Task[Any], str]:
    """Let the guard ask; return the task and the id that it uses."""
    before = len(r.far.got)
    task = asyncio.ensure_future(r.session.request(method, **options))
    for _ in range(9):
        await asyncio.sleep(0)
    assert len(r.far.got) == before + 1
    id: str = r.far.got[-1]["id"]
    return task, id


async def test_the_answer_to_the_guard_passes_the_hooks_and_reaches_nobody() -> None:
    """The guard's own request: its answer meets the hooks, reaches the guard, and neither peer."""
    seen: list[str] = []
    async with rig(ring("watch", on_receive=lambda message, _c: seen.append(message.kind))) as r:
        task, id = await asked(r)
        assert id.startswith("hauberk:")
        await r.send(r.session.inn, {"jsonrpc": "2.0", "id": id, "result": {"x": 1}})
        assert await task == {"x": 1}
        assert (seen, r.near.got, r.session.busy) == (["result"], [], False)


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_but_the_peer_answers_the_guard(role: Role) -> None:
    """The host's side can neither answer nor cancel what the guard asked its peer."""
    async with rig(role=role) as r:
        task, id = await asked(r)
        await r.send(r.session.out, {"jsonrpc": "2.0", "id": id, "result": {"forged": True}})
        await r.send(r.session.out, cancel(id))
        assert not task.done()
        assert len(r.far.got) == 1
        await r.send(r.session.inn, {"jsonrpc": "2.0", "id": id, "result": {}})
        assert await task == {}


async def test_a_peer_cannot_guess_the_guard_s_ids() -> None:
    """Each request of the guard has a random id of its own."""
    async with rig() as r:
        pairs = [await asked(r) for _ in range(3)]
        assert len({id for _, id in pairs}) == 3
        assert all(len(id) == len("hauberk:") + 16 for _, id in pairs)
        for task, id in pairs:
            await r.send(r.session.inn, {"jsonrpc": "2.0", "id": id, "result": {}})
            await task


async def test_a_refused_or_failed_answer_raises() -> None:
    """The guard learns of an answer that was refused, and of one that is an error."""

    def hook(message: Message, _connection: Any) -> None:
        if message.kind == "result":
            raise Refused("no.answers", "not this")

    async with rig(ring("no", on_receive=hook)) as r:
        answers: list[dict[str, Any]] = [{"result": {}}, {"error": {"code": 1, "message": "not this"}}]
        for answer in answers:
            task, id = await asked(r)
            await r.send(r.session.inn, {"jsonrpc": "2.0", "id": id} | answer)
            with pytest.raises(Refused, match="not this"):
                await task
        assert r.near.got == []


async def test_the_guard_does_not_wait_for_ever() -> None:
    """A request of the guard that is not answered in time fails; its late answer is dropped quietly."""
    async with rig() as r:
        task, id = await asked(r, seconds=0.01)
        with pytest.raises(TimeoutError):
            await task
        await r.send(r.session.inn, {"jsonrpc": "2.0", "id": id, "result": {}})
        assert (r.near.got, r.recorder.of("core.unmatched"), r.session.busy) == ([], [], False)


async def test_closing_ends_what_the_guard_asked() -> None:
    """A request of the guard fails at once when its session closes."""
    async with rig() as r:
        task, _ = await asked(r)
        await r.session.close()
        with pytest.raises(Refused, match="closed"):
            await task


async def test_the_guard_lists_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard asks one server for at most one list a second, however many want one."""
    async with rig() as r:
        slept: list[float] = []
        sleep = asyncio.sleep

        async def turn(seconds: float) -> None:
            if seconds:
                slept.append(seconds)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", turn)
        for _ in range(3):
            task, id = await asked(r, "tools/list")
            await r.send(r.session.inn, {"jsonrpc": "2.0", "id": id, "result": {"tools": []}})
            await task
        r.clock.turn(10.0)
        task, id = await asked(r, "tools/list")
        assert slept == [1.0, 2.0]
        task.cancel()


async def test_a_notification_of_the_guard_goes_to_the_wire() -> None:
    """What the guard tells its peer goes to the wire only."""
    async with rig(role="server") as r:
        await r.session.notify("notifications/tools/list_changed")
        assert (r.far.got, r.near.got) == ([{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}], [])
