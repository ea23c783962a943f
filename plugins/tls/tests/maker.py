"""Certificates for tests, good ones and each kind of bad one."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW: Final = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY: Final = dt.timedelta(days=1)
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def subject(common: str | None) -> x509.Name:
    return x509.Name([] if common is None else [x509.NameAttribute(NameOID.COMMON_NAME, common)])


def san(name: str) -> x509.GeneralName:
    """Return a name as subjectAltName has it."""
    if "://" in name or name.startswith("urn:"):
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Issued:
    """A certificate, its key, and what goes between it and its root."""

    certificate: x509.Certificate
    key: Key
    above: Sequence[x509.Certificate] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def chain(self) -> bytes:
        return b"".join(pem(one) for one in (self.certificate, *self.above))

    def key_pem(
        self,
        form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
        passphrase: bytes | None = None,
    ) -> bytes:
        sealed = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, form, sealed)

    @property
    def pin(self) -> str:
        from hauberk_tls._facts import key_hash

        return key_hash(self.certificate)

    def write(self, folder: Path, name: str, **form: Any) -> tuple[Path, Path]:
        """Write certificate and key; return where they are."""
        return put(folder / f"{name}.pem", self.chain, 0o644), put(folder / f"{name}.key", self.key_pem(**form))


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def put(path: Path, data: bytes, mode: int = 0o600) -> Path:
    """Put a file in the place of another, as a careful program does."""
    beside = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as stream:
        stream.write(data)
    beside.chmod(mode)
    beside.replace(path)
    return path


@dataclass
class Ca:
    """An authority."""

    name: str = "Test CA"
    key: Key = field(default_factory=new_key)
    parent: Ca | None = None
    path_length: int | None = None
    constraints: x509.NameConstraints | None = None
    revoked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        signer = self.parent or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject(self.name))
            .issuer_name(subject(signer.name))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 10 * DAY)
            .not_valid_after(NOW + 3650 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=self.path_length), critical=True)
            .add_extension(usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
        )
        if self.constraints is not None:
            builder = builder.add_extension(self.constraints, critical=True)
        self.certificate = builder.sign(signer.key, algorithm(signer.key))

    @property
    def pem(self) -> bytes:
        return pem(self.certificate)

    @property
    def above(self) -> list[x509.Certificate]:
        """Return what a peer has to send along: this authority and those above, but for the root."""
        return [] if self.parent is None else [self.certificate, *self.parent.above]

    def issue(
        self,
        *names: str,
        common: str | None = "",
        purposes: Iterable[x509.ObjectIdentifier] | None = (SERVER,),
        since: dt.datetime = NOW - DAY,
        until: dt.datetime = NOW + 90 * DAY,
        key: Key | None = None,
        authority: bool = False,
    ) -> Issued:
        """Issue a certificate; without ``common`` the first name is the common name, None is none at all."""
        key = key or new_key()
        common = (names[0] if names else None) if common == "" else common
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject(common))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(usage(ca=authority, end=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(san, names)), critical=common is None)
        if purposes is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return Issued(builder.sign(self.key, algorithm(self.key)), key, self.above)

    def crl(self, *revoked: Issued, until: dt.datetime = NOW + 30 * DAY, since: dt.datetime = NOW - DAY) -> bytes:
        """Return a revocation list, PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(since)
            .next_update(until)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        return builder.sign(self.key, algorithm(self.key)).public_bytes(serialization.Encoding.PEM)


def usage(*, ca: bool, end: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=end,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def algorithm(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def self_signed(*names: str, purposes: Iterable[x509.ObjectIdentifier] = (SERVER,)) -> Issued:
    """Return a certificate that nobody else signed."""
    key = new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(names[0]))
        .issuer_name(subject(names[0]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName(map(san, names)), critical=False)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    return Issued(builder.sign(key, hashes.SHA256()), key)
