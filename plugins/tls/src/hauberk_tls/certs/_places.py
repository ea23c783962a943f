"""Where everything is.

::

    certs/                      0700  beside hauberk.toml, or --dir
        ca/                     0700
            ca.pem              0644  the certificate of the CA: what peers trust
            crl.pem             0644  what the CA has revoked: peers need it beside ca.pem
            key.pem             0400  the key of the CA, encrypted; nothing but this directory's commands needs it
            index.json          0600  every certificate that the CA has signed
        NAME/                   0700  a client
            pair.pem            0600  the key, then the certificate: what a host loads
            cert.pem            0644  the certificate alone, to give away
            request.pem         0644  what a CA elsewhere is asked to sign, until it has
            request-key.pem     0600  the key of that request
        mcp-servers/NAME/       0700  a server: the same files

Key and certificate are in one file, so that one rename replaces both. In two files a renewal with a new key has a
moment, and after a crash a long one, in which they do not belong together: whoever starts then does not come up.
A folder of a NAME appears whole, by one rename, and so does ``ca/``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

from hauberk import files
from hauberk.config import default_path
from hauberk.refusals import ConfigError

Kind = Literal["server", "client"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
SEALED: Final = 0o400
"""The key of a CA is never written again."""
PAIR: Final = "pair.pem"
CERTIFICATE: Final = "cert.pem"
REQUEST: Final = "request.pem"
REQUEST_KEY: Final = "request-key.pem"
CA: Final = "ca"
_SERVERS: Final = "mcp-servers"
_TAKEN: Final = frozenset({CA, _SERVERS})


class Folder(NamedTuple):
    """The folder of one NAME."""

    kind: Kind
    name: str
    path: Path

    @property
    def pair(self) -> Path:
        """Return the file with the key and its certificate."""
        return self.path / PAIR

    @property
    def certificate(self) -> Path:
        """Return the file with the certificate alone."""
        return self.path / CERTIFICATE

    @property
    def request(self) -> Path:
        """Return the file with a request to a CA elsewhere."""
        return self.path / REQUEST

    @property
    def request_key(self) -> Path:
        """Return the file with the key of the request."""
        return self.path / REQUEST_KEY


@dataclass(frozen=True, slots=True)
class Places:
    """One directory of certificates."""

    base: Path

    @classmethod
    def of(cls, base: Path | None) -> Places:
        """Return the directory that was named, or the user's own."""
        if base is None:
            return cls(default_path().parent / "certs")
        return cls(Path(os.path.abspath(base)))  # noqa: PTH100 - follows no link

    @property
    def ca(self) -> Path:
        """Return the folder of the CA."""
        return self.base / CA

    @property
    def ca_certificate(self) -> Path:
        """Return the file with the CA's certificate."""
        return self.ca / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """Return the file with the CA's key."""
        return self.ca / "key.pem"

    @property
    def crl(self) -> Path:
        """Return the file with the revocation list."""
        return self.ca / "crl.pem"

    @property
    def index(self) -> Path:
        """Return the file with what was signed."""
        return self.ca / "index.json"

    @property
    def servers(self) -> Path:
        """Return the folder of the servers' folders."""
        return self.base / _SERVERS

    @property
    def lock(self) -> Path:
        """Return the file that a command locks."""
        return self.base / ".lock"

    def folder(self, kind: Kind, name: str) -> Folder:
        """Return the folder of a NAME, which `hauberk_tls.certs._names` has read.

        Raises:
            ConfigError: The name is the directory's own, or there is one that differs in case only.
        """
        if kind == "client" and name.lower() in _TAKEN:
            raise ConfigError(f"{name!r} cannot name a client: the folder is the directory's own", hint="another name")
        parent = self.servers if kind == "server" else self.base
        for other in _listed(parent):
            if other != name and other.lower() == name.lower():
                raise ConfigError(f"{name!r} differs from {other!r} in case only", hint=f"write {other!r}")
        return Folder(kind, name, parent / name)

    def folders(self) -> Iterator[Folder]:
        """Yield the folders that are there, clients first, by name."""
        for name in _listed(self.base):
            if name not in _TAKEN and (self.base / name).is_dir():
                yield Folder("client", name, self.base / name)
        for name in _listed(self.servers):
            if (self.servers / name).is_dir():
                yield Folder("server", name, self.servers / name)

    def find(self, name: str, kind: Kind | None) -> Folder:
        """Return the folder that a command names.

        Raises:
            ConfigError: There is none, or a client and a server of the name.
        """
        found = [one for one in self.folders() if one.name == name and kind in {None, one.kind}]
        if not found:
            raise ConfigError(f"there is no certificate {name!r} in {str(self.base)!r}", hint="hauberk certs list")
        if len(found) > 1:
            raise ConfigError(f"there is a client {name!r} and a server {name!r}", hint="--kind client|server")
        return found[0]


def _listed(path: Path) -> list[str]:
    """Return the names in a directory but the hidden ones; none where it is missing."""
    if not os.path.lexists(path):
        return []
    return [name for name in files.list_trusted(path) if not name.startswith(".")]
