"""Where a shared store is: ``redis://``, ``rediss://``, ``valkey://``, ``valkeys://`` and ``unix://``.

    redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?password_file=/PATH]
    rediss://…                                        over TLS 1.3, [?ca=/PATH][&cert=/PATH&key=/PATH]
    unix://[USER[:PASSWORD]@]/PATH[?db=DATABASE]

``valkey`` and ``valkeys`` are other words for ``redis`` and ``rediss``. No option turns the check of a certificate off.
A text of an address never holds its password: `StoreAddress` prints as the address without it.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from hauberk.carriers.address import authority
from hauberk.refusals import ConfigError

_TLS: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_PORT: Final = 6379
_DATABASE_MAX: Final = 1_000_000
_PASSWORD_MAX: Final = 4096
_HINT: Final = "write redis://HOST:PORT/DATABASE, rediss://HOST:PORT/DATABASE or unix:///PATH"


class StoreAddress(NamedTuple):
    """One address; ``str()`` of it is safe to show."""

    host: str = ""
    """A name or an IP address, without brackets; empty for a Unix socket."""
    port: int = _PORT
    path: str = ""
    """Of a Unix socket."""
    database: int = 0
    tls: bool = False
    user: str = ""
    password: str = ""
    password_file: str = ""
    ca: str = ""
    """The file of what signed the store's certificate; without it, the system's authorities."""
    certificate: str = ""
    key: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}" + (f"?db={self.database}" if self.database else "")
        return f"redis{'s' if self.tls else ''}://{authority(self.host, self.port)}/{self.database}"

    def __repr__(self) -> str:
        return f"StoreAddress({str(self)!r})"

    @property
    def in_clear(self) -> bool:
        """Whether what is said crosses a network, unencrypted."""
        if self.path or self.tls:
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    def secret(self) -> str:
        """Return the password, read from its file if it has one.

        Raises:
            ConfigError: The file cannot be read.
        """
        if not self.password_file:
            return self.password
        try:
            with Path(self.password_file).open(encoding="utf-8") as file:
                return file.read(_PASSWORD_MAX).strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read the password of {self} from {self.password_file!r} ({type(error).__name__})",
                hint="give a file that the host may read, and that nobody else may",
            ) from None


def parse(uri: str) -> StoreAddress:
    """Return the address that a URI names.

    Raises:
        ConfigError: It names none; the text of the error does not hold the URI, which may hold a password.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError("the address of the shared store cannot be read", hint=_HINT) from None
    scheme = parts.scheme
    if parts.fragment or not uri.isprintable() or (scheme not in _TLS and scheme != "unix"):
        raise ConfigError(f"there is no shared store of the kind {scheme + '://'!r}", hint=_HINT)
    options = _options(parts)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if password and options.get("password_file"):
        raise ConfigError(f"{scheme}:// of the shared store has a password and a password_file", hint="keep the file")
    common: dict[str, Any] = {"user": user, "password": password, "password_file": options.get("password_file", "")}
    if scheme == "unix":
        if host or port is not None or not Path(unquote(parts.path)).name:
            raise ConfigError("unix:// of the shared store needs an absolute path, and no host", hint=_HINT)
        return StoreAddress(path=unquote(parts.path), database=_database(options.get("db", "0")), **common)
    if not host:
        raise ConfigError(f"{scheme}:// of the shared store names no host", hint=_HINT)
    return StoreAddress(
        host=host,
        port=_PORT if port is None else port,
        database=_database(parts.path.removeprefix("/") or "0"),
        tls=_TLS[scheme],
        ca=options.get("ca", ""),
        certificate=options.get("cert", ""),
        key=options.get("key", ""),
        **common,
    )


def _options(parts: SplitResult) -> dict[str, str]:
    known = {"password_file"} | ({"db"} if parts.scheme == "unix" else set())
    if _TLS.get(parts.scheme):
        known |= {"ca", "cert", "key"}
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    found = dict(pairs)
    unknown = sorted(set(found) - known)
    if unknown or len(found) != len(pairs):
        what = f"does not know {', '.join(map(repr, unknown))}" if unknown else "has an option twice"
        raise ConfigError(f"{parts.scheme}:// of the shared store {what}", hint=f"known: {', '.join(sorted(known))}")
    if bool(found.get("cert")) != bool(found.get("key")):
        raise ConfigError(f"{parts.scheme}:// of the shared store has one of cert and key", hint="give both, or none")
    return found


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _DATABASE_MAX):
        raise ConfigError("the database of the shared store is no number", hint=_HINT)
    return int(text)
