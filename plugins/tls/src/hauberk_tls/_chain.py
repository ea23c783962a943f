"""The chain that OpenSSL verified, and what it does not look at in one.

The rules:

1. A chain is not longer than is allowed. An authority that signed another of its own name (RFC 5280 section 6.1) is not
   counted.
2. Its keys are RSA, EC or Edwards curves.
3. A name that an authority may not sign is not reached by a wildcard either: OpenSSL compares what a certificate says
   with the constraints, and ``*.example`` is not ``files.example`` to it.

`ssl.SSLObject.get_verified_chain` is public since Python 3.13; before, the object beneath has it (since 3.10). The way
round that may go when 3.13 is the oldest that is supported.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any, Final

from cryptography import x509

from hauberk_tls._facts import load
from hauberk_tls._lists import KEYS
from hauberk_tls._names import as_address

_ENDS: Final = 2
"""The peer and the authority."""


def chain_of(tls: ssl.SSLObject) -> list[x509.Certificate] | None:
    """Return the chain, from the peer to the authority; None where it is not known, as in a resumed session.

    Raises:
        ValueError: A certificate of it cannot be read.
    """
    public: Any = getattr(tls, "get_verified_chain", None)
    if public is not None:
        ders = public()
    else:
        private: Any = getattr(getattr(tls, "_sslobj", None), "get_verified_chain", None)
        ders = None if private is None else [one.public_bytes(_der()) for one in private() or ()]
    return [load(der) for der in ders] if ders else None


def length(chain: list[x509.Certificate]) -> int:
    """Return how long a chain is."""
    between = chain[1:-1]
    return min(len(chain), _ENDS) + sum(one.issuer != one.subject for one in between)


def odd_key(chain: list[x509.Certificate]) -> str:
    """Return the kind of a key that is not used here, or nothing."""
    return next((type(key).__name__ for one in chain if not isinstance(key := one.public_key(), KEYS)), "")


def excluded(chain: list[x509.Certificate], name: str) -> bool:
    """Whether an authority of a chain may not sign for a name, as `hauberk_tls._names.asked` returns it."""
    return any(_excludes(one, name) for one in chain[1:])


def _excludes(authority: x509.Certificate, name: str) -> bool:
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return False
    address = as_address(name)
    for tree in constraints.excluded_subtrees or ():
        value = tree.value
        if address is not None and isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
            if address in value:
                return True
        elif address is None and isinstance(tree, x509.DNSName):
            domain = str(value).lower().removeprefix(".")
            if not domain or name == domain or name.endswith(f".{domain}"):
                return True
    return False


def _der() -> int:
    import _ssl

    return _ssl.ENCODING_DER
