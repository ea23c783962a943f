"""The last word of TLS that fails: the alert that tells the other end why (RFC 8446, section 6.2).

The event loop drops it: its TLS closes the socket before what OpenSSL has to say is written. A client would then learn
of nothing but a connection that was reset, whatever its certificate lacks, and whoever sends a record that does not
decrypt could not tell that from a server that has died.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final


class Speaking:
    """A context for one connection to a server, whose alert is sent before the event loop closes the socket.

    It stands where the event loop takes a context, which asks nothing of it but ``wrap_bio``.
    """

    def __init__(
        self, context: ssl.SSLContext, sock: socket.socket, waits: Callable[[], object] = lambda: False
    ) -> None:
        """Prepare.

        Args:
            context: What TLS is made with.
            sock: The socket.
            waits: Whether the event loop has bytes that are to be written before an alert; then there is none, since
                it would stand in the middle of a record.
        """
        self._context: Final = context
        self._sock: Final = sock
        self._waits: Final = waits

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **how: Any) -> ssl.SSLObject:
        """Begin the handshake."""
        made = self._context.wrap_bio(incoming, outgoing, **how)
        made.do_handshake = self._said(made.do_handshake, outgoing)  # type: ignore[method-assign]
        made.read = self._said(made.read, outgoing)  # type: ignore[method-assign]
        return made

    def _said(self, act: Callable[..., Any], outgoing: ssl.MemoryBIO) -> Callable[..., Any]:
        def acted(*arguments: Any) -> Any:
            try:
                return act(*arguments)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError:
                self._say(outgoing.read())
                raise

        return acted

    def _say(self, alert: bytes) -> None:
        if self._waits():
            return
        with contextlib.suppress(OSError):  # a peer that has gone, or does not read, is told nothing
            self._sock.send(alert)
            self._sock.shutdown(socket.SHUT_WR)
