"""Every bound of the core, in one place, each with its unit.

An outsider can make a peer send more, deeper or longer than any of these; what is over the bound is refused, never
queued and never forgotten in silence.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The bounds of one guard; the table ``[core.bounds]`` of the configuration sets them."""

    line_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 16 * 1024 * 1024
    """One message on a byte carrier, without its line feed (bytes)."""
    values: Count = 1_000_000
    """Values in one message that is longer than 1 MiB, counted as its commas and opening brackets."""
    id_chars: Count = 256
    """A JSON-RPC id, a progress token or a task id that is a string (characters)."""
    exchanges: Count = 8192
    """Requests in flight in one direction of one session."""
    tombstones: Count = 1024
    """Cancelled requests of one direction whose answer has not come; the oldest goes first."""
    tasks: Count = 1024
    """Task handles of one session that results may still be fetched by; the oldest goes first."""
    rounds: Count = 1024
    """``requestState`` values of one session that wait for their retry; the oldest goes first."""
    retries: Count = 16
    """Rounds of one call that answers ``input_required`` (retries)."""
    embedded: Count = 64
    """Requests inside one ``input_required`` answer, or responses inside one retry."""
    waiting: Count = 1024
    """Messages of one direction that wait in a task of their own."""
    events: Count = 10_000
    """Events that one sink, not marked required, may be behind."""
    buffer_bytes: Count = 1024 * 1024
    """Bytes that wait for a peer that does not read, before its source is paused."""
    deadline: Seconds = 2.0
    """One chain of hooks for one message (seconds)."""
    sink_deadline: Seconds = 2.0
    """All required sinks together, for one decision (seconds)."""
    approval_deadline: Seconds = 300.0
    """One approver's answer (seconds)."""
    watchdog: Seconds = 10.0
    """A hook that never returns ends ``hauberk run`` after this (seconds)."""
