"""One connection between the host and one server, as hooks see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from hauberk.event import Event
from hauberk.principal import ANONYMOUS, Principal

Role = Literal["client", "server"]
Verify = Callable[[Any], Principal | None]


class Program(NamedTuple):
    """What is started as a server. Its arguments may hold secrets, so a plugin shows none of it as it stands."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment of the child; what is started is looked for in its ``PATH``."""
    cwd: str | None = None


class Connection:
    """What is known of one connection. ``on_connect`` may set ``tls`` and ``headers`` and add to ``verify``.

    ``role`` is where the guard stands: ``"client"`` beside the host that calls servers, ``"server"`` in front of a
    server that others call. Plugins branch on ``message.toward``, never on the role.
    """

    __slots__ = (
        "__weakref__",
        "executable",
        "headers",
        "held",
        "host",
        "id",
        "notes",
        "peer",
        "principal",
        "program",
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
        self.program: Program | None = None
        """What is started, where that is how the server is reached."""
        self.executable: str | None = None
        """Set by a plugin that has looked at one: the path of the file that is started, whatever ``PATH`` says."""
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
        self.held: dict[str, int] = {}
        """How often a plugin kept back news of a list, by method; who goes by lists has to ask anew all the same."""
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
