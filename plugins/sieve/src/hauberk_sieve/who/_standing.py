"""How one principal stands: what it belongs to, what it was granted, and whether it is refused altogether.

The rules:

1. Of the reasons to refuse somebody the first of ``REASONS`` that applies is the one that is told (S1.3).
2. What lets somebody do more is looked up in ``groups``, ``roles`` and ``grants``. What forbids something is looked up
   in ``all_groups`` and ``all_roles``: a principal that was narrowed has lost what it may do, not what it may not.
3. What the channel proved stands, and the register adds to it: groups, and either the roles that it gives or the
   default role. It takes nothing away but everything: who may not do what a token says is suspended, or is denied.
4. To a principal that was narrowed the register adds nothing that lets it do more, or narrowing it would be in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from hauberk.refusals import Refused
from hauberk.verdict import Deny
from hauberk_sieve.access._rules import Pattern

if TYPE_CHECKING:
    from hauberk.principal import Principal
    from hauberk_sieve.who._options import People
    from hauberk_sieve.who._register import Entry

Reason = Literal["suspended", "not_subscribed", "user_disabled", "people_stale"]

REASONS: Final[dict[Reason, str]] = {
    "suspended": "this account is suspended",
    "not_subscribed": "this account has no subscription",
    "user_disabled": "this account is switched off",
    "people_stale": "nobody knows any more who may do what",
}
"""Why somebody is refused; the first that applies is told."""


_CODES: Final[dict[Reason, str]] = {
    "suspended": "sieve.suspended",
    "not_subscribed": "sieve.not_subscribed",
    "user_disabled": "sieve.user_disabled",
    "people_stale": "sieve.people_stale",
}
_HINTS: Final[dict[Reason, str]] = {
    "suspended": "set status in the file of [sieve.people]",
    "not_subscribed": "set subscribed in the file of [sieve.people]",
    "user_disabled": "set status in the file of [sieve.people]",
    "people_stale": "make the file of [sieve.people] readable again; the event sieve.people_expired says what is wrong",
}


class Refusal(NamedTuple):
    """Why a principal is refused whatever it asks for, and the one thing to do about it."""

    reason: Reason
    hint: str

    @property
    def code(self) -> str:
        """Return the code of the refusal."""
        return _CODES[self.reason]

    def deny(self) -> Deny:
        """Return the verdict on each call."""
        return Deny(self.code, REASONS[self.reason], rule=self.rule, hint=self.hint)

    def refused(self) -> Refused:
        """Return the refusal of each other message."""
        return Refused(self.code, REASONS[self.reason], rule=self.rule, hint=self.hint)

    @property
    def rule(self) -> str:
        """Return what the refusal goes by."""
        return f"people: {self.reason}"


class Standing(msgspec.Struct, frozen=True, gc=False):
    """How one principal stands at this moment."""

    id: str
    groups: frozenset[str] = frozenset()
    """Groups that an allow rule may go by."""
    roles: frozenset[str] = frozenset()
    """Roles that an allow rule may go by."""
    all_groups: frozenset[str] = frozenset()
    """Groups that a deny rule goes by: at least ``groups``."""
    all_roles: frozenset[str] = frozenset()
    """Roles that a deny rule goes by: at least ``roles``."""
    refused: Refusal | None = None
    """Why it is refused everywhere, or None for somebody who is active."""
    grants: tuple[Pattern, ...] | None = None
    """Patterns that this person is allowed besides the rules, where no deny rule says no; None where there are none."""


def stand(entry: Entry, principal: Principal, proved: Principal, table: People) -> Standing:
    """Unite what the channel proved with what the register says (rules 3 and 4)."""
    own = frozenset(filter(None, (table.default_role,))) if entry.roles is None else entry.roles
    all_groups, all_roles = proved.groups | entry.groups, proved.roles | own
    refused = None if entry.reason is None else refusal(entry.reason, table.help_url)
    if principal is not proved and principal != proved:
        return Standing(principal.id, principal.groups, principal.roles, all_groups, all_roles, refused)
    return Standing(principal.id, all_groups, all_roles, all_groups, all_roles, refused, entry.grants)


def refusal(reason: Reason, help_url: str) -> Refusal:
    """Return the refusal for a reason, with where to find help."""
    return Refusal(reason, f"see {help_url.replace('{reason}', reason)}" if help_url else _HINTS[reason])
