"""The order of several calls in one argument: what waits for what (S1.6).

Ids are unique; what a call waits for is there; and nothing waits for itself, in however many steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from hauberk_sieve._spelling import nfc
from hauberk_sieve.inner._path import Call, Malformed


def check(calls: Sequence[Call]) -> None:
    """Check that the calls can be made in some order.

    Raises:
        Malformed: They cannot.
    """
    ids = [nfc(call.id) for call in calls if call.id is not None]
    known = set(ids)
    if len(known) < len(ids):
        raise Malformed("two calls have one id")
    waits = [{nfc(id) for id in call.after} for call in calls]
    if not all(waiting <= known for waiting in waits):
        raise Malformed("a call waits for one that is not there")
    left = list(zip(calls, waits, strict=True))
    done: set[str] = set()
    while ready := [call for call, waiting in left if waiting <= done]:
        left = [(call, waiting) for call, waiting in left if not waiting <= done]
        done |= {nfc(call.id) for call in ready if call.id is not None}
    if left:
        raise Malformed("calls wait for one another in a circle")
