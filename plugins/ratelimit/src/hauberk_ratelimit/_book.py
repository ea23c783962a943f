"""All limits on tool calls of one policy: made of its tables, and found for a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from hauberk_ratelimit._buckets import Buckets
from hauberk_ratelimit._costs import Costs, split
from hauberk_ratelimit._domains import glob
from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._options import DIMENSIONS, Dimension, RuleTable, merged
from hauberk_ratelimit._patterns import ANY, Pattern, pattern
from hauberk_ratelimit._quotas import Quotas
from hauberk_ratelimit._rates import Quota, Rate, parse
from hauberk_ratelimit._rules import Bucket, Caller, Group, Plans, Ref, Rule


class Book:
    """All limits on tool calls of one policy."""

    def __init__(self, cap: int, debt: float = 0.0) -> None:
        self._cap: Final = cap
        self._debt: Final = debt
        self._fixed: list[Group] = []
        self._by_domain: list[Group] = []
        self._plans: list[Plans] = []
        self.costs: Final = Costs()
        """How many permits a call costs."""
        self.prices: Final = Costs()
        """How many credits a call costs: as many, where nobody says it."""
        self._ids: dict[str, int] = {}
        self.address: tuple[Ref, ...] = ()
        """What frames are charged to by the address that they come from; under no key yet."""
        self.messages: tuple[Ref, ...] = ()
        """What messages are charged to by who sends them; under no key yet."""

    def add(self, prefix: str, server: str | None, table: Mapping[str, Any], spared: Iterable[str] = ()) -> None:
        """Take in one table.

        Args:
            prefix: What the names of its rules begin with.
            server: Whose it is, if it is a server's.
            table: Its keys, which have been checked.
            spared: Servers for which another table stands in the place of this one.
        """
        table, where = merged(dict(table)), server or "*"
        for_all = [
            [self._rule(f"{prefix}global", table.get("global"))],
            [
                self._rule(f"{prefix}principals.{name}", text, principal=name, each=("principal",))
                for name, text in table.get("principals", {}).items()
            ],
        ]
        groups = [
            [self._rule(f"{prefix}calls", table.get("calls"), server=where, each=("server",))],
            [self._tool(f"{prefix}tools.{name}", name, text, where) for name, text in table.get("tools", {}).items()],
            [
                self._rule(f"{prefix}domains.{name}", text, server=where, domain=glob(name), each=("domain",))
                for name, text in table.get("domains", {}).items()
            ],
            *self._combined(prefix, table.get("rules", ()), where),
        ]
        for rules in for_all:
            self._group(rules)
        for rules in groups:
            self._group(rules, spared)
        self.address += self._each_of(f"{prefix}address", table.get("address"))
        self.messages += self._each_of(f"{prefix}messages", table.get("messages"))
        plans = {
            name: self._made(f"{prefix}plans.{name}", text, (ANY,) * 4, ("principal",))
            for name, text in table.get("plans", {}).items()
        }
        for bucket in (bucket for rule in plans.values() for bucket in rule.buckets if bucket.credit):
            bucket.account = f"{prefix}plans#credits"
        if plans:
            self._plans.append(Plans(plans, table.get("members", {})))
        self.costs.add(table.get("costs", {}), where)
        self.prices.add(table.get("prices", {}), where)

    # --- what a call meets ---

    @property
    def by_domain(self) -> bool:
        """Whether the hosts of a call's URLs matter."""
        return bool(self._by_domain)

    def refs(self, caller: Caller) -> tuple[Ref, ...]:
        """Return every bucket that a call is charged to, each once; but for those of the hosts that it names."""
        values, keys = _values(caller, "")
        refs = [ref for group in self._fixed for ref in group.refs(values, keys)]
        return tuple(dict.fromkeys((*refs, *(ref for plans in self._plans for ref in plans.refs(caller)))))

    def refs_of_host(self, caller: Caller, host: str) -> tuple[Ref, ...]:
        """Return the buckets of a host that a call names."""
        values, keys = _values(caller, host)
        return tuple(ref for group in self._by_domain for ref in group.refs(values, keys))

    # --- all of them ---

    @property
    def calls(self) -> list[Bucket]:
        """Every bucket of every rule on tool calls."""
        groups: list[Group | Plans] = [*self._fixed, *self._by_domain, *self._plans]
        return [bucket for group in groups for rule in group.rules for bucket in rule.buckets]

    @property
    def buckets(self) -> list[Bucket]:
        """Every bucket there is."""
        return [*self.calls, *(bucket for bucket, _ in (*self.address, *self.messages))]

    def inherit(self, old: Book, now: float) -> None:
        """Go on with what was used under the policy before; a bucket that is as it was stays the same."""
        before = {bucket.id: bucket for bucket in old.buckets}
        now_there = {bucket.id for bucket in self.buckets}
        gone = {_stem(id): one for id, one in before.items() if id not in now_there and not one.monthly}
        for bucket in self.buckets:
            found = before.get(bucket.id) or (None if bucket.monthly else gone.get(_stem(bucket.id)))
            if found is None:
                continue
            if found.part == bucket.part and found.shared == bucket.shared and old._cap == self._cap:
                bucket.table = found.table
            elif isinstance(bucket.table, Buckets) and isinstance(found.table, Buckets):
                bucket.table.inherit(found.table, now)
            elif isinstance(bucket.table, Quotas) and isinstance(found.table, Quotas):
                bucket.table.inherit(found.table)

    # --- how they are made ---

    def _named(self, id: str) -> str:
        """Return the name of a bucket; of several that are called the same, the later ones have a number."""
        count = self._ids[id] = self._ids.get(id, 0) + 1
        return id if count == 1 else f"{id}.{count}"

    def _table(self, part: Rate | Quota, cap: int) -> Buckets | Quotas:
        return Quotas(part, cap) if isinstance(part, Quota) else Buckets(part, cap, debt=self._debt)

    def _group(self, rules: list[Rule | None], spared: Iterable[str] = ()) -> None:
        if there := [rule for rule in rules if rule is not None]:
            group = Group(there, frozenset(spared))
            (self._by_domain if group.by_domain else self._fixed).append(group)

    def _each_of(self, name: str, text: str | None) -> tuple[Ref, ...]:
        if text is None:
            return ()
        return tuple((bucket, "") for bucket in self._made(name, text, (ANY,) * 4, ("principal",)).buckets)

    def _tool(self, name: str, spec: str, text: str, where: str) -> Rule | None:
        server, tool = split(spec, where)
        return self._rule(name, text, server=server, tool=tool, each=("server", "tool"))

    def _combined(self, prefix: str, tables: Sequence[Any], where: str) -> list[list[Rule | None]]:
        """Return the combinations, by what they name."""
        kinds: dict[tuple[Any, ...], list[Rule | None]] = {}
        for place, written in enumerate(tables, 1):
            one = written if isinstance(written, RuleTable) else msgspec.convert(written, RuleTable)
            named = tuple(getattr(one, dimension) != "*" or dimension in one.each for dimension in DIMENSIONS)
            patterns = tuple(
                pattern(glob(text) if dimension == "domain" else text)
                if (text := where if dimension == "server" and where != "*" else getattr(one, dimension)) != "*"
                else ANY
                for dimension in DIMENSIONS
            )
            says = "\0".join((*(one.text for one in patterns), *sorted(one.each)))
            rule = self._made(f"{prefix}rules.{place}", one.limit, patterns, one.each, f"{prefix}rules.{_digest(says)}")
            kinds.setdefault(named, []).append(rule)
        return list(kinds.values())

    def _rule(self, name: str, text: str | None, *, each: tuple[Dimension, ...] = (), **named: str) -> Rule | None:
        """Make a rule of a limit; without ``each`` in its text, a pattern's is one bucket, but for ``calls``."""
        if text is None:
            return None
        patterns = tuple(pattern(named[one]) if named.get(one, "*") != "*" else ANY for one in DIMENSIONS)
        own = parse(text).each or each == ("server",)
        return self._made(name, text, patterns, each if own else ())

    def _made(
        self, name: str, text: str, patterns: tuple[Pattern, ...], each: tuple[Dimension, ...], id: str = ""
    ) -> Rule:
        """Make a rule; what names it in a store, and over a reload, is neither a place in a list nor a number of it."""
        cap = min(self._cap, LIMITS.servers) if each == ("server",) else self._cap if each else 1
        buckets = [
            Bucket(
                name,
                self._named(f"{id or name}#{part.unit}"),
                part,
                self._table(part, cap),
                not each,
                each=each,
            )
            for part in parse(text).parts
        ]
        one, two, three, four = patterns
        own = tuple(dimension in each for dimension in DIMENSIONS)
        return Rule((one, two, three, four), (own[0], own[1], own[2], own[3]), tuple(buckets))


def _stem(id: str) -> str:
    return id.rpartition("#")[0]


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _values(caller: Caller, host: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what patterns are compared with, and what buckets are named by."""
    head = (caller.server, caller.tool, host)
    return (*head, caller.name), (*head, caller.identity)
