"""What shows that limits are live: to the doctor's server goes what no permit is left for."""

from __future__ import annotations

from hauberk.probe import Probe, call, client, request
from hauberk_ratelimit._desk import DOCTOR_MARK, DOCTOR_TOOL, Desk
from hauberk_ratelimit._ledger import EXCEEDED


def probes(desk: Desk) -> list[Probe]:
    """Return the probes: of calls always, of frames where anything is charged for them."""
    found = [
        Probe(
            "ratelimit.refuses_call",
            "a call for which no permit is left is refused",
            (client(call(DOCTOR_TOOL)),),
            refused=EXCEEDED,
        )
    ]
    if desk.book.address or desk.book.messages:
        found.append(
            Probe(
                "ratelimit.refuses_frame",
                "a frame for which no permit is left is refused before anything in it is read",
                (client(request("ping", {"_meta": {"hauberk-doctor": DOCTOR_MARK}})),),
                refused=EXCEEDED,
                roles=("server",),
            )
        )
    return found
