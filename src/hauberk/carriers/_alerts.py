"""The last word of a handshake that fails: the alert that tells the other end why.

The event loop drops it: its TLS closes the socket before what OpenSSL has to say is written. A client would then learn
of nothing but a connection that was reset, whatever its certificate lacks.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final


class Speaking:
    """A context for one handshake in front of a server, whose alert is sent before the event loop closes the socket.

    It stands where the event loop takes a context, which asks nothing of it but ``wrap_bio``.
    """

    def __init__(self, context: ssl.SSLContext, sock: socket.socket) -> None:
        self._context: Final = context
        self._sock: Final = sock

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **how: Any) -> ssl.SSLObject:
        """Begin the handshake."""
        made = self._context.wrap_bio(incoming, outgoing, **how)
        made.do_handshake = _said(made.do_handshake, outgoing, self._sock)  # type: ignore[method-assign]
        return made


def _said(shake: Callable[[], None], outgoing: ssl.MemoryBIO, sock: socket.socket) -> Callable[[], None]:
    def shaken() -> None:
        try:
            shake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            with contextlib.suppress(OSError):  # a peer that has gone, or does not read, is told nothing
                sock.send(outgoing.read())
                sock.shutdown(socket.SHUT_WR)
            raise

    return shaken
