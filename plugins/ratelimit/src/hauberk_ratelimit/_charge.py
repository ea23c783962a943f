"""What one call was charged, until it is over: all its rounds are one call, which is charged once.

The rules:

1. A call that is not sent gets back all that it was charged; one that was sent and failed what `Paid` says. A retry
   that is not sent gives nothing back: the call was sent before.
2. A call has failed if its last round has: with an error, a result that says so, an answer that was refused, a
   time-out, or a connection that was lost. What its caller cancelled, left, or did not go on with has not.
"""

from __future__ import annotations

from typing import Final

from hauberk.exchange import Exchange
from hauberk_ratelimit._ledger import Paid
from hauberk_ratelimit._usage import Usage

_FAILED: Final = ("error", "refused", "timed_out")
"""How a round ends that failed, and not because its caller let go of it."""


class Charge:
    """A charge of one call; is called with the exchange of its last round when that has ended."""

    __slots__ = ("_paid", "used")

    def __init__(self, paid: Paid, used: Usage | None) -> None:
        """Keep what was paid, and what the answers tell of it, if they tell anything."""
        self._paid: Final = paid
        self.used: Final = used

    def __call__(self, last: Exchange) -> None:
        """Give it back, or what of it is to be given back."""
        if not last.sent:
            if not last.round:
                self._paid()
        elif last.failed or last.outcome in _FAILED or (last.outcome == "closed" and last.lost):
            self._paid(failed=True)


def used_by(exchange: Exchange | None) -> Usage | None:
    """Return what a call has used that is not over, where its answers are to tell it."""
    charges = () if exchange is None else exchange.of_call
    return next((one.used for one in charges if isinstance(one, Charge)), None)
