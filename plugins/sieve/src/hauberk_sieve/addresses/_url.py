"""Where a URL leads, for every reader alike: what two readers could take for two places is read as none.

The rules:

1. Browsers read URLs by the WHATWG's standard, Python and curl by RFC 3986 and habit. They differ over backslashes,
   missing slashes, white space, ``%`` and ``@`` before the path, and addresses written short, in octal or as one
   number. A URL that has any of these is unreadable; it is not repaired.
2. What is left is ``scheme://host[:port]`` and a rest that no reader takes for the host. The host is an IPv4 address of
   four plain decimal numbers, an IPv6 address in brackets, or a name of ASCII letters, digits, ``-`` and ``_``, whose
   last label is no number. A name in other letters has to be written in its ASCII form (``xn--…``): IDNA 2003 and 2008
   map some letters differently.
3. The scheme is what stands before the first ``:``, if no ``/``, ``?`` or ``#`` comes first. Only of ``http``,
   ``https``, ``ws`` and ``wss`` is the host read; any other scheme is a word of the server's, or a denied one.
4. No URI has a control character, one that nobody sees, or white space at its ends, and none begins like a host without
   a scheme (``//host``, also with backslashes).
5. The origin is scheme, host and port (RFC 6454 §4), the port of the scheme where none is written.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

from hauberk_sieve._spelling import has_hidden
from hauberk_sieve.addresses._nets import Address

PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""The schemes whose host is read, and the port of each."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_PLACE: Final = re.compile(r"//([^/?#]*)")
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAME_CHARS: Final = 253
_PORT_MAX: Final = 65_535


class Unreadable(ValueError):
    """Nobody can tell where it leads."""


class Url(NamedTuple):
    """Where a URL leads."""

    scheme: str
    host: str
    """A name, or an address as `ipaddress` writes it; in lower case."""
    port: int
    address: Address | None
    """The host, where it is an address."""

    @property
    def origin(self) -> str:
        """Return the origin, with its port (``https://example.com:443``)."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return f"{self.scheme}://{host}:{self.port}"


def scheme_of(text: str) -> str:
    """Return the scheme in lower case, or nothing where there is none.

    Raises:
        Unreadable: It is no URI that has one reading (rule 4).
    """
    if text.strip() != text or has_hidden(text):
        raise Unreadable("it has white space at an end, or a character that nobody sees")
    if text[:2].replace("\\", "/") == "//":
        raise Unreadable("it names a host and no scheme")
    found = _SCHEME.match(text)
    return found[1].lower() if found else ""


def read(text: str) -> Url:
    """Read a URL of one of `PORTS`.

    Raises:
        Unreadable: It can be read in two ways, or in none (rules 1, 2 and 4).
    """
    scheme = scheme_of(text)
    if scheme not in PORTS:
        raise Unreadable(f"its scheme is not one of {', '.join(PORTS)}")
    if "\\" in text:
        raise Unreadable("it has a backslash, which some read as a slash")
    place = _PLACE.match(text, len(scheme) + 1)
    if place is None or not place[1]:
        raise Unreadable("no host stands after two slashes")
    if "@" in place[1]:
        raise Unreadable("it has user information before its host")
    return _placed(scheme, place[1])


def _placed(scheme: str, place: str) -> Url:
    found = _HOST.fullmatch(place)
    if found is None:
        raise Unreadable("its host is not written in plain ASCII")
    port = PORTS[scheme] if found["port"] is None else int(found["port"])
    if port > _PORT_MAX:
        raise Unreadable("its port is no port")
    host = found["host"].lower()
    address = _address(host)
    if address is None and not _is_name(host):
        raise Unreadable("its host is no name, and no address written in full")
    return Url(scheme, host if address is None else str(address), port, address)


def _address(host: str) -> Address | None:
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        return IPv4Address(host) if host[-1].isdigit() else None
    except AddressValueError:
        return None


def _is_name(host: str) -> bool:
    labels = host.split(".")
    if len(host) > _NAME_CHARS or not all(map(_LABEL.fullmatch, labels)):
        return False
    return _NUMBER.fullmatch(labels[-1]) is None


def origin(text: str) -> str:
    """Return the origin that a configuration names: scheme, host and perhaps a port, and nothing after them.

    Raises:
        ValueError: It is none.
    """
    url = read(text)
    rest = text.partition("//")[2]
    if set(rest) & set("/?#"):
        raise ValueError("an origin ends after its host and port")
    return url.origin
