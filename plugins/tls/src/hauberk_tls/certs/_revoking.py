"""Which certificates a revocation is about."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

from hauberk.refusals import ConfigError
from hauberk_tls.certs._index import Index, Issued
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._places import Kind
from hauberk_tls.certs._text import shown

_SERIAL: Final = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+|[0-9A-Fa-f]+)")


def chosen(index: Index, text: str, kind: Kind | None, now: dt.datetime) -> list[Issued]:
    """Return what is meant by a NAME or a serial number.

    A NAME means each certificate of it that has not expired: one that was renewed is as good as its successor. A serial
    number, or as much of its beginning as names one, means one.

    Raises:
        ConfigError: Nothing is meant, or not one thing.
    """
    named = [one for one in index.issued if one.name == text and kind in {None, one.kind}]
    if len({one.kind for one in named}) > 1:
        raise ConfigError(f"there is a client {text!r} and a server {text!r}", hint="--kind client|server")
    if named:
        counting = [one for one in named if one.end > now]
        if not counting:
            raise ConfigError(f"every certificate of {text!r} has expired")
        return counting
    match = _SERIAL.fullmatch(text)
    digits = match[1].replace(":", "").lower().lstrip("0") if match else ""
    found = [one for one in index.issued if one.serial == digits]
    if not found and len(digits) >= LIMITS.serial_digits:
        found = [one for one in index.issued if one.serial.startswith(digits)]
    if len(found) > 1:
        raise ConfigError(f"{len(found)} serial numbers begin with {digits!r}", hint="give more of it")
    if not found:
        raise ConfigError(f"the CA has signed no certificate {shown(text)!r}", hint="hauberk certs list --all")
    return found
