"""What ``[ratelimit]`` may hold.

A server, or a host, can have a table of its own. The limits of every table hold, all at once, so a more specific table
takes nothing from a more general one; ``override = true`` puts it in the place of those before it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from hauberk import config
from hauberk.config import Narrow
from hauberk.refusals import ConfigError
from hauberk_ratelimit import _patterns, _rates
from hauberk_ratelimit._domains import UnclearHostError, glob
from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._presets import PRESETS, Preset

Text = Annotated[str, Narrow.by(_rates.stricter)]
Dimension = Literal["server", "tool", "domain", "principal"]
DIMENSIONS: Final[tuple[Dimension, ...]] = ("server", "tool", "domain", "principal")
_WHOLE_HOST: Final = (
    "preset",
    "global",
    "address",
    "messages",
    "principals",
    "plans",
    "members",
    "costs",
    "prices",
    "usage",
    "max_ids",
    "store",
    "sharing",
    "lease",
    "sync_seconds",
    "store_timeout",
    "on_store_failure",
)
"""What is one for all servers of a host."""


class RuleTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[ratelimit.rules]]``: a limit for a combination of server, tool, domain and principal."""

    limit: str
    """What it allows."""
    server: str = "*"
    """Which servers: a name, or a pattern with ``*``."""
    tool: str = "*"
    """Which tools."""
    domain: str = "*"
    """Which hosts of URLs; with one, it concerns only calls that name such a host."""
    principal: str = "*"
    """Who calls."""
    each: tuple[Dimension, ...] = ()
    """What has a bucket of its own for each of its values."""


class Options(config.Options, frozen=True, kw_only=True):
    """``[ratelimit]``."""

    preset: Preset | None = None
    """A table that others have found right; what else is written takes the place of its keys. ``servers`` if no table
    says any limit."""
    global_: Text | None = msgspec.field(default=None, name="global")
    """All tool calls of the host."""
    calls: Text | None = None
    """The tool calls of each server; in ``[server.NAME.ratelimit]``, those of that one."""
    messages: Text | None = None
    """The messages toward a server, of each who has proved who he is, else of each address."""
    address: Text | None = None
    """What each address may send, and how often connect, before anything of it is checked."""
    tools: Annotated[dict[str, str], Narrow.by(_rates.stricter)] = msgspec.field(default_factory=dict)
    """Tool calls by ``SERVER/TOOL`` or ``TOOL``; a pattern's calls share one bucket, unless it says ``each``."""
    domains: Annotated[dict[str, str], Narrow.by(_rates.stricter)] = msgspec.field(default_factory=dict)
    """Tool calls by the hosts of the URLs in their arguments, and of the server itself, if it is one of HTTP."""
    principals: Annotated[dict[str, str], Narrow.by(_rates.stricter)] = msgspec.field(default_factory=dict)
    """Tool calls by who calls; who has proved nothing is his address."""
    rules: Annotated[tuple[RuleTable, ...], Narrow.UNION] = ()
    """Combinations of these."""
    plans: Annotated[dict[str, str], Narrow.by(_rates.stricter)] = msgspec.field(default_factory=dict)
    """Limits by the name of a plan, of which each member has his own."""
    members: dict[str, str] = msgspec.field(default_factory=dict)
    """Which plan who has: by an id, a pattern, or ``group:NAME``."""
    costs: dict[str, int | str] = msgspec.field(default_factory=dict)
    """What a call costs, by ``SERVER/TOOL``: a number, or the argument whose items are counted; others cost 1."""
    prices: dict[str, int | str] = msgspec.field(default_factory=dict)
    """How many credits a call costs, likewise; others cost as many as permits."""
    usage: bool = False
    """Whether the result of a call tells what is left, in front of a server: under ``io.github.hauberk/usage``."""
    max_ids: Annotated[int, Meta(ge=1, le=10_000_000), Narrow.MIN] = 100_000
    """How many buckets each limit may have; who finds no room shares one with all others who found none."""
    store: str | None = None
    """Where hosts share their buckets: ``redis://…``; without it, each process has its own."""
    sharing: Annotated[Literal["exact", "lease", "sync"], Narrow.strictest("exact", "lease", "sync")] = "exact"
    """Whether the store is asked for each call, for several at once, or told now and then."""
    lease: Annotated[int, Meta(ge=2, le=1_000), Narrow.MIN] = 8
    """How many permits are fetched at once, if they are leased."""
    sync_seconds: Annotated[float, Meta(ge=0.1, le=86_400), Narrow.MIN] = 600.0
    """How often the store is told, if it is told now and then."""
    store_timeout: Annotated[float, Meta(gt=0, le=2), Narrow.MIN] = 0.25
    """What the store may take to answer (seconds)."""
    on_store_failure: Annotated[Literal["refuse", "local"], Narrow.strictest("refuse", "local")] = "refuse"
    """While the store is down: refuse, or hold the same limits in each process by itself."""

    def __post_init__(self) -> None:
        for key in ("global_", "calls", "messages", "address"):
            if (text := getattr(self, key)) is not None:
                _limit(key.removesuffix("_"), text, each=False, calls=key not in ("messages", "address"))
        for table in ("tools", "domains", "principals", "plans"):
            limits: dict[str, str] = getattr(self, table)
            for name, text in limits.items():
                _limit(f"{table}.{name!r}", text, each=table != "plans")
                _named(table, name)
        self._check_counts()
        for rule in self.rules:
            _check_rule(rule)
        self._check_members()
        for table in ("costs", "prices"):
            for name, cost in getattr(self, table).items():
                _named(table, name)
                if isinstance(cost, int) and not 0 <= cost <= LIMITS.cost:
                    raise ValueError(f"{table}.{name!r}: a call costs from 0 to {LIMITS.cost}")

    def _check_counts(self) -> None:
        for table in ("tools", "domains", "principals", "plans", "rules", "members", "costs", "prices"):
            if (count := len(getattr(self, table))) > LIMITS.rules:
                raise ValueError(f"{table}: there are {count}, and a table has at most {LIMITS.rules}")

        if (count := sum("*" in name for name in self.domains)) > LIMITS.globs:
            raise ValueError(f"domains: there are {count} patterns, and a table has at most {LIMITS.globs}")

    def _check_members(self) -> None:
        known = {*self.plans, *(PRESETS[self.preset].get("plans", ()) if self.preset else ())}
        for name, plan in self.members.items():
            if plan not in known:
                raise ValueError(f"members.{name!r}: there is no plan {plan!r}")
            _named("members", name)


def _limit(key: str, text: str, *, each: bool, calls: bool = True) -> None:
    try:
        limit = _rates.parse(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if limit.each and not each:
        raise ValueError(f"{key}: {text!r} says each, where there is nobody to tell apart or everybody is already")
    if not calls and any(isinstance(part, _rates.Credit) for part in limit.parts):
        raise ValueError(f"{key}: credits are paid for tool calls")


def _named(table: str, name: str) -> None:
    try:
        _patterns.check(name)
        if table == "domains":
            glob(name)
    except UnclearHostError:
        raise ValueError(f"{table}.{name!r}: {name!r} is no host") from None
    except ValueError as error:
        raise ValueError(f"{table}.{name!r}: {error}") from None


def _check_rule(rule: RuleTable) -> None:
    _limit("rules", rule.limit, each=False)
    for dimension in DIMENSIONS:
        _named(f"{dimension}s", getattr(rule, dimension))
    if all(getattr(rule, dimension) == "*" for dimension in DIMENSIONS) and not rule.each:
        raise ValueError("rules: one names no server, tool, domain or principal; write it as global")


def check_store(uri: str, settings: config.Config) -> None:
    """Check that ``store`` names one.

    Raises:
        ConfigError: It does not, or it is reached in clear over a network in production.
    """
    from hauberk.shared import check_uri  # a host that shares nothing needs no client

    try:
        check_uri(uri, production=settings.production)
    except ConfigError as error:
        raise ConfigError(f"[ratelimit] store: {error.message}", hint=error.hint) from None


def check_places(settings: config.Config) -> None:
    """Check that what is one for a whole host stands in no table of a server.

    Raises:
        ConfigError: It does.
    """
    for place, table in settings.tables.items():
        if place.word != "ratelimit" or place.server is None:
            continue
        for key in _WHOLE_HOST:
            if key in table:
                raise ConfigError(
                    f"[server.{place.server}.ratelimit] {key}: holds for all servers of a host",
                    hint="write it in [ratelimit]" + (", or calls here" if key == "global" else ""),
                )


def merged(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table over the one that its ``preset`` stands for."""
    base = PRESETS.get(table.get("preset", ""), {})
    both = {key: {**base[key], **table[key]} for key in base.keys() & table.keys() if isinstance(base[key], dict)}
    return {**base, **table, **both}
