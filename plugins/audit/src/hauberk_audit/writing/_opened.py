"""What a log that was just opened says of itself: how its chain begins, and what the last run left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hauberk.event import Severity
from hauberk_audit.writing._log import Log


def opened(log: Log) -> Iterator[tuple[str, dict[str, Any], Severity]]:
    """Yield code, details and severity of each entry."""
    if not log.sequence:
        yield "audit.chain_started", {"file": log.path.name}, "info"
    if log.torn is not None:
        yield "audit.recovered", {"bytes": log.torn.size, "file": log.torn.path.name}, "warning"
    elif log.crashed:
        yield "audit.recovered", {"bytes": 0}, "warning"
    if log.fault:
        yield "audit.state_lost", {"reason": log.fault}, "warning"
