"""What one request has taken, and how a request is refused that could not take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

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


class Hold(msgspec.Struct, eq=False):
    """What one request has taken."""

    connection: Connection
    rules: Rules
    started: float
    caller: str = ""
    """Who speaks, once it has been judged."""
    passed: Pass | None = None
    place: Place | None = None
    room: str = ""
    size: int = 0
    asks: bool = False
    """Whether the shared store has to be asked before it may go on."""
    asked: str = ""
    """Whose call it is, while a person is asked whether it may go on."""
    begun: bool = False
    """Whether it has been judged, and all was taken but perhaps a place."""
    exhausted: bool = False
    """Whether it found no room because the server gave none back, with nobody else's calls in it."""
    shared: bool = False
    """Whether its breaker is kept together with other hosts."""
    probe: str = ""
    """The name of a probe of a shared breaker."""


def misshapen(wrong: Literal["depth", "width"], options: Options) -> Refused:
    if wrong == "depth":
        rule = f"bulkhead.depth = {options.depth}"
        return refused("bulkhead.too_deep", "arrays and objects stand too deep in each other", rule=rule)
    rule = f"bulkhead.width = {options.width}"
    return refused("bulkhead.too_wide", "an array or an object has too many members", rule=rule)


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
