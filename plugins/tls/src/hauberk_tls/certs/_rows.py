"""What `list` shows: the CA and the certificates in the folders, all that the CA has signed, or files."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from hauberk.refusals import ConfigError
from hauberk_tls.certs import _index, _pem
from hauberk_tls.certs._authority import certificate_of
from hauberk_tls.certs._holding import facts_of, held
from hauberk_tls.certs._index import Index, Issued
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._pem import Facts
from hauberk_tls.certs._places import Places
from hauberk_tls.certs._text import shown

HEAD: Final = ("NAME", "KIND", "NOT AFTER", "DAYS", "STATUS", "SERIAL", "FINGERPRINT", "NAMES")
_DAY: Final = dt.timedelta(days=1)
_SHORT: Final = 16
"""Digits of a serial number or a fingerprint in the table."""


class Row(NamedTuple):
    """One certificate."""

    name: str
    kind: str
    names: tuple[str, ...] = ()
    serial: str = ""
    begin: dt.datetime | None = None
    end: dt.datetime | None = None
    fingerprint: str = ""
    days: int | None = None
    status: str = "unreadable"
    """``valid``, ``expires``, ``expired``, ``not yet``, ``revoked``, ``requested``, ``unreadable``."""
    revoked: dt.datetime | None = None
    reason: str = ""

    def json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        times = {key: value and value.isoformat() for key, value in self._asdict().items() if key in _TIMES}
        return self._asdict() | times | {"names": list(self.names)}

    def cells(self) -> tuple[str, ...]:
        """Return it as a line of the table."""
        return (
            shown(self.name, LIMITS.name_chars),
            self.kind,
            "" if self.end is None else f"{self.end:%Y-%m-%d}",
            "" if self.days is None else str(self.days),
            self.status,
            self.serial[:_SHORT],
            self.fingerprint[:_SHORT],
            " ".join(shown(name) for name in self.names),
        )


_TIMES: Final = ("begin", "end", "revoked")


def current(places: Places, now: dt.datetime) -> Iterator[Row]:
    """Yield the CA, and the certificate of each folder.

    Raises:
        ConfigError: The directory cannot be used.
    """
    index = index_of(places)
    if os.path.lexists(places.ca_certificate):
        try:
            found = _pem.facts(certificate_of(places), repr(str(places.ca_certificate)))
            yield row("ca", "ca", found, None, now, names=(found.common_name,))
        except ConfigError:
            yield Row("ca", "ca")
    for folder in places.folders():
        try:
            one = held(folder)
            if one is None:
                yield Row(folder.name, folder.kind, status="requested" if folder.request.exists() else "unreadable")
                continue
            found = facts_of(folder, one)
        except ConfigError:
            yield Row(folder.name, folder.kind)
            continue
        yield row(folder.name, folder.kind, found, index.by_serial(found.serial) if index else None, now)


def signed(places: Places, now: dt.datetime) -> Iterator[Row]:
    """Yield all that the CA has signed, the oldest first.

    Raises:
        ConfigError: The CA is elsewhere, or its index cannot be used.
    """
    index = index_of(places)
    if index is None:
        raise ConfigError(f"there is no index in {str(places.ca)!r}", hint="ask where the key of the CA is")
    for one in index.issued:
        found = Facts(
            one.name, (), one.serial, one.begin, one.end, one.fingerprint, one.key, ca=False, kinds=frozenset()
        )
        yield row(one.name, one.kind, found, one, now, names=one.names)


def foreign(path: Path, now: dt.datetime) -> Iterator[Row]:
    """Yield the certificates of a file from elsewhere.

    Raises:
        ConfigError: The file cannot be used.
    """
    for one in _pem.certificates(path):
        found = _pem.facts(one, repr(str(path)))
        kind = "ca" if found.ca else " ".join(sorted(found.kinds)) or "any"
        yield row(found.common_name, kind, found, None, now)


def row(
    name: str, kind: str, found: Facts, line: Issued | None, now: dt.datetime, *, names: tuple[str, ...] | None = None
) -> Row:
    """Return the row of a certificate, and of its line in the index."""
    revoked = line.revoked if line else None
    return Row(
        name=name,
        kind=kind,
        names=tuple(map(str, found.names)) if names is None else names,
        serial=found.serial,
        begin=found.begin,
        end=found.end,
        fingerprint=found.fingerprint,
        days=(found.end - now) // _DAY,
        status="revoked" if revoked else standing(found, now, LIMITS.warn_days),
        revoked=revoked,
        reason=line.reason if line else "",
    )


def standing(found: Facts, now: dt.datetime, days: int) -> str:
    """Return where a certificate is in its life."""
    if found.end <= now:
        return "expired"
    if found.begin > now:
        return "not yet"
    return "expires" if found.end - now <= days * _DAY else "valid"


def index_of(places: Places) -> Index | None:
    """Return the index; None where the CA is elsewhere.

    Raises:
        ConfigError: It cannot be used.
    """
    if not os.path.lexists(places.index):
        return None
    return _index.read(places, _pem.facts(certificate_of(places), repr(str(places.ca_certificate))).fingerprint)
