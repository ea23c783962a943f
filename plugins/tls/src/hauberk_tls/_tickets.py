"""Session tickets of a client, each used once (S4.26).

asyncio and the HTTP client give a context no session, so the context brings it itself. One context belongs to one
endpoint, one name, one identity and one set of options: what is kept in it can be used for nothing else.
"""

from __future__ import annotations

import ssl
from collections import deque
from typing import Any

from hauberk_tls._limits import LIMITS
from hauberk_tls._lists import Lists


class ServerContext(ssl.SSLContext):
    """A context to be called with."""

    lists: Lists
    """What those who come by it are held against."""


class ClientContext(ssl.SSLContext):
    """A context to call one endpoint with, and the tickets that it gave."""

    lists: Lists
    """What those who are called by it are held against."""
    keeps = True
    """Whether tickets are kept at all."""

    def __new__(cls, *args: Any, **kwargs: Any) -> ClientContext:  # noqa: PYI034 - not to be derived from
        """Make a context without tickets."""
        self: ClientContext = super().__new__(cls, *args, **kwargs)
        self.tickets = deque[ssl.SSLSession](maxlen=LIMITS.tickets)
        return self

    tickets: deque[ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - as the standard library has it
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection, with a ticket if there is one."""
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session or self._ticket())

    def keep(self, tls: ssl.SSLObject) -> None:
        """Keep the ticket of a connection that the peer has answered by."""
        session = tls.session
        if self.keeps and session is not None and session.has_ticket and session not in self.tickets:
            self.tickets.append(session)

    def _ticket(self) -> ssl.SSLSession | None:
        try:
            return self.tickets.pop()
        except IndexError:
            return None
