"""What a certificate is for: DNS names, IP addresses, URIs, mail addresses (RFC 5280 section 4.2.1.6).

The rules:

1. NAME, which a certificate and its folder are called by, is a DNS name or an IP address of at most 64 characters. It
   is the common name and, with its type, the first of the subject's alternative names.
2. A DNS name is ASCII: labels of letters, digits and hyphens, none at their ends, 63 characters each and 253 together.
   The last label is not a number, or the name could be read as an address. An international name is written as its
   A-label (``xn--…``): the versions of IDNA turn some names into different ones, and nobody shall guess which is meant.
3. ``*`` may be the first label of a further name, whole, above at least two others; never of NAME.
4. Control characters, blanks, slashes, ``..``, zones of IPv6 and IPv4 addresses in odd spelling are refused.
5. What hauberk calls somebody itself (``anonymous``, ``host:…``, ``uid:…``) is no name: who shows it is refused.
6. ``dns:``, ``ip:``, ``uri:`` or ``email:`` says what a further name is. Without it an address is one, ``://`` makes a
   URI, ``@`` a mail address, and all else is a DNS name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from cryptography import x509

from hauberk.refusals import ConfigError
from hauberk_tls._reserved import is_reserved
from hauberk_tls.certs._limits import LIMITS

Type = Literal["dns", "ip", "uri", "email"]
_TYPES: Final[tuple[Type, ...]] = ("dns", "ip", "uri", "email")
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_WILDCARD: Final = "*."
_ABOVE: Final = 2
"""Labels that stand above a wildcard, at least."""


class Name(NamedTuple):
    """One name, and what it is."""

    type: Type
    value: str

    def __str__(self) -> str:
        return f"{self.type}:{self.value}"


def main(text: str) -> Name:
    """Read a NAME.

    Raises:
        ConfigError: It is none (rule 1).
    """
    _check_free(text)
    address = _address(text)
    if len(text) > LIMITS.name_chars:
        hint = "give the long one with --san, and a short NAME"
        raise _bad(text, f"a NAME has at most {LIMITS.name_chars} characters", hint)
    if text.startswith("*"):
        raise _bad(text, "a wildcard is no NAME", f"give a NAME, and --san {_ascii(text)}")
    return Name("ip", address) if address else Name("dns", _dns(text))


def further(text: str) -> Name:
    """Read what ``--san`` says.

    Raises:
        ConfigError: It is no name (rules 2 to 6).
    """
    prefix, colon, rest = text.partition(":")
    if colon and prefix in _TYPES:
        return _typed(prefix, rest)
    if address := _address(text):
        return Name("ip", address)
    if "://" in text:
        return _typed("uri", text)
    return _typed("email" if "@" in text else "dns", text)


def together(name: Name, others: Iterable[Name]) -> tuple[Name, ...]:
    """Return the names of one certificate: NAME first, each once.

    Raises:
        ConfigError: They are too many.
    """
    found = tuple(dict.fromkeys((name, *others)))
    if len(found) > LIMITS.sans:
        raise ConfigError(f"a certificate has at most {LIMITS.sans} names, not {len(found)}")
    return found


def encoded(name: Name) -> x509.GeneralName:
    """Return a name as a certificate holds it."""
    if name.type == "ip":
        return x509.IPAddress(ipaddress.ip_address(name.value))
    if name.type == "dns":
        return x509.DNSName(name.value)
    return x509.UniformResourceIdentifier(name.value) if name.type == "uri" else x509.RFC822Name(name.value)


def decoded(names: Iterable[x509.GeneralName]) -> tuple[Name, ...]:
    """Return the names that a certificate holds, as they are; kinds that are not made here are left out."""
    found = []
    for one in names:
        if isinstance(one, x509.DNSName):
            found.append(Name("dns", one.value))
        elif isinstance(one, x509.IPAddress):
            found.append(Name("ip", str(one.value)))
        elif isinstance(one, x509.UniformResourceIdentifier):
            found.append(Name("uri", one.value))
        elif isinstance(one, x509.RFC822Name):
            found.append(Name("email", one.value))
    return tuple(found)


def _typed(kind: Type, text: str) -> Name:
    _check_free(text)
    if len(text) > LIMITS.san_chars:
        raise _bad(text, f"it is longer than {LIMITS.san_chars} characters")
    if kind == "dns":
        return Name(kind, _wild(text) if text.startswith(_WILDCARD) else _dns(text))
    if kind == "ip":
        if address := _address(text):
            return Name(kind, address)
        raise _bad(text, "it is no IP address")
    if kind == "email":
        local, _, domain = text.rpartition("@")
        if not _LOCAL.fullmatch(local):
            raise _bad(text, "it is no mail address")
        return Name(kind, f"{local}@{_dns(domain)}")
    return Name(kind, _uri(text))


def _address(text: str) -> str | None:
    if "%" in text or not text.isascii():
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _wild(text: str) -> str:
    below = _dns(text.removeprefix(_WILDCARD))
    if below.count(".") < _ABOVE - 1:
        raise _bad(text, "a wildcard stands above at least two labels")
    return _WILDCARD + below


def _dns(text: str) -> str:
    if not text.isascii():
        raise _bad(text, "a DNS name is ASCII", "write an international name as its A-label (xn--…)")
    labels = text.split(".")
    if len(text) > LIMITS.dns_chars or not all(map(_LABEL.fullmatch, labels)):
        hint = f"perhaps {text.replace('_', '-')!r}" if "_" in text else "letters, digits, hyphens, dots between labels"
        raise _bad(text, "it is no DNS name", hint)
    if labels[-1].isdigit():
        raise _bad(text, "it could be read as an IP address, and is none")
    return text


def _uri(text: str) -> str:
    if not _URI.fullmatch(text):
        raise _bad(text, "it is no URI", "uri:SCHEME:REST, in ASCII")
    rest = text.partition(":")[2]
    if rest.startswith("//") and not re.split(r"[/?#]", rest[2:], maxsplit=1)[0]:
        raise _bad(text, "it is a URI without a host")
    return text


def _check_free(text: str) -> None:
    if is_reserved(text):
        raise _bad(text, "it is one that hauberk gives away itself")


def _ascii(text: str) -> str:
    return repr(text[: LIMITS.shown_chars])


def _bad(text: str, why: str, hint: str | None = None) -> ConfigError:
    return ConfigError(f"cannot use name {_ascii(text)}: {why}", hint=hint)
