"""One connection: which frames may pass in plain until there is a session, and that none does from then on.

The rules:

1. Beside a client, our request for a session leaves in plain, and the answer to it comes in plain. In front of a
   server, one request for a session at a time comes in plain, and the answer to it leaves in plain.
2. Nothing else does. What comes in plain is refused, whether there is a session or not: no seal is no reason to trust
   (A04). What is to leave without a session is refused.
3. A client that waits for an answer which cannot be sealed gets an error in plain, the same for every reason, with
   nothing in it but its own id. A server gets none.
4. A session that is over is not made up for on the same connection, and neither is an agreement that failed too often,
   or that somebody else spoke in. Nothing can come of such a connection, so it ends (`Link.over`).
5. Who asks for a session may be repeating what another one has said. It has shown who it is with the first message that
   opens, and not before.
6. There is one session on a connection: within it nobody agrees on another.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import ref

import orjson

from hauberk import edge
from hauberk.bounds import Bounds
from hauberk.connection import Connection, Role
from hauberk.message import Frame
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import IDENTITY, Refused
from hauberk_envelope.session._agreement import Offer
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._refusals import REFUSED, refused
from hauberk_envelope.session._session import Session

ATTEMPTS: Final = 8
"""Requests for a session that one connection may make."""


class Link:
    """What is known of one connection."""

    __slots__ = (
        "_attempts",
        "_lost",
        "asked",
        "channel",
        "fault",
        "judged",
        "offer",
        "proved",
        "role",
        "sealed",
        "server",
        "session",
        "who",
    )

    def __init__(self, role: Role, who: str, *, judged: int = 0, sealed: bool = True) -> None:
        """Begin without a session.

        Args:
            role: Where we stand.
            who: Who is there, for refusals.
            judged: The policy by which what we know of the connection was judged, counted by reloads.
            sealed: Whether its messages are.
        """
        self.role: Final = role
        self.who: Final = who
        self.judged = judged
        self.sealed = sealed
        self.server = ""
        """The server that we have asked for, beside a client."""
        self.channel: Principal = ANONYMOUS
        """Who the client is by what the channel itself proved, in front of a server."""
        self.session: Session | None = None
        self.offer: Offer | None = None
        self.fault: Refused | None = None
        """Why the answer to our offer was none."""
        self.asked: Any = None
        """The id of the request for a session that waits for its answer."""
        self._attempts = 0
        self._lost = ""
        self.proved: Session | None = None
        """The session, once the other end has shown that it has its keys."""

    @property
    def over(self) -> str:
        """Why nothing can come of this connection any more, a code; empty while something can."""
        return self._lost or ("" if self.session is None else self.session.over)

    # --- agreeing ---

    def begin(self, offer: Offer, server: str, judged: int) -> None:
        """Ask for a session with a server; the one there was is over."""
        self.server, self.judged = server, judged
        if self.session is not None:
            self.session.end("another one was agreed on")
        self.session = self.proved = self.fault = self.asked = None
        self.offer = offer

    def settle(self) -> Session:
        """Return the session that was asked for.

        Raises:
            Refused: There is none.
        """
        self.offer = None
        if self.session is None:
            raise self.fault or refused("envelope.no_agreement", self.who, "it did not answer")
        self.proved = self.session
        return self.session

    def answered(self, session: Session, channel: Principal, judged: int) -> None:
        """Take the session that was asked for; the answer that says so leaves in plain."""
        self.session, self.channel, self.judged = session, channel, judged

    # --- frames ---

    def send(self, frame: Frame, now: float) -> Frame | None:
        """Return the frame that leaves; None is as it is.

        Raises:
            Refused: It may not leave.
        """
        if self.asked is not None and self._is_answer(frame):
            self.asked = None
            return None
        session = self.session
        if session is None:
            if self._is_offer(frame):
                self.asked = frame.id
                return None
            return self.unsealed(frame, refused("envelope.no_session", self.who, "nothing leaves before that"))
        try:
            return session.seal(frame, now)
        except Refused as error:
            return self.unsealed(frame, error)

    def receive(self, frame: Frame, now: float, bounds: Bounds) -> Frame | None:
        """Return the message that came in; None is as it is.

        Raises:
            Refused: It may not come in.
        """
        session = self.session
        if session is None:
            try:
                self._receive_plain(frame.data, now, bounds)
            except Refused as error:
                self._lost = error.code
                raise
            return None
        return session.open(frame, now, bounds)

    def _is_offer(self, frame: Frame) -> bool:
        return (
            self.role == "client" and self.offer is not None and frame.kind == "request" and frame.method == EXTENSION
        )

    def _is_answer(self, frame: Frame) -> bool:
        mine = self.role == "server" and frame.method == EXTENSION and frame.kind == "result"
        return mine and frame.id == self.asked

    def unsealed(self, frame: Frame, error: Refused) -> Frame:
        """Return what tells whoever waits that there is nothing (rule 3), or refuse.

        Raises:
            Refused: Nobody waits, or there is a session that goes on without this message.
        """
        goes_on = self.session is not None and not self.session.over
        if goes_on or frame.kind != "error" or self.role == "client":
            raise error
        if frame.id == self.asked:
            self.asked = None
        return frame.with_data(refusal(frame.id))

    def _receive_plain(self, data: bytes, now: float, bounds: Bounds) -> None:
        """Let pass what a session is agreed on with.

        Raises:
            Refused: It is something else.
        """
        try:
            message, _ = edge.read(data, bounds=bounds)
        except Refused:
            raise refused("envelope.malformed", f"a message of {self.who}") from None
        if self.role == "client":
            if self.asked is None or "method" in message or message.get("id") != self.asked:
                raise refused("envelope.plain", f"a message of {self.who}")
            self.asked = None
            self._take_answer(message, now)
        else:
            if message.get("method") != EXTENSION or "id" not in message or self.asked is not None:
                raise refused("envelope.plain", f"a message of {self.who}")
            self._attempts += 1
            if self._attempts > ATTEMPTS:
                raise refused("envelope.no_agreement", self.who, f"{ATTEMPTS} times")
            self.asked = message["id"]

    def _take_answer(self, message: dict[str, Any], now: float) -> None:
        """Finish our handshake as soon as the answer is here: what comes next is sealed already."""
        offer, self.offer = self.offer, None
        if offer is None or "result" not in message:
            return
        try:
            self.session = offer.accept(message["result"], now)
        except Refused as error:
            self.fault = error


class Links:
    """The links of all connections that there are."""

    __slots__ = ("_held", "of")

    def __init__(self) -> None:
        self.of: Final[dict[int, Link]] = {}
        """By the ``id()`` of the connection."""
        self._held: Final[dict[int, ref[Connection]]] = {}

    def put(self, connection: Connection, link: Link) -> None:
        """Keep a link for as long as there is its connection."""
        key = id(connection)
        self.of[key] = link
        if key not in self._held:
            self._held[key] = ref(connection, lambda _: self._gone(key))

    def _gone(self, key: int) -> None:
        del self.of[key], self._held[key]


def refusal(id: Any) -> bytes:
    """Return all that a peer is told in plain."""
    error = {"code": IDENTITY, "message": "refused", "data": {"code": REFUSED}}
    return orjson.dumps({"jsonrpc": "2.0", "id": id, "error": error})
