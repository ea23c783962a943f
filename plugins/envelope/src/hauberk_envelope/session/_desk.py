"""The sessions of one guard: what was read for each server, and the link of each connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hauberk.connection import Carrier, Connection
from hauberk.event import Event
from hauberk.message import Frame
from hauberk.principal import DOCTOR, Principal
from hauberk.refusals import Refused
from hauberk_envelope._options import Options
from hauberk_envelope.session import _agreement, _parties
from hauberk_envelope.session._agreement import Offer
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._link import Link, Links
from hauberk_envelope.session._parties import Known
from hauberk_envelope.session._refusals import refused
from hauberk_envelope.session._session import Session

METHOD: Final = "envelope"
"""How a principal was proved."""
ORDERED: Final[frozenset[Carrier]] = frozenset({"pipe", "memory", "unix", "tls"})
SECONDS: Final = 5.0
"""What one answer may take."""


class Desk:
    """What a policy's plugin works with."""

    def __init__(self, plugin: Any, guard: Any) -> None:
        self._plugin: Final = plugin
        self._guard: Final = guard
        self._known: Final[dict[str, Known]] = {}
        self._now: Final = guard.now
        self._bounds: Final = guard.config.core.bounds
        self.links = Links()
        self._reloads = 0
        """How many policies there were before this one, back to the first that kept its connections."""

    # --- files ---

    def open(self) -> None:
        """Read every file that is named, and say which keys are old.

        Raises:
            ConfigError: One cannot be used.
        """
        now = self._guard.now()
        for known in self.all().values():
            for event in known.old(now):
                self._guard.emit(event)

    def sources(self) -> list[Path]:
        """Return the directories of keys that are read."""
        config, tables = self._guard.config, self._tables().values()
        return [path for one in tables if one.seal == "require" for path in _parties.directories(one, config)]

    @property
    def seals(self) -> bool:
        """Whether any table asks for a seal."""
        return any(options.seal == "require" for options in self._tables().values())

    def all(self) -> dict[str, Known]:
        """Return what was read, by the table that it is of."""
        sealing = {where: one for where, one in self._tables().items() if one.seal == "require"}
        return {where: self.known(one) for where, one in sealing.items() if _parties.any_keys(one)}

    def _tables(self) -> dict[str, Options]:
        servers = (None, *self._guard.config.servers_of("envelope"))
        return {"[envelope]" if one is None else f"[server.{one}.envelope]": self.options(one) for one in servers}

    def options(self, server: str | None) -> Options:
        """Return the options that hold for a server."""
        found: Options = self._guard.options_for(self._plugin, server)
        return found

    def known(self, options: Options) -> Known:
        """Return what was read for a set of options."""
        key = repr(options)
        if key not in self._known:
            self._known[key] = _parties.read(options, self._guard.config)
        return self._known[key]

    def take(self, old: Desk) -> None:
        """Go on with the connections of the policy before, which stay as they are until this one is in force."""
        self.links, self._reloads = old.links, old._reloads + 1

    def _judge(self, connection: Connection, link: Link) -> None:
        """Judge by this policy what was agreed on under another one; a session that it would not agree on is over.

        What was in plain and should be sealed now passes nothing, and ends; what is sealed stays so.
        """
        options, session = self.options(connection.server), link.session
        if not link.sealed:
            link.sealed = options.seal == "require"
            if link.sealed:
                connection.hang_up("envelope.no_session")
        elif session is None:  # it is about to be agreed on, maybe still by the other policy
            return
        elif options.seal == "require":
            try:
                self._check(connection, link, session, options)
            except Refused as error:
                session.end(error.code)
        link.judged = self._reloads

    def _check(self, connection: Connection, link: Link, session: Session, options: Options) -> None:
        """Check that a session would be agreed on now.

        Raises:
            Refused: It would not.
        """
        if not _parties.any_keys(options):
            raise refused("envelope.no_keys", repr(connection.server))
        asked = link.role == "server"
        self.known(options).check(session, asked=asked, now=self._guard.now())
        if asked:
            self._match(link.channel, session, required=options.match_certificates)
        elif session.peer.agent != options.peer:
            raise refused("envelope.no_peer", repr(connection.server), f"{session.peer.agent} is not named any more")
        elif link.server != (options.server_name or connection.server):
            raise refused("envelope.wrong_server", "the session", repr(link.server))

    # --- connections ---

    def connect(self, connection: Connection) -> None:
        """Say whether the messages of a connection are sealed.

        Raises:
            Refused: ``envelope.carrier``, or nobody is known who would answer.
        """
        options = self.options(connection.server)
        if options.seal == "off":
            plain = Link(connection.role, repr(connection.server), judged=self._reloads, sealed=False)
            self.links.put(connection, plain)
            return
        if connection.carrier not in ORDERED:
            raise refused("envelope.carrier", repr(connection.server), connection.carrier)
        if not _parties.any_keys(options):
            raise refused("envelope.no_keys", repr(connection.server))
        if connection.role == "client" and options.peer is None:
            raise refused("envelope.no_peer", repr(connection.server), "no peer is named in [server.NAME.envelope]")
        connection.must_agree = connection.role == "server"
        who = options.peer if connection.role == "client" else connection.peer
        self.links.put(connection, Link(connection.role, who or "a client", judged=self._reloads))

    def link(self, connection: Connection) -> Link | None:
        """Return the link of a connection, or None where its messages are not sealed.

        Raises:
            Refused: It was made before this was looked at.
        """
        try:
            link = self.links.of[id(connection)]
        except KeyError:
            if connection.server == DOCTOR.id:  # whoever tries other controls does so without this one
                return None
            connection.hang_up("envelope.no_session")
            raise refused("envelope.no_session", repr(connection.server), "it is older than the seal") from None
        if link.judged < self._reloads:
            self._judge(connection, link)
        return link if link.sealed else None

    def send(self, frame: Frame, connection: Connection) -> Frame | None:
        """Seal what leaves."""
        link = self.links.of.get(id(connection))
        if link is None or link.judged < self._reloads or link.asked is not None or (session := link.session) is None:
            return self._send(frame, connection)
        try:
            return session.seal(frame, self._now())  # as `Link.send` would: there is a session, and none is agreed on
        except Refused as error:
            if link.over:
                connection.hang_up(link.over)
            return link.unsealed(frame, error)

    def _send(self, frame: Frame, connection: Connection) -> Frame | None:
        """Send what leaves before there is a session, or first meets this policy."""
        link = self.link(connection)
        if link is None:
            return None
        try:
            return link.send(frame, self._now())
        finally:
            if link.over:
                connection.hang_up(link.over)

    def receive(self, frame: Frame, connection: Connection) -> Frame | None:
        """Open what comes in."""
        link = self.links.of.get(id(connection))
        if link is None or link.judged < self._reloads or (session := link.proved) is None:
            return self._receive(frame, connection)
        try:
            return session.open(frame, self._now(), self._bounds)  # as `Link.receive` would
        except Refused:
            if link.over:
                connection.hang_up(link.over)
            raise

    def _receive(self, frame: Frame, connection: Connection) -> Frame | None:
        """Take what comes in before the other end has shown its keys, or first meets this policy."""
        link = self.link(connection)
        if link is None:
            return None
        try:
            opened = link.receive(frame, self._now(), self._bounds)
        finally:
            if link.over:
                connection.hang_up(link.over)
        if link.proved is None and opened is not None and link.session is not None:
            link.proved = link.session
            self._agreed(connection, link.session)
            connection.agreed()
        return opened

    # --- agreeing ---

    async def agree(self, connection: Connection, ask: Any) -> None:
        """Agree with the guard in front of a server that we call.

        Raises:
            Refused: It does not, or is not who it should be.
        """
        link = self.link(connection)
        if link is None:
            return
        options = self.options(connection.server)
        agent, server = options.peer or "", options.server_name or connection.server
        failure: Refused | None = None
        for party, peer in self.known(options).pairs(agent, self._guard.now()):
            offer = Offer(party, peer, server, self._guard.now())
            link.begin(offer, server, self._reloads)
            try:
                await ask(EXTENSION, offer.params, seconds=SECONDS)
                self._agreed(connection, link.settle())
            except TimeoutError:
                failure = refused("envelope.no_agreement", agent, "it did not answer in time")
                break
            except Refused as error:
                failure = link.fault or error
                if error.code != "core.peer_error":
                    break
            else:
                return
        raise _disagreed(agent, failure)

    def answer(self, params: dict[str, Any], connection: Connection) -> dict[str, Any]:
        """Answer the guard beside a client that calls us.

        Raises:
            Refused: There is no session with it.
        """
        link = self.link(connection)
        if link is None:
            raise refused("envelope.no_session", "a client", "sessions of this server are not sealed")
        if link.session is not None:
            raise refused("envelope.no_agreement", link.session.peer.agent, "there is a session, and it wants another")
        options = self.options(connection.server)
        party = self.known(options).speaking(str(params.get("to")))
        result, session = _agreement.answer(party, params, connection.server, self._guard.now())
        self._match(connection.principal, session, required=options.match_certificates)
        link.answered(session, connection.principal, self._reloads)
        return result

    def _match(self, proved: Principal, session: Session, *, required: bool) -> None:
        """Compare the agent with the name that a certificate gave this client (S0.16).

        Raises:
            Refused: ``envelope.wrong_name``.
        """
        agent = session.peer.agent
        if required and proved.method == "mtls" and proved.id != agent:
            raise refused("envelope.wrong_name", agent, repr(proved.id))

    def _agreed(self, connection: Connection, session: Session) -> None:
        """Say who speaks from now on, and record it."""
        agent, proved = session.peer.agent, connection.principal
        if not (proved.method in ("mtls", "tls") and (proved.id == agent or connection.role == "client")):
            kind = "service" if connection.role == "server" else "server"
            connection.principal = Principal(id=f"agent:{agent}", kind=kind, method=METHOD)
        self._guard.emit(
            Event(
                code="envelope.agreed",
                category="connection",
                action="allowed",
                server=connection.server,
                principal=connection.principal.id,
                source=connection.principal.method or "",
                details={
                    "agent": agent,
                    "key_id": session.peer.key_id,
                    "session": session.id,
                    "sign": "message" if session.signed else "session",
                    "connection": connection.id,
                },
            )
        )


def _disagreed(agent: str, failure: Refused | None) -> Refused:
    """Return why there is no session."""
    if failure is None or failure.code == "core.peer_error":
        return refused("envelope.no_agreement", agent, "it refused; its own log says why")
    return failure
