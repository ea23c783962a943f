"""What shows that each check is live: real handshakes in memory, with peers that are wrong in one way each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from hauberk.event import Event
from hauberk.probe import Probe
from hauberk_tls._rotation import Kept
from hauberk_tls._stage import Authority
from hauberk_tls._store import Store
from hauberk_tls._trials import TRIALS, Trial


def probes(store: Store) -> list[Probe]:
    """Return a probe for each trial that applies, to all servers or to one with a table of its own."""
    authority = cache(Authority)
    found = []
    for trial in TRIALS:
        concerned = {where: kept for where, kept in store.all().items() if trial.applies(kept)}
        if concerned:
            found.append(Probe(f"tls.{trial.name}", trial.control, check=_check(trial, concerned, authority)))
    return found


def _check(
    trial: Trial, concerned: dict[str, Kept], authority: Callable[[], Authority]
) -> Callable[[Sequence[Event]], str | None]:
    def check(_: Sequence[Event]) -> str | None:
        for where, kept in concerned.items():
            code = trial.run(kept, authority())
            if code != trial.code:
                wanted = f"not stopped by {trial.code}" if trial.code else "stopped"
                return f"{where}: it was {wanted}{f', but by {code}' if code else ''}"
        return None

    return check
