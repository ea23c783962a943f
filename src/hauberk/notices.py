"""Notifications: dropped when refused, and never about a request that is not in flight.

``notifications/cancelled`` ends a request of its own sender: one that still waits here ends and nothing is forwarded,
one that was sent leaves a tombstone. ``notifications/progress`` passes only for a token that a request in flight, or
its task, asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hauberk import embedded
from hauberk.event import Event
from hauberk.exchange import Exchange
from hauberk.lists import ACKNOWLEDGED
from hauberk.message import Message
from hauberk.ways import Stopped

if TYPE_CHECKING:
    from hauberk.crossing import Crossing, Walk


def cross(crossing: Crossing, message: Message) -> Walk:
    """Take a notification to the other side."""
    if message.method == "notifications/progress":
        _expect(crossing, message)
    cancelled: Exchange | None = None
    if message.method == "notifications/cancelled" and "requestId" in message.params:
        cancelled = _cancelled(crossing, message)
    try:
        message = yield from crossing.hooks(message)
    finally:  # dropped or not: who judges has seen it, and what was judged before is judged again
        crossing.session.lists.news += message.method.endswith("/list_changed")
    if "inputRequests" in message.params:
        passed = yield from embedded.requests(crossing, message, message.params)
        if passed is not message.params:
            message = message.with_params(passed)
    elif message.method == ACKNOWLEDGED:
        crossing.session.lists.acknowledged(message.params, crossing.way)
    crossing.flush()
    if cancelled is not None:
        message = _cancel(crossing, message, cancelled)
    left = yield from crossing.leave(message)
    if left is not None:
        yield left


def _expect(crossing: Crossing, message: Message) -> None:
    """Drop progress that nobody asked for."""
    if not crossing.way.opposite.exchanges.knows_token(message.params["progressToken"]):
        crossing.unasked(Event(code="core.progress_unknown", category="refusal", severity="warning", action="blocked"))
        crossing.flush()
        raise Stopped


def _cancelled(crossing: Crossing, message: Message) -> Exchange:
    """Return the request of this very sender that is cancelled; one that still waits here just ends."""
    exchange = crossing.way.exchanges.find(message.params["requestId"])
    if exchange is None or exchange.resolve is not None:
        raise Stopped  # answered meanwhile, never this sender's, or the guard's own
    if not exchange.sent:
        crossing.session.end(exchange, crossing.way, "cancelled", tombstone=False)
        raise Stopped
    return exchange


def _cancel(crossing: Crossing, message: Message, exchange: Exchange) -> Message:
    """End the request; return the notification with the id that its peer knows."""
    if crossing.way.exchanges.find(exchange.id) is not exchange:
        raise Stopped
    crossing.session.end(exchange, crossing.way, "cancelled", tombstone=True)
    named = message.params.get("requestId")
    if type(named) is type(exchange.id) and named == exchange.id:
        return message
    crossing.encoded = None
    return message.with_params({**message.params, "requestId": exchange.id})
