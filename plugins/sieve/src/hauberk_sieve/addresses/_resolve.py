"""The addresses that names have now, looked up in a thread of the loop, each name once for a message.

A name that cannot be looked up, in time or at all, leads nowhere that anybody could vouch for. What the host looks up
later may be another address: this is a check at the time of use and no pin.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.addresses._nets import special_text

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a name; raises OSError where there are none."""


async def system(name: str) -> Sequence[str]:
    """Look a name up as the system does.

    Raises:
        OSError: It has no address.
    """
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


async def looked_up(names: Iterable[str], lookup: Lookup, seconds: float) -> dict[str, Sequence[str]]:
    """Return the addresses of names, at most `LIMITS.hosts` of them; of those without, or too late, none.

    Args:
        names: What to look up.
        lookup: Who does.
        seconds: How long all of it may take.
    """
    tasks = {name: asyncio.ensure_future(lookup(name)) for name in list(dict.fromkeys(names))[: LIMITS.hosts]}
    if not tasks:
        return {}
    try:
        done, _ = await asyncio.wait(tasks.values(), timeout=seconds)
    finally:
        for task in tasks.values():
            task.cancel()
    return {name: _addresses(task) if task in done else () for name, task in tasks.items()}


def _addresses(task: asyncio.Future[Sequence[str]]) -> Sequence[str]:
    if task.cancelled() or isinstance(task.exception(), (OSError, UnicodeError)):
        return ()
    return task.result()


def fault(name: str, found: Mapping[str, Sequence[str]]) -> str | None:
    """Return why nobody may be led to a name, or None: every address that it has must be the open internet's."""
    addresses = found.get(name)
    if not addresses:
        return "the name could not be looked up" if addresses is not None else "too many names to look up"
    return next((f"the name leads to an address that is {what}" for what in map(special_text, addresses) if what), None)
