"""Results and errors: one that somebody asked for goes to the asker, through the hooks, and ends the exchange."""

from __future__ import annotations

from collections.abc import Awaitable
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
    exchange, policy = crossing.asked, crossing.policy
    inward = policy.chains.inward
    if crossing.way.outward:
        message = yield from crossing.hooks(message)
    elif inward.steps:
        message = crossing.walk(inward, message) if inward.plain else (yield from crossing.through(inward, message))
    if message.result is not None:
        if "inputRequests" in message.result or "requestState" in message.result:
            passed = yield from embedded.requests(crossing, message, message.result)
            message = message if passed is message.result else message.with_result(passed)
        message = _settled(crossing, exchange, message)
    outcome: Outcome = "answered" if message.kind == "result" else "error"
    both = policy.recorder.both
    if both and (recorded := _record(crossing, message, outcome)) is not None:
        yield recorded
        crossing.alive()
    if crossing.after is not None:
        yield from crossing.turn()
    left = _leave(crossing, message)
    if not both:
        _ = _record(crossing, message, outcome)
    if left is not None:
        yield left
    exchange.end(outcome)


def _record(crossing: Crossing, message: Message, outcome: Outcome) -> Awaitable[None] | None:
    """Record what was noted, and how a tool call ended; return what is to be awaited for a sink that wants both."""
    recorder = crossing.policy.recorder
    if not (crossing.asked.tool and recorder.used):
        crossing.flush()
        return None
    return recorder.barrier([*crossing.completed(), _event(crossing, message, outcome)], results=True)


def _leave(crossing: Crossing, message: Message) -> Awaitable[None] | None:
    """Give the asker its answer; the guard may be the asker."""
    exchange = crossing.asked
    if exchange.resolve is None:
        return crossing.write(message, None, message.data)
    exchange.resolve(message.data)
    return None


def _settled(crossing: Crossing, exchange: Exchange, message: Message) -> Message:
    """Take from a result what the session has to know, and return what the asker gets."""
    result, session = message.result or {}, crossing.session
    if message.method in CACHEABLE_METHODS:
        return _uncached(crossing, message, result)
    if exchange.tool:
        session.tasks.remember(exchange, result, crossing.way.opposite.exchanges)
    elif message.method == "initialize":
        session.learn(result)
    return message


def _event(crossing: Crossing, message: Message, outcome: Outcome) -> Event:
    """Return the event of how a tool call ended."""
    exchange = crossing.asked
    details = {"seconds": round(crossing.session.guard.clock() - exchange.started, 6)}
    if message.result is not None and message.result.get("isError") is True:
        details["isError"] = True
    sizes = {"request": exchange.size, "result": message.size}
    return crossing.session.reports.event(crossing, f"core.{outcome}", "outcome", sizes, details)


def _uncached(crossing: Crossing, message: Message, result: dict[str, Any]) -> Message:
    """Let no client keep a list: what a rule hides later must not be shown from a cache (SEP-2549)."""
    if message.toward != "client":
        return message
    if result.get("ttlMs", 0) == 0 and result.get("cacheScope", "private") == "private":
        return message
    crossing.encoded = None
    kept = {key: value for key, value in (("ttlMs", 0), ("cacheScope", "private")) if key in result}
    return replace(message, data={**message.data, "result": {**result, **kept}}, first=message.original)
