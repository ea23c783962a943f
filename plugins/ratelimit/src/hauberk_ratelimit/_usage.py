"""What an answer tells of the limits that its call was charged to (S1.41).

The rules:

1. ``burst`` is a limit by the second, ``rate_limit`` one by the minute, hour or day, ``quota`` one by the month, and
   ``credit`` a balance. Of several of one kind it is the one of which least is left.
2. Numbers are those after the charge of this call; ``reset`` is when all of it will be there again (seconds from then).
3. What no limit of a call is of, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hauberk_ratelimit._buckets import Left
from hauberk_ratelimit._ledger import up
from hauberk_ratelimit._rules import Bucket, Ref

KEY: Final = "io.github.hauberk/usage"
"""Under which it stands in ``_meta`` of a result: a prefix of our own, as the protocol asks for."""
KINDS: Final = ("burst", "rate_limit", "quota", "credit")
Usage = dict[str, dict[str, float]]


def usage_of(refs: Sequence[Ref], stands: Sequence[Left], price: int) -> Usage:
    """Return what is told.

    Args:
        refs: What was charged.
        stands: How each of it stands.
        price: How many credits the call cost.
    """
    least: dict[str, Left] = {}
    for (bucket, _), left in zip(refs, stands, strict=True):
        kind = _kind(bucket)
        if kind not in least or left[1] < least[kind][1]:
            least[kind] = left
    return {kind: _told(kind, least[kind], price) for kind in KINDS if kind in least}


def _kind(bucket: Bucket) -> str:
    if bucket.credit:
        return "credit"
    if bucket.monthly:
        return "quota"
    return "burst" if bucket.part.unit == "second" else "rate_limit"


def _told(kind: str, left: Left, price: int) -> dict[str, float]:
    limit, remaining, reset = left
    if kind == "credit":
        return {"balance": remaining, "cost": price}
    if kind == "burst":
        return {"limit": limit, "remaining": remaining}
    used = {"used": limit - remaining} if kind == "quota" else {}
    return {"limit": limit, **used, "remaining": remaining, "reset": up(reset)}
