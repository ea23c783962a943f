"""Whose a request is, as everything here counts it: rooms, breakers, suspensions. Pure.

The rules:

1. Who has proved who he is, is his tenant and his id (`Principal.key`): one id in two tenants is two callers.
2. Who has proved nothing is his address: of a Unix socket the user, of IPv6 the /64. Of whom no address is known, there
   is one caller.
3. A name that is longer than `LIMITS.name_chars` is its beginning and a digest, the same everywhere.
"""

from __future__ import annotations

import hashlib
from typing import Final

from hauberk.connection import Connection
from hauberk.principal import Principal
from hauberk_bulkhead._addresses import address_of
from hauberk_bulkhead._limits import LIMITS

_DIGITS: Final = 32
"""Hexadecimal digits of a digest in a name."""
_WHOLE: Final = LIMITS.name_chars - _DIGITS - 1
"""Characters up to which a name is kept as it is; so none of those is what a longer one becomes."""
_ADDRESS: Final = "\0\0"
"""In front of an address: no identity begins so."""


def kept(name: str) -> str:
    """Return a name that somebody else chose in a bounded form that is still his alone; apply it once."""
    if len(name) <= _WHOLE:
        return name
    return f"{name[:_WHOLE]}…{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:_DIGITS]}"


def where(connection: Connection) -> str:
    """Return the address that counts of a connection; empty where there is none."""
    if connection.credentials is not None:
        return f"uid:{connection.credentials.uid}"
    return address_of(connection.peer)


def caller_of(principal: Principal, connection: Connection) -> str:
    """Return who speaks."""
    if principal.is_anonymous:
        return f"{_ADDRESS}{where(connection)}"
    return kept(principal.key)


def party_of(principal: Principal, caller: str) -> str:
    """Return whose failures count together: a tenant's, or a caller's (`caller_of`) who has none."""
    if principal.tenant and not principal.is_anonymous:
        return kept(principal.key.removesuffix(principal.id))  # ends with a NUL, so it is no caller
    return caller


def parted(name: str) -> tuple[str, str]:
    """Return the tenant (empty: none) and the id of a caller, or of a party, for people to read."""
    if name.startswith(_ADDRESS):
        return "", name.removeprefix(_ADDRESS) or "anonymous"
    tenant, nul, id = name.partition("\0")
    return (tenant.strip("%"), id) if nul else ("", name)  # written with percent signs alone, it is none


def readable(name: str) -> str:
    """Return a caller or a party as one text, for people to read."""
    return "/".join(part for part in parted(name) if part)
