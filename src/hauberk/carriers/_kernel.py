"""What the kernel is asked of a socket: to hold more, to send at once, to notice who is gone, to say who is there."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import Final

from hauberk.connection import Credentials

BUFFER: Final = 256 * 1024
"""What it is to hold of a local socket, each way (bytes)."""
_IDLE: Final = 15
_APART: Final = 5
_PROBES: Final = 3
"""After so many silent seconds a remote peer is asked this often, so many seconds apart, whether it is there."""
_UCRED: Final = "=iII"
_NOBODY: Final = 2**32 - 1
_XUCRED: Final = "=IIhh16I"
_LOCAL_PEERCRED: Final = 1


def tune(sock: socket.socket) -> None:
    """Let a local socket hold more, so that a large message takes fewer turns; the kernel says how much it may be.

    A remote peer that is gone without a word is noticed by the kernel asking for it.
    """
    if sock.family == socket.AF_UNIX:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        return
    # The event loop does this for sockets that it has made itself. Without it a small frame may wait 40 ms for another.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", _IDLE), ("TCP_KEEPINTVL", _APART), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, option):  # on macOS the first has another name, and the system's own hours hold
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def credentials(sock: socket.socket) -> Credentials | None:
    """Return who is at the other end of a Unix socket, as the kernel says; None where it does not say.

    Beside a client that is who listened, in front of a server who connected, whoever holds the socket now.
    """
    if sock.family != socket.AF_UNIX:
        return None
    try:
        if hasattr(socket, "SO_PEERCRED"):
            pid, uid, gid = struct.unpack(_UCRED, sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return None if uid == _NOBODY else Credentials(uid, gid, pid)
        if sys.platform == "darwin":
            fields = struct.unpack(_XUCRED, sock.getsockopt(0, _LOCAL_PEERCRED, struct.calcsize(_XUCRED)))
            return Credentials(fields[1], fields[4])
    except (OSError, struct.error):
        return None
    return None
