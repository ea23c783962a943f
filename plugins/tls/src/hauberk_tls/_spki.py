"""The SubjectPublicKeyInfo of a certificate, byte for byte.

pyca/cryptography writes one anew from the key that it read: of a key with a compressed point, or of parameters that are
left out, the two differ. What other programs hash is what stands in the certificate.
"""

from __future__ import annotations

from typing import Final

_VERSION: Final = 0xA0
_LONG: Final = 0x80
_BEFORE: Final = 5
"""Fields of a TBSCertificate before it, but for the version: serial number, algorithm, issuer, dates, subject."""


def spki_of(tbs: bytes) -> bytes:
    """Return it, of a TBSCertificate that was parsed before (RFC 5280 section 4.1)."""
    _, place, _ = _header(tbs, 0)
    kind, _, end = _header(tbs, place)
    if kind == _VERSION:
        place = end
    for _ in range(_BEFORE):
        place = _header(tbs, place)[2]
    return tbs[place : _header(tbs, place)[2]]


def _header(data: bytes, place: int) -> tuple[int, int, int]:
    """Return the kind of what is at a place, where its content begins, and where it ends (DER)."""
    kind, length, begin = data[place], data[place + 1], place + 2
    if length >= _LONG:
        count = length - _LONG
        length, begin = int.from_bytes(data[begin : begin + count]), begin + count
    return kind, begin, begin + length
