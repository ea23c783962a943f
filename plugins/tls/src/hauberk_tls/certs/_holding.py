"""What the folder of a NAME holds, and how it is replaced."""

from __future__ import annotations

import os
from typing import NamedTuple

from cryptography import x509

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls.certs import _pem
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._making import Key
from hauberk_tls.certs._pem import Facts
from hauberk_tls.certs._places import CERTIFICATE, PAIR, PRIVATE, PUBLIC, Folder
from hauberk_tls.certs._store import Content


class Held(NamedTuple):
    """The certificate of a folder, and its key, where it is here."""

    chain: tuple[x509.Certificate, ...]
    key: Key | None

    @property
    def leaf(self) -> x509.Certificate:
        """Return the certificate itself; what follows are CAs between it and the one that is trusted."""
        return self.chain[0]


def held(folder: Folder) -> Held | None:
    """Return what a folder holds; None where there is no certificate in it.

    Raises:
        ConfigError: A file cannot be used, or the key is that of another certificate.
    """
    if os.path.lexists(folder.pair):
        where = repr(str(folder.pair))
        data = files.read_private(folder.pair, max_bytes=LIMITS.pem_bytes)
        chain = tuple(_pem.parse_certificates(data, where))
        key = _pem.key(data, where)
        if key.public_key() != chain[0].public_key():
            raise ConfigError(f"cannot use {where}: its key is not that of its certificate")
        return Held(chain, key)
    if os.path.lexists(folder.certificate):
        return Held(tuple(_pem.certificates(folder.certificate)), None)
    return None


def facts_of(folder: Folder, found: Held) -> Facts:
    """Return what the certificate of a folder says."""
    return _pem.facts(found.leaf, repr(str(folder.path)))


def contents(*chain: x509.Certificate, key: Key | None) -> list[Content]:
    """Return the files of a new folder."""
    public = Content(CERTIFICATE, _pem.text(*chain), PUBLIC)
    return [public] if key is None else [Content(PAIR, _pem.key_text(key) + _pem.text(*chain), PRIVATE), public]


def replace(folder: Folder, *chain: x509.Certificate, key: Key | None) -> None:
    """Replace what a folder holds: the pair first, by one rename; what a crash leaves behind after that is mended.

    Raises:
        ConfigError: The directory cannot hold it.
        OSError: The disk failed.
    """
    for one in contents(*chain, key=key):
        files.write_atomic(folder.path / one.name, one.data, mode=one.mode)


def lags(folder: Folder, found: Held) -> bool:
    """Whether the certificate that is to give away is not that of the pair: a command was killed between the two."""
    if found.key is None:
        return False
    try:
        data = files.read_trusted(folder.certificate, max_bytes=LIMITS.pem_bytes)
    except ConfigError:
        return True
    return data != _pem.text(*found.chain)


def mend(folder: Folder, found: Held) -> None:
    """Write the certificate that is to give away anew."""
    files.write_atomic(folder.certificate, _pem.text(*found.chain), mode=PUBLIC)
