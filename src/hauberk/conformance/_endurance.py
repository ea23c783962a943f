"""What a plugin does over time: memory under many peers, and hooks that are cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import tracemalloc
from collections.abc import Iterator
from typing import Any, Final

from hauberk.conformance import _corpus as corpus
from hauberk.conformance._corpus import Sample
from hauberk.conformance._drive import Meeting, Outcome, end, exchange_of, give, item, made, meetings
from hauberk.conformance._subject import Fault, Opened, Subject, shown, unique
from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.exchange import Outcome as Ending

_LONG: Final = 96
"""Characters that fill up the name of a peer: an outsider chooses long ones."""
_TURNS: Final = 16
_ENDINGS: Final[tuple[Ending, ...]] = ("answered", "error", "refused", "cancelled", "timed_out", "closed")
_SAMPLES: Final = (
    Sample("request", "server", "tools/call", corpus.PARAMS["tools/call"]),
    Sample("result", "client", "tools/list", corpus.RESULTS["tools/list"]),
    Sample("result", "client", "tools/call", corpus.RESULTS["tools/call"]),
    Sample("notification", "server", "vendor/unheard-of", {}),
)


# --- memory ---


async def bounded_memory(subject: Subject) -> list[Fault]:
    """Let as many peers come as may fill what is bounded, then as many again, and see what the later ones add."""
    peers, growth = subject.limits.peers, subject.limits.peers * subject.limits.each
    with _traced():
        async with subject.opened() as opened:
            await _crowd(opened, 0, peers)
            before = _held()
            await _crowd(opened, peers, 2 * peers)
            added = _held() - before
            if added <= growth:
                return []
            where = await _culprit(opened, 2 * peers, subject.own())
    return [Fault(f"{peers} peers after the first {peers} added {added} bytes, {growth} are allowed", where)]


async def _crowd(opened: Opened, first: int, last: int) -> None:
    """Let each peer connect, call, be answered and be recorded once."""
    for number in range(first, last):
        for meeting in _visit(opened, number):
            await give(meeting)
            end(meeting)
        opened.clock.turn(0.01)
        if number % 256 == 0:
            await asyncio.sleep(0)
            opened.recorder.events.clear()
    settled = getattr(opened.plugin, "settled", None)
    if settled is not None and (settling := settled()) is not None:
        await settling  # what a thread of the plugin has not done yet is not what it keeps


def _visit(opened: Opened, number: int) -> Iterator[Meeting]:
    name = f"{number:x}".ljust(_LONG, "-")
    who = corpus.principal(f"user:{name}")
    client = corpus.connection("client", f"s{name}", id=f"c{name}", who=who)
    server = corpus.connection("server", f"s{name}", id=f"c{name}", who=who)
    for step in opened.steps:
        if step.hook == "on_connect":
            yield Meeting(step, (client if number % 2 else server,), "a connection")
        elif step.hook == "on_audit":
            yield Meeting(step, (_event(name, who.id),), "an event")
        else:
            yield from _messages(step, client if (step.hook == "on_send") == bool(number % 2) else server, number)


def _messages(step: Any, where: Connection, number: int) -> Iterator[Meeting]:
    for sample in _SAMPLES:
        if step.hook == "on_tool_call":
            if sample.kind == "request":
                yield Meeting(step, (corpus.call(made(sample, where, number), where), where), "a call")
        elif (step.hook == "on_send") == (sample.toward == ("server" if where.role == "client" else "client")):
            yield Meeting(step, (item(step, made(sample, where, number), where), where), sample.method)


def _event(name: str, who: str) -> Event:
    return Event(
        "core.allowed", id=name, time=1000.0, category="decision", server=f"s{name}", principal=who, exchange=f"c{name}"
    )


@contextlib.contextmanager
def _traced() -> Iterator[None]:
    already = tracemalloc.is_tracing()
    if not already:
        tracemalloc.start()
    try:
        yield
    finally:
        if not already:
            tracemalloc.stop()


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def _culprit(opened: Opened, first: int, own: set[str]) -> str:
    """Return the line of the plugin that holds most of what some more peers add."""
    before = tracemalloc.take_snapshot()
    await _crowd(opened, first, first + 2000)
    gc.collect()
    grown = tracemalloc.take_snapshot().compare_to(before, "lineno")
    lines = (found.traceback[0] for found in grown if found.size_diff > 0)
    return next((shown(line.filename, line.lineno) for line in lines if line.filename in own), "")


# --- cancellation ---


async def cancellation(subject: Subject) -> list[Fault]:
    """Cancel each async hook at each turn of the loop, and end each request in each way that one can end."""
    async with subject.opened() as opened:
        for meeting in meetings(opened.steps, corpus.usual()):
            reasons = await _cancelled(meeting, subject.limits.patience) or await _ended(meeting)
            if reasons:  # what a plugin holds on to after this says nothing more
                hook = meeting.step.hook
                return unique(Fault(f"{hook} {reason}", subject.place(hook)) for reason in reasons)
    return []


async def _cancelled(meeting: Meeting, patience: float) -> list[str]:
    """Cancel a hook after each turn, until it ends before its cancellation."""
    for turns in range(1, _TURNS if meeting.step.is_async else 0):
        task = asyncio.ensure_future(_called(meeting))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            task.exception()  # it is looked at, whatever it is
            break
        if reason := await _stopped(task, patience) or await _again(meeting, patience):
            return [reason]
    return []


async def _stopped(task: asyncio.Future[Any], patience: float) -> str:
    """Cancel a hook; return what is wrong with how it ends."""
    task.cancel()
    await asyncio.wait({task}, timeout=patience)
    if not task.done():
        task.cancel()
        return f"is not ended by a cancellation within {patience:g} s"
    if task.cancelled():
        return ""
    task.exception()
    return "goes on after it was cancelled: let CancelledError through"


async def _again(meeting: Meeting, patience: float) -> str:
    """Call a hook after it was cancelled; return what is wrong with it now."""
    again = asyncio.ensure_future(give(meeting))
    await asyncio.wait({again}, timeout=patience)
    if not again.done():
        again.cancel()
        return f"does not end within {patience:g} s, after an earlier call was cancelled"
    return f"fails after an earlier call was cancelled ({_kind(again.result())})" if again.result().failed else ""


async def _called(meeting: Meeting) -> Any:
    return await meeting.step.call(*meeting.args)


async def _ended(meeting: Meeting) -> list[str]:
    """Run what a hook deferred to the end of a request, for each way that one ends."""
    exchange = exchange_of(meeting)
    if exchange is None:
        return []
    faults = []
    for ending in _ENDINGS:
        deferred: list[Any] = exchange._deferred  # noqa: SLF001 - the core's own; what they raise is to be seen here
        deferred.clear()
        await give(meeting)
        for function in list(deferred):
            try:
                answer = function(ending)
            except Exception as error:  # noqa: BLE001 - whatever it raises is a fault
                faults.append(f"deferred a function that raises {type(error).__name__} when a request is {ending}")
            else:
                if inspect.iscoroutine(answer):
                    answer.close()
                    faults.append("deferred an async function, which nobody awaits")
    return faults


def _kind(outcome: Outcome) -> str:
    return type(outcome.error).__name__
