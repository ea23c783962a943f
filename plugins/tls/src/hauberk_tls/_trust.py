"""Who is trusted, and who no longer: the files ``ca`` and ``crl``, read once and by the rules of `hauberk.files`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls._limits import LIMITS
from hauberk_tls._options import Options
from hauberk_tls._stamps import Stamp, stamps

_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_END: Final = b"-----END X509 CRL-----"


class Trust(NamedTuple):
    """What was read."""

    stamps: tuple[Stamp, ...]
    authorities: str | None
    """PEM; None is the system's trust store."""
    crl: bytes
    """PEM."""
    lists: tuple[x509.CertificateRevocationList, ...]


def stamps_of(options: Options) -> tuple[Stamp, ...]:
    """Return what tells whether the files changed."""
    return stamps((options.ca, options.crl))


def read(options: Options) -> Trust:
    """Read the files.

    Raises:
        ConfigError: One is missing, loose, or not what it should be.
    """
    seen = stamps_of(options)
    authorities = None if options.ca is None else authorities_of(options.ca)
    crl, lists = (b"", ()) if options.crl is None else lists_of(options.crl)
    return Trust(seen, authorities, crl, lists)


def authorities_of(path: Path) -> str:
    """Return the certificates of a file.

    Raises:
        ConfigError: It is missing, loose, or holds none.
    """
    data = files.read_trusted(path, max_bytes=LIMITS.bundle_bytes)
    try:
        x509.load_pem_x509_certificates(data)
        return data.decode("ascii")
    except ValueError:
        raise ConfigError(
            f"[tls] ca: {str(path)!r} holds no certificates that can be read",
            hint="give a PEM file, as hauberk certs init makes it",
        ) from None


def lists_of(path: Path) -> tuple[bytes, tuple[x509.CertificateRevocationList, ...]]:
    """Return the revocation lists of a file, as they stand and read.

    Raises:
        ConfigError: It is missing, loose, or holds none.
    """
    data = files.read_trusted(path, max_bytes=LIMITS.crl_bytes)
    parts = [part.partition(_END)[0] for part in data.split(_BEGIN)[1:]]
    try:
        lists = tuple(x509.load_pem_x509_crl(b"".join((_BEGIN, part, _END, b"\n"))) for part in parts)
    except ValueError:
        lists = ()
    if not lists:
        raise ConfigError(
            f"[tls] crl: {str(path)!r} holds no revocation list that can be read",
            hint="give a PEM file, as hauberk certs revoke makes it",
        )
    return data, lists
