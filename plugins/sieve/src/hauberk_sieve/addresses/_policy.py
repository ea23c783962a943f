"""Which URIs may stand where: schemes, addresses, files.

The rules:

1. A scheme that a host, its browser or its system would act on, other than by asking the server for it, is refused
   everywhere: scripts, handlers, file shares, old protocols. So is each that ``deny_schemes`` names. A scheme that
   nobody knows is a word of the server's own (``memo:``, ``demo:``), and passes.
2. ``http`` and ``https`` may lead to the open internet only: to no address of `_nets`, in whatever spelling, to no name
   of one label, and to none of the names that are kept for a machine, a site or a network, or that answer with an
   address written in them. An origin of ``origins`` may be led to, wherever it is.
3. ``data:`` is refused, but for images as icons. Without a comma it holds no data (RFC 2397), and is a word.
4. ``file:`` names no other machine. Where the server is asked for it (a list, a read, what was read) it is the server's
   own business; a link that the host may open by itself has to stay under one of ``files``.
5. What stands where: an icon is ``https`` or an image as ``data``; a web site is ``http`` or ``https``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.addresses._nets import special
from hauberk_sieve.addresses._url import PORTS, Unreadable, Url, read, scheme_of

_SCRIPTS: Final = """
    javascript vbscript livescript mocha jscript about blob filesystem view-source url wyciwyg mhtml mk jar zip phar php
    expect glob netdoc intent android-app chrome chrome-extension moz-extension
"""
"""Run, or show something else than they name."""
_HANDLERS: Final = """
    ms-msdt ms-officecmd ms-word ms-excel ms-powerpoint ms-access ms-project ms-publisher ms-visio search-ms ms-search
    ms-settings ms-appinstaller ms-cxh ms-cxh-full ms-gamingoverlay ms-its hcp vscode vscode-insiders vscodium cursor
    windsurf x-apple.systempreferences applescript itms-services
"""
"""Start a program, or install something."""
_FETCHERS: Final = """
    smb cifs nfs afp dav davs webdav webdavs vnc rdp ldap ldaps ldapi ftp ftps sftp tftp scp ssh telnet tn3270 rlogin
    gopher gophers dict finger rtsp rtmp rmi iiop jndi imap imaps pop3 pop3s smtp smtps
"""
"""File shares, directories, and what speaks to any port."""
_ACTED_ON: Final = frozenset(f"{_SCRIPTS}{_HANDLERS}{_FETCHERS}".split())
_LOCAL: Final = (
    "localhost",
    "localhost.localdomain",
    "localhost6",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "onion",
    "test",
    "in-addr.arpa",
    "ip6.arpa",
)
"""Kept for a machine, a site or a network (RFC 6761, 6762, 7686, 8375; ICANN's decisions on name collisions)."""
_ECHOING: Final = (
    "nip.io",
    "sslip.io",
    "xip.io",
    "localtest.me",
    "lvh.me",
    "vcap.me",
    "lacolhost.com",
    "traefik.me",
    "local.gd",
    "rbndr.us",
    "1u.ms",
)
"""Answer with the address that stands in the name, or with loopback."""
_TWICE: Final = re.compile(r"%2e|%2f|%5c|%00|[\\\\\0]", re.IGNORECASE)
"""What some decode once more, or read as a slash or an end."""
_IMAGE: Final = re.compile(r"data:image/[a-z0-9.+\-]+(;[^,]*)?,", re.IGNORECASE)


class Use(Enum):
    """Where a URI stands."""

    LINK = "a link"
    NAME = "a name"
    READ = "a read"
    ICON = "an icon"
    SITE = "a web site"


class Policy:
    """What one server may lead to."""

    def __init__(
        self, *, deny: Iterable[str] = (), origins: Iterable[str] = (), files: Iterable[PurePath] = ()
    ) -> None:
        """Make it.

        Args:
            deny: Schemes besides the built-in ones, in lower case.
            origins: Origins with their ports, as `hauberk_sieve.addresses._url.origin` returns them.
            files: Absolute paths.
        """
        self._denied: Final = _ACTED_ON.union(deny)
        self._origins: Final = frozenset(origins)
        self._roots: Final = tuple(map(parts, files))

    def fault(self, uri: str, use: Use) -> str | None:
        """Return the rule that a URI breaks where it stands, or None."""
        if use is Use.ICON and _IMAGE.match(uri):
            return None
        if len(uri) > LIMITS.uri_chars:
            return f"a URI has at most {LIMITS.uri_chars} characters"
        try:
            return self._fault(uri, use)
        except Unreadable as error:
            return str(error)

    def _fault(self, uri: str, use: Use) -> str | None:
        scheme = scheme_of(uri)
        if scheme in self._denied or (scheme == "data" and "," in uri):
            return f"{scheme}: is refused"
        if use is Use.ICON and scheme != "https":
            return "an icon is https, or data with an image"
        if use is Use.SITE and scheme not in ("https", "http"):
            return "a web site is http or https"
        if scheme in PORTS:
            return self.place(read(uri))
        return self._file(uri, use) if scheme == "file" else None

    def place(self, url: Url) -> str | None:
        """Return why nobody may be led to a place, or None."""
        if self.is_listed(url):
            return None
        if url.address is not None:
            what = special(url.address)
            return None if what is None else f"the address is {what}"
        if "." not in url.host:
            return "the host is a name of one label"
        if _under(url.host, _LOCAL):
            return "the name is kept for local use"
        return "the name answers with an address of its choice" if _under(url.host, _ECHOING) else None

    def is_listed(self, url: Url) -> bool:
        """Whether the operator named this origin."""
        return url.origin in self._origins

    def _file(self, uri: str, use: Use) -> str | None:
        path = file_path(uri)
        if use is not Use.LINK or under(path, self._roots):
            return None
        return "a link to a file is under one of sieve.addresses.files"


def file_path(uri: str) -> str:
    """Return the path of a ``file`` URI (RFC 8089), decoded once.

    Raises:
        Unreadable: It names another machine, or can be read as another path.
    """
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost") or not slash:
            raise Unreadable("file: names another machine")
        rest = f"/{path}"
    path = unquote(re.split(r"[?#]", rest, maxsplit=1)[0])
    if path.startswith("//"):
        raise Unreadable("file: names another machine")
    if not path.startswith("/") or ".." in path.split("/") or _TWICE.search(path):
        raise Unreadable("file: has no plain path")
    return path


def parts(path: str | PurePath) -> tuple[str, ...]:
    """Return the parts of an absolute path, as `under` compares them (``/C:/…`` on Windows)."""
    text = path.as_posix() if isinstance(path, PurePath) else path
    return tuple(filter(None, text.split("/")))


def under(path: str, roots: Iterable[tuple[str, ...]]) -> bool:
    """Whether a path is one of these, or below one."""
    found = parts(path)
    return any(found[: len(root)] == root for root in roots)


def _under(host: str, names: Iterable[str]) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in names)
