"""What shows that meta-tools are looked into: one that calls a tool which every table denies."""

from __future__ import annotations

from hauberk.probe import Probe, call, client
from hauberk_sieve._options import PROBED as DENIED
from hauberk_sieve.inner._entries import PROBED


def probes() -> list[Probe]:
    """Return the probes of the table that holds for the doctor's server."""
    return [
        Probe(
            "sieve.refuses_denied_inner_call",
            "a call of a denied tool inside a call is refused",
            (client(call(PROBED, {"tool": DENIED.tool})),),
            refused="sieve.inner_denied",
        )
    ]
