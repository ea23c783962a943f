"""What one request has taken, and how a request is refused that could not take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from hauberk.connection import Connection
from hauberk.refusals import Refused
from hauberk_bulkhead._breaker import Terms
from hauberk_bulkhead._breakers import Key, Pass
from hauberk_bulkhead._callers import readable
from hauberk_bulkhead._options import Options
from hauberk_bulkhead._refusals import refused
from hauberk_bulkhead._room import Caps, Place

RETRY: Final = 1.0
"""Seconds after which it is worth another try, where nobody knows."""


class Rules(NamedTuple):
    """What holds for one server, in the form that is read fastest."""

    options: Options
    caps: Caps
    terms: Terms
    idle: float | None
    """How long a connection may be silent (seconds); None is for ever."""


class Hold:
    """What one request has taken."""

    __slots__ = (
        "asked",
        "asks",
        "begun",
        "connection",
        "exhausted",
        "passed",
        "place",
        "probe",
        "room",
        "rules",
        "shared",
        "size",
        "started",
    )

    def __init__(self, connection: Connection, rules: Rules, started: float) -> None:
        self.connection: Final = connection
        self.rules: Final = rules
        self.started = started
        self.passed: Pass | None = None
        self.place: Place | None = None
        self.room = ""
        self.size = 0
        self.asks = False
        """Whether the shared store has to be asked before it may go on."""
        self.asked = ""
        """Whose call it is, while a person is asked whether it may go on."""
        self.begun = False
        """Whether it has been judged, and all was taken but perhaps a place."""
        self.exhausted = False
        """Whether it found no room because the server gave none back, with nobody else's calls in it."""
        self.shared = False
        """Whether its breaker is kept together with other hosts."""
        self.probe = ""
        """The name of a probe of a shared breaker."""


def opened(key: Key, seconds: float) -> Refused:
    text = f"calls of {key.tool or 'any tool'!r} of server {key.server!r} fail, and are not sent for a while"
    return refused("bulkhead.open", text, rule="[bulkhead.breaker]", retry_after=round(max(0.1, seconds), 3))


def full(scope: str, tool: str, hold: Hold) -> Refused:
    text = f"server {hold.connection.server!r} has as many requests as it may have at once"
    return refused("bulkhead.full", text, rule=rule(scope, tool, hold.rules.options), retry_after=RETRY)


def asking(caller: str, options: Options) -> Refused:
    text = f"{readable(caller)!r} has as many calls that wait for a person as he may have"
    return refused("bulkhead.full", text, rule=rule("principal", "", options), retry_after=RETRY)


def many(text: str, rule: str) -> Refused:
    return refused("bulkhead.too_many_connections", text, rule=rule, retry_after=RETRY)


def check_address(there: Mapping[str, int], address: str, options: Options) -> None:
    near = there.get(address, 0) if address else 0
    if near >= options.connections_per_address:
        rule = f"bulkhead.connections_per_address = {options.connections_per_address}"
        raise many(f"{address} has {near} connections", rule)


def rule(scope: str, tool: str, options: Options) -> str:
    if scope == "tool":
        return f"at most {options.caps.of_tool(tool)} of this tool at once"
    if scope == "principal":
        return f"bulkhead.in_flight_per_principal = {options.in_flight_per_principal}"
    if scope == "queue":
        return f"bulkhead.queue = {options.queue}"
    return f"bulkhead.in_flight = {options.in_flight}"
