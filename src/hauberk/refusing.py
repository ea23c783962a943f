"""What a refusal does: it is recorded, and whoever waits for an answer is told.

- a request gets an error, but never under the id of another one in flight, which that error would answer;
- an answer is replaced by an error for its asker, once;
- a notification gets nothing, and neither does noise from a server;
- a refusal that cannot be written is reported; it never comes back as an error of the session.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hauberk import edge
from hauberk.event import Event
from hauberk.refusals import HauberkError, HookError, Refused
from hauberk.reports import refusal_event
from hauberk.ways import Stopped

if TYPE_CHECKING:
    from hauberk.crossing import Crossing, Walk
    from hauberk.ways import Port

logger = logging.getLogger("hauberk")


def read(crossing: Crossing, error: Refused | HookError, raw: bytes | None, data: dict[str, Any] | None) -> Walk:
    """Refuse what came in; where it could not be read as a message, find out first who waits."""
    refused = error.refusal() if isinstance(error, HookError) else error
    if not crossing.kind:
        _find_asker(crossing, refused, raw, data)
    return (yield from refuse(crossing, refused))


def refuse(crossing: Crossing, refused: Refused) -> Walk:
    """Record a refusal and tell whoever waits; return the reply where ``crossing.returns_reply`` says so."""
    yield from _record(crossing, refused)
    if crossing.kind in ("result", "error"):
        yield from _replace(crossing, refused)
    elif crossing.kind == "request" or (crossing.kind == "" and crossing.way.sender == "client"):
        return (yield from _reply(crossing, refused))
    return None


def _record(crossing: Crossing, refused: Refused) -> Walk:
    event, recorder = refusal_event(refused), crossing.policy.recorder
    if crossing.exchange is None:
        crossing.unasked(event)
    else:
        crossing.note(event)
    if not (recorder and crossing.notes):
        crossing.notes.clear()
        return
    events = [crossing.session.reports.complete(event, crossing) for event in crossing.notes]
    crossing.notes.clear()
    try:
        if (waiting := recorder.barrier(events)) is not None:
            yield waiting
    except Refused as unrecorded:  # it is refused already; a recorder that fails has reported that itself
        if unrecorded.code == "core.busy":
            recorder.note(events)


def _reply(crossing: Crossing, refused: Refused) -> Walk:
    """Tell the asker, unless it has been told or has gone."""
    session, way, exchange, id = crossing.session, crossing.way, crossing.exchange, crossing.id
    if exchange is not None:
        if exchange.outcome is not None:
            return None
        way.exchanges.drop(exchange, "refused", tombstone=exchange.sent)
    elif id is not None and way.exchanges.find(id) is not None:
        id = None  # under its own id this error would answer the request in flight
    if crossing.method == "server/discover" and way.sender == "client":
        session.discover_refused = True
    reply = session.reports.refusal(refused, id, crossing, trusted=way.outward)
    if crossing.returns_reply:
        return reply
    yield from _tell(crossing, way.source, reply, crossing.ticket)
    return None


def _replace(crossing: Crossing, refused: Refused) -> Walk:
    """Give the asker an error in place of an answer that may not pass."""
    exchange, session, way = crossing.exchange, crossing.session, crossing.way
    if exchange is None or exchange.outcome is not None:
        return
    if exchange.method == "server/discover":
        session.discover_refused = True
    reply = session.reports.refusal(refused, exchange.id, crossing, trusted=not way.outward)
    if exchange.resolve is not None:
        exchange.resolve(reply)
    else:
        try:
            yield from crossing.turn()
        except Stopped:
            return
        yield from _tell(crossing, way.target, reply, exchange.ticket or crossing.ticket)
    exchange.end("refused")


def _tell(crossing: Crossing, port: Port, reply: dict[str, Any], ticket: Any) -> Walk:
    """Write a refusal; one that may not leave, or cannot, is reported."""
    try:
        waiting = crossing.session.emit(crossing.policy, port, reply, ticket=ticket, method=crossing.method)
        if waiting is not None:
            yield waiting
    except HauberkError as error:
        code = getattr(error, "code", "core.internal")
        crossing.session.reports.record(Event(code=code, category="refusal", severity="critical", action="blocked"))
    except Exception:
        logger.exception("a refusal could not be written")


def _find_asker(crossing: Crossing, refused: Refused, raw: bytes | None, data: dict[str, Any] | None) -> None:
    """Find out who waits for an answer to what could not be read as a message."""
    kind, id = refused.details.get("kind"), refused.details.get("id")
    if kind is None:
        kind, id = edge.salvage(raw) if raw is not None else _salvage_object(data or {})
    crossing.id = id
    if kind == "request" and id is not None:
        crossing.kind = "request"
    elif kind == "response":
        crossing.kind = "error"
        exchange = crossing.way.opposite.exchanges.answer(id) if id is not None else None
        if exchange is not None:
            crossing.exchange, crossing.method, crossing.id = exchange, exchange.method, exchange.id


def _salvage_object(data: dict[str, Any]) -> tuple[str | None, str | int | None]:
    kind = "request" if "method" in data else "response" if "result" in data or "error" in data else None
    id = data.get("id")
    return kind, id if type(id) is str or type(id) is int else None
