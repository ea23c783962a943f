"""What a store holds of limits, for the commands of an operator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hauberk.refusals import ConfigError
from hauberk_ratelimit import _scripts
from hauberk_ratelimit._buckets import kept
from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._peers import keys_of
from hauberk_ratelimit._shared import AT_ONCE, Exact, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hauberk_ratelimit._commands import Row
    from hauberk_ratelimit._desk import Desk
    from hauberk_ratelimit._rules import Bucket

_MICRO: Final = 1_000_000
_SCANNED: Final = 1_000
"""Keys that the store looks at in one step."""


async def seen(desk: Desk, rows: Sequence[Row]) -> None:
    """Fill in what is left of each limit that is shared, or how many buckets there are of it.

    Raises:
        PluginError: The store cannot be reached.
    """
    there = _there(desk)
    await there.store.open()
    try:
        calls = desk.book.calls
        for row, bucket in zip(rows, calls, strict=False):
            if bucket.shared:
                row.left, row.reset = await _stands(there, bucket)
            else:
                row.buckets = len(await _keys(there, bucket))
    finally:
        await there.store.close()


async def bought(desk: Desk, bucket: Bucket, key: str, count: int) -> int:
    """Add credits that were bought to a balance; return how many it holds that were.

    Raises:
        PluginError: The store cannot be reached.
        ConfigError: They would be more than can be kept.
    """
    there = _there(desk)
    await there.store.open()
    try:
        name = name_of(there.host, bucket, kept(key))
        held: int = await there.store.run(_scripts.BUY, (name,), (count, LIMITS.count))
    finally:
        await there.store.close()
    if held < 0:
        raise ConfigError(f"a balance holds at most {LIMITS.count} credits that were bought", hint="add fewer")
    return held


async def forgotten(desk: Desk, buckets: Sequence[Bucket], id: str | None) -> int:
    """Forget what was used of some limits, by one or by everybody; return of how many buckets. What was bought stays.

    Raises:
        PluginError: The store cannot be reached.
    """
    there = _there(desk)
    await there.store.open()
    try:
        count = 0
        for bucket in buckets:
            own = [""] if bucket.shared else map(kept, keys_of(id or ""))
            keys = await _keys(there, bucket) if id is None else [name_of(there.host, bucket, key) for key in own]
            for at in range(0, len(keys), AT_ONCE):
                some = keys[at : at + AT_ONCE]
                renewed = there.store.run(_scripts.RENEW, tuple(some)) if bucket.credit else None
                count += await (renewed or there.store.command("DEL", *some))
        return count
    finally:
        await there.store.close()


def _there(desk: Desk) -> Exact:
    if desk.store is None:
        raise LookupError("nothing is shared")
    return desk.store


async def _stands(there: Exact, bucket: Bucket) -> tuple[int, float]:
    interval, most = bucket.terms
    (answer,) = await there.store.run(_scripts.LOOK, (name_of(there.host, bucket, ""),), bucket.terms)
    if bucket.monthly:
        return answer if bucket.credit else max(0, most - answer), 0.0
    return max(0, (interval * most - answer) // interval), answer / _MICRO


async def _keys(there: Exact, bucket: Bucket) -> list[Any]:
    """Return the keys of the buckets that the store holds of one rate or quota."""
    if bucket.shared:
        return [name_of(there.host, bucket, "")]
    start = re.sub(rb"([\\*?\[\]])", rb"\\\1", name_of(there.host, bucket, ""))
    found: set[bytes] = set()
    cursor: Any = b"0"
    while True:
        cursor, keys = await there.store.command("SCAN", cursor, "MATCH", start + b"*", "COUNT", _SCANNED)
        found.update(keys)
        if cursor == b"0":
            return sorted(found)
