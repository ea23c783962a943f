"""What the record says of a message: what was found and done, what was inspected, and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hauberk.event import Action, Event, Severity
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown
from hauberk_sieve.text._detectors import decoded_tags
from hauberk_sieve.text._leaves import Leaves, Path
from hauberk_sieve.text._options import Suppress
from hauberk_sieve.text._scan import Finding, Found

_RANK: Final[tuple[Severity, ...]] = ("info", "warning", "critical")


def told(leaves: Leaves, found: Found, done: Mapping[Path, str], *, action: Action) -> Event:
    """Return the event of one message: rules and places, never what was found."""
    findings = found.findings
    severity: Severity = max((one.rule.severity for one in findings), key=_RANK.index, default="info")
    details: dict[str, Any] = {
        "findings": [_finding(one, done) for one in findings[: LIMITS.shown_names]],
        "inspected": {"leaves": len(leaves), "characters": leaves.characters()},
    }
    if leaves.skipped:
        details["skipped"] = dict(leaves.skipped)
    if found.more:
        details["more"] = [rule.id for rule in found.more]
    return Event(
        code="sieve.scanned",
        severity=severity,
        action=action,
        plugin="sieve",
        rule=findings[0].rule.id if findings else "",
        count=len(findings),
        details=details,
    )


def _finding(finding: Finding, done: Mapping[Path, str]) -> dict[str, Any]:
    leaf = finding.leaf
    told: dict[str, Any] = {
        "rule": finding.rule.id,
        "severity": finding.rule.severity,
        "at": shown(leaf.pointer),
        "count": len(finding.spans),
        "action": done.get(leaf.path, "logged") if finding.action != "alert" else "logged",
    }
    if finding.rule.detector == "tags":
        told["spelled"] = sum(map(len, decoded_tags(leaf.text)))  # how much, never what
    return told


def lapsed(suppress: Suppress) -> Event:
    """Return the event of a rule that is applied again."""
    return Event(
        code="sieve.suppression_ended",
        severity="warning",
        plugin="sieve",
        rule=suppress.rule,
        details={"server": suppress.server, "until": suppress.until.isoformat(), "reason": suppress.reason},
    )
