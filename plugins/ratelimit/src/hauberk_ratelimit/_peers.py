"""Who is at the other end, where nobody has proved who he is: the address, as coarse as one party can change it (A62).

The rules:

1. An IPv4 address is itself; an IPv6 address is its network of 64 bits, of which one party has all; one that stands for
   an IPv4 address (RFC 4291, section 2.5.5.2) is that. The port is nobody.
2. Of a Unix socket it is the user, as the kernel says.
3. Those of whom no address is known are one.
4. Who has proved who he is, is his id within his tenant (`Principal.key`); the same id in another tenant is somebody
   else. Each kind of key begins with its own word, so that no id is taken for an address.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from hauberk.principal import Principal

if TYPE_CHECKING:
    from hauberk.connection import Connection

_IPV6_PARTY: Final = 64
"""Bits of an IPv6 address that tell parties apart (RFC 6177)."""


def address_of(connection: Connection) -> str:
    """Return the key of a peer's address."""
    if connection.credentials is not None:
        return f"uid:{connection.credentials.uid}"
    return party(connection.peer)


def party(peer: str) -> str:
    """Return the party of ``host:port``, ``[host]:port`` or a host."""
    host = peer.rpartition(":")[0] if peer.count(":") == 1 or "]:" in peer else peer
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_PARTY), strict=False))


def identity_of(principal: Principal, connection: Connection) -> str:
    """Return the key of who speaks: who he has proved to be, else his address. Nothing that he says of himself."""
    return f"address:{address_of(connection)}" if principal.is_anonymous else f"id:{principal.key}"


def name_of(principal: Principal, connection: Connection) -> str:
    """Return the name that rules know somebody by: his id, ``TENANT/ID`` within a tenant, else ``address:ADDRESS``.

    An id with a stroke, of who belongs to no tenant, has one before it, so that it is not the name of a tenant's; not
    that of a URI, as SPIFFE's are, which no tenant's begins like.
    """
    if principal.is_anonymous:
        return f"address:{address_of(connection)}"
    if principal.tenant is not None:
        return f"{principal.tenant}/{principal.id}"
    return f"/{principal.id}" if "/" in principal.id and "://" not in principal.id else principal.id


def key_of(id: str, tenant: str | None) -> str:
    """Return the key of who has proved to be this."""
    return f"id:{Principal(id=id, kind='user', tenant=tenant).key}"


def keys_of(name: str) -> tuple[str, ...]:
    """Return every key that somebody of this name, or what else is so called, may be charged under."""
    tenant, stroke, id = name.partition("/")
    if stroke and not tenant:  # as `name_of` names who belongs to none
        return name, key_of(id, None)
    return (name, key_of(name, None), *((key_of(id, tenant),) if stroke else ()))
