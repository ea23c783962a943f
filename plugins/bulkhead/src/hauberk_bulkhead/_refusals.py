"""What each refusal is called, and what to do about it. They are of load and admission: a remote peer learns them."""

from __future__ import annotations

from typing import Any, Final

from hauberk.refusals import LIMITS, Refused

_HINTS: Final = {
    "bulkhead.full": "wait for answers; or raise the cap that the rule names",
    "bulkhead.late": "come again; or raise bulkhead.queue_seconds, or the cap that the rule names",
    "bulkhead.too_large": "send less at once; or raise the limit that the rule names",
    "bulkhead.too_deep": "raise bulkhead.depth, if this peer needs it",
    "bulkhead.too_wide": "raise bulkhead.width, if this peer needs it",
    "bulkhead.memory": "wait for answers; or raise the limit that the rule names",
    "bulkhead.overloaded": "come again when the machine is less busy",
    "bulkhead.open": "come again; see why the server fails, or: hauberk bulkhead reset",
    "bulkhead.suspended": "see why: hauberk bulkhead show; to lift it: hauberk bulkhead resume",
    "bulkhead.too_many_connections": "end a connection; or raise the cap that the rule names",
    "bulkhead.store_down": "see why the shared store does not answer; or on_store_failure = 'local'",
}


def refused(
    code: str, text: str, *, rule: str = "", retry_after: float | None = None, details: dict[str, Any] | None = None
) -> Refused:
    """Return one refusal.

    Args:
        code: Which.
        text: What was asked, and why it is refused.
        rule: Whose limit it is, as an operator would write it.
        retry_after: When it is worth another try (seconds).
        details: What else its event says.
    """
    return Refused(
        code,
        text,
        plugin="bulkhead",
        rule=rule or None,
        hint=_HINTS[code],
        retry_after=retry_after,
        jsonrpc=LIMITS,
        public=True,
        details=details,
    )
