"""One connection between the host and one server, as hooks see it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from hauberk.event import Event
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import FAILED_HOOK, HookError, Refused

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger("hauberk")
Role = Literal["client", "server"]
Carrier = Literal["pipe", "memory", "unix", "tls", "http", "https"]
"""How the bytes travel: to a child, within the process, by a Unix socket, by TLS, by HTTP."""


class Credentials(NamedTuple):
    """Who holds the other end of a Unix socket, as the kernel says."""

    uid: int
    gid: int
    pid: int | None = None
    """Told in events and believed by nobody: another process may have the number by now."""


class Peer(NamedTuple):
    """The other end, once the transport's handshake is done."""

    carrier: Carrier
    address: str
    """``host:port``, or the path of a socket; for events."""
    credentials: Credentials | None = None
    tls: ssl.SSLObject | None = None


Verify = Callable[[Peer | None], Principal | None]
"""Checks a peer and says who it is, or None; raises `Refused`. It gets None of a child and within the process."""


class Tls(Protocol):
    """What ``on_connect`` puts into ``connection.tls``: how one connection is secured."""

    @property
    def context(self) -> ssl.SSLContext:
        """Return the context, of the connection's role, with the protocols (ALPN) of its carrier."""

    @property
    def server_name(self) -> str | None:
        """Return what is asked for (SNI) and checked, beside a client; None is the host of the address."""

    @property
    def handshake_seconds(self) -> float:
        """Return what the handshake may take (seconds)."""

    @property
    def insecure_fallback(self) -> bool:
        """Return whether a peer that offers no TLS is spoken to without; never in production (S0.4)."""

    def refusal(self, error: Exception) -> Refused:
        """Return what a handshake that failed is called."""

    def renewed(self) -> Tls:
        """Return what the next connection with the same peer is made with, where one session has several.

        Raises:
            Refused: There is nothing any more that one may be made with.
        """

    def established(self, tls: ssl.SSLObject) -> None:
        """Keep what makes the next handshake shorter; called once the peer has proved that it accepts this one."""


class Program(NamedTuple):
    """What is started as a server. Its arguments may hold secrets, so a plugin shows none of it as it stands."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment of the child; what is started is looked for in its ``PATH``."""
    cwd: str | None = None


def _nothing() -> None:
    """Do nothing."""


def _still() -> bool:
    """Say that nothing moves."""
    return False


class Connection:
    """What is known of one connection. ``on_connect`` may set ``tls`` and ``headers`` and add to ``verify``.

    ``role`` is where the guard stands: ``"client"`` beside the host that calls servers, ``"server"`` in front of a
    server that others call. Plugins branch on ``message.toward``, never on the role.
    """

    __slots__ = (
        "__weakref__",
        "_deferred",
        "_moves",
        "_on_agreed",
        "_on_over",
        "carrier",
        "credentials",
        "executable",
        "headers",
        "held",
        "host",
        "id",
        "must_agree",
        "notes",
        "over",
        "peer",
        "principal",
        "program",
        "relies",
        "revision",
        "role",
        "server",
        "target",
        "tls",
        "verify",
        "whose",
    )

    def __init__(
        self,
        *,
        id: str,
        host: str,
        server: str,
        role: Role,
        target: str = "",
        peer: str = "",
        carrier: Carrier = "pipe",
    ) -> None:
        self.id = id
        self.host = host
        self.server = server
        self.role = role
        self.carrier = carrier
        self.target = target
        """What is dialled: a command line, a URL, or the name of an in-process server. Never holds a secret."""
        self.program: Program | None = None
        """What is started, where that is how the server is reached."""
        self.executable: str | None = None
        """Set by a plugin that has looked at one: the path of the file that is started, whatever ``PATH`` says."""
        self.peer = peer
        """The address of the other end, where there is one."""
        self.credentials: Credentials | None = None
        """Who connected by a Unix socket, as the kernel says."""
        self.principal: Principal = ANONYMOUS
        """What the channel proved."""
        self.revision: str | None = None
        """The protocol revision, once one was agreed."""
        self.verify: list[Verify] = []
        """Called by the carrier with the peer after the transport's handshake and before any message."""
        self.whose: list[str] = []
        """The plugins that left these checks."""
        self.relies: set[str] = set()
        """The plugins that proved who is there, or have agreed on something with those there: it ends with them."""
        self.tls: Tls | None = None
        self.headers: dict[str, str] = {}
        self.held: dict[str, int] = {}
        """How often a plugin kept back news of a list, by method; who goes by lists has to ask anew all the same."""
        self.notes: list[Event] = []
        self.must_agree = False
        """Set by ``on_connect`` in front of a server: until `agreed` is called, it is as one that has said nothing."""
        self.over = ""
        """Why a plugin has ended it, a code; empty while none has."""
        self._on_over: Callable[[], object] = _nothing
        self._on_agreed: Callable[[], object] = _nothing
        self._moves: Callable[[], bool] = _still
        self._deferred: list[Callable[[], object]] | None = []

    def defer(self, function: Callable[[], object]) -> None:
        """Run ``function`` exactly once when the connection is over, or is not made after all; at once if it is."""
        if self._deferred is None:
            function()
        else:
            self._deferred.append(function)

    def agreed(self) -> None:
        """Let it count from now on, where it had to agree on something first; called by a plugin."""
        if self.must_agree:
            self.must_agree = False
            self._on_agreed()

    def hang_up(self, why: str) -> None:
        """End it soon; called by a plugin by which nothing can pass on it any more.

        What is in flight is answered as on a connection that is lost, and who dials may dial again.

        Args:
            why: The code of what has ended it.
        """
        if not self.over:
            self.over = why
            self._on_over()

    @property
    def moves(self) -> bool:
        """Whether part of a message is on its way: it has begun to come, or waits to be read at the other end.

        Whoever does not go on with it is a matter of the host (``stalled_seconds``).
        """
        return self._moves()

    def watch(
        self,
        on_over: Callable[[], object],
        on_agreed: Callable[[], object] = _nothing,
        moves: Callable[[], bool] = _still,
    ) -> None:
        """Call the one when a plugin hangs up, the other when what had to be agreed on is; for whoever made it.

        They are called in the middle of a message; what ends the connection comes after that. ``moves`` is what
        `moves` asks.
        """
        self._on_over, self._on_agreed, self._moves = on_over, on_agreed, moves
        if self.over:
            on_over()

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """End the connection on the way out, if nothing else has."""
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Run what was deferred; called by whoever made the connection. What a function raises goes to the log."""
        self._on_over = self._on_agreed = _nothing
        self._moves = _still
        deferred, self._deferred = self._deferred, None
        for function in deferred or ():
            try:
                function()
            except Exception:
                logger.exception("a function deferred to the end of a connection failed")

    def note(self, event: Event) -> None:
        """Leave an event for the record; what ``on_connect`` notes is written when its chain ends."""
        self.notes.append(event)

    def proved(self, peer: Peer | None) -> None:
        """Run the checks that plugins left, and take the last identity that one of them proved.

        Raises:
            Refused: One said no, failed, or answered something that is no identity.
        """
        for at, check in enumerate(self.verify):
            try:
                answer: object = check(peer)
            except (Refused, HookError):
                raise
            except (Exception, SystemExit) as error:
                logger.exception("a check of a peer failed")
                why = f"a check of the peer failed ({type(error).__name__})"
                raise Refused("core.hook_failed", why, jsonrpc=FAILED_HOOK) from None
            if isinstance(answer, Principal):
                self.principal = answer
                self.relies.update(self.whose[at : at + 1])
            elif answer is not None:
                why = f"a check of the peer answered {type(answer).__name__}, which is no identity"
                raise Refused("core.hook_answer", why, jsonrpc=FAILED_HOOK)

    @property
    def described(self) -> dict[str, Any]:
        """How it travels, for events; of a child or within the process there is nothing to tell."""
        details: dict[str, Any] = {"why": self.over} if self.over else {}
        if self.carrier in {"pipe", "memory"}:
            return details | ({"peer": self.peer} if self.peer else {})
        details |= {"carrier": self.carrier, "target": self.target}
        if self.peer:
            details["peer"] = self.peer
        if self.credentials is not None:
            details |= {"uid": self.credentials.uid, "pid": self.credentials.pid}
        return details

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.role} of {self.server!r}>"
