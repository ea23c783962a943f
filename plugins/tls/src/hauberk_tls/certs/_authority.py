"""The CA of a directory: made, opened with its passphrase, and let sign.

Whatever signs keeps the order: sign in memory, write the index, and only then let anybody have the certificate.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from typing import Final, NamedTuple, final

import msgspec
from cryptography import x509

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls.certs import _index, _making, _pem, _sealing, _store
from hauberk_tls.certs._index import Index, Issued
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._making import Algorithm, PublicKey, Signer, Source
from hauberk_tls.certs._names import Name
from hauberk_tls.certs._passphrases import Passphrases
from hauberk_tls.certs._pem import Facts
from hauberk_tls.certs._places import PRIVATE, PUBLIC, SEALED, Kind, Places
from hauberk_tls.certs._store import Content


class Plan(NamedTuple):
    """What a new CA is to be."""

    name: str | None = None
    algorithm: Algorithm = "p256"
    days: int = LIMITS.ca_days
    path_length: int = LIMITS.path_length
    crl_days: int = LIMITS.crl_days


class Order(NamedTuple):
    """One certificate that is to be signed."""

    key: PublicKey
    kind: Kind
    names: tuple[Name, ...]
    days: int


def make(places: Places, plan: Plan, passphrase: bytes | None, source: Source) -> Facts | None:
    """Make a CA: key, certificate, an empty revocation list, an empty index; all of them or nothing.

    Returns:
        What its certificate says; None where there is a CA by now, which is kept.

    Raises:
        ConfigError: Its files cannot be made.
        OSError: The disk failed; there is no CA.
    """
    key = _making.new_key(plan.algorithm)
    name = plan.name or f"hauberk CA {source.random(4).hex()}"  # two CAs of one name confuse whoever builds chains
    certificate = _making.authority(key, name, source, days=plan.days, path_length=plan.path_length)
    signer = Signer(certificate, key)
    crl = _making.revocations(signer, (), 1, source, days=plan.crl_days)
    found = _pem.facts(certificate, "the new CA")
    hidden = (
        _pem.key_text(key) if passphrase is None else _sealing.seal(_pem.key_der(key), passphrase, random=source.random)
    )
    with _store.locked(places):
        if os.path.lexists(places.ca_certificate):
            return None
        _store.publish(
            places.ca,
            (
                Content(places.ca_key.name, hidden, SEALED),
                Content(places.ca_certificate.name, _pem.text(certificate), PUBLIC),
                Content(places.crl.name, _pem.text(crl), PUBLIC),
                Content(places.index.name, _index.render(_index.new(found, plan.crl_days)), PRIVATE),
            ),
        )
    return found


def certificate_of(places: Places) -> x509.Certificate:
    """Return the certificate of the CA.

    Raises:
        ConfigError: There is none, or none that can be used.
    """
    if not os.path.lexists(places.ca_certificate):
        raise ConfigError(
            f"there is no CA in {str(places.base)!r}",
            hint=f"hauberk certs init, or copy the ca.pem and crl.pem of your CA into {str(places.ca)!r}",
        )
    return _pem.certificates(places.ca_certificate)[0]


@final
class Authority:
    """A CA that is open. Its methods are called under the lock of its directory."""

    def __init__(self, places: Places, signer: Signer, source: Source) -> None:
        self.places: Final = places
        self.signer: Final = signer
        self.source: Final = source
        self._facts: Final = _pem.facts(signer.certificate, repr(str(places.ca_certificate)))

    @classmethod
    def open(cls, places: Places, passphrases: Passphrases, source: Source) -> Authority:
        """Open the CA of a directory.

        Raises:
            ConfigError: There is none here, its key is elsewhere, or the passphrase is another one.
        """
        certificate = certificate_of(places)
        where = repr(str(places.ca_key))
        if not os.path.lexists(places.ca_key):
            raise ConfigError(
                f"the key of the CA is not in {str(places.ca)!r}",
                hint="--csr writes a request that is signed where the key is",
            )
        data = files.read_private(places.ca_key, max_bytes=LIMITS.pem_bytes)
        key = _pem.key(data, where, passphrases.known() if _pem.is_encrypted(data) else None)
        if key.public_key() != certificate.public_key():
            raise ConfigError(f"{where} is not the key of {str(places.ca_certificate)!r}")
        return cls(places, Signer(certificate, key), source)

    @property
    def index(self) -> Index:
        """Return the index, as it is now, with what the list beside it says.

        Raises:
            ConfigError: It cannot be used, or is older than the list.
        """
        found = _index.read(self.places, self._facts.fingerprint)
        try:
            crl = _pem.crl(self.places.crl)
        except ConfigError:  # it is missing or damaged, and is made anew
            return found
        if not _pem.list_signed_by(crl, self.signer.certificate):
            return found
        return _index.merged(found, crl, repr(str(self.places.index)))

    def sign(self, orders: list[Order]) -> list[x509.Certificate]:
        """Sign certificates, and return them once they are in the index.

        Raises:
            ConfigError: A key was revoked, or the CA counts no longer.
            OSError: The disk failed; nothing was signed that anybody has.
        """
        index = self.index
        made, lines = [], []
        for order in orders:
            signed = _making.certificate(self.signer, order.key, order.kind, order.names, self.source, days=order.days)
            found = _pem.facts(signed, "the new certificate")
            if index.withdrawn(found.key):
                raise ConfigError(
                    f"cannot sign for {order.names[0].value!r}: a certificate of this key was revoked",
                    hint="take a new key: hauberk certs renew --new-key",
                )
            made.append(signed)
            lines.append(Issued.of(order.kind, found))
        _index.write(self.places, msgspec.structs.replace(index, issued=(*index.issued, *lines)))
        self.keep_list()
        return made

    def revoke(self, choose: Callable[[Index], list[Issued]], reason: str) -> list[Issued]:
        """Revoke certificates, and make the list that says so; return those that were not revoked before.

        Args:
            choose: Returns which, of the index as it is.
            reason: Why, a key of `REASONS`.

        Raises:
            ConfigError: There is no such certificate.
            OSError: The disk failed.
        """
        index = self.index
        fresh = [one for one in choose(index) if one.revoked is None]
        if fresh:
            serials = {one.serial for one in fresh}
            changed = tuple(
                msgspec.structs.replace(one, revoked=self.source.now, reason=reason) if one.serial in serials else one
                for one in index.issued
            )
            self._write_list(msgspec.structs.replace(index, issued=changed))
        else:
            self.keep_list()
        return fresh

    def write_list(self, days: int | None = None) -> int:
        """Make the revocation list anew; return its number."""
        index = self.index
        return self._write_list(index if days is None else msgspec.structs.replace(index, crl_days=days))

    def keep_list(self) -> None:
        """Make the revocation list anew if it is missing, damaged or stale, or past half of its life."""
        index = self.index
        try:
            found = _pem.crl(self.places.crl)
            fresh = not list_faults(found, self.signer.certificate, index)
            end = found.next_update_utc
        except ConfigError:
            fresh, end = False, None
        half = dt.timedelta(days=index.crl_days) / 2
        if not fresh or end is None or end - self.source.now < half:
            self._write_list(index)

    def _write_list(self, index: Index) -> int:
        number = index.crl_number + 1
        made = _making.revocations(self.signer, index.revoked(), number, self.source, days=index.crl_days)
        _index.write(self.places, msgspec.structs.replace(index, crl_number=number))
        files.write_atomic(self.places.crl, _pem.text(made), mode=PUBLIC)
        return number


def list_faults(crl: x509.CertificateRevocationList, ca: x509.Certificate, index: Index | None) -> list[str]:
    """Return what is wrong with a revocation list, but for its age."""
    if not _pem.list_signed_by(crl, ca):
        return ["it is not signed by this CA"]
    if index is None:
        return []
    number = _index.number_of(crl)
    known = {one.serial for one in index.revoked()}
    missing = known - {one.serial_number for one in crl}
    faults = [f"it leaves out {len(missing)} that are revoked"] if missing else []
    if forgotten := sum(one.serial_number not in known for one in crl):
        faults.append(f"it has {forgotten} that the index does not know as revoked: that is an old copy")
    if number != index.crl_number:
        faults.append(f"it has number {number}, and the last is {index.crl_number}")
    return faults
