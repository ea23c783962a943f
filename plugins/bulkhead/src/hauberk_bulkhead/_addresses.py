"""Whose address it is: of IPv6 a /64, which is what one customer has; of anything that is none, nobody's. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

_PREFIX: Final = 64


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def address_of(peer: str) -> str:
    """Return who counts as one, of a connection's ``peer`` (``host:port``, ``[host]:port``); empty of a path."""
    host, _, port = peer.rpartition(":")
    found = _parsed(peer) or (_parsed(host) if port.isdigit() else None)
    if found is None:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found) >> _PREFIX << _PREFIX, _PREFIX)))
    return str(found)
