"""Every bound of this package, with its unit."""

from __future__ import annotations

from typing import Final

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What no configuration and no client may exceed."""

    text: int = 200
    """Characters of one limit."""
    count: int = 1_000_000_000
    """Permits that a rate or a quota may name."""
    per_second: int = 100_000
    """Permits a second; above it a rate could not be kept to the microsecond."""
    burst: int = 10_000_000
    """Permits at once."""
    fill_seconds: int = 366 * 86_400
    """What an empty bucket may take to be full again."""
    parts: int = 4
    """Rates and quotas of one limit."""
    rules: int = 4_096
    """Rules of one table."""
    globs: int = 256
    """Patterns of domains of one table; each is compared with each host of a call."""
    looked_at: int = 4
    """Idle buckets that are looked for, when a newcomer needs room."""
    shard: int = 1_024
    """Buckets kept in one dictionary: what is moved when it grows."""
    given: int = 64
    """Refunds of one bucket of which it is known to which charge they belong."""
    key: int = 64
    """Characters of an identity that are kept as they are; a longer one is kept as its digest."""
    known: int = 512
    """Callers and tools of which it is remembered what their calls are charged."""
    place: int = 1_024
    """Characters of the names of caller and tool that are kept with that; of longer ones it is not remembered."""
    hosts: int = 16
    """Hosts that the URLs of one call may name."""
    host: int = 253
    """Characters of a host."""
    authority: int = 2_048
    """Characters of user, host and port of a URL."""
    urls: int = 1_024
    """Different beginnings (scheme, user, host and port) that the URLs of one call may have."""
    servers: int = 4_096
    """Servers that have a bucket each: their names are those of a configuration."""
    cost: int = 1_000_000
    """What one call may cost."""

    debts: int = 10
    """How many times between two tellings a bucket may be in debt to others."""


LIMITS: Final = Limits()
