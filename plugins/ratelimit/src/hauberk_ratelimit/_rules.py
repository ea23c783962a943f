"""Which limits a call meets.

The rules:

1. Every table of the configuration, from the general one to that of a server on a host, is a set of limits of its own,
   and all of them hold. One with ``override = true`` takes the place of those before it.
2. In one table, of the rules that name the same kind of thing (a tool, a domain, a caller, one combination) the one
   holds that says most: a whole name before a pattern, a longer pattern before a shorter one. All kinds hold together.
3. A rule with a pattern is one bucket for all that it matches (S3.45). With ``each``, everyone has his own.
4. A call that names several hosts is charged for each; one bucket is charged once for one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from hauberk.principal import Principal
from hauberk_ratelimit._buckets import Buckets, kept
from hauberk_ratelimit._options import Dimension
from hauberk_ratelimit._patterns import ANY, Pattern, pattern
from hauberk_ratelimit._quotas import Quotas
from hauberk_ratelimit._rates import Credit, Quota, Rate

_GROUP: Final = "group:"


class Bucket(msgspec.Struct, eq=False):
    """One rate, quota or balance of one rule, and what is kept of it here."""

    rule: str
    """The rule's name, as refusals tell it."""
    id: str
    """What the rule is for, and the unit of this part of it: what names it in a shared store, and over a reload."""
    part: Rate | Quota
    table: Buckets | Quotas
    shared: bool
    """Whether it is one bucket, and not one for each."""

    each: tuple[Dimension, ...] = ()
    """Of what each value has one."""
    account: str = ""
    """What names it in a shared store, where that is not its id: one caller's balance is one in all plans."""
    terms: tuple[int, int] = (0, 0)
    """What a shared store has to know: the interval of a rate (µs), 0 of a quota or -1 of credits; and its burst, the
    quota, or what is given for a month."""
    monthly: bool = False
    """Whether its times are those of the calendar."""
    credit: bool = False
    """Whether credits are taken from it, and not permits."""

    def __post_init__(self) -> None:
        part = self.part
        self.account = self.account or self.id
        if isinstance(part, Rate):
            self.terms = (part.micros, part.burst)
            return
        self.monthly, self.credit = True, isinstance(part, Credit)
        self.terms = (-1 if self.credit else 0, part.count)


Ref = tuple[Bucket, str]
"""A bucket, and under which key: empty for the one that all share."""


class Caller(NamedTuple):
    """Who calls what."""

    server: str
    tool: str
    principal: Principal
    identity: str
    """The key of who calls."""
    name: str
    """The name that rules know him by."""


class Rule(msgspec.Struct, frozen=True, eq=False):
    """One limit, and what it is for."""

    patterns: tuple[Pattern, Pattern, Pattern, Pattern]
    """Of server, tool, domain and principal."""
    each: tuple[bool, bool, bool, bool]
    buckets: tuple[Bucket, ...]

    def matches(self, values: Sequence[str]) -> bool:
        """Whether it is for these."""
        return all(one is ANY or one.matches(value) for one, value in zip(self.patterns, values, strict=True))

    @property
    def exact(self) -> bool:
        """Whether it names all that it means."""
        return all(one is ANY or one.exact for one in self.patterns)

    @property
    def named(self) -> tuple[str | None, ...]:
        """Return what it names."""
        return tuple(None if one is ANY else one.text for one in self.patterns)

    def refs(self, keys: Sequence[str]) -> tuple[Ref, ...]:
        """Return its buckets for these."""
        named = [key for key, each in zip(keys, self.each, strict=True) if each]
        key = kept(named[0] if len(named) == 1 else "".join(f"{len(one)}:{one}" for one in named))
        return tuple((bucket, key) for bucket in self.buckets)

    @property
    def weight(self) -> tuple[int, int]:
        """Return how much it says."""
        weights = [one.weight for one in self.patterns]
        return sum(exact for exact, _ in weights), sum(length for _, length in weights)


class Group:
    """Rules of which the one that says most holds."""

    __slots__ = ("_globs", "_masks", "_named", "_rules", "_spared", "by_domain")

    def __init__(self, rules: Iterable[Rule], spared: frozenset[str]) -> None:
        self._spared: Final = spared
        self._rules: Final = tuple(sorted(rules, key=lambda rule: rule.weight, reverse=True))
        self._globs: Final = [(rank, rule) for rank, rule in enumerate(self._rules) if not rule.exact]
        self._named: Final[dict[tuple[str | None, ...], int]] = {}
        """The rank of the rules that name all they mean: these are found without a look at the others."""
        for rank, rule in enumerate(self._rules):
            if rule.exact:
                self._named.setdefault(rule.named, rank)
        self._masks: Final = {tuple(one is not None for one in named) for named in self._named}
        self.by_domain: Final = any(rule.patterns[2] is not ANY or rule.each[2] for rule in self._rules)

    def refs(self, values: Sequence[str], keys: Sequence[str]) -> tuple[Ref, ...]:
        """Return the buckets of the rule that holds."""
        if values[0] in self._spared:
            return ()
        rule = self.holds(values)
        return () if rule is None else rule.refs(keys)

    def holds(self, values: Sequence[str]) -> Rule | None:
        """Return the rule that holds, of those that match the one that says most."""
        best = len(self._rules)
        for mask in self._masks:
            named = tuple(value if said else None for value, said in zip(values, mask, strict=True))
            best = min(best, self._named.get(named, best))
        for rank, rule in self._globs:
            if rank > best:
                break
            if rule.matches(values):
                return rule
        return self._rules[best] if best < len(self._rules) else None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, the one that says most first."""
        return self._rules


class Plans:
    """Which plan who has, and the buckets of each."""

    __slots__ = ("_members", "_rules")

    def __init__(self, rules: Mapping[str, Rule], members: Mapping[str, str]) -> None:
        self._rules: Final = rules
        found = [(pattern(name), name, plan) for name, plan in members.items()]
        self._members: Final = sorted(
            found, key=lambda one: (one[0].exact and not one[1].startswith(_GROUP), *one[0].weight), reverse=True
        )

    def refs(self, caller: Caller) -> tuple[Ref, ...]:
        """Return the buckets of who calls."""
        for one, name, plan in self._members:
            if name.startswith(_GROUP):
                found = name.removeprefix(_GROUP) in caller.principal.groups
            else:
                found = one.matches(caller.name)
            if found:
                return self._rules[plan].refs(("", "", "", caller.identity))
        return ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The plans."""
        return tuple(self._rules.values())
