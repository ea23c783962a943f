"""Entries as events of the Open Cybersecurity Schema Framework, version 1.8.0 (https://schema.ocsf.io/1.8.0/).

The rules:

1. A refusal is a Detection Finding (2004), and so is an event of the policy that blocked, was escalated, or is more
   than information. What becomes of calls and connections is API Activity (6003). The rest is Application Lifecycle
   (6002).
2. Each has the profile ``security_control``, which says what the guard did.
3. What has no place in the class stands in ``unmapped`` under its own name. Nothing of an entry is left out.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from hauberk import __version__
from hauberk_audit.queries._reading import Found, count_of, table_of, text_of, time_of

VERSION: Final = "1.8.0"
_MILLISECOND: Final = 1000
_OTHER: Final = 99


class _Class(NamedTuple):
    uid: int
    name: str
    category: str
    activities: dict[int, str]


_FINDING: Final = _Class(2004, "Detection Finding", "Findings", {1: "Create"})
_CALL: Final = _Class(6003, "API Activity", "Application Activity", {2: "Read"})
_LIFECYCLE: Final = _Class(6002, "Application Lifecycle", "Application Activity", {3: "Start", 4: "Stop", 8: "Update"})
_SEVERITIES: Final = {"info": (1, "Informational"), "warning": (3, "Medium"), "critical": (5, "Critical")}
_RISKS: Final = {"info": (1, "Low"), "warning": (2, "Medium"), "critical": (4, "Critical")}
_ACTIONS: Final = {
    "allowed": ((1, "Allowed"), (1, "Allowed")),
    "blocked": ((2, "Denied"), (2, "Blocked")),
    "logged": ((3, "Observed"), (17, "Logged")),
    "escalated": ((99, "Escalated"), (19, "Alert")),
}
_LIFE: Final = {"started": 3, "stopped": 4, "loaded": 8, "changed": 8}
"""Activities by the last word of a code."""
_READS: Final = ("/list", "/read", "/get")
_PRODUCT: Final = {"name": "hauberk", "vendor_name": "hauberk", "version": __version__}
_PLACED: Final = frozenset({"format", "time", "id", "code", "severity", "action", "count", "exchange"})
"""Members that have a place in every class."""
_SPOKEN: Final = frozenset({"host", "server", "principal", "method", "tool"})
"""Members that have a place where somebody spoke to somebody."""


def event(found: Found) -> dict[str, Any]:
    """Return an entry as an OCSF event."""
    entry = found.entry
    kind = _class_of(entry)
    made, placed = _PARTS[kind.uid](found)
    activity = made.pop("activity_id")
    name = kind.activities.get(activity) or text_of(entry, "method") or text_of(entry, "code") or "Other"
    return {
        "class_uid": kind.uid,
        "class_name": kind.name,
        "category_uid": kind.uid // 1000,
        "category_name": kind.category,
        "activity_id": activity,
        "activity_name": name,
        "type_uid": kind.uid * 100 + activity,
        "type_name": f"{kind.name}: {name}",
        **_common(found),
        **made,
        "unmapped": _rest(entry, placed),
    }


def _class_of(entry: dict[str, Any]) -> _Class:
    category = text_of(entry, "category")
    notable = text_of(entry, "severity") != "info" or text_of(entry, "action") in {"blocked", "escalated"}
    if category == "refusal" or (category == "policy" and notable):
        return _FINDING
    return _CALL if category in {"decision", "outcome", "connection"} else _LIFECYCLE


def _common(found: Found) -> dict[str, Any]:
    entry = found.entry
    severity_id, severity = _SEVERITIES.get(text_of(entry, "severity"), (0, "Unknown"))
    (action_id, action), (disposition_id, disposition) = _ACTIONS.get(text_of(entry, "action"), ((0, "Unknown"),) * 2)
    reason = text_of(table_of(entry, "details"), "reason")
    made = {
        "time": (time_of(entry) or 0) // _MILLISECOND,
        "severity_id": severity_id,
        "severity": severity,
        "action_id": action_id,
        "action": action,
        "disposition_id": disposition_id,
        "disposition": disposition,
        "message": f"{text_of(entry, 'code')}: {reason}" if reason else text_of(entry, "code"),
        "count": count_of(entry),
        "metadata": _metadata(found),
    }
    return made | ({"status_detail": reason} if reason else {})


def _metadata(found: Found) -> dict[str, Any]:
    entry = found.entry
    made: dict[str, Any] = {
        "version": VERSION,
        "product": _PRODUCT,
        "profiles": ["security_control"],
        "log_name": found.log.name,
        "log_version": text_of(entry, "format"),
        "uid": text_of(entry, "id"),
        "event_code": text_of(entry, "code"),
        "original_time": text_of(entry, "time"),
        "correlation_uid": text_of(entry, "exchange"),
        "sequence": found.sequence,
    }
    return _full(made)


def _finding(found: Found) -> tuple[dict[str, Any], frozenset[str]]:
    entry = found.entry
    severity, rule = text_of(entry, "severity"), text_of(entry, "rule")
    risk_id, risk = _RISKS.get(severity, (_OTHER, "Other"))
    info: dict[str, Any] = {
        "uid": text_of(entry, "id") or f"{found.log.name}#{found.sequence}",
        "title": text_of(entry, "code"),
        "types": [text_of(entry, "category")],
        "desc": text_of(table_of(entry, "details"), "reason"),
    }
    if rule:
        info["analytic"] = {"name": rule, "type": "Rule", "type_id": 1}
    made = {
        "activity_id": 1,
        "finding_info": _full(info),
        "status_id": 1,
        "status": "New",
        "is_alert": severity == "critical" or text_of(entry, "action") == "escalated",
        "risk_level_id": risk_id,
        "risk_level": risk,
        "evidences": [{"actor": _actor(entry), "api": _api(entry)}],
        "resources": _resources(entry),
    }
    return _full(made), _SPOKEN | {"rule"}


def _call(found: Found) -> tuple[dict[str, Any], frozenset[str]]:
    entry = found.entry
    server = text_of(entry, "server")
    made = {
        "activity_id": 2 if text_of(entry, "method").endswith(_READS) else _OTHER,
        "actor": _actor(entry),
        "api": _api(entry),
        "src_endpoint": {"name": text_of(entry, "host") or _PRODUCT["name"]},
        "dst_endpoint": {"svc_name": server} if server else {},
        "resources": _resources(entry),
        **_status(entry),
    }
    return _full(made), _SPOKEN


def _lifecycle(found: Found) -> tuple[dict[str, Any], frozenset[str]]:
    activity = _LIFE.get(text_of(found.entry, "code").rpartition(".")[2], _OTHER)
    return {"activity_id": activity, "app": _PRODUCT, **_status(found.entry)}, frozenset()


def _status(entry: dict[str, Any]) -> dict[str, Any]:
    outcome = text_of(entry, "category") == "outcome" and not text_of(entry, "code").endswith(".answered")
    failed = outcome or text_of(entry, "action") == "blocked"
    return {
        "status_id": 2 if failed else 1,
        "status": "Failure" if failed else "Success",
        "status_code": text_of(entry, "code"),
    }


def _actor(entry: dict[str, Any]) -> dict[str, Any]:
    principal = text_of(entry, "principal")
    user = {"user": {"uid": principal}} if principal else {}
    return {"app_name": text_of(entry, "host") or _PRODUCT["name"], **user}


def _api(entry: dict[str, Any]) -> dict[str, Any]:
    server = text_of(entry, "server")
    service = {"service": {"name": server}} if server else {}
    return {"operation": text_of(entry, "method") or text_of(entry, "code"), **service}


def _resources(entry: dict[str, Any]) -> list[dict[str, Any]]:
    tool = text_of(entry, "tool")
    return [{"type": "tool", "name": tool}] if tool else []


def _rest(entry: dict[str, Any], placed: frozenset[str]) -> dict[str, Any]:
    """Return what has no place elsewhere; the number of an entry is in ``metadata``."""
    rest = {name: value for name, value in entry.items() if name not in _PLACED | placed}
    integrity = rest.get("integrity")
    if isinstance(integrity, dict):
        rest["integrity"] = {name: value for name, value in integrity.items() if name != "sequence"}
    return rest


def _full(made: dict[str, Any]) -> dict[str, Any]:
    """Return a table without what is empty."""
    return {name: value for name, value in made.items() if value not in ("", [], {})}


_PARTS: Final = {_FINDING.uid: _finding, _CALL.uid: _call, _LIFECYCLE.uid: _lifecycle}
