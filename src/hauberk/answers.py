"""Results and errors: one that somebody asked for goes to the asker, through the hooks, and ends the exchange."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from hauberk import embedded
from hauberk.exchange import Exchange, Outcome
from hauberk.message import Message
from hauberk.methods import CACHEABLE_METHODS

if TYPE_CHECKING:
    from hauberk.crossing import Crossing, Walk


def cross(crossing: Crossing, message: Message) -> Walk | None:
    """Take an answer that was matched to its request to the asker.

    Returns:
        The rest of its way, where somebody has a say in it or it waits.
    """
    exchange, result = crossing.asked, message.data.get("result")
    # How its peer answered, whatever hooks make of it, for who looks when the exchange ends.
    if result is None:
        exchange.error = message.data["error"]["code"]
    elif exchange.tool:
        exchange.failed = result.get("isError") is True
    heard = crossing.encoded is None or crossing.policy.recorder.both or message.method in CACHEABLE_METHODS
    if heard or crossing.after is not None or exchange.resolve is not None or (result is not None and _asks(result)):
        return _walk(crossing, exchange, message)
    if result is not None:
        _settle(crossing, exchange, message, result)
    outcome: Outcome = "error" if result is None else "answered"
    left = crossing.write(message, None, message.data)
    _ = _record(crossing, exchange, message, outcome)
    if left is not None:
        return _end(exchange, outcome, left)
    exchange.end(outcome)
    return None


def _walk(crossing: Crossing, exchange: Exchange, message: Message) -> Walk:
    inward = crossing.route.inward
    try:
        if crossing.way.outward:
            message = yield from crossing.hooks(message)
        elif inward.steps:
            message = crossing.walk(inward, message) if inward.plain else (yield from crossing.through(inward, message))
    finally:
        crossing.session.lists.news += message.method in CACHEABLE_METHODS
    result = message.data.get("result")
    if result is not None:
        if _asks(result):
            passed = yield from embedded.requests(crossing, message, result)
            message = message if passed is result else message.with_result(passed)
        if message.method in CACHEABLE_METHODS:
            message = _uncached(crossing, message, message.data["result"])
        else:
            _settle(crossing, exchange, message, message.data["result"])
    outcome: Outcome = "answered" if message.kind == "result" else "error"
    both = crossing.policy.recorder.both
    if both and (recorded := _record(crossing, exchange, message, outcome)) is not None:
        yield recorded
        crossing.alive()
    if crossing.after is not None:
        yield from crossing.turn()
    left = _leave(crossing, exchange, message)
    if not both:
        _ = _record(crossing, exchange, message, outcome)
    if left is not None:
        yield left
    exchange.end(outcome)


def _end(exchange: Exchange, outcome: Outcome, left: Awaitable[None]) -> Walk:
    """End an exchange once its answer is written."""
    yield left
    exchange.end(outcome)


def _asks(result: dict[str, Any]) -> bool:
    """Whether an answer asks something itself, or mints what its retry will bring."""
    return "inputRequests" in result or "requestState" in result


def _leave(crossing: Crossing, exchange: Exchange, message: Message) -> Awaitable[None] | None:
    if exchange.resolve is None:
        return crossing.write(message, None, message.data)
    exchange.resolve(message.data)  # the guard itself asked
    return None


def _record(crossing: Crossing, exchange: Exchange, message: Message, outcome: Outcome) -> Awaitable[None] | None:
    """Record what was noted, and how a tool call ended; return what is to be awaited for a sink that wants both."""
    recorder = crossing.policy.recorder
    if not (exchange.tool and recorder.used):
        if crossing.notes:
            crossing.flush()
        return None
    details: dict[str, Any] = {"seconds": round(crossing.session.guard.clock() - exchange.started, 6)}
    if (message.data.get("result") or {}).get("isError") is True:
        details["isError"] = True
    event = crossing.session.reports.ended(exchange, outcome, message.size, details)
    events = [*crossing.completed(), event] if crossing.notes else (event,)
    if recorder.both:
        return recorder.barrier(events, results=True)
    recorder.note(events)
    return None


def _settle(crossing: Crossing, exchange: Exchange, message: Message, result: dict[str, Any]) -> None:
    """Take from a result what the session has to know."""
    if exchange.tool and ("task" in result or "taskId" in result):
        crossing.session.tasks.remember(exchange, result, crossing.way.opposite.exchanges)
    elif message.method == "initialize":
        crossing.session.learn(result)


def _uncached(crossing: Crossing, message: Message, result: dict[str, Any]) -> Message:
    """Let no client keep a list: what a rule hides later must not be shown from a cache (SEP-2549)."""
    if message.toward != "client":
        return message
    if result.get("ttlMs", 0) == 0 and result.get("cacheScope", "private") == "private":
        return message
    crossing.encoded = None
    kept = {key: value for key, value in (("ttlMs", 0), ("cacheScope", "private")) if key in result}
    return replace(message, data={**message.data, "result": {**result, **kept}}, first=message.original)
