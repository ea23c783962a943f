"""Results and errors: one that somebody asked for goes to the asker, through the hooks, and ends the exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from hauberk import embedded
from hauberk.event import Event
from hauberk.exchange import Exchange, Outcome
from hauberk.message import Message
from hauberk.methods import CACHEABLE_METHODS

if TYPE_CHECKING:
    from hauberk.crossing import Crossing, Walk


def cross(crossing: Crossing, message: Message) -> Walk:
    """Take an answer that was matched to its request to the asker."""
    exchange, session = crossing.asked, crossing.session
    if not (crossing.chains.idle_out and crossing.chains.idle_in):
        message = yield from crossing.hooks(message)
    result = message.result
    if result is not None:
        if "inputRequests" in result or "requestState" in result:
            passed = yield from embedded.requests(crossing, message, result)
            if passed is not result:
                message = message.with_result(passed)
        if message.method in CACHEABLE_METHODS:
            message = _uncached(crossing, message, result)
        elif exchange.tool:
            session.tasks.remember(exchange, result, crossing.way.opposite.exchanges)
        elif message.method == "initialize":
            session.learn(result)
    outcome: Outcome = "answered" if message.kind == "result" else "error"
    if exchange.tool and session.guard.recorder:
        yield from _record(crossing, exchange, message, outcome)
    else:
        crossing.flush()
    if exchange.resolve is not None:
        exchange.resolve(message.data)
    else:
        yield from crossing.leave(message, None)
    exchange.end(outcome)


def _record(crossing: Crossing, exchange: Exchange, message: Message, outcome: Outcome) -> Walk:
    """Record how a tool call ended; only a sink that asks for ``both`` is awaited."""
    details = {"seconds": round(crossing.session.guard.clock() - exchange.started, 6)}
    if message.result is not None and message.result.get("isError") is True:
        details["isError"] = True
    sizes = {"request": exchange.size, "result": message.size}
    crossing.note(Event(code=f"core.{outcome}", category="outcome", action="allowed", sizes=sizes, details=details))
    recorder = crossing.session.guard.recorder
    if not recorder.both:
        crossing.flush()
        return
    events = [crossing.session.reports.complete(event, crossing) for event in crossing.notes]
    crossing.notes.clear()
    if (waiting := recorder.barrier(events, results=True)) is not None:
        yield waiting
        crossing.alive()


def _uncached(crossing: Crossing, message: Message, result: dict[str, Any]) -> Message:
    """Let no client keep a list: what a rule hides later must not be shown from a cache (SEP-2549)."""
    result = message.result or result
    if message.toward != "client":
        return message
    if result.get("ttlMs", 0) == 0 and result.get("cacheScope", "private") == "private":
        return message
    crossing.encoded = None
    kept = {key: value for key, value in (("ttlMs", 0), ("cacheScope", "private")) if key in result}
    return replace(message, data={**message.data, "result": {**result, **kept}}, first=message.original)
