"""Read and write PEM. What is read may be anything: it is refused with the name of its file, and never quoted.

The rules:

1. Keys are read from private files, once, by one descriptor (`hauberk.files`); certificates from files that only their
   owner may change.
2. A certificate is read in full before anything is said of it: `cryptography` reads extensions when they are asked for.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls.certs import _names
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._making import PURPOSES, Key, PublicKey, usable
from hauberk_tls.certs._names import Name
from hauberk_tls.certs._places import Kind

_WRONG = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.AttributeNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for input that is not what it should be."""


class Facts(NamedTuple):
    """What a certificate says."""

    common_name: str
    names: tuple[Name, ...]
    serial: str
    """Hexadecimal digits."""
    begin: dt.datetime
    end: dt.datetime
    fingerprint: str
    """SHA-256 of the certificate, hexadecimal."""
    key: str
    """SHA-256 of the public key (SubjectPublicKeyInfo), hexadecimal."""
    ca: bool
    kinds: frozenset[Kind]
    """What it is for; nothing where it does not say."""


def facts(certificate: x509.Certificate, where: str) -> Facts:
    """Return what a certificate says.

    Raises:
        ConfigError: It is damaged.
    """
    try:
        found = {type(one.value): one.value for one in certificate.extensions}
        basic, purposes, names = (
            found.get(x509.BasicConstraints),
            found.get(x509.ExtendedKeyUsage),
            found.get(x509.SubjectAlternativeName),
        )
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        public = certificate.public_key()
        return Facts(
            common_name=str(common[0].value) if common else "",
            names=_names.decoded(names) if isinstance(names, x509.SubjectAlternativeName) else (),
            serial=f"{certificate.serial_number:x}",
            begin=certificate.not_valid_before_utc,
            end=certificate.not_valid_after_utc,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            key=hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest(),
            ca=isinstance(basic, x509.BasicConstraints) and basic.ca,
            kinds=frozenset(_kinds(purposes)),
        )
    except _WRONG as error:
        raise _no(where, "certificate") from error


def _kinds(purposes: object) -> list[Kind]:
    if not isinstance(purposes, x509.ExtendedKeyUsage):
        return []
    kinds: tuple[Kind, ...] = ("server", "client")
    return [kind for kind in kinds if PURPOSES[kind] in purposes]


def certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a file, at least one.

    Raises:
        ConfigError: The file cannot be used, or holds something else.
    """
    return parse_certificates(files.read_trusted(path, max_bytes=LIMITS.pem_bytes), repr(str(path)))


def parse_certificates(data: bytes, where: str) -> list[x509.Certificate]:
    """Return the certificates of a file that was read, at least one.

    Raises:
        ConfigError: It holds something else, or too many.
    """
    try:
        with warnings.catch_warnings():  # of a serial number that is not positive it only warns, on the terminal
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            found = x509.load_pem_x509_certificates(data)
    except (*_WRONG, CryptographyDeprecationWarning) as error:
        raise _no(where, "certificate") from error
    if len(found) > LIMITS.chain:
        raise ConfigError(f"cannot use {where}: it has more than {LIMITS.chain} certificates")
    return found


def crl(path: Path) -> x509.CertificateRevocationList:
    """Return the revocation list of a file.

    Raises:
        ConfigError: The file cannot be used, or holds something else, be it beside the list: a certificate there would
            be one more authority to whoever gives the file to OpenSSL.
    """
    data = files.read_trusted(path, max_bytes=LIMITS.index_bytes)
    try:
        found = x509.load_pem_x509_crl(data)
    except _WRONG as error:
        raise _no(repr(str(path)), "revocation list") from error
    if data.count(b"-----BEGIN ") != 1:
        raise ConfigError(f"cannot use {str(path)!r}: it holds something else beside the revocation list")
    return found


def request(path: Path) -> tuple[PublicKey, tuple[Name, ...], str]:
    """Return the key, the names and the common name of a request that is signed by its key.

    Raises:
        ConfigError: The file cannot be used, or holds something else.
    """
    where = repr(str(path))
    try:
        found = x509.load_pem_x509_csr(files.read_trusted(path, max_bytes=LIMITS.pem_bytes))
        signed, public = found.is_signature_valid, found.public_key()
        asked = [one.value for one in found.extensions if isinstance(one.value, x509.SubjectAlternativeName)]
        common = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except _WRONG as error:
        raise _no(where, "request") from error
    if not signed:
        raise ConfigError(f"cannot use {where}: the request is not signed by its key")
    names = tuple(name for one in asked for name in _names.decoded(one))
    return usable(public, where), names, str(common[0].value) if common else ""


def key(data: bytes, where: str, passphrase: bytes | None = None) -> Key:
    """Return the private key of a file that was read.

    Raises:
        ConfigError: It holds none of a known type, or the passphrase is another one.
    """
    try:
        found = load_pem_private_key(data, passphrase)
    except _WRONG:
        # No chain: what was raised has seen the passphrase.
        if passphrase is not None:
            raise ConfigError(f"cannot open {where}: another passphrase, or a damaged file") from None
        raise _no(where, "private key") from None
    if isinstance(found, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        return found
    raise _no(where, "private key of a known type")


def is_encrypted(data: bytes) -> bool:
    """Whether the key of a file has a passphrase."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data or b"Proc-Type: 4,ENCRYPTED" in data


def key_der(key: Key) -> bytes:
    """Return a key as PKCS#8, DER."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def key_text(key: Key) -> bytes:
    """Return a key as PKCS#8, PEM, without a passphrase: its file is private."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def text(*found: x509.Certificate | x509.CertificateRevocationList | x509.CertificateSigningRequest) -> bytes:
    """Return certificates, a list or a request as PEM."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in found)


def same_key(one: PublicKey, other: object) -> bool:
    """Whether two public keys are one."""
    return one == other


def issued_by(certificate: x509.Certificate, ca: x509.Certificate, *, below: int = 0) -> bool:
    """Whether a CA signed a certificate, and may sign one with so many CAs below it.

    Whose certificate is for something else (RFC 5280 sections 4.2.1.3 and 4.2.1.9) is no CA, whatever it signs.
    """
    try:
        certificate.verify_directly_issued_by(ca)
        found = {type(one.value): one.value for one in ca.extensions}
    except _WRONG:
        return False
    basic, usage = found.get(x509.BasicConstraints), found.get(x509.KeyUsage)
    if not isinstance(basic, x509.BasicConstraints) or not basic.ca:
        return False
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        return False
    return basic.path_length is None or below <= basic.path_length


def chained(chain: Sequence[x509.Certificate], ca: x509.Certificate) -> bool:
    """Whether each certificate is signed by the next, and the last by the CA, or is the CA."""
    links = [*chain, ca] if chain[-1] != ca else [*chain]
    return all(issued_by(one, links[place + 1], below=place) for place, one in enumerate(links[:-1]))


def list_signed_by(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    """Whether a CA signed a revocation list that can be read to its end."""
    try:
        public = ca.public_key()
        signed = isinstance(public, PublicKey) and crl.is_signature_valid(public)
        return signed and all(one.serial_number for one in crl) and len(crl.extensions) > 0
    except _WRONG:
        return False


def _no(where: str, what: str) -> ConfigError:
    return ConfigError(f"cannot use {where}: it holds no {what} that can be read")
