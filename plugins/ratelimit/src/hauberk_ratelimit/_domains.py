"""The hosts that a call's URLs name, each in one spelling.

The rules:

1. A URL is a string argument, at any depth, that begins with a scheme and ``://``. Of the schemes that browsers know
   the strokes may be missing, as they may for them (WHATWG URL, section 4.4); other strokes are read differently by
   others. White space round it is no part of it.
2. A host is in lower case, without the dot at its end, without port and user; a name beyond ASCII is as IDNA writes it;
   an IPv4 address is in dotted decimals, however it was written, and one in IPv6 that stands for it is the same.
3. A host that two programs may read differently is none: backslashes, percent signs, two user signs, control characters
   in it. So is what is no name at all. A call with such a URL is refused, since it cannot be told whom it is for.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from hauberk_ratelimit._limits import LIMITS

_SPECIAL: Final = frozenset({"http", "https", "ws", "wss", "ftp"})
_URL: Final = re.compile(r"[\0- ]*([A-Za-z][A-Za-z0-9+.\-]*):([/\\\t\n\r]*)(.*)", re.DOTALL)
_HEAD: Final = re.compile(r"[^/?#]*")
_NAME: Final = re.compile(r"[a-z0-9_\-]{1,63}(?:\.[a-z0-9_\-]{1,63})*")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r":[0-9]*\Z")
_MOST_PARTS: Final = 4


class UnclearHostError(ValueError):
    """A URL whose host cannot be told."""


def hosts_in(arguments: Any) -> list[str]:
    """Return the hosts of all URLs in a call's arguments, each once.

    Raises:
        UnclearHostError: One cannot be told, or there are more than `LIMITS` allows.
    """
    found: dict[str, None] = {}
    waiting = [arguments]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if ":" in value and (host := host_of(value)) is not None:
                found[host] = None
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    if len(found) > LIMITS.hosts:
        raise UnclearHostError(f"a call names {len(found)} hosts, and {LIMITS.hosts} are told apart")
    return list(found)


def host_of(text: str) -> str | None:
    """Return the host of a URL, in its one spelling; None of what is no URL, or has no host.

    Raises:
        UnclearHostError: It cannot be told.
    """
    found = _URL.match(text)
    if found is None:
        return None
    scheme, strokes, rest = found[1].lower(), found[2], found[3]
    authority = _HEAD.match(rest)[0].rstrip()  # type: ignore[index]  # it matches whatever comes
    known = scheme in _SPECIAL
    if strokes == "//" and known:
        return _host(authority)
    if strokes.strip("\t\n\r") and known:
        raise UnclearHostError("a URL has strokes that programs read differently")
    if not authority or strokes != ("" if known else "//"):
        return None
    try:
        return _host(authority)
    except UnclearHostError:
        return None  # a text such as "http: what it is", or what another scheme has in the place of a host


def _host(authority: str) -> str:
    user, _, host = authority.rpartition("@")
    if "\\" in authority or "@" in user or "%" in host or not authority.isprintable():
        raise UnclearHostError("the host of a URL can be read in two ways")
    return _literal(host) if host.startswith("[") else normal(_PORT.sub("", host))


def _literal(host: str) -> str:
    inside, closed, port = host[1:].partition("]")
    try:
        address = ipaddress.IPv6Address(inside)
    except ValueError:
        raise UnclearHostError("the host of a URL is no address") from None
    if not closed or (port and not _PORT.fullmatch(port)):
        raise UnclearHostError("the host of a URL is no address")
    return str(address.ipv4_mapped or address)


def normal(host: str) -> str:
    """Return a host in its one spelling.

    Raises:
        UnclearHostError: It is no host.
    """
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise UnclearHostError("the host of a URL is no name") from None
    host = host.lower().removesuffix(".")
    if ":" in host:
        return _literal(f"[{host}]")
    if len(host) > LIMITS.host or not _NAME.fullmatch(host):
        raise UnclearHostError("the host of a URL is no name")
    return _dotted(host) if _NUMBER.fullmatch(host.rpartition(".")[2]) else host


def _dotted(host: str) -> str:
    """Return an IPv4 address in dotted decimals, from the forms that ``inet_aton`` and browsers read."""
    parts = host.split(".")
    try:
        numbers = [_read(part) for part in parts]
    except ValueError:
        raise UnclearHostError("the host of a URL is no address") from None
    *heads, last = numbers
    room = 256 ** (_MOST_PARTS - len(heads))
    if len(parts) > _MOST_PARTS or any(head > 255 for head in heads) or last >= room:  # noqa: PLR2004 - one byte
        raise UnclearHostError("the host of a URL is no address")
    value = sum(head << (24 - 8 * place) for place, head in enumerate(heads)) + last
    return str(ipaddress.IPv4Address(value))


def _read(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if len(part) > 1 and part.startswith("0") else 10)
