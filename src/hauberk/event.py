"""What happened, for the record: one event for each decision, outcome, refusal, connection and reload."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

Severity = Literal["info", "warning", "critical"]
Action = Literal["allowed", "blocked", "logged", "escalated"]
Category = Literal["connection", "decision", "outcome", "refusal", "policy", "system"]
_PAIRS: Final = tuple(f"{byte:02x}" for byte in range(256))


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One security event, as every ``on_audit`` gets it.

    A plugin that notes an event gives ``code`` (``<word>.<reason>``) and what it knows; the session fills in who, where
    and when. ``digest`` stands for the arguments, which are never in an event; ``sizes`` are bytes.
    """

    code: str
    id: str = ""
    """A UUID, unique over restarts."""
    time: float = 0.0
    """Seconds since 1970-01-01T00:00:00Z, from the wall clock."""
    category: Category = "policy"
    severity: Severity = "info"
    action: Action = "logged"
    host: str = ""
    server: str = ""
    principal: str = ""
    source: str = ""
    """How the channel proved the principal (``"local"``, ``"mtls"``, …); never what a message claims."""
    method: str = ""
    tool: str = ""
    exchange: str = ""
    digest: str = ""
    sizes: dict[str, int] = {}
    rule: str = ""
    plugin: str = ""
    count: int = 1
    probe: bool = False
    details: dict[str, Any] = {}


def id_source(random: Callable[[int], bytes] = os.urandom) -> Callable[[], str]:
    """Return a function that gives a new UUID (RFC 9562, version 8) at each call.

    74 random bits a process and a 48-bit counter: unique without paying for randomness on each event.
    """
    node = random(10).hex()
    variant = "89ab"[int(node[15], 16) & 3]
    prefix = f"{node[:8]}-{node[8:12]}-8{node[12:15]}-{variant}{node[16:19]}-"
    # An odometer of hexadecimal pairs, turned without a frame of Python: each event pays for an id.
    ids = map("".join, itertools.product((prefix,), *[_PAIRS] * 6))
    next(ids)
    return ids.__next__
