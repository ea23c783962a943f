"""The hosts that a call's URLs name, each in one spelling.

The rules:

1. A URL is a string among the arguments, at any depth, or the name of one, that begins with a scheme and ``://``, or
   with ``//`` and a host. Of the schemes that browsers know the strokes may be missing, as they may for them (WHATWG
   URL, section 4.4); other strokes are read differently by others. White space round it, what wraps it (``<``,
   ``url:``, ``blob:``), tabs and line ends in it are no part of it.
2. A host is in lower case, without the dot at its end, without port and user; a name beyond ASCII is as IDNA writes it;
   an IPv4 address is in dotted decimals, however it was written, and one in IPv6 that stands for it is the same:
   mapped, translated, compatible (RFC 4291, section 2.5.5) or behind NAT64 (RFC 6052).
3. A host that two programs may read differently is none: backslashes, percent signs, two user signs, control characters
   in it, characters that IDNA of 2003 and of 2008 write differently. So is what is no name at all. A call with such a
   URL is refused, since it cannot be told whom it is for.
4. A call names no more URLs and hosts than `LIMITS` says; what is too long for a host is not looked at more closely.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from encodings import idna
from typing import Any, Final

from hauberk_ratelimit._limits import LIMITS

_SPECIAL: Final = frozenset({"http", "https", "ws", "wss", "ftp"})
_ROUND: Final = r"[\s<\0-\x20\x7f-\x9f\u180e\u200b-\u200f\u2060\ufeff]*"
"""What some programs take off before a URL: white space, marks of no width, the sign before a URL in a text."""
_URL: Final = re.compile(rf"{_ROUND}([A-Za-z][A-Za-z0-9+.\-]*):([/\\]*)")
_BARE: Final = re.compile(rf"{_ROUND}//(?![/\\\s])")
_WRAPS: Final = 4
"""Schemes that may stand before the one of a URL, as in ``view-source:https://…``."""
_ENDS: Final = str.maketrans("", "", "\t\n\r")
_HEAD: Final = re.compile(r"[^/?#]*")
_NAME: Final = re.compile(r"[a-z0-9_\-]{1,63}(?:\.[a-z0-9_\-]{1,63})*")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r":[0-9]*\Z")
_MOST_PARTS: Final = 4
_DOTS: Final = re.compile("[.\u3002\uff0e\uff61]")
_GLOB: Final = re.compile(r"[a-z0-9_\-*]{1,63}")
_GLOB_ADDRESS: Final = re.compile(r"[0-9a-f:*]+")
_STANDS_FOR: Final = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""Networks whose last 32 bits are an IPv4 address."""


class UnclearHostError(ValueError):
    """A URL whose host cannot be told."""


def hosts_in(arguments: Any) -> list[str]:
    """Return the hosts of all URLs in a call's arguments, each once.

    Raises:
        UnclearHostError: One cannot be told, or there are more than `LIMITS` allows.
    """
    hosts: dict[str, None] = {}
    known: dict[tuple[str, str, str], str | None] = {}
    waiting = [arguments]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if (parts := _parts(value)) is None:
                continue
            if parts not in known:
                if len(known) == LIMITS.urls:
                    raise UnclearHostError(f"a call names more than {LIMITS.urls} different beginnings of URLs")
                known[parts] = _told(*parts)
            if (host := known[parts]) is not None:
                hosts[host] = None
                if len(hosts) > LIMITS.hosts:
                    raise UnclearHostError(f"a call names more than {LIMITS.hosts} hosts")
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return list(hosts)


def host_of(text: str) -> str | None:
    """Return the host of a URL, in its one spelling; None of what is no URL, or has no host.

    Raises:
        UnclearHostError: It cannot be told.
    """
    parts = _parts(text)
    return None if parts is None else _told(*parts)


def _parts(text: str) -> tuple[str, str, str] | None:
    """Return scheme, strokes and authority of a URL; None of what is none.

    Raises:
        UnclearHostError: Its authority is longer than any.
    """
    if ":" not in text and "//" not in text:
        return None
    plain = text.translate(_ENDS) if any(end in text for end in "\t\n\r") else text
    found, at = _URL.match(plain), 0
    while found is not None and not found[2] and found[1].lower() not in _SPECIAL and at < _WRAPS:
        found, at = _URL.match(plain, found.end()), at + 1
    if found is None:
        found = _BARE.match(plain)
        if found is None:
            return None
        scheme, strokes = "", "//"
    else:
        scheme, strokes = found[1].lower(), found[2]
    authority = _HEAD.match(plain, found.end())[0].rstrip()  # type: ignore[index]  # it matches whatever comes
    if len(authority) > LIMITS.authority and scheme and strokes:
        raise UnclearHostError("the host of a URL is longer than any")
    if plain is not text and strokes and not text.startswith(authority, text.find(strokes) + len(strokes)):
        authority += "\n"  # somebody reads it as two lines
    return scheme, strokes, authority[: LIMITS.authority + 1]


def _told(scheme: str, strokes: str, authority: str) -> str | None:
    """Return the host of an authority; None where there is none.

    Raises:
        UnclearHostError: It cannot be told.
    """
    special = scheme in _SPECIAL
    if special and strokes not in ("", "//"):
        raise UnclearHostError("a URL has strokes that programs read differently")
    if not special and (strokes != "//" or not authority):
        return None
    try:
        return _host(authority)
    except UnclearHostError:
        if (special or scheme) and strokes:
            raise
        if scheme and authority and ("@" in authority or "\\" in authority or not _spaced(authority)):
            raise
        return None  # a text such as "http: what it is", or "// a remark"


def _spaced(text: str) -> bool:
    return any(one.isspace() for one in text)


def _host(authority: str) -> str:
    user, _, host = authority.rpartition("@")
    if len(host) > LIMITS.host + len(".:65535"):
        raise UnclearHostError("the host of a URL is longer than any")
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
    if int(address) > 1 and any(address in network for network in _STANDS_FOR):
        return str(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return str(address)


def normal(host: str) -> str:
    """Return a host in its one spelling.

    Raises:
        UnclearHostError: It is no host.
    """
    if len(host) > LIMITS.host + 1:  # before anything takes time by its length
        raise UnclearHostError("the host of a URL is longer than any")
    if not host.isascii():
        host = _ascii(host)
    host = host.lower().removesuffix(".")
    if ":" in host:
        return _literal(f"[{host}]")
    if len(host) > LIMITS.host or not _NAME.fullmatch(host):
        raise UnclearHostError("the host of a URL is no name")
    return _dotted(host) if _NUMBER.fullmatch(host.rpartition(".")[2]) else host


def _ascii(host: str) -> str:
    """Return a name as IDNA writes it, where that of 2003 and that of 2008 agree."""
    try:
        for label in _DOTS.split(host):
            if not label.isascii() and idna.nameprep(label) != unicodedata.normalize("NFKC", label.lower()):
                raise UnclearHostError("the host of a URL is written differently by IDNA of 2003 and of 2008")
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UnclearHostError("the host of a URL is no name") from None


def glob(text: str) -> str:
    """Return a pattern of hosts as hosts are spelled.

    Raises:
        UnclearHostError: No host can match it.
    """
    if "*" not in text:
        return normal(text)
    lower = text.lower()
    if ":" in lower and _GLOB_ADDRESS.fullmatch(lower):
        return lower
    labels = [label if label.isascii() or "*" in label else _ascii(label) for label in _DOTS.split(_stem(lower))]
    if not all(map(_GLOB.fullmatch, labels)):
        raise UnclearHostError("no host matches it")
    return ".".join(labels)


def _stem(text: str) -> str:
    return text[:-1] if len(text) > 1 and _DOTS.fullmatch(text[-1]) else text


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
