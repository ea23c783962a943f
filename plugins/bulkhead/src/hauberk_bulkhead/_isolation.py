"""Whose doing an event was. Pure.

Beside a client, what a server does is on the server, and what an operator has named besides is on the principal. In
front of a server, nothing is on the server: else whoever calls it could have it taken away from the others. There it is
on the principal that the channel proved, or on the address where it proved none. Nothing that the doctor does is on
anybody (it is known by its server, and never by a principal's name), and nothing that is the guard's own doing
(`_misdeeds`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from hauberk.event import Event
from hauberk.principal import ANONYMOUS, DOCTOR, Principal
from hauberk_bulkhead._addresses import address_of
from hauberk_bulkhead._callers import kept
from hauberk_bulkhead._misdeeds import SENT, is_misdeed
from hauberk_bulkhead._options import Isolating
from hauberk_bulkhead._state import Met
from hauberk_bulkhead._suspended import Kind

_NOBODY: Final = frozenset({"", ANONYMOUS.id})
_INCOMING: Final = frozenset(SENT)


class Culprit(NamedTuple):
    """Who it was."""

    kind: Kind
    name: str


class Codes:
    """The codes that a list of patterns names."""

    __slots__ = ("_exact", "_words")

    def __init__(self, patterns: Iterable[str]) -> None:
        listed = list(patterns)
        self._exact: Final = frozenset(listed)
        self._words: Final = frozenset(one.removesuffix(".*") for one in listed if one.endswith(".*"))

    def has(self, code: str) -> bool:
        """Whether a code is named."""
        return code in self._exact or code.partition(".")[0] in self._words


class Blame:
    """What counts, as the options have it."""

    def __init__(self, options: Isolating) -> None:
        self._principals: Final = Codes(options.of_principals)
        self._servers: Final = Codes(options.of_servers)

    def of(self, event: Event, connections: Mapping[str, Met]) -> Culprit | None:
        """Return whose doing a refusal was; None where it does not count, or is nobody's."""
        if event.action != "blocked" or event.probe or event.server == DOCTOR.id:
            return None
        by_server, by_principal = self._servers.has(event.code), self._principals.has(event.code)
        if not (by_server or by_principal) or not is_misdeed(event):
            return None
        met = connections.get(event.exchange.partition(".")[0])
        role = met.role if met is not None else event.details.get("role", "client")
        if role == "client" and by_server:
            return Culprit("server", kept(event.server)) if event.server else None
        if role == "client" and event.code in _INCOMING:
            return None
        if event.principal not in _NOBODY:
            return Culprit("principal", kept(_who(event, met).key))
        address = met.address if met is not None else address_of(str(event.details.get("peer", "")))
        return Culprit("address", address) if address and role != "client" else None


def _who(event: Event, met: Met | None) -> Principal:
    """Return whom an event names by his id, with the tenant that his connection has proved."""
    speaker = met.speaker() if met is not None else None
    if speaker is not None and speaker.id == event.principal:
        return speaker
    tenant = event.details.get("tenant")
    return Principal(id=event.principal, kind="user", tenant=tenant if isinstance(tenant, str) else None)
