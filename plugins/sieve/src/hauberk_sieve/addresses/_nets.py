"""Addresses that are not the open internet's, by the registries of IANA (RFC 6890 and what was registered since).

The rules:

1. Of IPv4, each block of the special-purpose registry is refused, multicast and the reserved rest with them, and the
   public addresses at which clouds answer their own machines.
2. Of IPv6, only global unicast (``2000::/3``) may pass, and of that no block of the special-purpose registry.
3. ``64:ff9b::/96`` (RFC 6052) is how a network without IPv4 names an IPv4 address: that one is judged. Every other form
   with an IPv4 address in it (mapped, compatible, 6to4, Teredo, the local NAT64 block) is refused whole.

The table is this project's own and not `ipaddress.is_global`, whose answers differ between releases of Python.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

_V4: Final = tuple(
    (IPv4Network(net), what)
    for net, what in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's customers"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("168.63.129.16/32", "a cloud's own"),
    )
)
_V6: Final = tuple(
    (IPv6Network(net), what)
    for net, what in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "an IPv4 address in IPv6"),
        ("::/96", "an IPv4 address in IPv6"),
        ("64:ff9b:1::/48", "a local translation of IPv4"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "an IPv4 address in IPv6"),
        ("3fff::/20", "for documentation"),
    )
)
_GLOBAL: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOW: Final = 0xFFFFFFFF


def special(address: Address) -> str | None:
    """Return what an address is for, where that is not the open internet; None where it is."""
    if isinstance(address, IPv4Address):
        return next((what for net, what in _V4 if address in net), None)
    if address in _NAT64:
        return special(IPv4Address(int(address) & _LOW))
    found = next((what for net, what in _V6 if address in net), None)
    return found or (None if address in _GLOBAL else "reserved")


def special_text(text: str) -> str | None:
    """Return the same of an address as a resolver writes it; what is none is nobody's.

    Args:
        text: An address, perhaps with a zone (``fe80::1%eth0``).
    """
    try:
        return special(ip_address(text.partition("%")[0]))
    except ValueError:
        return "no address"
