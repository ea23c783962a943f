"""``hauberk connect``: a client that knows only standard input and output, and a server that is dialled.

What a user can rely on:

- nothing but frames is written to standard output;
- nothing is sent before the peer is verified and has answered; nobody there, or a peer that is refused, is status 125;
- a request is sent once. A connection that is lost has taken what was in flight with it: each such request is answered
  with ``core.connection_lost``, and it may have been done or not. What ``[server.NAME.retry]`` names is asked again,
  and nothing else (`_repeats`);
- a connection that a plugin has hung up is lost, as one that the server closed;
- a lost connection is dialled again, for `RECONNECT_SECONDS`, with every check anew; what the client says meanwhile
  waits, up to a bound, and is sent on the new connection. A session with a handshake is taken up again (`_replay`);
- a connection that ends while nobody has said anything on it for long is dialled again once the client speaks;
- a peer that a check or a plugin refuses is not dialled again;
- when input ends, what is in flight is finished, then the connection is closed in order, and the status is 0;
- SIGHUP reads the configuration again; another signal ends it, with 128 and its number.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from msgspec.structs import replace

from hauberk import edge
from hauberk.carriers.child import GRACE
from hauberk.event import Event
from hauberk.exchange import in_flight
from hauberk.hosts import _dial, _hangup
from hauberk.hosts._front import Front, at_most, first
from hauberk.hosts._losses import check_worth, failed, lost, passes
from hauberk.hosts._repeats import NOTHING, Repeat, Repeats
from hauberk.hosts._replay import Ear, Kept, restore
from hauberk.overdue import late
from hauberk.refusals import Refused
from hauberk.reports import refusal_event
from hauberk.watchdog import Watchdog

if TYPE_CHECKING:
    from hauberk.exchange import RequestId
    from hauberk.guard import Guard
    from hauberk.session import Session

RECONNECT_SECONDS: Final = 30.0
"""A lost connection is dialled again for so long."""
_SOONEST: Final = 0.1
_LATEST: Final = 5.0
"""Between two attempts; doubled from the first to the last (seconds), of which a random half is left out."""
_SETTLED: Final = 5.0
"""A connection that lasted so long was none that is lost as soon as it is made."""
_QUIET: Final = 30.0
"""A connection that ends after so many seconds in which nobody said anything may have been ended for that."""


class Connect(Front):
    """One client, and one server on one connection after the other."""

    def __init__(
        self,
        guard: Guard,
        server: str,
        target: str | None,
        stdin: int,
        stdout: int,
        jitter: Callable[[], float] = lambda: secrets.randbelow(1000) / 1000,
    ) -> None:
        """Prepare; nothing is dialled yet.

        Args:
            guard: The plugins.
            server: The server's name in rules and events.
            target: ``unix:///path`` or ``tls://host:port``; None is what the configuration says.
            stdin: Where the client writes (descriptor).
            stdout: Where the client reads (descriptor).
            jitter: A random number from 0 to 1.
        """
        super().__init__(guard, stdin, stdout)
        self._server: Final = server
        self._target: Final = target
        self._jitter: Final = jitter
        self._loop: Final = asyncio.get_running_loop()
        self._kept: Final = Kept()
        self._repeats: Final = Repeats(
            guard,
            server,
            give=super().from_client,
            late=self._late,
            lost=self._not_repeated,
            chance=jitter,
        )
        self._waiting: Final[deque[bytes | edge.Overlong]] = deque()
        """What the client said while there was no connection."""
        self._waiting_bytes = 0
        self._held = False
        """Whether the client is held up, since so much waits."""
        self._holding = True
        self._spoken: Final = asyncio.Event()
        """The client has said something since there is no connection."""
        self._said = 0.0
        """When somebody last said something."""
        self._rests = False
        """Whether nobody has need of a connection, until the client speaks."""
        self._made: _dial.Dialled | None = None
        self._heard = False
        """Whether the server has said anything on this connection."""
        self._until: float | None = None
        """When it is too late to dial again; None while all is well."""
        self._wait = _SOONEST
        self._unanswered: Final[dict[RequestId, None]] = {}
        """The ids of what an earlier server asked. Until the client has answered them, or never, an answer under one of
        them is to what was asked before, and no question of another server may have it."""

    async def run(self) -> int:
        """Dial, and stand between until the client ends; return the exit status.

        Raises:
            Refused: There is no connection, or no longer one.
        """
        self.open()
        try:
            await first(self._work(), self.given_up.wait())
        except Exception as error:
            self._deny(error if isinstance(error, Refused) else failed())
            raise
        finally:
            await self._close()
        if self.signal is not None:
            return 128 + self.signal
        return 128 + signal.SIGPIPE if self.given_up.is_set() else 0

    async def _work(self) -> None:
        self._stand(await _dial.dial(self.guard, self._server, self._target))
        await first(self.session.agree(), self._lost.wait())
        if not self._lost.is_set():
            self._let_go()
        self.start()
        while True:
            await first(self._go_on(), self._lost.wait())
            if not self._lost.is_set():
                return
            await self._drop()
            self._made = None
            await first(self._again(), self._nothing_left())
            if self._made is None:
                return

    async def _go_on(self) -> None:
        """Ask again what was lost; after the end of input, let waiting messages leave and answers come."""
        await self._repeats.ask(self.session, self._repeated)
        await self.input_ended.wait()
        await self.session.quiet()
        await self._stream.flushed()
        await self.answered()

    async def _nothing_left(self) -> None:
        """Wait until the client has ended with nothing to be sent any more."""
        await self.input_ended.wait()
        if self._waiting or self._repeats.waiting:
            await asyncio.Event().wait()

    # --- one connection ---

    def _stand(self, made: _dial.Dialled, before: Session | None = None) -> None:
        """Put a session between the client and a new connection."""
        self._made, self._stream = made, made.stream
        self._lost, self._heard, self._since = asyncio.Event(), False, self._loop.time()
        self._ear = Ear(self.near, self._kept)
        self.anew()
        session = self.guard.session(made.connection, self._ear, made.stream)
        if before is not None:
            session.discover_refused = before.discover_refused
            session.inn.exchanges.tombstones.update(self._unanswered)
            self._unanswered.clear()
        self.stand(session, made.stream, made.stream.reader)
        self.client.on_burst = made.stream.cork
        made.connection.watch(partial(self._hung_up, self._lost))
        made.stream.attach(
            self.from_server,
            self._lost.set,
            on_full=self.there.full,
            on_drained=self.there.drained,
            on_broken=self._lost.set,
        )

    def _hung_up(self, lost: asyncio.Event) -> None:
        """Take a connection on which nothing passes any more for lost; what the client says waits for the next."""
        self._holding = True
        lost.set()

    def from_client(self, frame: bytes | edge.Overlong) -> None:
        """Take one frame of the client, or let it wait for a connection."""
        self._said = self._loop.time()
        if not self._holding:
            self._send(frame)
            return
        self._spoken.set()
        self._waiting.append(frame)
        self._waiting_bytes += frame.size if isinstance(frame, edge.Overlong) else len(frame)
        if self._waiting_bytes > self.guard.bounds.buffer_bytes and not self._held:
            self._held = True
            self.client.pause()

    def _send(self, frame: bytes | edge.Overlong) -> None:
        if self._repeats.second(frame):
            self.session.turn_away(self.session.out, None, in_flight())
        elif not isinstance(frame, bytes):
            super().from_client(frame)
        elif not self._repeats.cancelled(frame):
            self._kept.said(frame)
            self._repeats.send(frame, self.session)

    def from_server(self, frame: bytes | edge.Overlong) -> None:
        """Take one frame of the server."""
        self._said = self._loop.time()
        self._heard = self._heard or not self._holding
        super().from_server(frame)

    def _let_go(self) -> None:
        """Send what waits."""
        self._holding = False
        self._stream.cork(True)
        while self._waiting:
            self._send(self._waiting.popleft())
        self._stream.cork(False)
        self._waiting_bytes = 0
        if self._held:
            self._held = False
            self.client.resume()

    # --- without one ---

    async def _drop(self) -> None:
        """Answer what was in flight on a connection that is lost.

        Raises:
            Refused: The server is not worth dialling again.
        """
        self._holding = True
        self._spoken.clear()
        session, stream = self.session, self._stream
        await session.arrived(session.inn)
        owed = session.owed(session.out)
        hung_up, now = session.connection.over, self._loop.time()
        flight = session.out.exchanges.flight  # of the others the answer has come, and a hook still has it
        asked = [one for one in owed if hung_up or one.key not in flight or not self._repeats.lost(one)]
        busy = owed or session.inn.exchanges.flight or self._repeats.waiting or self._kept.expects_news
        self._rests = not (busy or hung_up) and (self._kept.unused > 1 or now - max(self._said, self._since) >= _QUIET)
        for exchange in asked:
            error = session.reports.refusal(lost(sent=exchange.sent), exchange.id, None, trusted=True)
            self._ear.deliver(orjson.dumps(error), None)  # of what the guard said again the client knows nothing
        for exchange in session.inn.exchanges.flight.values():
            params = {"requestId": exchange.id, "reason": "the connection was lost"}
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            self.near.deliver(orjson.dumps(cancelled), None)
        _dial.lost(self.guard, session.connection, stream, len(owed))
        self._before = session
        earlier = session.inn.exchanges
        self._unanswered.update(dict.fromkeys([*earlier.tombstones, *earlier.flight]))
        for exchange in owed:
            exchange.lost = True
            session.end(exchange, session.out, "closed", tombstone=False)
        await session.close()
        stream.abort()
        settled = now - self._since > _SETTLED
        if self._heard or (settled and not asked):
            self._until = None
        else:
            left = None if self._until is None else self._until - now
            check_worth(session.connection, asked=bool(asked), left=left)
        if settled:
            self._wait = _SOONEST

    async def _again(self) -> None:
        """Dial until there is a connection on which the client can go on.

        Raises:
            Refused: A check or a plugin says no, or it takes too long.
        """
        if self._rests:
            await self._spoken.wait()
            self._until = None  # until now nobody had need of a connection
        began, attempts = self._loop.time(), 0
        if self._until is None:
            self._until = began + RECONNECT_SECONDS
        while True:
            await asyncio.sleep(self._wait * (0.5 + self._jitter() / 2))
            self._wait = min(2 * self._wait, _LATEST)
            attempts += 1
            try:
                made = await _dial.dial(self.guard, self._server, self._target)
            except Refused as error:
                if not passes(error) or self._loop.time() > self._until:
                    raise
                continue
            self._stand(made, self._before)
            changed: list[str] = []
            await first(self.session.agree(), self._lost.wait())
            try:
                if not self._lost.is_set():
                    shaken = self._before.connection.revision is not None
                    restoring = restore(self.session, self._ear, self._kept, changed, shaken=shaken)
                    await first(restoring, self._lost.wait())
            except Refused as error:
                self.guard.refused(made.connection, error)
                raise
            if not self._lost.is_set():
                break
            await self._drop()
        self._note("core.reconnected", "info", attempts=attempts, seconds=round(self._loop.time() - began, 3))
        if changed:
            self._note("core.server_changed", "warning", changed=changed)
        self._let_go()
        await first(self.session.renewed(), self._lost.wait())

    # --- what is asked again ---

    def _repeated(self, repeat: Repeat) -> None:
        """Tell that a request that was lost is asked again."""
        self._note("core.repeated", "info", repeat.about, tries=repeat.tries)

    def _not_repeated(self, repeat: Repeat) -> None:
        """Answer a request that was lost, and is not asked again after all: it may have been done."""
        self._note("core.not_repeated", "warning", repeat.about, tries=repeat.tries)
        self._reply(repeat.id, lost(sent=True))

    def _late(self, repeat: Repeat) -> None:
        """Answer a request that was lost, and is too late to be asked again."""
        where = {"server": self._server, "exchange": self.session.connection.id}
        self.guard.note(replace(refusal_event(late()), **where, **repeat.about))
        self._reply(repeat.id, late())

    def _note(self, code: str, severity: Any, about: Mapping[str, Any] = NOTHING, **details: Any) -> None:
        connection = self.session.connection
        self.guard.note(
            Event(
                code=code,
                category="connection",
                severity=severity,
                server=self._server,
                exchange=connection.id,
                details={"target": connection.target, **details},
                **about,
            )
        )

    # --- the end ---

    def _deny(self, error: Refused) -> None:
        """Answer the requests that still wait for a connection."""
        for frame in self._waiting:
            if isinstance(frame, bytes) and not self._repeats.cancelled(frame):
                kind, id = edge.salvage(frame)
                if kind == "request" and id is not None:
                    self._reply(None if self._repeats.second(frame) else id, error)
        self._waiting.clear()
        for repeat in self._repeats.drop():
            self._not_repeated(repeat)

    def _reply(self, id: RequestId | None, error: Refused) -> None:
        reply = {"jsonrpc": "2.0", "id": id, "error": error.error_object(trusted=True)}
        self.near.deliver(orjson.dumps(reply), None)

    async def _close(self) -> None:
        self.client.stop()
        self._repeats.drop()
        if self._made is not None:
            await at_most(GRACE / 2, self.session.quiet())
            await self._made.stream.closed(GRACE / 2)
            await self.session.close()
        await self.written()
        self.near.close(close_fd=False)


async def run(guard: Guard, server: str, target: str | None, *, stdin: int, stdout: int) -> int:
    """Dial a server and stand in front of it; return the exit status.

    Args:
        guard: The plugins; it is opened and closed.
        server: The server's name in rules and events.
        target: ``unix:///path`` or ``tls://host:port``; None is what ``[server.NAME]`` says.
        stdin: Where the client writes (descriptor).
        stdout: Where the client reads (descriptor).

    Raises:
        ConfigError: There is nothing to dial.
        PluginError: A plugin cannot open.
        Refused: There is no connection, or no longer one.
    """
    with Watchdog(guard.bounds.watchdog), _hangup.reloads(guard):
        async with guard:
            connect = Connect(guard, server, target, stdin, stdout)
            with connect.signals():
                return await connect.run()
