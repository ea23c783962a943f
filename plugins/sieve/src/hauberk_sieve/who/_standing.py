"""How one principal stands: what it belongs to, what it was granted, and whether it is refused altogether.

The rules:

1. Of the reasons to refuse somebody the first of ``REASONS`` that applies is the one that is told (S1.3).
2. What lets somebody do more is looked up in ``groups``, ``roles`` and ``grants``. What forbids something is looked up
   in ``all_groups`` and ``all_roles``: a principal that was narrowed has lost what it may do, not what it may not.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from hauberk.refusals import Refused
from hauberk.verdict import Deny
from hauberk_sieve.access._rules import Pattern

Reason = Literal["suspended", "not_subscribed", "user_disabled", "people_stale"]

REASONS: Final[dict[Reason, str]] = {
    "people_stale": "nobody knows any more who may do what",
    "suspended": "this account is suspended",
    "not_subscribed": "this account has no subscription",
    "user_disabled": "this account is switched off",
}
"""Why somebody is refused, the first that applies is told; the code of the refusal is ``sieve.`` and the reason."""


class Refusal(NamedTuple):
    """Why a principal is refused whatever it asks for, and the one thing to do about it."""

    reason: Reason
    hint: str

    @property
    def code(self) -> str:
        """Return the code of the refusal."""
        return f"sieve.{self.reason}"

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


class Standing(msgspec.Struct, frozen=True, kw_only=True):
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
