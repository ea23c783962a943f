"""What a CA has signed and revoked: ``ca/index.json``.

The rules:

1. A certificate is in the index before it is in any other file: whatever the CA signed can be found and revoked, and
   after a crash there is at worst a line of a certificate that nobody has.
2. A revocation, and the number of the list that will say so, are in the index before the list is: numbers only grow,
   and a list that a crash left behind is found by `check` and made anew.
3. The file is replaced whole, is private, and is of one CA, which it names.
4. An index that was put back from a copy takes no revocation back. The list beside it is signed, so it is believed:
   what it revokes is revoked, its number is not given again, and where it revokes what the index does not know, the
   index is refused, since nobody could say which key that was.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

import msgspec
from cryptography import x509

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._making import Revoked
from hauberk_tls.certs._pem import Facts
from hauberk_tls.certs._places import Kind, Places

REASONS: Final = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "affiliation-changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation-of-operation": x509.ReasonFlags.cessation_of_operation,
    "privilege-withdrawn": x509.ReasonFlags.privilege_withdrawn,
}
"""Why a certificate is revoked (RFC 5280 section 5.3.1), as far as it cannot be taken back and is about no CA."""


class Issued(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One certificate that was signed."""

    serial: str
    name: str
    kind: Kind
    names: tuple[str, ...]
    begin: dt.datetime
    end: dt.datetime
    fingerprint: str
    key: str
    revoked: dt.datetime | None = None
    reason: str = ""

    @classmethod
    def of(cls, kind: Kind, found: Facts) -> Issued:
        """Return the line of a certificate."""
        names = tuple(map(str, found.names))
        return cls(found.serial, found.common_name, kind, names, found.begin, found.end, found.fingerprint, found.key)


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a CA has signed and revoked."""

    version: int
    ca: str
    """Fingerprint of the CA's certificate (SHA-256, hexadecimal)."""
    crl_number: int
    """The number of the last revocation list, made or about to be."""
    crl_days: int
    """How long a list counts (days)."""
    issued: tuple[Issued, ...] = ()

    def by_serial(self, serial: str) -> Issued | None:
        """Return the line of a serial number."""
        return next((one for one in self.issued if one.serial == serial), None)

    def revoked(self) -> Iterator[Revoked]:
        """Yield the lines of the revocation list."""
        for one in self.issued:
            if one.revoked is not None:
                yield Revoked(int(one.serial, 16), one.revoked, REASONS.get(one.reason, REASONS["unspecified"]))

    def withdrawn(self, key: str) -> bool:
        """Whether a key gets no other certificate: one of it was revoked, and not because there was a newer one."""
        return any(one.key == key and one.revoked is not None and one.reason != "superseded" for one in self.issued)


def new(ca: Facts, crl_days: int) -> Index:
    """Return the index of a new CA."""
    return Index(version=1, ca=ca.fingerprint, crl_number=1, crl_days=crl_days)


def merged(index: Index, crl: x509.CertificateRevocationList, where: str) -> Index:
    """Return an index that knows what a list of its CA revokes (rule 4).

    Raises:
        ConfigError: The list revokes a certificate that the index does not know.
    """
    listed = {f"{one.serial_number:x}": one for one in crl}
    if unknown := listed.keys() - {one.serial for one in index.issued}:
        raise ConfigError(
            f"cannot use {where}: it is older than the revocation list, which has {len(unknown)} that it does not know",
            hint="put back the newest copy of it; without one, make a new CA",
        )
    issued = tuple(
        msgspec.structs.replace(one, revoked=found.revocation_date_utc, reason=_reason(found))
        if one.revoked is None and (found := listed.get(one.serial)) is not None
        else one
        for one in index.issued
    )
    return msgspec.structs.replace(index, issued=issued, crl_number=max(index.crl_number, number_of(crl)))


def number_of(crl: x509.CertificateRevocationList) -> int:
    """Return the number of a revocation list; 0 where it has none."""
    return next((one.value.crl_number for one in crl.extensions if isinstance(one.value, x509.CRLNumber)), 0)


def _reason(found: x509.RevokedCertificate) -> str:
    """Return why a list has a certificate; what it does not say is no reason to let its key go on."""
    flags = [one.value.reason for one in found.extensions if isinstance(one.value, x509.CRLReason)]
    return next((name for name, flag in REASONS.items() if flag in flags), "unspecified")


def render(index: Index) -> bytes:
    """Return the text of an index."""
    return msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n"


def read(places: Places, ca: str) -> Index:
    """Return the index of a CA.

    Raises:
        ConfigError: It is missing, not private, damaged, or that of another CA.
    """
    where = repr(str(places.index))
    try:
        found = msgspec.json.decode(files.read_private(places.index, max_bytes=LIMITS.index_bytes), type=Index)
        for one in found.issued:
            int(one.serial, 16)
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise ConfigError(f"cannot use {where}: it is damaged", hint="put back a copy of it") from error
    if found.version != 1:
        raise ConfigError(f"cannot use {where}: it is of version {found.version}", hint="upgrade hauberk-tls")
    if found.ca != ca:
        raise ConfigError(f"cannot use {where}: it is that of another CA", hint="put back the files of one CA together")
    return found


def write(places: Places, index: Index) -> None:
    """Replace the index.

    Raises:
        ConfigError: It is full, or its directory cannot hold it.
        OSError: The disk failed; the old one stands.
    """
    data = render(index)
    if len(data) > LIMITS.index_bytes:
        raise ConfigError(f"cannot write {str(places.index)!r}: it would be larger than {LIMITS.index_bytes} bytes")
    files.write_atomic(places.index, data)
