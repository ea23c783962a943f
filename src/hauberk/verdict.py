"""What a judge may answer: ``Deny`` over ``Ask`` over ``Allow`` over nothing. One Deny is final."""

from __future__ import annotations

from typing import Any

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """The answer of one judge about one call. Only `Deny`, `Ask` and `Allow` are verdicts."""


class Deny(Verdict, frozen=True):
    """Refuse the call, whatever anybody else says.

    ``code`` is stable and begins with the plugin's word (``"sieve.denied"``). ``public`` codes, those of load and
    admission, may be told to a remote peer; ``data``, further members of the error's ``data``, with them. ``details``
    are for the event of the refusal alone.
    """

    code: str
    reason: str
    rule: str | None = None
    hint: str | None = None
    retry_after: float | None = None
    public: bool = False
    data: dict[str, Any] = {}
    details: dict[str, Any] = {}


class Ask(Verdict, frozen=True):
    """Let the call pass only if an approver says yes to exactly these arguments."""

    reason: str
    rule: str | None = None


class Allow(Verdict, frozen=True):
    """Name the rule that lets the call pass. It never hides another judge's Ask or Deny."""

    rule: str | None = None


class Approved(msgspec.Struct, frozen=True):
    """An approver's yes, bound to the digest of the call that was shown."""

    digest: str
    by: str | None = None
