"""What shows that people are looked at: a suspended one is refused, and the file that says so can be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hauberk.event import Event
from hauberk.probe import Probe, call, client
from hauberk_sieve.who._register import PROBED
from hauberk_sieve.who._watch import Watch


def probes(watches: Iterable[Watch], *, general: bool) -> list[Probe]:
    """Return the probes of what is watched.

    Args:
        watches: Every register.
        general: Whether there is a table for servers without one of their own, of which the doctor's is one.
    """
    watched = tuple(watches)

    def unknown(events: Sequence[Event]) -> str | None:  # noqa: ARG001 - the contract of a check
        lost = [watch for watch in watched if watch.current() is None or watch.state != "fresh"]
        return "a file of people cannot be read" if lost else None

    found = []
    if watched:
        found.append(Probe("sieve.knows_people", "the file of people can be read", check=unknown))
    if general:
        found.append(
            Probe(
                "sieve.refuses_suspended_person",
                "a call of somebody who is suspended is refused",
                (client(call(PROBED)),),
                refused="sieve.suspended",
            )
        )
    return found
