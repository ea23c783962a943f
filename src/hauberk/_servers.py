"""``[server.NAME]``: how a server is started, dialled, or offered to others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from hauberk._options import MASK, SECRET, fields_of, masked, plain
from hauberk.bounds import Count, Seconds
from hauberk.refusals import ConfigError

# Patterns are strings: most starts need none of them, and compiling them all takes longer than reading the file.
_HEADER: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_HIDDEN: Final = r"(?:secret|token|passw|credential|api[_-]?key|auth|bearer|\bkey)"
_ASSIGNED: Final = rf"(?is)(-{{0,2}}[\w.-]*{_HIDDEN}[\w.-]*)([=:])(.+)"
_FLAG: Final = rf"(?i)-{{1,2}}[\w-]*{_HIDDEN}[\w-]*"
_RANDOM: Final = r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_+=-]{20,}"

Transport = Literal["auto", "stdio", "tcp", "unix", "unix-with-tcp-fallback", "https"]
"""How a server is reached.

``auto`` is what is named: the command, the socket, the URL; of a socket and a URL the socket. ``tcp`` is TLS over TCP
and never the socket, ``unix`` the socket and nothing else, ``unix-with-tcp-fallback`` TLS over TCP where nobody listens
at the socket, with an event. ``https`` wants the plugin tls for its URL.
"""
Uid = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 2)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the core."""


class Listen(Table, frozen=True):
    """``[server.NAME.listen]``: how ``hauberk serve`` offers a server to others."""

    address: str | None = None
    """``tls://HOST:PORT`` or ``unix:///PATH``; ``--listen`` goes before it.

    ``unix://`` alone is a socket with the server's name in the user's own directory for sockets, and the default.
    """
    uids: tuple[Uid, ...] = ()
    """Who may connect to a Unix socket; none named is the user that runs the server."""
    connections: Count = 100
    """Connections at once; one more is refused at once."""
    shared: bool = False
    """Whether all connections speak to one child, for a server that keeps nothing of a session."""
    first_seconds: Seconds = 10.0
    """Until a connection has said its first word; before that nothing is started for it (seconds)."""
    stalled_seconds: Seconds = 30.0
    """Until a frame that began has ended, and until somebody who must read does (seconds)."""
    drain_seconds: Seconds = 10.0
    """For requests in flight, once the server is told to end (seconds)."""

    def __post_init__(self) -> None:
        if self.address is not None and self.address != "unix://":
            from hauberk.carriers.address import parse  # few configurations have one

            try:
                parse(self.address, listening=True)
            except ConfigError as error:
                raise ValueError(f"{error.message}; {error.hint}") from None


class Retry(Table, frozen=True):
    """``[server.NAME.retry]``: what ``hauberk connect`` asks again after its connection was lost."""

    tries: Annotated[int, msgspec.Meta(ge=2, le=10)] = 3
    """How often a request is asked at most, the first time counted."""
    tools: tuple[str, ...] = ()
    """Tools that do nothing twice that they did once, as you know it; a call of any other is never sent again."""


class ServerOptions(Table, frozen=True):
    """``[server.NAME]``: how a server is reached. A command is started, a URL is dialled."""

    command: str | None = None
    args: tuple[str, ...] = ()
    env: Annotated[dict[str, str | bool], SECRET] = {}
    """Values by name; ``true`` passes on what the environment of hauberk holds."""
    cwd: Path | None = None
    url: str | None = None
    headers: Annotated[dict[str, str], SECRET] = {}
    socket: Path | None = None
    """The Unix socket of a server that is dialled, alone or beside ``url``."""
    transport: Transport = "auto"
    """How it is reached; ``auto`` is what is named, of a socket and a URL the socket."""
    allow_tcp_fallback: bool = False
    """Whether, in production, a socket that is not there lets the connection go by ``url`` (never without TLS)."""
    uids: tuple[Uid, ...] = ()
    """Who may hold the other end of ``socket``; none named is the user that runs the guard."""
    listen: Listen | None = None
    """How ``hauberk serve`` offers the server to others."""
    retry: Retry | None = None
    """What ``hauberk connect`` asks again after its connection was lost; without it, nothing."""

    def __post_init__(self) -> None:
        if self.command is not None and (self.url is not None or self.socket is not None):
            raise ValueError("a command is started, a url or a socket is dialled, give one")
        if (self.url is not None or self.socket is not None) and (self.args or self.env or self.cwd):
            raise ValueError("args, env and cwd are for a command, not for a url or a socket")
        if self.command is not None and self.headers:
            raise ValueError("headers are for a url, not for a command")
        if self.command == "" or self.url == "":
            raise ValueError("command and url must not be empty")
        if "\0" in "".join((self.command or "", *self.args, *self.env, *map(str, self.env.values()))):
            raise ValueError("a NUL cannot be passed to a program")
        self._check_names()
        self._check_transport()

    def _check_transport(self) -> None:
        if self.command is not None and self.transport not in {"auto", "stdio"}:
            raise ValueError(f"transport {self.transport!r} is for a server that is dialled, and command starts one")
        if self.transport == "stdio" and (self.url is not None or self.socket is not None):
            raise ValueError("transport 'stdio' is for a command, not for a url or a socket")
        if self.transport.startswith("unix") and self.socket is None:
            raise ValueError(f"transport {self.transport!r} needs a socket")
        scheme = (self.url or "").partition("://")[0].lower()
        if self.transport == "https" and scheme != "https":
            raise ValueError("transport 'https' needs a url that begins with https://")
        if self.transport in {"tcp", "unix-with-tcp-fallback"} and scheme != "tls":
            raise ValueError(f"transport {self.transport!r} needs a url that begins with tls://")
        if self.socket is not None and self.url is not None and scheme != "tls":
            raise ValueError("beside a socket stands a url that begins with tls://")
        if self.retry is not None and (self.command is not None or scheme.startswith("http")):
            raise ValueError("retry is for a socket or a url of tls://, which `hauberk connect` dials again")
        if self.listen is not None and self.command is None:
            raise ValueError("what is listened for is a command; a url or a socket is served by its own side")

    def _check_names(self) -> None:
        for name, value in self.env.items():
            if not name or "=" in name:
                raise ValueError(f"env has a name that no environment can hold: {name!r}")
            if value is False:
                raise ValueError(f"env.{name} is a string, or true to pass on what the environment of hauberk holds")
        for header_name, text in self.headers.items():
            if not re.fullmatch(_HEADER, header_name) or not text.isprintable():
                raise ValueError(f"header {header_name!r} cannot be sent")

    def __repr__(self) -> str:
        return f"ServerOptions({', '.join(f'{key}={value!r}' for key, value in self.shown().items())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(self.shown().items())

    def shown(self) -> dict[str, Any]:
        """Return the table as it may be shown: without values of ``env`` and ``headers``, secrets in ``args``."""
        return {**plain(self), "args": shown_args(self.args)}


SERVER_WORDS: Final = tuple(fields_of(ServerOptions))
"""The words of ``[server.NAME]`` that are not plugins."""


def shown_args(args: tuple[str, ...]) -> list[str]:
    """Return arguments as they may be shown: what is, or follows, the look of a secret is hidden."""
    shown = []
    hide = False
    for arg in args:
        shown.append(MASK if hide or re.fullmatch(_RANDOM, arg) else masked(re.sub(_ASSIGNED, rf"\1\2{MASK}", arg)))
        hide = re.fullmatch(_FLAG, arg) is not None
    return shown
