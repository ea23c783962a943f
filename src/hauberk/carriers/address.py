"""Where a server is listened for, or dialled, without the SDK: ``unix:///path`` and ``tls://host:port``."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from hauberk.refusals import ConfigError

ALPN: Final = "hauberk.jsonl/1"
"""What both ends of a ``tls://`` connection agree on (RFC 7301): JSON-RPC messages, one a line."""
SCHEMES: Final = ("unix", "tls")
PATH_BYTES: Final = 107
"""What the path of a Unix socket may have on every system that has them (bytes)."""
_PORT_MAX: Final = 65535
_HINT: Final = "write tls://HOST:PORT or unix:///PATH"
_HOST: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?"

_NUMBER: Final = r"[0-9]+|0[xX][0-9A-Fa-f]*"
"""A name that ends so is an address to some resolvers, and a name to others."""


class Address(NamedTuple):
    """One address."""

    carrier: Literal["unix", "tls"]
    host: str = ""
    """Of TLS: a name in its ASCII form (IDNA), or an IP address without brackets."""
    port: int = 0
    path: Path = Path()
    """Of a Unix socket."""

    def __str__(self) -> str:
        if self.carrier == "unix":
            return f"unix://{self.path}"
        return f"tls://{authority(self.host, self.port)}"


def authority(host: str, port: int) -> str:
    """Return ``host:port``, with the brackets that an IPv6 address has there."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_address(text: str) -> bool:
    """Whether a URL is one of these, and not one of HTTP."""
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.lower() in SCHEMES


def parse(text: str, *, listening: bool = False) -> Address:
    """Return the address that a text names.

    Args:
        text: ``unix:///absolute/path`` or ``tls://host:port``.
        listening: Whether port 0, any free one, makes sense.

    Raises:
        ConfigError: It is none; a text that names more than an address (a user, a query) is none either.
    """
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in SCHEMES or not text.isprintable():
        raise ConfigError(f"{text!r} is no address", hint=_HINT)
    return _unix(text, rest) if scheme.lower() == "unix" else _tls(text, listening=listening)


def _unix(text: str, rest: str) -> Address:
    if not rest.startswith("/") or "\0" in rest or rest.endswith("/") or not Path(rest).name:
        raise ConfigError(f"{text!r} is no address", hint="a socket has an absolute path: unix:///run/user/1000/x.sock")
    check_length(Path(rest))
    return Address("unix", path=Path(rest))


def check_length(path: Path) -> None:
    """Check that a Unix socket can have this path.

    Raises:
        ConfigError: It is too long for the system's ``sockaddr_un``, which would cut it.
    """
    if (size := len(bytes(path))) > PATH_BYTES:
        raise ConfigError(
            f"socket path {str(path)!r} has {size} bytes, a socket's path has up to {PATH_BYTES}",
            hint="take a shorter one, such as one under $XDG_RUNTIME_DIR",
        )


def _tls(text: str, *, listening: bool) -> Address:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"{text!r} is no address", hint=_HINT) from None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc or host is None or port is None:
        raise ConfigError(f"{text!r} is no address", hint=_HINT)
    if not (0 if listening else 1) <= port <= _PORT_MAX:
        raise ConfigError(f"{text!r}: there is no port {port}", hint=_HINT)
    return Address("tls", host=_host(text, host), port=port)


def _host(text: str, host: str) -> str:
    """Return a host as certificates have it."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode() if not host.isascii() else host
        # What stands for something else today (IDNA 2008) was folded into it before: no certificate is asked for that.
        same = host.isascii() or name.encode().decode("idna") == host.lower()
    except UnicodeError:
        name, same = "", False
    last = name.rstrip(".").rpartition(".")[2]
    if not same or not re.fullmatch(_HOST, name) or re.fullmatch(_NUMBER, last, re.ASCII):
        raise ConfigError(f"{text!r}: {host!r} is no name and no address of a host", hint=_HINT)
    return name.rstrip(".").lower()
