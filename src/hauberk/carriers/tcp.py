"""The listening end of a TCP socket; what is accepted there is spoken to under TLS."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

from hauberk.carriers.address import authority
from hauberk.carriers.unix import BACKLOG
from hauberk.refusals import ConfigError


class TcpListener:
    """A socket that is listened on. ``sock`` does not block."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock: Final = sock
        host, port = sock.getsockname()[:2]
        self.name: Final = authority(host, port)


def listeners(host: str, port: int) -> list[TcpListener]:
    """Listen on every address that a host has, as both of a name for IPv4 and IPv6.

    Raises:
        ConfigError: It cannot be done.
    """
    found: list[TcpListener] = []
    try:
        for family, address in _addresses(host, port):
            found.append(TcpListener(_bound(family, address)))
            if not port:  # any free one is one, and not one for each address
                break
    except OSError as error:
        for listener in found:
            listener.sock.close()
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error).lower()
        hint = "end what listens there, or take another port" if "in use" in reason else None
        raise ConfigError(f"cannot listen at {authority(host, port)!r}: {reason}", hint=hint) from error
    return found


def _addresses(host: str, port: int) -> Iterator[tuple[int, Any]]:
    seen = set()
    for family, _, _, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    ):
        if address not in seen:
            seen.add(address)
            yield family, address


def _bound(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it lets another program take the port over
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
