"""The chain that OpenSSL verified.

`ssl.SSLObject.get_verified_chain` is public since Python 3.13; before, the object beneath has it (since 3.10). This
module may go when 3.13 is the oldest that is supported.
"""

from __future__ import annotations

import ssl
from typing import Any

from cryptography import x509


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
    return [x509.load_der_x509_certificate(der) for der in ders] if ders else None


def _der() -> int:
    import _ssl

    return _ssl.ENCODING_DER
