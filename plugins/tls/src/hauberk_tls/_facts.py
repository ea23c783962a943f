"""What a certificate says, read once: its names, its dates, its purposes, its key."""

from __future__ import annotations

import hashlib
import warnings
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from hauberk_tls._names import Address, as_address
from hauberk_tls._spki import spki_of

_SERIAL_BITS: Final = 20 * 8 - 1


class Facts(NamedTuple):
    """What is looked at."""

    common_names: tuple[str, ...]
    dns: tuple[str, ...]
    addresses: tuple[Address, ...]
    uris: tuple[str, ...]
    emails: tuple[str, ...]
    purposes: frozenset[str] | None
    """Dotted numbers of extendedKeyUsage; None where there is no such extension."""
    not_before: float
    """Seconds since 1970."""
    not_after: float
    """Seconds since 1970."""
    key: str
    """``sha256:`` of the SubjectPublicKeyInfo."""
    authority: bool
    """Whether it may sign others (basicConstraints), or limits what others sign (nameConstraints)."""
    serial: int
    issuer: x509.Name
    fingerprint: str
    """``sha256:`` of the certificate."""
    certificate: x509.Certificate

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of subjectAltName, as text."""
        return (*self.uris, *self.dns, *map(str, self.addresses), *self.emails)


def facts(der: bytes) -> Facts:
    """Read a certificate.

    Raises:
        ValueError: It is not one, or says the same thing twice.
    """
    try:
        return _facts(der)
    except (
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        x509.InvalidVersion,
        UnsupportedAlgorithm,
    ) as error:
        raise ValueError(str(error)) from None


def _facts(der: bytes) -> Facts:
    certificate = load(der)
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        san = x509.SubjectAlternativeName([])
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        purposes = frozenset(purpose.dotted_string for purpose in usage)
    except x509.ExtensionNotFound:
        purposes = None
    authority = any(_of_authority(one.value) for one in certificate.extensions)
    return Facts(
        common_names=tuple(str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)),
        dns=tuple(san.get_values_for_type(x509.DNSName)),
        addresses=tuple(filter(None, (as_address(str(ip)) for ip in san.get_values_for_type(x509.IPAddress)))),
        uris=tuple(san.get_values_for_type(x509.UniformResourceIdentifier)),
        emails=tuple(san.get_values_for_type(x509.RFC822Name)),
        purposes=purposes,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        key=key_hash(certificate),
        authority=authority,
        serial=certificate.serial_number,
        issuer=certificate.issuer,
        fingerprint=f"sha256:{hashlib.sha256(der).hexdigest()}",
        certificate=certificate,
    )


def load(der: bytes) -> x509.Certificate:
    """Return a certificate whose serial number is one that RFC 5280 allows (section 4.1.2.2).

    Raises:
        ValueError: It is not one.
    """
    with warnings.catch_warnings():  # of such numbers; the next versions of pyca/cryptography raise
        warnings.simplefilter("ignore")
        certificate = x509.load_der_x509_certificate(der)
        number = certificate.serial_number
    if number <= 0 or number.bit_length() > _SERIAL_BITS:
        raise ValueError("its serial number is not one of 1 to 20 bytes")
    return certificate


def _of_authority(extension: x509.ExtensionType) -> bool:
    return isinstance(extension, x509.NameConstraints) or (
        isinstance(extension, x509.BasicConstraints) and extension.ca
    )


def key_hash(certificate: x509.Certificate) -> str:
    """Return what ``revoked_keys`` and ``pinned_keys`` call the key of a certificate, as it stands there."""
    return _hash(spki_of(certificate.tbs_certificate_bytes))


def key_hashes(certificate: x509.Certificate) -> frozenset[str]:
    """Return every hash that the key of a certificate may be called by: as it stands there, and as it is usual.

    One key can be encoded in several ways; who revokes it has one of them, and means the key.
    """
    usual = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return frozenset((key_hash(certificate), _hash(usual)))


def _hash(spki: bytes) -> str:
    return f"sha256:{hashlib.sha256(spki).hexdigest()}"
