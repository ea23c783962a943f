"""What shows that refusals are counted: a refused call of the doctor, who is alarmed at the first one."""

from __future__ import annotations

from collections.abc import Sequence

from hauberk.event import Event
from hauberk.probe import Probe, call, client
from hauberk_sieve._options import PROBED as DENIED
from hauberk_sieve.probing._mesh import PROBED


def probes() -> list[Probe]:
    """Return the probes."""
    return [
        Probe(
            "sieve.notices_probing",
            "somebody who is refused again and again leaves an event",
            (client(call(DENIED.tool, PROBED)),),
            check=_unnoticed,
        )
    ]


def _unnoticed(events: Sequence[Event]) -> str | None:
    if any(event.code == "sieve.probing" for event in events):
        return None
    return "a refused call was not counted"
