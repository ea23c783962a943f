"""What is wrong with certificates, or will be soon: for a person, and for cron.

What is looked at: whether each certificate counts now and for some days more; whether it is of this CA, for its NAME
and its purpose, revoked, and of the key beside it; whether the revocation list is of this CA, says all that was
revoked, and counts; whether files and folders let nobody else in.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from cryptography import x509

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls.certs import _pem, _rows, _store
from hauberk_tls.certs._authority import certificate_of, list_faults
from hauberk_tls.certs._holding import Held, facts_of, held, lags
from hauberk_tls.certs._index import Index
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._pem import Facts
from hauberk_tls.certs._places import Folder, Places

Level = Literal["fault", "note", "unknown"]
_OTHERS: Final = 0o077
_DAY: Final = dt.timedelta(days=1)


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    level: Level
    """``fault`` ends with 1; ``unknown``, which could not be looked at, with 2; ``note`` changes nothing."""
    subject: str
    code: str
    text: str
    hint: str = ""

    def json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return self._asdict()


class Asked(NamedTuple):
    """How far to look ahead."""

    now: dt.datetime
    days: int = LIMITS.warn_days


def directory(places: Places, asked: Asked) -> Iterator[Finding]:
    """Yield what is wrong in a directory of certificates.

    Raises:
        ConfigError: There is none.
    """
    if not places.base.is_dir():
        raise ConfigError(f"there are no certificates in {str(places.base)!r}", hint="hauberk certs init")
    for path in (places.base, places.ca, places.servers):
        yield from _open_to_others(path)
    try:
        folders = list(places.folders())
    except ConfigError as error:  # others can have put anything there
        yield Finding("fault", "directory", "damaged", error.message, error.hint or "")
        return
    ca, index, list_ = None, None, None
    try:
        ca = certificate_of(places)
        index = _rows.index_of(places)
    except ConfigError as error:
        yield Finding("fault", "ca", "damaged", error.message, error.hint or "")
    if ca is not None:
        yield from _authority(places, ca, asked)
        list_, found = _list(places, ca, index, asked)
        yield from found
    for folder in folders:
        yield from _folder(folder, _Trust(ca, index, list_), asked)
    for path in _store.left(places):
        yield Finding(
            "note",
            "directory",
            "left",
            f"{str(path)!r} was left by a command that was killed",
            "any command removes it",
        )


def foreign(path: Path, ca: Path | None, asked: Asked) -> Iterator[Finding]:
    """Yield what is wrong with a file of certificates from elsewhere, with its key if that is in it."""
    subject = str(path)
    try:
        data, fault = files.read_judged(path, max_bytes=LIMITS.pem_bytes)
        trusted = None if ca is None else _pem.certificates(ca)[0]
    except ConfigError as error:
        yield Finding("unknown", subject, "unreadable", error.message, error.hint or "")
        return
    private = b"PRIVATE KEY-----" in data
    try:
        if private:
            files.read_private(path, max_bytes=LIMITS.pem_bytes)
        elif fault:
            raise fault
    except ConfigError as error:
        yield Finding("fault", subject, "mode", error.message, error.hint or "")
    try:
        chain = _pem.parse_certificates(data, repr(subject))
        for one in chain:
            yield from _dates(subject, _pem.facts(one, repr(subject)), asked)
        if private and not _pem.is_encrypted(data) and not _fits(data, chain[0], subject):
            yield Finding("fault", subject, "mismatch", "its key is not that of its first certificate")
    except ConfigError as error:
        yield Finding("fault", subject, "damaged", error.message, error.hint or "")
        return
    if trusted is not None and not _chained(chain, trusted, asked.now):
        yield Finding("fault", subject, "chain", f"it is not signed by the CA in {str(ca)!r}")


@dataclass(frozen=True, slots=True)
class _Trust:
    """What a certificate is held against."""

    ca: x509.Certificate | None
    known: Index | None
    crl: x509.CertificateRevocationList | None

    def revoked(self, serial: int) -> bool:
        line = self.known and self.known.by_serial(f"{serial:x}")
        listed = self.crl and self.crl.get_revoked_certificate_by_serial_number(serial)
        return bool(listed) or bool(line and line.revoked)


def _folder(folder: Folder, trust: _Trust, asked: Asked) -> Iterator[Finding]:
    subject = f"{folder.kind} {folder.name}"
    yield from _open_to_others(folder.path)
    try:
        found = held(folder)
        if found is None:
            yield _nothing(folder, subject)
            return
        known = facts_of(folder, found)
    except ConfigError as error:
        yield Finding("fault", subject, "damaged", error.message, error.hint or "")
        return
    yield from _dates(subject, known, asked, f"hauberk certs renew {folder.name}")
    yield from _meant(folder, subject, known)
    if trust.ca is not None:
        yield from _trusted(folder, subject, found, trust)
    if lags(folder, found):
        text = f"{str(folder.certificate)!r} is not the certificate of the pair"
        yield Finding("fault", subject, "mismatch", text, f"hauberk certs issue {folder.name} mends it")
    if os.path.lexists(folder.request):
        yield Finding("note", subject, "requested", f"{str(folder.request)!r} waits for its answer")


def _nothing(folder: Folder, subject: str) -> Finding:
    if os.path.lexists(folder.request):
        return Finding("note", subject, "requested", f"{str(folder.request)!r} waits for its answer")
    return Finding("fault", subject, "damaged", f"there is no certificate in {str(folder.path)!r}")


def _meant(folder: Folder, subject: str, known: Facts) -> Iterator[Finding]:
    if known.ca or folder.kind not in known.kinds:
        yield Finding("fault", subject, "purpose", f"its certificate is not for a {folder.kind} (extended key usage)")
    if folder.name != known.common_name or folder.name not in {name.value for name in known.names}:
        yield Finding("fault", subject, "name", f"its certificate is for {known.common_name!r}")


def _trusted(folder: Folder, subject: str, found: Held, trust: _Trust) -> Iterator[Finding]:
    if trust.ca is not None and not _chained(list(found.chain), trust.ca, None):
        yield Finding("fault", subject, "chain", "it is not signed by this CA", f"hauberk certs renew {folder.name}")
    if trust.revoked(found.leaf.serial_number):
        hint = f"hauberk certs renew {folder.name} --new-key, or remove the folder"
        yield Finding("fault", subject, "revoked", "it is revoked", hint)


def _authority(places: Places, ca: x509.Certificate, asked: Asked) -> Iterator[Finding]:
    try:
        known = _pem.facts(ca, repr(str(places.ca_certificate)))
    except ConfigError as error:
        yield Finding("fault", "ca", "damaged", error.message)
        return
    yield from _dates("ca", known, asked, "make a new CA in another --dir, and let peers trust both for a while")
    if not known.ca:
        yield Finding("fault", "ca", "purpose", f"{str(places.ca_certificate)!r} is no certificate of a CA")
    if not os.path.lexists(places.ca_key):
        return
    try:
        data = files.read_private(places.ca_key, max_bytes=LIMITS.pem_bytes)
        if not _pem.is_encrypted(data):
            yield Finding("note", "ca", "clear", f"{str(places.ca_key)!r} has no passphrase")
            if not _fits(data, ca, str(places.ca_key)):
                yield Finding("fault", "ca", "mismatch", "its key is not that of its certificate")
    except ConfigError as error:
        yield Finding("fault", "ca", "damaged", error.message, error.hint or "")


def _list(
    places: Places, ca: x509.Certificate, index: Index | None, asked: Asked
) -> tuple[x509.CertificateRevocationList | None, list[Finding]]:
    """Return the revocation list, and what is wrong with it."""
    again = "hauberk certs crl" if index else "copy the crl.pem of your CA here"
    try:
        found = _pem.crl(places.crl)
    except ConfigError as error:
        return None, [Finding("fault", "crl", "damaged", error.message, again)]
    faults = list_faults(found, ca, index)
    if faults:
        usable = found if _pem.list_signed_by(found, ca) else None
        return usable, [Finding("fault", "crl", "stale", f"{str(places.crl)!r}: {text}", again) for text in faults]
    end = found.next_update_utc
    if end is None or end - asked.now <= asked.days * _DAY:
        code, text = (
            ("expires", f"counts until {end}") if end and end > asked.now else ("expired", f"counted until {end}")
        )
        return found, [Finding("fault", "crl", code, f"the revocation list {text}", again)]
    return found, []


def _dates(subject: str, known: Facts, asked: Asked, hint: str = "") -> Iterator[Finding]:
    state = _rows.standing(known, asked.now, asked.days)
    if state == "expired":
        yield Finding("fault", subject, "expired", f"expired on {known.end:%Y-%m-%d %H:%M} UTC", hint)
    elif state == "not yet":
        text = f"counts only from {known.begin:%Y-%m-%d %H:%M} UTC on"
        yield Finding("fault", subject, "not-yet-valid", text, "is the clock right?")
    elif state == "expires":
        days = (known.end - asked.now) // _DAY
        yield Finding("fault", subject, "expires", f"expires on {known.end:%Y-%m-%d %H:%M} UTC, in {days} days", hint)


def _open_to_others(path: Path) -> Iterator[Finding]:
    """Yield a folder that others may enter. Files are looked at when they are read."""
    if os.name != "posix" or not os.path.lexists(path):
        return
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_mode & _OTHERS:
        text = f"{str(path)!r} is no folder, or has a mode that lets others in: {stat.S_IMODE(info.st_mode):04o}"
        yield Finding("fault", "directory", "mode", text, f"chmod 700 {str(path)!r}")


def _fits(data: bytes, certificate: x509.Certificate, where: str) -> bool:
    return _pem.key(data, repr(where)).public_key() == certificate.public_key()


def _chained(chain: list[x509.Certificate], ca: x509.Certificate, now: dt.datetime | None) -> bool:
    """Whether a chain ends at the CA, and the CA counts now."""
    if now is not None and not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
        return False
    return _pem.chained(chain, ca)
