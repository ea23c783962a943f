"""Make certificates, requests and revocation lists: X.509 version 3, as RFC 5280 profiles it.

The rules:

1. A CA: ``basicConstraints`` critical, with its path length; ``keyUsage`` critical, to sign certificates and lists.
2. A certificate: ``basicConstraints`` critical, no CA; ``keyUsage`` critical, to sign, which is all that TLS 1.3 does;
   one purpose, ``serverAuth`` or ``clientAuth``; the names, the first of which is the common name too.
3. Every certificate says whose key it holds and whose signed it (SKI, AKI), and has a serial number of 159 random bits.
4. It begins a few minutes before it is made: a peer's clock may be slow. It ends no later than its CA.
5. A key that asks to be signed has a known type and a usable size, and proves that it is held by signing the request.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hauberk.refusals import ConfigError
from hauberk_tls.certs import _names
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._names import Name
from hauberk_tls.certs._places import Kind

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
Algorithm = Literal["p256", "ed25519"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
PURPOSES: Final = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_SERIAL_BYTES: Final = 20
_RSA_BITS: Final = 2048
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


class Signer(NamedTuple):
    """A CA that can sign."""

    certificate: x509.Certificate
    key: Key


class Source(NamedTuple):
    """The time and chance that certificates are made with."""

    now: dt.datetime
    """In UTC, in whole seconds."""
    random: Callable[[int], bytes]

    def serial(self) -> int:
        """Return 159 random bits, which is a positive number of at most 20 bytes (RFC 5280 section 4.1.2.2)."""
        while not (number := int.from_bytes(self.random(_SERIAL_BYTES)) >> 1):
            pass
        return number

    def begin(self) -> dt.datetime:
        """Return from when on what is made now counts (rule 4)."""
        return self.now - dt.timedelta(seconds=LIMITS.backdate)


class Revoked(NamedTuple):
    """One line of a revocation list."""

    serial: int
    when: dt.datetime
    reason: x509.ReasonFlags


def new_key(algorithm: Algorithm) -> Key:
    """Return a new key."""
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "p256" else ed25519.Ed25519PrivateKey.generate()


def algorithm_of(key: object) -> Algorithm:
    """Return what makes a key like this one; P-256 in the place of what is not made here."""
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "p256"


def authority(key: Key, name: str, source: Source, *, days: int, path_length: int) -> x509.Certificate:
    """Return the certificate of a new CA."""
    subject = _subject(name)
    usage = _usage(sign_certificates=True)
    builder = (
        _builder(subject, subject, key.public_key(), source)
        .not_valid_after(source.now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, digest_for(key))


def certificate(
    signer: Signer, key: PublicKey, kind: Kind, names: tuple[Name, ...], source: Source, *, days: int
) -> x509.Certificate:
    """Return a certificate of a server or a client.

    Raises:
        ConfigError: The CA counts no longer.
    """
    end = signer.certificate.not_valid_after_utc
    if end <= source.now:
        raise ConfigError(f"the CA has expired on {end:%Y-%m-%d}", hint="make a new one: another --dir, then `init`")
    builder = (
        _builder(_subject(names[0].value), signer.certificate.subject, key, source)
        .not_valid_after(min(source.now + dt.timedelta(days=days), end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([PURPOSES[kind]]), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_names.encoded, names)), critical=False)
        .add_extension(_signed_by(signer.certificate), critical=False)
    )
    return builder.sign(signer.key, digest_for(signer.key))


def request(key: Key, kind: Kind, names: tuple[Name, ...]) -> x509.CertificateSigningRequest:
    """Return what a CA elsewhere is asked to sign (PKCS#10)."""
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(names[0].value))
        .add_extension(x509.ExtendedKeyUsage([PURPOSES[kind]]), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_names.encoded, names)), critical=False)
    )
    return builder.sign(key, digest_for(key))


def revocations(
    signer: Signer, revoked: Iterable[Revoked], number: int, source: Source, *, days: int
) -> x509.CertificateRevocationList:
    """Return a revocation list (RFC 5280 section 5); the reason ``unspecified`` is left out, as 5.3.1 says."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(source.begin())
        .next_update(source.now + dt.timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_signed_by(signer.certificate), critical=False)
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(one.when)
        if one.reason is not x509.ReasonFlags.unspecified:
            entry = entry.add_extension(x509.CRLReason(one.reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(signer.key, digest_for(signer.key))


def usable(key: object, where: str) -> PublicKey:
    """Return a public key that a certificate may hold (rule 5).

    Raises:
        ConfigError: It is of another type, or too small.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS:
        return key
    raise ConfigError(
        f"cannot use the key in {where}: it is of no type that is signed here",
        hint=f"P-256, P-384, P-521, Ed25519, or RSA of at least {_RSA_BITS} bits",
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: PublicKey, source: Source) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(source.serial())
        .not_valid_before(source.begin())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signed_by(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def digest_for(key: Key) -> hashes.SHA256 | None:
    """Return what is hashed with before signing; Ed25519 does it itself."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
