"""Who a client is, by its certificate (S0.16, S2.6).

The rules:

1. The name is the first URI of subjectAltName, else the first DNS name, else the first address of mail. It is taken as
   it stands, so it has to be printable ASCII, and not a pattern: rules are written of such names.
2. A common name, where there is one, must be one of the names of subjectAltName: then whoever reads it (a log, another
   program) sees nobody else.
3. Names that the core gives away itself are nobody's.
"""

from __future__ import annotations

from typing import Final

from hauberk.principal import ANONYMOUS, DOCTOR, Principal
from hauberk_tls._facts import Facts
from hauberk_tls._limits import LIMITS
from hauberk_tls._refusals import refused

METHOD: Final = "mtls"
_PATTERN: Final = frozenset("*?[]")
_HOST: Final = "host:"
_RESERVED: Final = frozenset((ANONYMOUS.id, DOCTOR.id))


def client(found: Facts, who: str, *, common_name: bool) -> Principal:
    """Return the identity of a client.

    Raises:
        Refused: Its certificate names nobody, or two.
    """
    names = (*found.uris, *found.dns, *found.emails)
    if not names:
        raise refused("tls.bad_certificate", who, "it names nobody: no URI, DNS name or mail address in subjectAltName")
    name = names[0]
    usable = name.isascii() and name.isprintable() and name.strip() == name and not _PATTERN & set(name)
    if not usable or not 0 < len(name) <= LIMITS.identity_chars:
        raise refused("tls.bad_certificate", who, f"its name cannot be used: {name!r}")
    if name in _RESERVED or name.startswith(_HOST):
        raise refused("tls.bad_certificate", who, f"its name is one that hauberk gives away itself: {name!r}")
    if common_name and (other := [common for common in found.common_names if common not in found.names]):
        raise refused(
            "tls.cn_mismatch", who, f"it is {other[0]!r}, and subjectAltName has {', '.join(names[: LIMITS.names])}"
        )
    return Principal(id=name, kind="service", method=METHOD)
