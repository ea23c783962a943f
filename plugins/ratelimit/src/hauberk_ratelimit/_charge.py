"""What one call was charged, until it is over: all its rounds are one call, which is charged once.

The rules:

1. A call that is not sent gets back all that it was charged. A retry that is not sent gives nothing back: the call was
   sent before.
2. A call that was sent and failed gets back what is counted by the month, quotas and credits (S1.41(c)). Rates are not
   given back: they are for load, and a call that failed was one.
3. A call has failed if its last round has: with an error, a result that says so, an answer that was refused, a
   time-out, or a connection that was lost. What its caller cancelled, left, or did not go on with has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from hauberk.exchange import Exchange
from hauberk_ratelimit._buckets import Left
from hauberk_ratelimit._rules import Ref

if TYPE_CHECKING:
    from hauberk_ratelimit._ledger import Local
    from hauberk_ratelimit._usage import Usage

Marks = tuple[float, ...]
"""Of each bucket of a charge, what tells how much of it can be given back."""
_FAILED: Final = ("error", "refused", "timed_out")
"""How a round ends that failed, and not because its caller let go of it."""


class Paid(msgspec.Struct, eq=False, gc=False):  # nothing that it refers to refers to it: there is no cycle to find
    """A charge that was made in this process; of a call, it is called when that is over."""

    local: Local
    refs: Sequence[Ref]
    """What was charged."""
    marks: Marks
    cost: int = 1
    """How many permits."""
    price: int = 1
    """How many credits."""
    used: Usage | None = None
    """What the answers to the call tell of it, if they tell anything."""

    def __call__(self, last: Exchange) -> None:
        """Give back what is to be given back, once the exchange of the call's last round has ended."""
        if not last.sent:
            if not last.round:
                self.give()
        elif last.failed or last.outcome in _FAILED or (last.outcome == "closed" and last.lost):
            self.give(failed=True)

    def give(self, *, failed: bool = False) -> None:
        """Give it back; of a call that was sent and ``failed``, what is counted by the month."""
        if not failed:
            self.local.refund(self.refs, self.cost, self.marks, self.price)
        elif due := [(ref, mark) for ref, mark in zip(self.refs, self.marks, strict=True) if ref[0].monthly]:
            refs, marks = zip(*due, strict=True)
            self.local.refund(refs, self.cost, marks, self.price)

    def left(self) -> list[Left]:
        """Return how each bucket stands after it."""
        return self.local.left(self.refs)


def used_by(exchange: Exchange | None) -> Usage | None:
    """Return what a call has used that is not over, where its answers are to tell it."""
    charges = () if exchange is None else exchange.of_call
    return next((one.used for one in charges if isinstance(one, Paid)), None)
