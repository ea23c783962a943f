"""One connection that is made: a client on a stream, the guard, and a server that is started once there is need of it.

The rules:

1. No server is started before the client has said something that is for it.
2. Who does not read holds up the other side, and neither side fills our memory. A client that begins a message and
   does not end it, or that does not read what waits for it, is ended after ``stalled_seconds`` (A65).
3. When the client's input ends, what is in flight is finished; then the server is let go: end of input, TERM, KILL.
   When the client has gone, the server is let go at once.
4. Whoever is owed an answer has as long to read it as ever: an end in order cuts nothing off (A65). What is cut off
   all the same, since there is no time left, is told.
5. A plugin that hangs up ends the connection: the client is told what is on its way, and nothing is waited for.
6. Where something has to be agreed on first (`Connection.must_agree`), no server is started, and no place taken, before
   it is. Until then a client is as one that has said nothing (A65): it has as long, and is turned out for others.
7. When the server has gone, what it did not answer is answered with ``core.server_gone``, and the connection ends in
   order. When we end (`drain`), new requests are refused with ``core.draining`` and those in flight are finished.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from hauberk.carriers import ping
from hauberk.carriers.child import GRACE
from hauberk.edge import Overlong, loose_id, salvage, salvage_id
from hauberk.event import Event
from hauberk.hosts._ahead import Ahead
from hauberk.hosts._arrivals import SILENT
from hauberk.hosts._front import ENDLESS, at_most, first
from hauberk.hosts._losses import gone, lost
from hauberk.hosts._relay import sides
from hauberk.overdue import abandon
from hauberk.refusals import LIMITS, Refused
from hauberk.reports import Reports

if TYPE_CHECKING:
    from hauberk._servers import Listen
    from hauberk.connection import Connection
    from hauberk.guard import Guard
    from hauberk.hosts._arrivals import Arrival
    from hauberk.hosts._backends import Backend, Target
    from hauberk.session import Session
    from hauberk.ways import Port

HOLD: Final = 2.0
"""Seconds that the end of input is kept from a server that has not answered everything: many drop it there."""
_FAREWELL: Final = 2.0
"""What a connection may take to end, once its client has read the last answers or has no time left (seconds)."""
_LOOK: Final = 0.1
_IN_TIME: Final = 0.9
"""The part of ``stalled_seconds`` after which a client is ended: it is looked at every now and then only."""

_DRAINING: Final = Refused(
    "core.draining",
    "the server is about to end",
    jsonrpc=LIMITS,
    retry_after=1.0,
    hint="connect again once it is back",
    public=True,
)
_GONE: Final = gone("connect again; the log of `hauberk serve` has what it said")


class Served:
    """One client and one server, with the guard between."""

    def __init__(
        self, guard: Guard, arrival: Arrival, target: Target, listen: Listen, take: Callable[[], object]
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            guard: The plugins.
            arrival: The connection.
            target: Where servers come from.
            listen: The bounds.
            take: Takes a place, for a client that has to agree on something before it has one.
        """
        self._guard: Final = guard
        self.connection: Final[Connection] = arrival.connection
        self._stream: Final = arrival.stream
        self._early: Final = [] if arrival.frame is None else [arrival.frame]
        self._target: Final = target
        self._patience: Final = listen.stalled_seconds * _IN_TIME
        self._client, self._server = sides()
        self._client.outlet, self._client.inlet = self._stream, self._stream.reader
        self._silence: Final = listen.first_seconds
        self._take: Final = take
        self._ahead: Final = Ahead() if arrival.connection.must_agree else None
        """What comes before there is a server, where the client has to agree on something first."""
        self._backend: Backend | None = None
        self._session: Session | None = None
        self._spoken: Final = asyncio.Event()
        self._input_ended: Final = asyncio.Event()
        self._client_gone: Final = asyncio.Event()
        self._server_gone: Final = asyncio.Event()
        self._agreed: Final = asyncio.Event()
        self._hung_up: Final = asyncio.Event()
        self._draining: Final = asyncio.Event()
        self._given_up: Final = asyncio.Event()
        self._news: Final = asyncio.Event()
        self._turned_away: Refused | None = None
        """Why no request is taken any more."""
        self.lost = False
        """Whether answers were cut off that the client had not read."""
        self._reading, self._writing = Still(), Still()
        self._reports: Final = Reports(guard, self.connection)

    # --- what the server of all connections calls ---

    async def run(self) -> None:
        """Stand between until one side ends."""
        try:
            self.connection.watch(self._hung_up.set, self._settled, lambda: self._stream.moves)
            if not await self._wanted() or not await self._known() or not await self._begun():
                return
            ended = (self._server_gone, self._client_gone, self._hung_up)
            over = (self._input_ended, self._draining, self._given_up, *ended)
            await first(*(event.wait() for event in over))
            await self._finish()
        finally:
            await self._close()

    def drain(self) -> None:
        """Take no more requests, and end when those in flight are answered."""
        self._turned_away = self._turned_away or _DRAINING
        self._draining.set()

    def give_up(self) -> None:
        """Wait for answers no longer."""
        self.drain()
        self._given_up.set()

    def abort(self) -> None:
        """End at once; what is in flight is lost."""
        self.give_up()
        self._cut(self._stream.abort())

    @property
    def busy(self) -> bool:
        """Whether the client waits for an answer."""
        session = self._session
        return session is not None and any(
            exchange.method != ENDLESS for exchange in session.inn.exchanges.flight.values()
        )

    def look(self, now: float) -> None:
        """End a client that does not go on; called every now and then, with monotonic seconds."""
        stream = self._stream
        if stream.broken:
            return
        what = ""
        if self._reading.seconds(stream.reader.taken if stream.reader.waits else None, now) > self._patience:
            what = "has begun a message and does not end it"
        elif self._writing.seconds(stream.written - stream.held if stream.held else None, now) > self._patience:
            what = "does not read"
        elif self._input_ended.is_set() and _hung_up(stream.transport.get_extra_info("socket")):
            stream.abort()
        if what:
            self._record("core.stalled", what)
            self.lost = stream.abort() > 0

    # --- the beginning ---

    async def _wanted(self) -> bool:
        """Wait until the client says something that is for the server; return whether it does."""
        if self._early:
            return True
        self._stream.attach(self._from_client, self._input_ended.set, on_broken=self._client_gone.set)
        events = (self._spoken, self._input_ended, self._client_gone, self._hung_up, self._draining)
        await first(*(event.wait() for event in events))
        return bool(self._early) and not (self._client_gone.is_set() or self._hung_up.is_set())

    async def _known(self) -> bool:
        """Let the client agree where it has to; return whether it has, if so."""
        if self._ahead is None:
            return True
        session = self._stand(self._ahead)
        self._say_early()
        self._stream.attach(self._from_client, self._input_ended.set, on_broken=self._client_gone.set)
        events = (self._agreed, self._hung_up, self._input_ended, self._client_gone, self._draining)
        try:
            await asyncio.wait_for(first(*(event.wait() for event in events)), self._silence)
        except TimeoutError:
            self._record(SILENT, f"has agreed on nothing for {self._silence:g} s")
        if self._agreed.is_set() and not self._hung_up.is_set():
            return True
        await self._part(session)
        return False

    def _settled(self) -> None:
        """Take no more frames until there is a server for them."""
        self._stream.reader.pause()
        self._agreed.set()

    async def _begun(self) -> bool:
        """Start the server, and hand over what the client has said; return whether that could be done."""
        try:
            if self._turned_away is not None:
                raise self._turned_away
            if self._ahead is not None:
                self._take()
            backend = self._backend = await self._target.open(self.connection)
        except Refused as error:
            self._guard.refused(self.connection, error)
            for frame in self._early:
                id = loose_id(frame.head, frame.tail) if isinstance(frame, Overlong) else salvage_id(frame)
                self._stream.deliver(ping.denied(id, error), None)
            if self._session is not None:
                abandon(self._session, self._session.inn, error)
            await self._stream.closed(_FAREWELL)
            return False
        backend.attach(self._server, self._from_server, self._lose_server, self._stream.cork)
        self._server.outlet, self._server.inlet = backend.outlet, backend.inlet
        if self._ahead is None:
            self._stand(backend.outlet)
        backend.start()
        if self._ahead is not None:
            self._ahead.lead_to(backend.outlet)
        self._say_early()
        # The reader has been held up since the first of them, or since something was agreed on.
        self._stream.attach(
            self._from_client,
            self._input_ended.set,
            on_full=self._client.full,
            on_drained=self._client.drained,
            on_broken=self._client_gone.set,
        )
        return True

    def _stand(self, near: Port) -> Session:
        """Put a session between the client and what is to be the server."""
        session = self._session = self._guard.session(self.connection, near, self._stream)
        self._client.join(session, session.inn)
        self._server.join(session, session.out)
        return session

    def _say_early(self) -> None:
        early = self._early[:]
        self._early.clear()
        for frame in early:
            self._from_client(frame)

    # --- frames ---

    def _from_client(self, frame: bytes | Overlong) -> None:
        if self._session is None:
            if not self._early:
                self._stream.reader.pause()
            self._early.append(frame)
            self._spoken.set()
        elif self._turned_away is not None and (id := _asked(frame)) is not None:
            self._session.turn_away(self._session.inn, id, self._turned_away)
            self._client.hold()
        else:
            self._client.took(frame)

    def _from_server(self, frame: bytes | Overlong) -> None:
        self._server.took(frame)
        self._news.set()

    def _lose_server(self) -> None:
        self._turned_away = self._turned_away or _GONE
        self._server_gone.set()

    # --- the end ---

    async def _finish(self) -> None:
        backend, session = self._backend, self._session
        if backend is None or session is None:
            return
        if self._hung_up.is_set():
            await self._part(session)
            await backend.finish()
            return
        if not (self._client_gone.is_set() or self._server_gone.is_set()):
            events = (self._client_gone, self._server_gone, self._given_up, self._hung_up)
            await first(self._answered(backend, session), *(event.wait() for event in events))
        if self._server_gone.is_set() and not (self._input_ended.is_set() or self._client_gone.is_set()):
            self._record("core.server_gone", backend.why)
        self._turned_away = self._turned_away or _DRAINING
        await backend.finish()
        if not self._client_gone.is_set():
            await self._passed(session)
            left = self._input_ended.is_set() or self._hung_up.is_set()
            abandon(session, session.inn, self._turned_away, lost=not left)
            self._stream.reader.stop()
            # Whoever does not go on reading is ended by `look`, here as ever.
            if not backend.impatient:
                await first(self._stream.flushed(), self._client_gone.wait(), self._given_up.wait())
            self._cut(await self._stream.closed(_FAREWELL))

    async def _passed(self, session: Session) -> None:
        """Let what the server has said pass to the client; nobody waits for long who was told to give up."""
        await first(session.arrived(session.out), self._client_gone.wait(), self._given_up.wait())
        await at_most(GRACE / 2, session.arrived(session.out))

    async def _part(self, session: Session) -> None:
        """Leave a client with which nothing passes, once it has been told so."""
        await at_most(GRACE / 2, session.quiet())
        abandon(session, session.inn, lost(sent=True), lost=False)
        self._cut(await self._stream.closed(_FAREWELL))

    def _cut(self, lost: int) -> None:
        """Tell how many bytes of answers were cut off, if any were."""
        if lost:
            self.lost = True
            self._record("core.stalled", f"has not read the last answers in time; {lost} bytes of them are lost")

    async def _answered(self, backend: Backend, session: Session) -> None:
        """Wait until the client waits for nothing any more."""
        await session.quiet()
        await backend.outlet.flushed()
        if self._input_ended.is_set():
            await at_most(HOLD, self._idle(session))
            if not self._draining.is_set():
                backend.end_input()
        await self._idle(session)

    async def _idle(self, session: Session) -> None:
        while self.busy:
            self._news.clear()
            await at_most(_LOOK, self._news.wait())
        await session.quiet()

    async def _close(self) -> None:
        self._cut(self._stream.abort())
        try:
            if self._session is not None:
                await self._session.close()
            else:
                event = Event("core.disconnected", category="connection", details=self.connection.described)
                self._reports.record(event)
                self.connection.end()
        finally:
            if self._backend is not None:
                await self._backend.end()

    def _record(self, code: str, reason: str) -> None:
        details = self.connection.described | {"reason": reason}
        self._reports.record(Event(code, category="connection", severity="warning", details=details))


class Still:
    """How long something has stood still."""

    def __init__(self) -> None:
        self._mark: int | None = None
        self._since = 0.0

    def seconds(self, mark: int | None, now: float) -> float:
        """Return for how long (seconds); ``mark`` is what changes when it moves, None where nothing has to."""
        if mark is None or mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since


def _asked(frame: bytes | Overlong) -> str | int | None:
    """Return the id of a request; None of anything else."""
    if isinstance(frame, Overlong):
        return None
    kind, id = salvage(frame)
    return id if kind == "request" else None


def _hung_up(sock: Any) -> bool:
    """Whether the other end of a socket is closed, both ways; one way alone is not asked for."""
    if sock is None or (fd := sock.fileno()) < 0:  # it has ended here, a moment ago
        return False
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))
