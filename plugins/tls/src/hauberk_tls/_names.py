"""Whose certificate it is: the names that are asked for, and those that a certificate has (RFC 9525).

The rules:

1. What is asked for is a DNS name in A-labels, or an IP address; case and one dot at the end do not count. A name in
   other letters is turned into A-labels where IDNA 2003 and 2008 agree; where they do not, it has to be written so.
2. A DNS name is compared with the DNS names of subjectAltName, an address with its addresses, and with nothing else.
3. ``*`` stands for one whole label, the leftmost, before at least two others, and never for an address.
4. A common name never takes the place of subjectAltName. Where it is required it must be the name too, by these rules
   (S0.12).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LABEL_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_NAME_CHARS: Final = 253
_LABEL_MAX: Final = 63
_STAR_LABELS: Final = 3


def asked(name: str) -> str:
    """Return a name as it is asked for and compared: A-labels in lower case, or an address in its shortest form.

    Raises:
        ValueError: It is no name, or it could be two.
    """
    if (address := as_address(name.removeprefix("[").removesuffix("]"))) is not None:
        return str(address)
    plain = name.lower().removesuffix(".")
    if not plain.isascii():
        plain = _encoded(plain, name)
    if not is_dns_name(plain):
        raise ValueError(f"{name!r} is no DNS name and no IP address")
    return plain


def _encoded(plain: str, name: str) -> str:
    try:
        encoded = plain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError(f"{name!r} is no DNS name") from None
    if encoded.encode("ascii").decode("idna") != plain:  # mapped to other letters, as ß is by IDNA 2003 alone
        raise ValueError(f"{name!r} could be two names; write it as it is encoded (xn--…)")
    return encoded


def is_dns_name(text: str) -> bool:
    """Whether this is a DNS name in A-labels, without a wildcard."""
    labels = text.split(".")
    return (
        0 < len(text) <= _NAME_CHARS
        and all(0 < len(label) <= _LABEL_MAX and set(label) <= _LABEL_CHARS for label in labels)
        and not labels[-1].isdigit()  # 10.1 is an address to some
    )


def as_address(text: str) -> Address | None:
    """Return the IP address that this is, or None."""
    if "%" in text:  # a zone names an interface of this machine, and no peer
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def matches(name: str, dns: Iterable[str], addresses: Iterable[Address]) -> bool:
    """Whether a name, as `asked` returns it, is among those of a certificate."""
    wanted = as_address(name)
    if wanted is not None:
        return any(address == wanted for address in addresses)
    return any(_covers(pattern.lower(), name) for pattern in dns)


def is_common_name(name: str, common: str) -> bool:
    """Whether a common name is the name that is asked for."""
    if as_address(name) is not None:
        return as_address(common) == as_address(name)
    if common.isascii():
        return _covers(common.lower(), name)
    try:
        return asked(common) == name
    except ValueError:
        return False


def _covers(pattern: str, name: str) -> bool:
    star, _, rest = pattern.partition(".")
    if star != "*":
        return is_dns_name(pattern) and pattern == name
    if pattern.count(".") + 1 < _STAR_LABELS or not is_dns_name(rest):
        return False
    first, _, others = name.partition(".")
    return bool(first) and others == rest
