"""What is told of what happened; each once, with what somebody needs who was not there."""

from __future__ import annotations

from typing import Any

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk_bulkhead._breaker import State
from hauberk_bulkhead._breakers import Key
from hauberk_bulkhead._callers import parted, readable
from hauberk_bulkhead._limits import shown
from hauberk_bulkhead._load import Change
from hauberk_bulkhead._suspended import Suspension


def near(what: str, server: str, used: int, most: int, count: int) -> Event:
    """Tell that a limit is nearly reached."""
    details = {"what": what, "used": used, "limit": most, "percent": round(100 * used / most, 1)}
    return Event("bulkhead.near_limit", severity="warning", server=server, count=count, details=details)


def turned(key: Key, before: State, state: State) -> Event:
    """Tell that a breaker has changed."""
    details: dict[str, Any] = {"was": before}
    if key.tenant:
        details["tenant"] = readable(key.tenant)
    where = {"server": key.server, "tool": shown(key.tool)}
    if state == "open":
        return Event("bulkhead.opened", severity="critical", action="blocked", details=details, **where)  # type: ignore[arg-type]
    if state == "half-open":
        return Event("bulkhead.half_open", details=details, **where)  # type: ignore[arg-type]
    return Event("bulkhead.closed", details=details, **where)  # type: ignore[arg-type]


def shed(change: Change) -> Event:
    """Tell that requests are refused because the machine is busy, or pass again."""
    details = {"what": change.what, "percent": round(change.percent, 1)}
    if change.sheds:
        return Event("bulkhead.shedding", "", category="system", severity="critical", action="blocked", details=details)
    return Event("bulkhead.shedding_ended", "", category="system", details=details)


def isolated(one: Suspension) -> Event:
    """Tell that somebody is suspended."""
    tenant, name = parted(one.name)
    who = {"principal": {"principal": name}, "server": {"server": name}}.get(one.kind, {})
    details = {"kind": one.kind, "name": name, "until": one.until, "why": one.why, "by": one.by}
    if tenant:
        details["tenant"] = tenant
    return Event("bulkhead.isolated", severity="critical", action="escalated", details=details, **who)  # type: ignore[arg-type]


def idle(connection: Connection, seconds: float, *, ended: bool) -> Event:
    """Tell that nobody says anything on a connection, and that it was hung up, or would have been."""
    details = connection.described | {"seconds": round(seconds, 1), "ended": ended}
    principal = "" if connection.principal.is_anonymous else connection.principal.id
    return Event(
        "bulkhead.idle",
        category="connection",
        server=connection.server,
        exchange=connection.id,
        principal=principal,
        details=details,
    )


def system(code: str, reason: str, **details: Any) -> Event:
    """Tell of something that an operator has to look at."""
    return Event(code, category="system", severity="warning", details={"reason": reason, **details})
