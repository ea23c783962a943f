"""Who is trusted, and who no longer: the files ``ca`` and ``crl``, read once and by the rules of `hauberk.files`.

The rules:

1. A file of lists holds lists and nothing else: OpenSSL would take a certificate beside them for one more authority. It
   gets the lists that were read here, written anew, and never the file.
2. A list is a whole one. What only says what changed since another (a delta, RFC 5280 section 5.2.4) would be taken for
   all that is revoked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls._limits import LIMITS
from hauberk_tls._options import Options
from hauberk_tls._stamps import Stamp, stamps

_BLOCK: Final = b"-----BEGIN "
_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_END: Final = b"-----END X509 CRL-----"


class Trust(NamedTuple):
    """What was read."""

    stamps: tuple[Stamp, ...]
    authorities: str | None
    """PEM; None is the system's trust store."""
    crl: bytes
    """PEM, written anew from ``lists``."""
    lists: tuple[x509.CertificateRevocationList, ...]
    named: tuple[x509.Certificate, ...] = ()
    """The authorities, read; nothing where they are the system's."""


def stamps_of(options: Options) -> tuple[Stamp, ...]:
    """Return what tells whether the files changed."""
    return stamps((options.ca, options.crl))


def read(options: Options) -> Trust:
    """Read the files.

    Raises:
        ConfigError: One is missing, loose, or not what it should be.
    """
    seen = stamps_of(options)
    authorities, named = (None, ()) if options.ca is None else authorities_of(options.ca)
    lists = () if options.crl is None else lists_of(options.crl)
    return Trust(seen, authorities, b"".join(one.public_bytes(Encoding.PEM) for one in lists), lists, named)


def authorities_of(path: Path) -> tuple[str, tuple[x509.Certificate, ...]]:
    """Return the certificates of a file, as PEM and read.

    Raises:
        ConfigError: It is missing, loose, or holds none.
    """
    data = files.read_trusted(path, max_bytes=LIMITS.bundle_bytes)
    try:
        found = tuple(x509.load_pem_x509_certificates(data))
        return data.decode("ascii"), found
    except ValueError:
        raise ConfigError(
            f"[tls] ca: {str(path)!r} holds no certificates that can be read",
            hint="give a PEM file, as hauberk certs init makes it",
        ) from None


def lists_of(path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    """Return the revocation lists of a file.

    Raises:
        ConfigError: It is missing, loose, or holds none, or anything else.
    """
    data = files.read_trusted(path, max_bytes=LIMITS.crl_bytes)
    parts = [part.partition(_END)[0] for part in data.split(_BEGIN)[1:]]
    try:
        lists = tuple(x509.load_pem_x509_crl(b"".join((_BEGIN, part, _END, b"\n"))) for part in parts)
        deltas = [one for one in lists if _is_delta(one)]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        lists, deltas = (), []
    if not lists:
        raise ConfigError(
            f"[tls] crl: {str(path)!r} holds no revocation list that can be read",
            hint="give a PEM file, as hauberk certs revoke makes it",
        )
    if data.count(_BLOCK) != len(lists):
        raise ConfigError(
            f"[tls] crl: {str(path)!r} holds something else beside revocation lists",
            hint="take it out; who is trusted stands in the file that [tls] ca names",
        )
    if deltas:
        raise ConfigError(
            f"[tls] crl: {str(path)!r} holds a list that says only what changed since another (a delta)",
            hint="give the whole list of that authority",
        )
    return lists


def _is_delta(found: x509.CertificateRevocationList) -> bool:
    return any(isinstance(one.value, x509.DeltaCRLIndicator) for one in found.extensions)
