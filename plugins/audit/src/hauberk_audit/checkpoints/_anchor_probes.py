"""What shows that checkpoints are live: one is made and kept, and where it is kept nobody here can change it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hauberk.event import Event
from hauberk.probe import Probe
from hauberk.refusals import HauberkError

if TYPE_CHECKING:
    from hauberk_audit.checkpoints._care import Care


def anchor_probes(care: Care, flush: Callable[[], None]) -> list[Probe]:
    """Return the probes of the checkpoints of one log, if it has any.

    Args:
        care: Who makes them.
        flush: Writes what waits.
    """
    if not care.options.sinks:
        return []

    async def unanchored(_: Sequence[Event]) -> str | None:
        flush()
        return await asyncio.to_thread(care.anchor)

    async def reached(_: Sequence[Event]) -> str | None:
        return await asyncio.to_thread(within_reach, care)

    anchors = Probe(
        "audit.anchors_log",
        "a checkpoint of all that was recorded is signed, and every sink keeps it",
        check=unanchored,
        roles=("client",),
    )
    out_of_reach = Probe(
        "audit.keeps_checkpoints_out_of_reach",
        "checkpoints are kept where the host cannot change them",
        check=reached,
        roles=("client",),
    )
    return [anchors, out_of_reach] if care.production else [anchors]


def within_reach(care: Care) -> str | None:
    """Return why all that is kept of the log could be changed from here; one place that could not is enough."""
    found = []
    for name, sink in care.sinks:
        try:
            why = sink.within_reach()
        except HauberkError as error:
            why = error.message
        if not why:
            return None
        found.append(f"{name}: {why}")
    return "; ".join(found)
