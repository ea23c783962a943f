"""Who a client is, by its certificate (S0.16, S2.6).

The rules:

1. The name is the first URI of subjectAltName, else the first DNS name, else the first address of mail. It is taken as
   it stands, so it has to be printable ASCII, and not a pattern: rules are written of such names. It has to be what its
   kind says: a URI has a scheme, a mail address one ``@`` behind a plain word, a DNS name neither. A name that could be
   of two kinds would let an authority that is held to names of one kind give away those of another.
2. A common name, where there is one, must be one of the names of subjectAltName: then whoever reads it (a log, another
   program) sees nobody else.
3. Names that the core gives away itself are nobody's, in whatever letters.
"""

from __future__ import annotations

import re
from typing import Final

from hauberk.principal import Principal
from hauberk_tls._facts import Facts
from hauberk_tls._limits import LIMITS
from hauberk_tls._names import is_dns_name
from hauberk_tls._refusals import refused
from hauberk_tls._reserved import is_reserved

METHOD: Final = "mtls"
_PATTERN: Final = frozenset("*?[]")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'+/=^_`{|}~.-]+")
"""What stands before the ``@``: no quotes and no colon, so that it is never a URI."""


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
    usable = usable and _is_of_its_kind(name, found)
    if not usable or not 0 < len(name) <= LIMITS.identity_chars:
        raise refused("tls.bad_certificate", who, f"its name cannot be used: {name!r}")
    if is_reserved(name):
        raise refused("tls.bad_certificate", who, f"its name is one that hauberk gives away itself: {name!r}")
    if common_name and (other := [common for common in found.common_names if common not in found.names]):
        raise refused(
            "tls.cn_mismatch", who, f"it is {other[0]!r}, and subjectAltName has {', '.join(names[: LIMITS.names])}"
        )
    return Principal(id=name, kind="service", method=METHOD)


def _is_of_its_kind(name: str, found: Facts) -> bool:
    if found.uris:
        return _URI.fullmatch(name) is not None
    if found.dns:
        return is_dns_name(name.lower())
    local, _, domain = name.partition("@")
    return _LOCAL.fullmatch(local) is not None and is_dns_name(domain.lower())
