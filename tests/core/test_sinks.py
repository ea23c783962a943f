"""Events reach every sink in order; what a required sink cannot record does not pass."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.core.harness import Clock, Recorder, call_params, make_rig, notification, request, rig, ring

from hauberk.event import Event
from hauberk.message import Message
from hauberk.refusals import Refused
from hauberk.testing import refusal_code
from hauberk.verdict import Allow, Deny

SECRET = "hunter2-in-an-exception"
ELSEWHERE = "elsewhere"
HASTE = "[core.bounds]\nsink_deadline = 0.02\n"


async def forever(*_: Any) -> None:
    """Record nothing, and never return."""
    await asyncio.Event().wait()


class Log:
    """What one sink was given; it fails while ``fault`` is set."""

    def __init__(self, fault: BaseException | None = None, *, only: str = "core.allowed") -> None:
        self.events: list[Event] = []
        self.fault = fault
        self.only = only

    def plain(self, event: Event) -> None:
        if self.fault is not None and event.code == self.only:
            raise self.fault
        self.events.append(event)

    async def asynchronous(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.plain(event)

    def sink(self, name: str = "sink", *, waits: bool | str = False, required: Any = True) -> Any:
        async def on_audit(event: Event) -> None:
            await self.asynchronous(event)

        if waits == ELSEWHERE:
            return self._elsewhere(name, required)
        return ring(name, on_audit=on_audit if waits else self.plain, required=required)

    def _elsewhere(self, name: str, required: Any) -> Any:
        """Return a sink that takes events, and records them when it is asked."""
        taken: list[Event] = []

        async def record() -> None:
            await asyncio.sleep(0)
            events, taken[:] = list(taken), ()
            for event in events:
                self.plain(event)

        def settled() -> Any:
            return record() if taken else None

        return ring(name, on_audit=taken.append, settled=settled, required=required)

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.events]


FAULTS = [
    OSError("disk full"),
    BaseException(SECRET),
    SystemExit(SECRET),
    asyncio.CancelledError(SECRET),
    RecursionError(SECRET),
    MemoryError(SECRET),
    TimeoutError(SECRET),
    GeneratorExit(SECRET),
    StopAsyncIteration(SECRET),
    Refused("sink.no", SECRET),
]


# --- required ---


@pytest.mark.parametrize("waits", [False, True, ELSEWHERE])
@pytest.mark.parametrize("fault", [pytest.param(fault, id=type(fault).__name__) for fault in FAULTS])
@pytest.mark.parametrize("role", ["client", "server"])
async def test_call_that_cannot_be_recorded_is_refused(fault: BaseException, waits: bool | str, role: Any) -> None:
    """A required sink that raises anything stops the call that was allowed; the process lives, and once the sink works
    the next call passes (A68, X.16).
    """
    log = Log(fault)
    async with rig(log.sink(waits=waits), ring("judge", on_tool_call=Allow()), role=role) as r:
        await r.call()
        assert r.reached == []
        assert (r.error()["code"], len(r.replies)) == (-32007, 1)
        (refusal,) = r.recorder.of("core.unrecorded")
        assert refusal.plugin == "sink"
        assert r.recorder.of("core.sink_failed")[0].plugin == "sink"
        log.fault = None
        await r.call(id=2)
        assert [message["id"] for message in r.reached] == [2]
        assert SECRET not in repr(r.recorder.events) + repr(r.replies)


@pytest.mark.parametrize("answer", [True, False, "yes", 0, Allow()])
@pytest.mark.parametrize("waits", [False, True, ELSEWHERE])
async def test_sink_that_answers_has_not_recorded(answer: Any, waits: bool | str) -> None:
    """A sink has nothing to say; one that answers is broken, and a required one refuses (A68)."""

    async def on_audit(_: Event) -> Any:
        return answer

    made = make_rig([ring("sink", on_audit=on_audit if waits else answer, required=True)])
    async with made.guard:
        with pytest.raises(Refused, match="could not be recorded"):
            await made.start()


async def test_plain_sink_that_returns_a_coroutine_has_not_recorded() -> None:
    """A plain on_audit that hands on an async function's coroutine records nothing, so it refuses (V14)."""
    log = Log()

    def on_audit(event: Event) -> Any:
        return log.asynchronous(event)

    made = make_rig([ring("sink", on_audit=on_audit, required=True)])
    async with made.guard:
        with pytest.raises(Refused, match="could not be recorded"):
            await made.start()
    assert log.events == []


async def test_async_sink_that_hangs_refuses() -> None:
    """A required sink that never returns holds a call up for its deadline, then the call is refused (A68)."""
    hangs = Log()

    async def on_audit(event: Event) -> None:
        await (forever() if event.code == "core.allowed" else hangs.asynchronous(event))

    async with rig(ring("sink", on_audit=on_audit, required=True), toml=HASTE) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], ["core.unrecorded"])
        assert r.recorder.of("core.sink_failed")[0].details == {"error": "TimeoutError"}


async def test_plain_sink_that_is_late_refuses() -> None:
    """A required plain sink that records past the deadline refuses what it held up."""
    clock = Clock()

    def on_audit(event: Event) -> None:
        clock.turn(60 if event.code == "core.allowed" else 0)

    async with rig(ring("sink", on_audit=on_audit, required=True), clock=clock) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], ["core.unrecorded"])


@pytest.mark.parametrize("waits", [False, True, ELSEWHERE])
async def test_interrupt_in_a_sink_refuses_first(waits: bool | str) -> None:
    """Ctrl-C in a required sink: the refusal is written before the interrupt goes on (A68)."""
    made = make_rig([Log(KeyboardInterrupt()).sink(waits=waits)])

    async def interrupted() -> None:
        await made.guard.open()
        await made.start()
        task = made.post(made.from_client, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a"}})
        assert task is not None
        await task

    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(asyncio.run, interrupted())
    assert (made.far.raw, made.codes) == ([], ["core.unrecorded"])


@pytest.mark.parametrize("waits", [False, True, ELSEWHERE])
async def test_connection_that_cannot_be_recorded_is_refused(waits: bool | str) -> None:
    """A connection is not made before its record, and the other sinks learn that it was refused."""
    made = make_rig([Log(OSError(), only="core.connected").sink(waits=waits)])
    async with made.guard:
        with pytest.raises(Refused) as refused:
            await made.start()
        assert refused.value.code == "core.unrecorded"
        await asyncio.sleep(0)
        (event,) = made.recorder.of("core.unrecorded")
        assert (event.category, event.action, event.plugin) == ("connection", "blocked", "sink")


@pytest.mark.parametrize("waits", [False, True, ELSEWHERE])
async def test_decision_is_recorded_before_the_call_leaves(waits: bool | str) -> None:
    """When the server gets a call, every required sink has its decision (design: the durable barrier)."""
    log = Log()
    async with rig(log.sink(waits=waits)) as r:
        seen: list[list[str]] = []
        r.far.on_deliver = lambda _: seen.append(list(log.codes))
        await r.call()
        (before,) = seen
        assert before[-1] == "core.allowed"


async def test_required_sinks_are_awaited_together() -> None:
    """Required async sinks record at the same time: each waits here until the other has begun."""
    begun: dict[str, asyncio.Event] = {"a": asyncio.Event(), "b": asyncio.Event()}

    def meeting(mine: str, other: str) -> Any:
        async def on_audit(event: Event) -> None:
            if event.code == "core.allowed":
                begun[mine].set()
                await begun[other].wait()

        return ring(mine, on_audit=on_audit, required=True)

    async with rig(meeting("a", "b"), meeting("b", "a")) as r:
        await r.call()
        assert len(r.reached) == 1


@pytest.mark.parametrize("waits", [False, True, ELSEWHERE])
@pytest.mark.parametrize("other_waits", [False, True, ELSEWHERE])
@pytest.mark.parametrize("first", [False, True])
async def test_every_sink_hears_what_one_cannot_record(first: bool, other_waits: bool | str, waits: bool | str) -> None:
    """Whatever the order of the sinks, one that fails keeps no other from hearing of the decision and the refusal."""
    fails = Log(OSError()).sink("fails", waits=waits)
    good, strict = Log(), Log()
    others = [good.sink("good", required=False), strict.sink("strict", waits=other_waits)]
    async with rig(*([fails, *others] if first else [*others, fails])) as r:
        await r.call()
        for log in (good, strict):
            assert {"core.allowed", "core.sink_failed", "core.unrecorded"} <= set(log.codes)


async def test_refusal_is_recorded_by_required_sinks_too() -> None:
    """A denied call is recorded like an allowed one, and a sink that cannot record it changes nothing."""
    log = Log(OSError(), only="p.no")
    async with rig(log.sink(), ring("p", on_tool_call=Deny("p.no", "no"))) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], ["p.no"])
        log.fault = None
        await r.call(id=2)
        assert log.codes.count("p.no") == 1


# --- results ---


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("required", [True, "both"])
async def test_only_both_holds_up_a_result(required: Any, waits: bool | str) -> None:
    """A result waits for its record where a sink says required = "both"; else it passes and the record is queued."""
    log = Log(OSError(), only="core.answered")
    async with rig(log.sink(waits=waits, required=required)) as r:
        await r.call()
        assert len(r.reached) == 1
        await r.answer()
        assert r.codes == (["core.unrecorded"] if required == "both" else [])
        assert len(r.replies) == 1
        assert r.recorder.of("core.sink_failed")[0].plugin == "sink"


@pytest.mark.parametrize("waits", [False, True, ELSEWHERE])
async def test_result_waits_for_no_sink_that_does_not_want_both(waits: bool | str) -> None:
    """Where one sink wants both, another one that is required and fails still holds up no result."""
    log = Log(OSError(), only="core.answered")
    async with rig(log.sink(waits=waits), Log().sink("thorough", required="both")) as r:
        await r.call()
        await r.answer()
        assert (r.codes, len(r.replies)) == ([], 1)


# --- not required ---


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("fault", [pytest.param(fault, id=type(fault).__name__) for fault in FAULTS])
async def test_other_sinks_hold_up_nothing(fault: BaseException, waits: bool | str) -> None:
    """A sink that is not required and fails is reported, and messages pass (X.16)."""
    log = Log(fault)
    async with rig(log.sink(waits=waits, required=False)) as r:
        await r.call()
        assert len(r.reached) == 1
        (event,) = r.recorder.of("core.sink_failed")
        assert (event.plugin, event.severity) == ("sink", "critical")
        await r.answer()
        assert "core.answered" in log.codes


async def test_call_leaves_before_a_sink_that_is_not_required_has_it() -> None:
    """A slow sink that is not required has the record later, and the call has left meanwhile."""
    async with rig(ring("slow", on_audit=forever, required=False), toml=HASTE) as r:
        assert (
            r.post(r.from_client, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a"}}) is None
        )
        assert len(r.reached) == 1


async def test_failing_sink_is_reported_once_until_it_works(caplog: pytest.LogCaptureFixture) -> None:
    """Ten failures in a row are one report to the other sinks and one line on standard error; after a success there is
    a new one.
    """
    log = Log(OSError(SECRET))
    async with rig(log.sink(required=False)) as r:
        for id in range(10):
            await r.call(id=id)
        assert len(r.recorder.of("core.sink_failed")) == 1
        assert [record.getMessage() for record in caplog.records] == ["sink 'sink' failed (OSError)"]
        await r.answer(id=0)
        await r.call(id=11)
        assert len(r.recorder.of("core.sink_failed")) == 2


async def test_sinks_that_fail_over_each_other_s_reports_come_to_rest() -> None:
    """Two sinks that always fail report each other once; nothing goes round for ever."""
    made = make_rig([ring("a", on_audit=raising), ring("b", on_audit=raising)])
    async with made.guard:
        await made.start()
        await made.call()
        await made.settle()
        assert sorted(event.plugin for event in made.recorder.of("core.sink_failed")) == ["a", "b"]


def raising(_: Event) -> None:
    raise OSError(SECRET)


# --- the bound ---


async def test_queue_is_bounded_and_loss_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A sink that is behind holds so many events and no more; that it loses some is said at once, and how many when it
    has caught up (S3.46, X.16).
    """
    gate = asyncio.Event()
    held: list[Event] = []

    async def on_audit(event: Event) -> None:
        await gate.wait()
        held.append(event)

    caplog.set_level(logging.ERROR)
    async with rig(ring("slow", on_audit=on_audit), toml="[core.bounds]\nevents = 5\n") as r:
        await r.settle()
        for id in range(20):
            await r.call(id=id)
        first, *more = r.recorder.of("core.events_lost")
        assert (first.plugin, first.severity, more) == ("slow", "critical", [])
        gate.set()
        for _ in range(30):
            await r.settle()
        lost = r.recorder.of("core.events_lost")[-1].count
        assert len(held) + lost == len([e for e in r.recorder.events if e.code != "core.events_lost"])
        assert len(held) <= 7
        assert f"lost {lost} events" in caplog.text


# --- order, and the end ---


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("required", [False, True])
async def test_events_come_in_order(waits: bool | str, required: bool) -> None:
    """A sink hears of a connection, a decision, its outcome and the end in the order in which they were."""
    log = Log()
    async with rig(log.sink(waits=waits, required=required), ring("p", on_tool_call=Allow("r"))) as r:
        await r.settle()
        await r.call()
        await r.answer()
    codes = ["core.started", "policy.loaded", "core.connected", "core.allowed", "core.answered"]
    codes += ["core.disconnected", "core.stopped"]
    assert log.codes == codes
    assert len({event.id for event in log.events}) == len(codes)


async def test_events_of_one_turn_come_in_order() -> None:
    """What a required sink is still to be given is recorded before what a message waits for."""
    log = Log()
    async with rig(log.sink(), ring("p", on_tool_call=Allow("r"))) as r:
        await r.call()
        log.events.clear()
        r.post(r.from_server, {"jsonrpc": "2.0", "id": 1, "result": {}})
        r.post(r.from_client, request("tools/call", call_params("ls"), id=2))
        assert log.codes == ["core.answered", "core.allowed"]


async def test_notes_stand_before_the_decision_they_led_to() -> None:
    """What hooks noted on the way is recorded before the decision, and each event names its exchange."""
    log = Log()

    def note(message: Message, _: Any) -> None:
        message.note(Event(code="p.saw"))

    async with rig(log.sink(), ring("p", on_send=note)) as r:
        await r.call()
        saw, allowed = log.events[-2:]
        assert (saw.code, allowed.code) == ("p.saw", "core.allowed")
        assert saw.exchange == allowed.exchange == f"{r.connection.id}.1"
        assert (allowed.tool, allowed.method, allowed.server, allowed.host) == ("ls", "tools/call", "files", "default")


async def test_closing_records_what_waits() -> None:
    """A guard that closes gives every sink what is queued, its own last word included, before the plugin is closed."""
    log = Log()
    closed: list[int] = []

    async def slow(event: Event) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        log.plain(event)

    async def close() -> None:
        closed.append(len(log.events))

    sink = ring("sink", on_audit=slow)
    type(sink).close = staticmethod(close)
    async with rig(sink) as r:
        for id in range(10):
            r.post(r.from_client, notification("notifications/initialized"))
            await r.call(id=id)
    assert log.codes[-1] == "core.stopped"
    assert log.codes.count("core.allowed") == 10
    assert closed == [len(log.events)]


async def test_closing_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """A sink that never returns is given up after its deadline, and what it did not take is reported."""
    async with rig(ring("hangs", on_audit=forever), toml=HASTE) as r:
        await r.call()
    assert "sink 'hangs' was too slow and lost" in caplog.text
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_sink_that_swallows_its_cancellation_is_given_up() -> None:
    """A sink that catches its cancellation and goes on holds up neither a refusal nor the end."""
    stop = asyncio.Event()

    async def stubborn(event: Event) -> None:
        while event.code == "core.allowed" and not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue

    async with rig(ring("stubborn", on_audit=stubborn, required=True), toml=HASTE) as r:
        await r.call()
        assert r.codes == ["core.unrecorded"]
    stop.set()


async def test_guard_without_sinks_records_nothing() -> None:
    """Without any sink no event is made, and calls pass."""
    async with rig(record=False) as r:
        assert not r.guard.recorder
        await r.call()
        assert len(r.reached) == 1
        r.guard.emit(Event(code="p.word"))


async def test_plugin_may_emit_on_its_own() -> None:
    """`Guard.emit` records an event that belongs to no message, with id, time and host filled in."""
    recorder: Recorder
    async with rig() as r:
        recorder = r.recorder
        r.guard.emit(Event(code="p.word"))
        await r.settle()
        (event,) = recorder.of("p.word")
        assert (event.host, event.time) == ("default", 1000.0)
        assert event.id


async def test_quick_sink_is_called_at_once() -> None:
    """A sink that says it is quick gets each event before the loop turns, and holds nothing up when it fails (X.16)."""
    seen: list[str] = []

    def put_aside(event: Event) -> None:
        seen.append(event.code)
        if len(seen) > 3:
            raise OSError("full")

    async with rig(ring("fast", on_audit=put_aside, quick=True)) as r:
        seen.clear()
        r.post(r.from_client, request("tools/call", call_params("ls"), id=1))
        assert seen == ["core.allowed"]
        for id in range(2, 9):
            await r.call("ls", id=id)
        assert len(r.reached) == 8
        assert len(r.recorder.of("core.sink_failed")) == 1


async def test_quick_sink_that_answers_is_reported_once_until_it_works() -> None:
    """An answer of a quick sink is a failure of it: said once, and once more after it has worked (X.16)."""
    answers: list[Any] = []

    async with rig(ring("fast", on_audit=lambda _: answers.pop(0) if answers else None, quick=True)) as r:
        answers += [True, Allow(), None, "yes", 0, None, None]
        for id in range(7):
            r.post(r.from_client, request("tools/call", call_params("ls"), id=id + 1))
        await r.settle()
        assert (answers, len(r.reached)) == ([], 7)
        assert [event.details for event in r.recorder.of("core.sink_failed")] == [{"error": "HookError"}] * 2


async def test_interrupt_in_a_quick_sink_is_an_interrupt() -> None:
    """A quick sink swallows no Ctrl-C."""

    def on_audit(event: Event) -> None:
        if event.code == "core.allowed":
            raise KeyboardInterrupt

    made = make_rig([ring("fast", on_audit=on_audit, quick=True)])
    async with made.guard:
        await made.start()
        with pytest.raises(KeyboardInterrupt):
            made.session.receive(
                made.session.out, b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}'
            )


async def test_required_sink_is_never_quick() -> None:
    """A required sink that says it is quick is still recorded in before the message goes on."""
    full = False

    def broken(_: Event) -> None:
        if full:
            raise OSError("full")

    async with rig(ring("fast", on_audit=broken, quick=True, required=True)) as r:
        full = True
        await r.call("ls")
        assert r.reached == []


async def test_async_sink_is_never_quick() -> None:
    """An async sink that says it is quick is awaited behind its queue like any other, so nothing it gets is lost."""
    seen: list[str] = []

    async def later(event: Event) -> None:
        await asyncio.sleep(0)
        seen.append(event.code)

    async with rig(ring("slow", on_audit=later, quick=True)) as r:
        await r.call("ls")
        assert "core.allowed" in seen
        assert r.recorder.of("core.sink_failed") == []


# --- sinks that record elsewhere ---


async def test_what_has_settled_holds_up_nothing() -> None:
    """Where a sink that records elsewhere has recorded all, the message goes on at once."""
    log = Log()
    async with rig(ring("sink", on_audit=log.plain, settled=lambda: None, required=True)) as r:
        assert r.guard.recorder.barrier([Event(code="a.b")]) is None
    assert "a.b" in log.codes


async def test_sink_that_never_settles_refuses() -> None:
    """A sink that records elsewhere and does not come to an end in its time refuses the call."""
    hang = asyncio.Event()

    def settled() -> Any:
        return forever() if hang.is_set() else None

    async with rig(ring("sink", on_audit=lambda _: None, settled=settled, required=True), toml=HASTE) as r:
        hang.set()
        assert refusal_code(await r.call()) == "core.unrecorded"
        hang.clear()


async def test_settling_is_asked_of_required_sinks_only() -> None:
    """A sink that is not required is never waited for, whatever it says of itself."""
    sink = ring("sink", on_audit=lambda _: None, settled=lambda: pytest.fail("not asked"), required=False)
    async with rig(sink) as r:
        await r.call()
        assert len(r.reached) == 1


async def test_sinks_settle_together() -> None:
    """Two sinks that record elsewhere are waited for at the same time; each could refuse."""
    both, waiting = asyncio.Event(), [0]

    async def settling() -> None:
        waiting[0] += 1
        if waiting[0] == 2:
            both.set()
        await both.wait()

    rings = [ring(n, on_audit=lambda _: None, settled=settling, required=True) for n in ("a", "b")]
    loud = Log(OSError("disk full"))
    for sinks, reached in ((rings, 1), ([rings[0], loud.sink("c", waits=ELSEWHERE)], 0)):
        waiting[0], both = 0, asyncio.Event()
        if reached == 0:
            both.set()
        async with rig(*sinks) as r:
            waiting[0] = 0
            await r.call()
            assert len(r.reached) == reached
