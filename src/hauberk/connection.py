"""One connection between the host and one server, as hooks see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from hauberk.event import Event
from hauberk.principal import ANONYMOUS, Principal

Role = Literal["client", "server"]
Verify = Callable[[Any], Principal | None]


class Connection:
    """What is known of one connection. ``on_connect`` may set ``tls`` and ``headers`` and add to ``verify``.

    ``role`` is where the guard stands: ``"client"`` beside the host that calls servers, ``"server"`` in front of a
    server that others call. Plugins branch on ``message.toward``, never on the role.
    """

    __slots__ = (
        "__weakref__",
        "headers",
        "host",
        "id",
        "notes",
        "peer",
        "principal",
        "revision",
        "role",
        "server",
        "target",
        "tls",
        "verify",
    )

    def __init__(self, *, id: str, host: str, server: str, role: Role, target: str = "", peer: str = "") -> None:
        self.id = id
        self.host = host
        self.server = server
        self.role = role
        self.target = target
        """What is dialled: a command line, a URL, or the name of an in-process server. Never holds a secret."""
        self.peer = peer
        """The address of the other end, where there is one."""
        self.principal: Principal = ANONYMOUS
        """What the channel proved."""
        self.revision: str | None = None
        """The protocol revision, once one was agreed."""
        self.verify: list[Verify] = []
        """Called by the carrier with the peer after the transport's handshake and before any message."""
        self.tls: Any = None
        self.headers: dict[str, str] = {}
        self.notes: list[Event] = []

    def note(self, event: Event) -> None:
        """Leave an event for the record; what ``on_connect`` notes is written when its chain ends."""
        self.notes.append(event)

    def proved(self, peer: Any) -> None:
        """Run the checks that plugins left, and take the last identity that one of them proved."""
        for check in self.verify:
            principal = check(peer)
            if principal is not None:
                self.principal = principal

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.role} of {self.server!r}>"
