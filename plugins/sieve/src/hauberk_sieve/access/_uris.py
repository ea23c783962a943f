"""URIs of resources as rules compare them: one spelling for each, so that no detour slips past a rule.

The rules:

1. The normal form is that of RFC 3986, section 6.2.2: the scheme in lower case, and so the host where it is one of the
   network's (in ``users://AnnB`` it is a name that the server gave), percent escapes of unreserved characters decoded
   and the others in upper case, no dot segments; and of RFC 8089: a ``file`` URI has an empty host.
2. A URI is plain if it is in normal form, as a name is plain (`hauberk_sieve._spelling`), and stays what it is for a
   server that decodes it, once or more often: no dot segment, backslash or hidden character comes out. Only a plain one
   is matched by an allow rule.
3. A deny rule is matched with each of its readings: as it came, in normal form, and decoded up to ``DECODINGS`` times,
   with backslashes, doubled slashes and dot segments resolved, without user information, default port, and then
   without query, fragment, and slashes and blanks at its end too; a ``file`` also without its host, an absolute path as
   a ``file``, and what has no authority with one: what a lenient server may open.
4. A deny pattern that only some spellings of what it names would match is an error at load. An allow pattern may be
   about one spelling.
5. The text of a template is compared as that of a URI is; what is read of it is judged by its own URI.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from hauberk_sieve._spelling import has_hidden, is_plain, nfc, shown

DECODINGS: Final = 4
"""A URI that is not through after so many decodings is not plain."""
_PARTS: Final = re.compile(r"(?s)([A-Za-z][A-Za-z0-9+.\-]*):(//[^/?#]*)?([^?#]*)(\?[^#]*)?(#.*)?")
_ESCAPES: Final = re.compile("(?:%[0-9A-Fa-f]{2})+")
_ESCAPE: Final = re.compile("%[0-9A-Fa-f]{2}")
_BROKEN: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_PATTERN: Final = re.compile(r"(?s)([A-Za-z*][A-Za-z0-9+.\-*]*):(//[^/?#]*)?([^?#]*)(\?[^#]*)?(#.*)?")
"""The same for a pattern: a scheme may have a star."""
_PORT: Final = re.compile(":0*([0-9]+)$")
_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]+){1,3}|\[::1\]")
_SLASHES: Final = re.compile("/{2,}")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PORTS: Final = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443", "ftp": ":21"}
_HOSTED: Final = frozenset({*_PORTS, "file"})
"""Schemes whose hosts are names of the network, for which case says nothing."""
_ENDS: Final = "/ \t\r\n"
_REPLACEMENT: Final = "\ufffd"


class _Parts(NamedTuple):
    """The five parts of RFC 3986, section 3, each with the characters that set it off."""

    scheme: str
    authority: str
    path: str
    query: str
    fragment: str

    def __str__(self) -> str:
        colon = ":" if self.scheme else ""
        return f"{self.scheme}{colon}{self.authority}{self.path}{self.query}{self.fragment}"


def normal(uri: str) -> str:
    """Return the normal form (rule 1); of what is no URI, that of its escapes."""
    parts = _split(_ESCAPE.sub(_one_escape, uri))
    if parts is None:
        return _ESCAPE.sub(_one_escape, uri)
    scheme, authority = parts.scheme.lower(), parts.authority
    if scheme in _HOSTED and "{" not in authority:
        authority = _lowered(authority)
    if scheme == "file":
        authority = "//" if authority in {"", "//localhost"} else authority
    path = _without_dots(parts.path)
    if not authority and path.startswith("//"):
        path = f"/.{path}"  # or what follows would be taken for a host
    return str(parts._replace(scheme=scheme, authority=authority, path=path))


def is_plain_uri(uri: str) -> bool:
    """Whether an allow rule may match it (rule 2)."""
    if not is_plain(uri) or normal(uri) != uri or _BROKEN.search(uri):
        return False
    if "%" not in uri:
        return _is_steady(uri)
    decoded = uri
    for _ in range(DECODINGS):
        before, decoded = decoded, _decoded(decoded)
        if not _is_steady(decoded):
            return False
        if decoded == before:
            return True
    return False


def readings(uri: str) -> list[str]:
    """Return what a deny rule is matched with (rule 3), each once."""
    found = dict.fromkeys((uri, nfc(uri), normal(uri)))
    decoded = uri
    for _ in range(DECODINGS):
        resolved = _resolved(decoded)
        bare = resolved._replace(query="", fragment="")
        ended = bare._replace(path=bare.path.rstrip(_ENDS))
        found |= dict.fromkeys(map(str, (resolved, bare, ended)))
        if bare.scheme and (not bare.authority or bare.scheme == "file"):
            found |= dict.fromkeys(str(one._replace(authority="//")) for one in (bare, ended))
        before, decoded = decoded, _decoded(decoded)
        if decoded == before:
            break
    return list(found)


def pattern(text: str, *, forbids: bool = False) -> str:
    """Check a pattern on URIs, in which only ``*`` is special.

    Args:
        text: The pattern.
        forbids: Whether it stands on a deny rule.

    Raises:
        ValueError: It is in no normal form, so it would match nothing; or a deny rule would miss what it names, spelled
            in another way (rule 4).
    """
    if _BROKEN.search(text):
        raise ValueError(f"pattern '{shown(text)}' has a '%' without two hexadecimal digits in its resource")
    if (better := normal(text)) != text:
        raise ValueError(f"pattern '{shown(text)}' is not in normal form in its resource, write '{shown(better)}'")
    if forbids and (better := _shortest(text)) != text:
        raise ValueError(f"pattern '{shown(text)}' misses other spellings of its resource, write '{shown(better)}'")
    return text


def _shortest(text: str) -> str:
    """Return a deny pattern without what a server may leave out: user information, default port, doubled slashes."""
    parts = _split(text, _PATTERN)
    if parts is None:
        return text
    authority, scheme = parts.authority, parts.scheme
    if authority and (scheme in _HOSTED or "*" in scheme):
        authority = f"//{_host(scheme, authority)}"
    if scheme == "file" and _LOOPBACK.fullmatch(authority.removeprefix("//")):
        authority = "//"
    return str(parts._replace(authority=authority, path=_SLASHES.sub("/", parts.path)))


def decoded_pattern(text: str) -> str:
    """Return what a deny pattern says of a reading: decoded, unless an escape stands for ``/`` or ``*``."""
    decoded = nfc(_decoded(text))
    kept = decoded if all(decoded.count(char) == text.count(char) for char in "/*") else text
    parts = _split(kept, _PATTERN)
    if parts is None:
        return kept
    return str(parts._replace(scheme=parts.scheme.lower(), authority=_lowered(parts.authority)))


def shown_uri(uri: str) -> str:
    """Return a URI as an event may show it: without user information, query and fragment, where secrets stand."""
    parts = _split(uri)
    if parts is None:
        return shown(uri)
    host = parts.authority.rpartition("@")[2].removeprefix("//")
    authority = f"//{host}" if parts.authority else ""
    cut = "?…" if parts.query or parts.fragment else ""
    return shown(str(parts._replace(authority=authority, query=cut, fragment="")))


def _split(uri: str, form: re.Pattern[str] = _PARTS) -> _Parts | None:
    match = form.fullmatch(uri)
    return None if match is None else _Parts(*(match[place] or "" for place in range(1, 6)))


def _one_escape(match: re.Match[str]) -> str:
    char = chr(int(match[0][1:], 16))
    return char if char in _UNRESERVED else match[0].upper()


def _decoded(text: str) -> str:
    """Return the text with each escape decoded once; what is no UTF-8 becomes U+FFFD."""
    return _ESCAPES.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(errors="replace"), text)


def _is_steady(text: str) -> bool:
    """Whether a decoded URI means what it says to whoever opens it."""
    if "\\" in text or has_hidden(text) or _REPLACEMENT in text:
        return False
    return not {".", ".."}.intersection(text.split("/"))


def _lowered(authority: str) -> str:
    """Return an authority with its host in lower case; user information keeps its case."""
    user, at, host = authority.rpartition("@")
    return f"{user}{at}{host.lower()}".removesuffix(":")


def _without_dots(path: str) -> str:
    """Remove the dot segments of a path (RFC 3986, section 5.2.4)."""
    if "." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1 or (kept and kept[0]):
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/".join(kept)


def _host(scheme: str, authority: str) -> str:
    """Return the host in lower case, without user information, dots at its end and a default port."""
    host = _lowered(authority).rpartition("@")[2].removeprefix("//")
    port = ""
    if ":" in host and (found := _PORT.search(host)) is not None:
        host, port = host[: found.start()], f":{found[1]}"
    return host.rstrip(".") + port.removesuffix(_PORTS.get(scheme, ":"))


def _resolved(uri: str) -> _Parts:
    """Return what a lenient server may take a URI for."""
    text = nfc(uri).replace("\\", "/").lstrip()
    parts = _split(f"file://{text}" if text.startswith("/") else text)
    if parts is None:
        return _Parts("", "", nfc(uri), "", "")
    scheme, authority, path = parts.scheme.lower(), parts.authority, parts.path
    if scheme in _PORTS and authority in {"", "//"}:  # as browsers do
        host, slash, rest = path.lstrip("/").partition("/")
        authority, path = f"//{host}", slash + rest
    path = _without_dots(_SLASHES.sub("/", path))
    if scheme == "file":
        path = path if path.startswith("/") else f"/{path}"
        host = _host(scheme, authority)
        authority = "//" if _LOOPBACK.fullmatch(host) else f"//{host}"
    elif authority:
        authority, path = f"//{_host(scheme, authority)}", path or "/"
    return _Parts(scheme, authority, path, parts.query, parts.fragment)
