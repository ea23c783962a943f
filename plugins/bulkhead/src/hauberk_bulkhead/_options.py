"""What ``[bulkhead]`` may hold.

A server can have a table of its own, ``[server.NAME.bulkhead]``. Caps are *narrow*: of two tables the smaller number
stands, unless ``override = true`` is written. What is about the machine and not about a server (``shedding``,
``isolation``, ``memory_total_bytes``, the breaker's store) is read from the general table alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from hauberk import config
from hauberk.config import Narrow
from hauberk.refusals import ConfigError
from hauberk_bulkhead._breaker import Terms
from hauberk_bulkhead._misdeeds import SENT, SERVED, is_own
from hauberk_bulkhead._room import Caps

_MOST: Final = 1_000_000
IDLE_SECONDS: Final = 300.0
"""How long a connection may be silent in production (S4.21)."""
Cap = Annotated[int, Meta(ge=0, le=_MOST)]
Size = Annotated[int, Meta(ge=1024, le=2**40)]
Percent = Annotated[float, Meta(gt=0, le=100)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Pattern = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\.([a-z_]+|\*)$")]


class Breaking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[bulkhead.breaker]``: when the calls of a tool are refused for a while because they fail."""

    enabled: Annotated[bool, Narrow.OR] = True
    """Whether there is one for each tool of each server."""
    failures: Annotated[int, Meta(ge=1, le=1000), Narrow.MIN] = 5
    """So many within ``window_seconds`` open it (failures)."""
    window_seconds: Seconds = 60.0
    """How long a failure counts."""
    minimum_requests: Annotated[int, Meta(ge=1, le=_MOST), Narrow.MIN] = 5
    """Requests since the first failure, within the window, below which it does not open."""
    open_seconds: Seconds = 30.0
    """How long nothing passes; then a few requests are tried."""
    probes: Annotated[int, Meta(ge=1, le=100), Narrow.MIN] = 1
    """Requests that are tried at once."""
    successes: Annotated[int, Meta(ge=1, le=1000), Narrow.MAX] = 3
    """Tried requests that must be answered before everything passes again."""
    slow_seconds: Seconds = 30.0
    """An answer that takes longer is a failure."""
    scope: Literal["tool", "tenant"] = "tenant"
    """Whose failures count together: all of a tool, or those of one tenant (a principal where there is none)."""
    tool_errors: bool = False
    """Whether a result with ``isError`` is a failure; without, it is neither a failure nor a success."""
    store: str | None = None
    """A shared store (``redis://…``) in which hosts keep one breaker together; without it, each has its own."""
    on_store_failure: Literal["local", "refuse"] = "local"
    """Without the store: each host for itself, or no calls at all. It is an event either way."""

    @property
    def terms(self) -> Terms:
        """Return what a breaker needs."""
        return Terms(
            self.failures,
            self.window_seconds,
            self.minimum_requests,
            self.open_seconds,
            self.probes,
            self.successes,
            self.slow_seconds,
        )


class Shedding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[bulkhead.shedding]``: when new requests are refused because the machine is busy. Without the table, never."""

    cpu_percent: Percent | None = 80.0
    """Use of all processors together."""
    memory_percent: Percent | None = 90.0
    """Use of the machine's memory."""
    disk_percent: Percent | None = 90.0
    """Use of the file system of ``disk``."""
    disk: Path | None = None
    """A path on that file system; without it, the state directory."""
    margin_percent: Annotated[float, Meta(ge=0, lt=100)] = 10.0
    """How far below its threshold a use must fall before requests pass again."""
    sample_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 1.0
    """How often the machine is looked at, by a thread of its own."""
    samples: Annotated[int, Meta(ge=1, le=100)] = 3
    """Looks in a row that must agree: one busy moment sheds nothing."""

    def __post_init__(self) -> None:
        used = [value for value in (self.cpu_percent, self.memory_percent, self.disk_percent) if value is not None]
        if any(value <= self.margin_percent for value in used):
            raise ValueError("margin_percent is not below each threshold, so shedding would never end")


class Isolating(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[bulkhead.isolation]``: when a principal or a server is suspended because of what it did."""

    enabled: Annotated[bool, Narrow.OR] = True
    """Whether anybody is suspended by itself; by ``hauberk bulkhead suspend`` always."""
    events: Annotated[int, Meta(ge=1, le=10_000), Narrow.MIN] = 50
    """So many events within ``window_seconds`` suspend who caused them."""
    window_seconds: Seconds = 60.0
    """How long an event counts."""
    suspend_seconds: Annotated[float, Meta(ge=0, le=31_536_000)] = 300.0
    """How long; 0 is until ``hauberk bulkhead resume``."""
    of_principals: Annotated[tuple[Pattern, ...], Narrow.UNION] = SENT
    """Refusals of what a principal, or an address, sent; ``word.*`` is all of a plugin but what is the guard's own."""
    of_servers: Annotated[tuple[Pattern, ...], Narrow.UNION] = SERVED
    """Refusals of a server that is called, or of what it sent."""

    def __post_init__(self) -> None:
        for code in (*self.of_principals, *self.of_servers):
            if is_own(code):
                raise ValueError(f"{code} is the guard's own doing, and counts against nobody")


class Options(config.Options, frozen=True, kw_only=True):
    """``[bulkhead]``."""

    connections: Annotated[Cap, Narrow.MIN] = 100
    """Connections of one server at once."""
    connections_per_address: Annotated[Cap, Narrow.MIN] = 50
    """Connections from one address at once, before anything of them is read; of IPv6, from one /64."""
    idle_seconds: Annotated[float, Meta(gt=0, le=31_536_000), Narrow.MIN] | None = None
    """How long a connection in front of a server may be silent; without it 300 in production, elsewhere for ever."""
    in_flight: Annotated[Cap, Narrow.MIN] = 100
    """Requests of one server that wait for an answer."""
    in_flight_per_tool: Annotated[Cap, Narrow.MIN] = 100
    """Calls of one tool among them."""
    in_flight_per_principal: Annotated[Cap, Narrow.MIN] = 50
    """Requests of one principal among them."""
    tools: Annotated[dict[str, Cap], Narrow.MIN] = msgspec.field(default_factory=dict)
    """Tools with a cap of their own."""
    queue: Annotated[Cap, Narrow.MIN] = 1000
    """Calls of one server that wait for a place; 0 is no queue, which is faster where none is wanted."""
    queue_seconds: Annotated[float, Meta(gt=0, le=600), Narrow.MIN] = 1.0
    """How long a call waits for a place; below ``core.bounds.deadline``."""
    to_server_bytes: Annotated[Size, Narrow.MIN] | None = None
    """One message toward the server, as it is on the wire; without it, ``core.bounds.line_bytes``."""
    to_client_bytes: Annotated[Size, Narrow.MIN] | None = None
    """One message toward the client, as it is on the wire; without it, ``core.bounds.line_bytes``."""
    alert_percent: Annotated[Percent, Narrow.MIN] = 80.0
    """From this part of a limit on, its use is an event."""
    depth: Annotated[int, Meta(ge=2, le=128), Narrow.MIN] = 128
    """Arrays and objects inside each other, the message counted; 128 is the core's own limit, and free."""
    width: Annotated[int, Meta(ge=8, le=_MOST), Narrow.MIN] = 100_000
    """Members of one array or object."""
    memory_bytes: Annotated[Size, Narrow.MIN] = 100 * 1024 * 1024
    """Bytes of the requests of one connection that wait for an answer."""
    memory_total_bytes: Annotated[Size, Narrow.MIN] = 1024 * 1024 * 1024
    """Bytes of all such requests together."""
    breaker: Breaking = Breaking()
    """When the calls of a tool are refused because they fail."""
    shedding: Shedding | None = None
    """When requests are refused because the machine is busy."""
    isolation: Isolating = Isolating()
    """When a principal or a server is suspended because of what it did."""

    @property
    def caps(self) -> Caps:
        """Return what a room needs."""
        return Caps(self.in_flight, self.in_flight_per_tool, self.in_flight_per_principal, self.queue, self.tools)

    def idle(self, *, production: bool) -> float | None:
        """Return how long a connection may be silent (seconds); None is for ever."""
        return IDLE_SECONDS if self.idle_seconds is None and production else self.idle_seconds


def check(guard: Any, plugin: Any) -> None:
    """Check what tables say together with the core's bounds.

    Raises:
        ConfigError: The operator must change something.
    """
    general: Options = guard.options_for(plugin, None)
    for place, options in _all(guard, plugin):
        _check_one(options, guard.config, place)
        _check_common(options, general, place)


def waits(guard: Any, plugin: Any) -> bool:
    """Whether a call may wait: some server has a queue, or the breakers are shared."""
    return any(options.queue > 0 or options.breaker.store is not None for _, options in _all(guard, plugin))


def shortest_idle(guard: Any, plugin: Any) -> float | None:
    """Return the shortest time that any server's connections may be silent (seconds); None where all may for ever."""
    production = guard.config.production
    return min((one for _, table in _all(guard, plugin) if (one := table.idle(production=production))), default=None)


def opens_sealed(guard: Any, plugin: Any) -> bool:
    """Whether there is a limit to look at once more in what was sealed."""
    if not guard.config.has_table("envelope"):
        return False
    usual = Options()
    return any(one.depth < usual.depth or one.width < usual.width for _, one in _all(guard, plugin))


def _all(guard: Any, plugin: Any) -> Iterator[tuple[str, Options]]:
    """Give the options of each table, and what it is called."""
    yield "[bulkhead]", guard.options_for(plugin, None)
    for server in guard.config.servers_of("bulkhead"):
        yield f"[server.{server}.bulkhead]", guard.options_for(plugin, server)


def _check_common(options: Options, general: Options, place: str) -> None:
    """Check that a server's table says nothing that holds for all servers, and would be read by nobody there."""
    pairs = {
        "shedding": (options.shedding, general.shedding),
        "isolation": (options.isolation, general.isolation),
        "memory_total_bytes": (options.memory_total_bytes, general.memory_total_bytes),
        "breaker.store": (options.breaker.store, general.breaker.store),
    }
    for key, (here, there) in pairs.items():
        if here != there:
            raise ConfigError(f"{place} {key}: it holds for all servers", hint="write it into [bulkhead]")


def _check_one(options: Options, settings: config.Config, place: str) -> None:
    bounds = settings.core.bounds
    if options.queue and options.queue_seconds >= bounds.deadline:
        raise ConfigError(
            f"{place} queue_seconds: {options.queue_seconds:g} s is not below core.bounds.deadline,"
            f" {bounds.deadline:g} s, which ends a call that waits",
            hint="wait for less, or raise core.bounds.deadline",
        )
    for key in ("to_server_bytes", "to_client_bytes"):
        most = getattr(options, key)
        if most is not None and most > bounds.line_bytes:
            raise ConfigError(
                f"{place} {key}: {most} bytes are more than core.bounds.line_bytes, {bounds.line_bytes}",
                hint="raise core.bounds.line_bytes, which holds for every server",
            )
    if options.memory_bytes > options.memory_total_bytes:
        raise ConfigError(
            f"{place} memory_bytes: one connection may hold {options.memory_bytes} bytes,"
            f" and all together {options.memory_total_bytes}",
            hint="let memory_total_bytes be the larger of both",
        )
    if options.breaker.store is not None:
        from hauberk.shared import check_uri  # only here: most breakers are this host's own

        try:
            check_uri(options.breaker.store, production=settings.production)
        except ConfigError as error:
            raise ConfigError(f"{place} breaker.store: {error.message}", hint=error.hint) from None
