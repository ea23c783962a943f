"""The decision: who may see and use what. Lists, calls, gets and reads go by it, and what a tool calls inside.

The rules:

1. A deny rule that is about the thing and about who asks wins over every allow rule, in whatever order they stand
   (S3.35); then an allow rule; then the default. The default is one for tools, prompts, resources and templates.
2. A deny rule is matched with a name as it came, and with its form C; one that is not plain is also matched by its fold
   (`hauberk_sieve._spelling`). An allow rule matches plain names only. Of URIs the same holds, with all their readings
   (`_uris`).
3. A name that is too long, or has too many combining marks in a row, is denied before any rule is looked at.
4. A rule that goes by a definition decides only where there is one: what was not listed is denied, if such a rule could
   have denied it or is all that allows it.
5. What somebody was granted besides the rules is an allow rule for that person.
6. What is remembered is remembered of kind, server, name and which rules are about who asks; definitions are looked at
   each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from hauberk_sieve._limits import LIMITS, Limits
from hauberk_sieve._spelling import is_plain, nfc, unfit
from hauberk_sieve.access._facts import Facts
from hauberk_sieve.access._patterns import Pattern
from hauberk_sieve.access._rule import NAMED_BY, Kind, Rule
from hauberk_sieve.access._tables import Grants, Lists
from hauberk_sieve.access._uris import is_plain_uri
from hauberk_sieve.access._whom import NOBODY, Asker, Whom

__all__ = ["Decision", "Default", "Pattern", "Rules"]

Default = Literal["allow", "deny"]
By = Literal["allow", "deny", "default", "name", "unlisted", "content", "policy"]
POLICY: Final = "tool_policy = read-only"
"""What the rule of a preset is called."""
_HINTS: Final[dict[By, str]] = {
    "name": "rename it: no rule matches such a name",
    "unlisted": "ask for tools/list first: a rule goes by the definition of this tool",
    "content": "look at what has changed, then write the hash that it has now ('hauberk pins list' shows it)",
    "policy": 'it does not say readOnlyHint = true; take tool_policy = "read-only" out to let it be used',
}


class Decision(msgspec.Struct, frozen=True):
    """What the rules say of one thing of one server."""

    allowed: bool
    rule: str
    """The rule that decided, as it is written, or ``default = …``."""
    by: By
    kind: Kind = "tool"

    def hint(self, server: str, name: str) -> str:
        """Return the one thing to do for an operator who wants what was refused to pass."""
        if self.by == "deny":
            return f"take {self.rule} out of [sieve] deny"
        if self.by in _HINTS:
            return _HINTS[self.by]
        if not (is_plain(nfc(server)) and _is_plain(self.kind, name)):
            return "rename it: no allow rule matches a name that is not what it looks like"
        rule = _exactly(self.kind, server, name)
        if rule is None:
            return "allow it by a pattern with '*' in [sieve] allow: no exact pattern can be offered for its name"
        return f"add {rule} to [sieve] allow"


def _exactly(kind: Kind, server: str, name: str) -> str | None:
    """Return the rule that is about this alone, if there is one that is safe to copy."""
    pattern = Pattern.exactly(server, name)
    if pattern is None or kind == "tool":
        return None if pattern is None else str(pattern)
    return f'{{ server = "{server}", {NAMED_BY[kind]} = "{name}" }}'


def _is_plain(kind: Kind, name: str) -> bool:
    return is_plain_uri(name) if NAMED_BY[kind] == "resource" else is_plain(name)


class _Found(NamedTuple):
    """What is found of one thing, whatever its definition says."""

    decision: Decision
    denies: tuple[Rule, ...] = ()
    """Deny rules that go by the definition."""
    allows: tuple[Rule, ...] = ()
    """Allow rules that go by it, where no other rule allows."""


class Rules:
    """One list of allow and one of deny rules, with the default for what neither names."""

    __slots__ = (
        "_aged",
        "_askers",
        "_bits",
        "_default",
        "_grants",
        "_lists",
        "_memo",
        "_whoms",
        "by_asker",
        "by_definition",
        "limits",
    )

    def __init__(
        self, default: Default, allow: Iterable[Rule] = (), deny: Iterable[Rule] = (), *, limits: Limits = LIMITS
    ) -> None:
        allow, deny = tuple(allow), tuple(deny)
        self.limits: Final = limits
        self.by_definition: Final = any(rule.needs is not None for rule in (*allow, *deny))
        """Whether any rule goes by the definition of a tool."""
        self._lists: Final = {key: Lists(key, allow, deny) for key in ("tool", "prompt", "resource")}
        self._grants: Final = Grants()
        self._default: Final = {
            kind: Decision(default == "allow", f"default = {default}", "default", kind) for kind in NAMED_BY
        }
        self._whoms: Final[dict[tuple[Whom, bool], int]] = {}
        self._bits: Final = {
            rule: 1 << self._whoms.setdefault((rule.whom, forbids), len(self._whoms))
            for rules, forbids in ((allow, False), (deny, True))
            for rule in rules
            if rule.whom is not None
        }
        self.by_asker: Final = bool(self._whoms)
        """Whether any rule goes by who asks."""
        self._askers: Final[dict[Asker, int]] = {}
        self._memo: dict[tuple[str, Kind, str, int], _Found] = {}
        self._aged: dict[tuple[str, Kind, str, int], _Found] = {}

    def decide(
        self, server: str, kind: Kind, name: str, who: Asker = NOBODY, definition: Facts | None = None
    ) -> Decision:
        """Say whether somebody may see and use one thing of one server.

        Args:
            server: The server's name.
            kind: What it is; a concrete URI is a ``resource``.
            name: The name of a tool or prompt, the URI of a resource, the text of a template.
            who: Who asks.
            definition: Of a tool, where it was listed.
        """
        about = self.about(who)
        found = self._memo.get((server, kind, name, about)) or self._found(server, kind, name, about)
        if who.grants and kind == "tool" and found.decision.by == "default" and not found.decision.allowed:
            found = self._granted(found, server, name, who)
        return _by_definition(found, definition) if found.denies or found.allows else found.decision

    def about(self, who: Asker) -> int:
        """Return which conditions hold for who asks: what a decision depends on, of all that is known of them."""
        if not self._whoms:
            return 0
        about = self._askers.get(who)
        if about is None:
            if len(self._askers) >= self.limits.memo:
                del self._askers[next(iter(self._askers))]
            whoms = self._whoms.items()
            about = sum(1 << bit for (whom, forbids), bit in whoms if whom.holds(who, forbids=forbids))
            self._askers[who] = about
        return about

    def remembered(self) -> int:
        """Return how many decisions are remembered."""
        return len(self._memo) + len(self._aged)

    def _found(self, server: str, kind: Kind, name: str, about: int) -> _Found:
        key = server, kind, name, about
        found = self._aged.get(key) or self._find(server, kind, name, about)
        if len(server) + len(name) <= self.limits.memo_chars:
            if len(self._memo) >= self.limits.memo // 2:
                self._aged, self._memo = self._memo, {}
            self._memo[key] = found
        return found

    def _find(self, server: str, kind: Kind, name: str, about: int) -> _Found:
        lists = self._lists[NAMED_BY[kind]]
        if (broken := unfit(name, LIMITS.uri_chars if lists.uris else LIMITS.name_chars)) is not None:
            return _Found(Decision(False, broken, "name", kind))
        place = nfc(server)
        plain = is_plain(place) and _is_plain(kind, name)
        denies: dict[Rule, None] = {}
        for rule in lists.denying(place, name, plain=plain):
            if self._is_about(rule, about):
                if rule.needs is None:
                    return _Found(Decision(False, rule.text, "deny", kind))
                denies[rule] = None
        allows: dict[Rule, None] = {}
        for rule in lists.allowing(place, name) if plain else ():
            if self._is_about(rule, about):
                if rule.needs is None:
                    return _Found(Decision(True, rule.text, "allow", kind), tuple(denies))
                allows[rule] = None
        return _Found(self._default[kind], tuple(denies), tuple(allows))

    def _is_about(self, rule: Rule, about: int) -> bool:
        return rule.whom is None or bool(self._bits[rule] & about)

    def _granted(self, found: _Found, server: str, name: str, who: Asker) -> _Found:
        place = nfc(server)
        if not (is_plain(place) and is_plain(name)):
            return found
        rule = self._grants.find(who.grants, place, name)
        return found if rule is None else _Found(Decision(True, rule.text, "allow"), found.denies)


def _by_definition(found: _Found, definition: Facts | None) -> Decision:
    """Return the decision where rules go by the definition."""
    decision = found.decision
    for rule in () if decision.allowed else found.allows:
        if definition is None:
            return Decision(False, rule.text, "unlisted")
        if rule.needs is not None and definition.meets(rule.needs):
            decision = Decision(True, rule.text, "allow")
            break
        decision = Decision(False, rule.text, "content")
    for rule in found.denies if decision.allowed else ():
        if definition is None:
            return Decision(False, rule.text, "unlisted")
        if rule.needs is not None and definition.meets(rule.needs):
            return Decision(False, rule.text, "policy" if rule.text == POLICY else "deny")
    return decision
