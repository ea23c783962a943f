"""An authority and certificates made on the spot, for probes: what they try has to be wrong in one way each."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hauberk.connection import Role
from hauberk_tls import _contexts
from hauberk_tls._facts import key_hash
from hauberk_tls._own import Own
from hauberk_tls._peer import ALPN
from hauberk_tls._trust import Trust

NAME: Final = "doctor.hauberk.example"
WILDCARD: Final = "*.hauberk.example"
"""A pattern that the name is covered by."""
SINCE: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
UNTIL: Final = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
PAST: Final = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
FUTURE: Final = dt.datetime(9999, 12, 30, tzinfo=dt.UTC)
_USAGE: Final = dict.fromkeys(
    (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "encipher_only",
        "decipher_only",
    ),
    False,
)
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Shown(NamedTuple):
    """A certificate that a peer shows, and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def own(self) -> Own:
        """Return it as the contexts take it."""
        pem = self.certificate.public_bytes(Encoding.PEM)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Own((), pem, key)

    @property
    def pin(self) -> str:
        """Return the hash of its key."""
        return key_hash(self.certificate)


class Authority:
    """An authority whose certificates are good for ever, unless it is said otherwise: no clock has a say."""

    def __init__(self, *, excluded: str | None = None) -> None:
        """Make one.

        Args:
            excluded: A DNS name that it may not sign.
        """
        self._excluded: Final = excluded
        self.key: Final = ec.generate_private_key(ec.SECP256R1())
        self.name: Final = _name("hauberk-doctor")
        self.certificate: Final = self._self_signed()
        self.good: Final = self.issue()
        self.trust: Final = Trust(
            (), self.certificate.public_bytes(Encoding.PEM).decode(), b"", (), (self.certificate,)
        )

    def lists(self, *revoked: Shown) -> Trust:
        """Return it with a revocation list."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(SINCE).next_update(UNTIL)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False).add_extension(self._issuer, critical=False)
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(SINCE).build())
        made = builder.sign(self.key, hashes.SHA256())
        return self.trust._replace(crl=made.public_bytes(Encoding.PEM), lists=(made,))

    def issue(
        self,
        name: x509.GeneralName | None = x509.DNSName(NAME),  # noqa: B008 - it never changes
        *,
        common: str = NAME,
        purpose: x509.ObjectIdentifier | None = SERVER,
        since: dt.datetime = SINCE,
        until: dt.datetime = UNTIL,
        key: Key | None = None,
        irregular: bool = False,
    ) -> Shown:
        """Return a certificate that is right but for what is said; an irregular one does not say who signed it."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(common), key, purpose=purpose, dates=(since, until))
        if name is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        if not irregular:
            builder = builder.add_extension(self._issuer, critical=False)
        return Shown(builder.sign(self.key, hashes.SHA256()), key)

    @property
    def _issuer(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    def _self_signed(self) -> x509.Certificate:
        builder = self._builder(self.name, self.key, ca=True).add_extension(self._issuer, critical=False)
        if self._excluded is not None:
            trees = [x509.DNSName(self._excluded)]
            constraints = x509.NameConstraints(permitted_subtrees=None, excluded_subtrees=trees)
            builder = builder.add_extension(constraints, critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def _builder(
        self,
        subject: x509.Name,
        key: Key,
        *,
        ca: bool = False,
        purpose: x509.ObjectIdentifier | None = None,
        dates: tuple[dt.datetime, dt.datetime] = (SINCE, UNTIL),
    ) -> x509.CertificateBuilder:
        usage = x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **_USAGE)
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=self.name, public_key=key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(dates[0])
            .not_valid_after(dates[1])
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return builder if purpose is None else builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class End:
    """One end of a handshake in memory."""

    def __init__(self, context: ssl.SSLContext, *, server: bool) -> None:
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else NAME
        # not by the context's own method, which would use up a ticket
        self.tls = ssl.SSLContext.wrap_bio(context, self.into, self.out, server_side=server, server_hostname=name)
        self.error: Exception | None = None

    def step(self) -> None:
        """Go on as far as it goes."""
        if self.error is None:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except (ssl.SSLError, OSError) as error:
                self.error = error


def shake(client: End, server: End) -> None:
    """Let two ends shake hands."""
    for _ in range(4):
        client.step()
        server.into.write(client.out.read())
        server.step()
        client.into.write(server.out.read())


def other(mine: Role, shown: Shown | None) -> ssl.SSLContext:
    """Return the context of a peer that checks nothing, where our role is ``mine``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if mine == "client" else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN["tls"]])
    if shown is not None:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # it shows weak keys too
        _contexts.show(context, shown.own)
    return context
