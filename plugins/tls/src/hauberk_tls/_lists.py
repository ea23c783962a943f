"""Revocation lists, each held against the key of the authority that it names.

The rules:

1. A list counts by its signature and by nothing else: whoever carries the file to a host need not be trusted. OpenSSL
   sees to that in a full handshake; afterwards it looks no more, so it is done here.
2. An authority is one that ``ca`` names, or one of a chain that OpenSSL verified. Of these, the one counts that signed
   the certificate in question: two can have one name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from hauberk_tls._limits import LIMITS

_WRONG: Final = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm)
KEYS: Final = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)
"""The kinds of keys that sign here."""


class Lists:
    """The lists of one state of the files, and the authorities that are known by now."""

    def __init__(
        self, lists: Sequence[x509.CertificateRevocationList] = (), authorities: Sequence[x509.Certificate] = ()
    ) -> None:
        self._lists: Final = tuple(lists)
        self._named: Final = tuple(authorities)
        self._met: Final[OrderedDict[x509.Certificate, None]] = OrderedDict()
        self._signed: Final[dict[tuple[int, x509.Certificate], bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._lists)

    def learn(self, chain: Sequence[x509.Certificate]) -> None:
        """Remember the authorities of a chain that OpenSSL verified; those that were not met for longest are let go."""
        if not self._lists:
            return
        for one in chain[1:]:
            self._met[one] = None
            self._met.move_to_end(one)
        while len(self._met) > LIMITS.authorities:
            gone, _ = self._met.popitem(last=False)
            for number in range(len(self._lists)):
                self._signed.pop((number, gone), None)

    def of(self, certificate: x509.Certificate) -> list[x509.CertificateRevocationList]:
        """Return the lists of the authority that signed a certificate."""
        signers = [one for one in (*self._named, *self._met) if _issued(certificate, one)]
        return [
            found
            for number, found in enumerate(self._lists)
            if found.issuer == certificate.issuer and any(self._is_of(number, signer) for signer in signers)
        ]

    def _is_of(self, number: int, signer: x509.Certificate) -> bool:
        known = self._signed.get((number, signer))
        if known is None:
            known = self._signed[number, signer] = _signed(self._lists[number], signer)
        return known


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    if certificate.issuer != authority.subject:
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except _WRONG:
        return False
    return True


def _signed(found: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        key = authority.public_key()
        return isinstance(key, KEYS) and found.is_signature_valid(key)
    except _WRONG:
        return False
