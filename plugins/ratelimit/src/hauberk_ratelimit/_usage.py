"""What an answer tells of the limits that its call was charged to (S1.41).

The rules:

1. ``burst`` is a limit by the second, ``rate_limit`` one by the minute, hour or day, ``quota`` one by the month, and
   ``credit`` a balance. Of several of one kind it is the one of which least is left.
2. Numbers are those after the charge of this call; ``reset`` is when all of it will be there again (seconds from then).
3. What no limit of a call is of, is left out.
4. Nobody else says anything in its place: what a server's answer has under our key is taken out, and nothing besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hauberk.message import Message
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


def told(message: Message, used: Usage | None) -> Message | None:
    """Return an answer to a client that tells what was used, and nothing else under our key; None as it is.

    Args:
        message: What goes to the client.
        used: What its call has used, if that is to be told.
    """
    result, error = message.result, message.error
    if message.kind == "result" and result is not None:
        clean = _without(result)
        meta = clean.get("_meta", {})
        if used is not None and clean.get("isError") is not True and isinstance(meta, dict):
            clean = {**clean, "_meta": {**meta, KEY: used}}
        return None if clean is result else message.with_result(clean)
    if message.kind == "error" and error is not None:
        clean = _without(error)
        if isinstance(data := clean.get("data"), dict) and (kept := _without(data)) is not data:
            clean = {**clean, "data": kept}
        return None if clean is error else message.with_error(clean)
    return None


def _without(holder: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what its ``_meta`` has under our key; the same where it has nothing."""
    meta = holder.get("_meta")
    if not isinstance(meta, dict) or KEY not in meta:
        return holder
    return {**holder, "_meta": {key: value for key, value in meta.items() if key != KEY}}


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
