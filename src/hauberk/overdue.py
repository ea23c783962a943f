"""What becomes of a request whose answer does not come in time: its asker is told so, and its peer that it is given up.

The answer to ``subscriptions/listen`` comes when the stream ends, so it is never late.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hauberk.event import Event
from hauberk.refusals import LIMITS, HauberkError, Refused
from hauberk.reports import refusal_event

if TYPE_CHECKING:
    from hauberk.exchange import Exchange
    from hauberk.session import Session
    from hauberk.ways import Port, Way


def start_timer(session: Session, exchange: Exchange, way: Way, seconds: float) -> None:
    """Bound the time that an answer may take."""
    if exchange.method != "subscriptions/listen":
        exchange.timer = asyncio.get_running_loop().call_later(seconds, _timed_out, session, exchange, way)


def late() -> Refused:
    """Return what an asker is told whose answer did not come in time."""
    return Refused("core.timed_out", "the answer did not come in time", jsonrpc=LIMITS, public=True)


def _timed_out(session: Session, exchange: Exchange, way: Way) -> None:
    if exchange.outcome is not None:
        return
    sent = exchange.sent
    session.end(exchange, way, "timed_out", tombstone=sent)
    refused = late()
    if not exchange.tool:
        session.reports.record(refusal_event(refused), exchange)
    reply = session.reports.refusal(refused, exchange.id, None, trusted=way.outward)
    _write(session, way.source, reply, exchange.ticket)
    if sent:
        params = {"requestId": exchange.id, "reason": "timed out"}
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        _write(session, way.target, cancel, None)


def abandon(session: Session, way: Way, refused: Refused, *, lost: bool = True) -> None:
    """Tell each asker of one direction that no answer comes any more, nor one that has come and still waits."""
    for exchange in session.owed(way):
        exchange.lost = lost
        session.end(exchange, way, "closed", tombstone=False)
        reply = session.reports.refusal(refused, exchange.id, None, trusted=way.outward)
        _write(session, way.source, reply, exchange.ticket)


def _write(session: Session, port: Port, data: dict[str, Any], ticket: Any) -> None:
    try:
        waiting = session.emit(session.guard.policy, port, data, ticket=ticket)
    except HauberkError as error:
        code = getattr(error, "code", "core.internal")
        session.reports.record(Event(code=code, category="refusal", severity="critical"))
        return
    session.keep(waiting)
