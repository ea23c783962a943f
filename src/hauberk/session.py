"""One connection, both ways: who is on each side, what is in flight, and the only step that writes.

A session does no I/O. Carriers hand it what came in, and give it a port for each side to write to.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final

import orjson

from hauberk import agreement, outside, pipeline, refusing
from hauberk._underway import Underway
from hauberk.asking import Asker, message_of
from hauberk.crossing import Crossing
from hauberk.embedded import Rounds, Tasks
from hauberk.event import Event
from hauberk.exchange import Exchange, Exchanges, Outcome, RequestId
from hauberk.floods import Floods
from hauberk.lists import Lists
from hauberk.message import NO_HEADERS, Frame, Kind, encode
from hauberk.refusals import MEDIATION, Refused
from hauberk.reports import Reports
from hauberk.ways import Port, Reply, Walk, Way, discard, drive, stop_with

if TYPE_CHECKING:
    from hauberk.connection import Connection
    from hauberk.guard import Guard
    from hauberk.policy import Policy
    from hauberk.principal import Principal


class Session:
    """One connection of one guard."""

    def __init__(self, guard: Guard, connection: Connection, near: Port, far: Port) -> None:
        """Stand between two ports.

        Args:
            guard: The plugins and the configuration.
            connection: What is known of the peer.
            near: The host's side.
            far: The wire's side.
        """
        self.guard: Final = guard
        self.connection: Final = connection
        self.bounds: Final = guard.bounds
        host, peer = ("client", "server") if connection.role == "client" else ("server", "client")
        numbers = itertools.count(1)
        self.out: Final = Way(near, far, outward=True, sender=host, exchanges=Exchanges(guard.bounds, numbers))
        self.inn: Final = Way(far, near, outward=False, sender=peer, exchanges=Exchanges(guard.bounds, numbers))
        self.out.opposite, self.inn.opposite = self.inn, self.out
        self.rounds: Final = Rounds(guard.bounds)
        self.tasks: Final = Tasks(guard.bounds)
        self.reports: Final = Reports(guard, connection)
        self.floods: Final = Floods(self.reports.record)
        self.discover_refused = False
        self.closed = False
        self.severed = False
        """Whether nothing may pass any more, though it has not been closed yet."""
        self.on_close: Callable[[], Awaitable[None]] | None = None
        """Set by the host that attached: lets its callers see that the connection is over."""
        self._near: Final = near
        self._far: Final = far
        self._underway: Final = Underway()
        self.lists: Final = Lists(self)
        self._asker: Final = Asker(self)
        self._known: Policy | None = None
        self._waits = True

    # --- what carriers call ---

    def receive(self, way: Way, raw: bytes, *, context: Context | None = None) -> asyncio.Task[Any] | None:
        """Take one frame that came in at the source of a way; return the task if it has to wait."""
        return self._start(Crossing(self, way, self.guard.policy, None, NO_HEADERS, way.tail), raw, None, context)

    def receive_object(
        self,
        way: Way,
        data: dict[str, Any],
        *,
        ticket: Any = None,
        headers: Mapping[str, str] = NO_HEADERS,
        context: Context | None = None,
    ) -> asyncio.Task[Any] | None:
        """Take one message that another parser read."""
        crossing = Crossing(self, way, self.guard.policy, ticket, headers, way.tail)
        return self._start(crossing, None, data, context)

    def pass_object(
        self, way: Way, data: dict[str, Any], *, ticket: Any = None, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Reply, Awaitable[Reply] | None]:
        """Take one message in the caller's own task.

        Returns:
            The answer to a request that was refused at once, which is not written, and what the caller has to await;
            that returns such an answer too.
        """
        if self.closed or self.severed:
            return None, None
        crossing = Crossing(self, way, self.guard.policy, ticket, headers, way.tail, returns_reply=True)
        context = copy_context()
        rest = context.run(crossing.begin, None, data)
        if rest is None:
            return crossing.reply, crossing.writing
        full = self._must_wait(crossing)
        return None, self._passed(crossing, *rest, context, full=full)

    async def _passed(
        self, crossing: Crossing, walk: Walk, waiting: Awaitable[Any], context: Context, *, full: bool
    ) -> Reply:
        """Wait until a message that has to wait has passed."""
        # A task for its context, and so that the end of the exchange stops it; a cancellation goes through it.
        task = asyncio.get_running_loop().create_task(drive(walk, waiting, full=full), context=context)
        if crossing.exchange is not None and crossing.kind == "request":
            stop_with(crossing.exchange, task)
        try:
            reply = await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is None or caller.cancelling():
                raise
            reply = None  # timed out, cancelled or closed meanwhile: whoever ended it tells the caller
        finally:
            discard(waiting)
            walk.close()
            self._left(crossing)
        if crossing.writing is not None:
            await crossing.writing
        return reply

    def overlong(self, way: Way, size: int, id: RequestId | None) -> None:
        """Refuse a frame that was too long to hold."""
        refused = Refused(
            "core.line_too_long",
            f"a frame of {size} bytes",
            rule=f"at most {self.bounds.line_bytes} bytes",
            jsonrpc=MEDIATION,
            hint="raise core.bounds.line_bytes if this peer needs it",
        )
        crossing = Crossing(self, way, self.guard.policy, None, NO_HEADERS, way.tail)
        exchange = way.opposite.exchanges.answer(id) if id is not None else None
        crossing.id = id
        if exchange is not None:  # a request of the same id is possible, an answer is likelier
            crossing.kind, crossing.exchange, crossing.method = "error", exchange, exchange.method
        elif id is not None:
            crossing.kind = "request"
        self._refuse(crossing, refused)

    def turn_away(self, way: Way, id: RequestId | None, refused: Refused) -> None:
        """Refuse a request without a look at it; ``id`` is None where under its own it would answer another one."""
        crossing = Crossing(self, way, self.guard.policy, None, NO_HEADERS, way.tail)
        crossing.kind, crossing.id = "request", id
        self._refuse(crossing, refused)

    def _refuse(self, crossing: Crossing, refused: Refused) -> None:
        walk = refusing.refuse(crossing, refused)
        try:
            waiting = walk.send(None)
        except StopIteration:
            return
        _ = self._continue(crossing, walk, waiting, None)

    @property
    def may_wait(self) -> bool:
        """Whether a message on its way in, or a word of the guard's own to the host, may have to wait."""
        policy = self.guard.policy
        if policy is not self._known:
            self._known, self._waits = policy, self._waits_with(policy)
        return self._waits or bool(self._underway)

    def _waits_with(self, policy: Policy) -> bool:
        chains, recorder = policy.chains, policy.recorder
        if chains.waits_inward or recorder.both:
            return True
        if policy.request_timeout is not None or policy.refuses_as_result:
            return True
        return self.connection.role == "server" and (chains.waits_outward or recorder.waits or policy.asks)

    async def renewed(self) -> None:
        """Tell the client that its lists may be others now; the guard has another policy."""
        self._known = None
        await self.lists.changed()

    def noise(self) -> None:
        """Record that a peer sent what was no message."""
        event = Event(code="core.not_json", category="refusal", severity="warning", action="blocked")
        if not self.floods.counts(event):
            self.reports.record(event)

    @property
    def busy(self) -> bool:
        """Whether any request is in flight or any message waits."""
        return bool(self.out.exchanges.flight or self.inn.exchanges.flight or self._underway)

    async def quiet(self) -> None:
        """Wait until no message waits in the guard."""
        await self._underway.quiet()

    async def arrived(self, way: Way) -> None:
        """Wait until what has come one way has passed or was stopped, for as long as hooks may take over it."""
        await self._underway.passed(way, self.guard.policy.longest_unasked)

    def owed(self, way: Way) -> list[Exchange]:
        """Return the requests of one way whose askers have no answer yet: none has come, or it waits for a hook."""
        several = (*way.exchanges.flight.values(), *self._underway.answered(way))
        return [one for one in several if one.resolve is None]

    async def close(self) -> None:
        """End everything that is in flight, and record that the connection is over."""
        if self.closed:
            return
        self.closed = True
        for way in (self.out, self.inn):
            for exchange in way.exchanges.close():
                self._ended(exchange)
        await self._underway.stop(self.bounds.deadline)
        self.floods.tell()
        self.reports.record(Event("core.disconnected", category="connection", details=self.connection.described))
        self.guard.forget(self)
        self.connection.end()
        if self.on_close is not None:
            await self.on_close()

    # --- the guard as asker ---

    async def request(self, method: str, params: dict[str, Any] | None = None, *, seconds: float = 30.0) -> Any:
        """Ask the peer something, as `hauberk.asking.Asker.request`."""
        return await self._asker.request(method, params, seconds)

    async def agree(self) -> None:
        """Let plugins agree with the peer; call it before any message of the host is taken (`hauberk.agreement`).

        Raises:
            Refused: They do not, and the connection is not to be used.
        """
        await agreement.agree(self)

    @property
    def agrees(self) -> bool:
        """Whether anything is to be agreed on."""
        return self.connection.role == "client" and bool(self.guard.policy.agreeing)

    async def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Tell the peer something."""
        if (waiting := self.emit(self.guard.policy, self.out.target, message_of(method, params))) is not None:
            await waiting

    # --- the only step that writes ---

    def emit(
        self,
        policy: Policy,
        port: Port,
        data: dict[str, Any],
        encoded: bytes | None = None,
        *,
        ticket: Any = None,
        method: str = "",
    ) -> Awaitable[None] | None:
        """Write one message to a port; towards the wire it passes SEAL, GATE and WIRE.

        Args:
            policy: The one in which the message began.
            port: Where to.
            data: The message.
            encoded: Its serialisation, where there is one already.
            ticket: The carrier's own.
            method: Of a result or an error: what it answers.

        Raises:
            Refused: A frame hook said no, or the message holds what JSON does not carry.
            HookError: A frame hook could not tell.
        """
        if port is self._far and self.severed:
            raise Refused("core.closed", "what the connection relied on is gone")
        if port is self._far and policy.chains.frames_out.steps:
            encoded = self._framed(policy, data, encode(data) if encoded is None else encoded, method)
            data = data if port.bytes_only else orjson.loads(encoded)
        if port.bytes_only:
            return port.deliver(encode(data) if encoded is None else encoded, ticket)
        return port.deliver(data, ticket)

    def _framed(self, policy: Policy, data: dict[str, Any], encoded: bytes, method: str) -> bytes:
        kind: Kind = "result" if "result" in data else "error" if "error" in data else "notification"
        meta = None
        if "method" in data:
            method = data["method"]
            if "id" in data:
                kind, meta = "request", outside.meta_of(data)
        id = data.get("id")
        frame = Frame(encoded, self.out.toward, self.connection.peer, kind, method, id, None, [], meta)
        clock = self.guard.clock
        until = clock() + policy.deadline
        try:
            sealed: Frame = pipeline.walk(policy.chains.frames_out, frame, self.connection, until, clock)
        finally:
            if frame.notes and policy.recorder:
                principal = self.connection.principal
                policy.recorder.note([self.reports.about(event, None, principal) for event in frame.notes])
        return sealed.data

    # --- waiting ---

    def _start(
        self, crossing: Crossing, raw: bytes | None, data: dict[str, Any] | None, context: Context | None
    ) -> asyncio.Task[Any] | None:
        if self.closed or self.severed:
            return None
        # What a hook leaves in a context variable stays with its own message.
        context = copy_context() if context is None else context.copy()
        rest = context.run(crossing.begin, raw, data)
        return None if rest is None else self._continue(crossing, *rest, context)

    def _continue(
        self, crossing: Crossing, walk: Walk, waiting: Awaitable[Any], context: Context | None
    ) -> asyncio.Task[Any]:
        full = self._must_wait(crossing)
        task = asyncio.get_running_loop().create_task(drive(walk, waiting, full=full), context=context)
        self._underway.add(task, crossing)

        def over(task: asyncio.Task[Any]) -> None:
            self._underway.discard(task)
            discard(waiting)  # a task that is cancelled before its first step leaves both as they were
            walk.close()
            self._left(crossing)

        task.add_done_callback(over)
        if crossing.exchange is not None and crossing.kind == "request":
            stop_with(crossing.exchange, task)
        return task

    def _must_wait(self, crossing: Crossing) -> bool:
        """Let what comes after a message that waits leave after it; return whether too many wait."""
        way = crossing.way
        if crossing.kind != "request":
            crossing.done = way.tail = asyncio.get_running_loop().create_future()
        way.waiting += 1
        crossing.policy.users.enter()
        return way.waiting > self.bounds.waiting

    def _left(self, crossing: Crossing) -> None:
        """Let go on what waited for this message."""
        crossing.way.waiting -= 1
        crossing.policy.users.leave()
        if crossing.done is not None:
            crossing.way.release(crossing.done, crossing.after)

    def let_pass(self, crossing: Crossing, exchange: Exchange) -> None:
        """Hold nothing up behind a message that turned out to be a request, once it had to wait as a frame."""
        if crossing.done is not None:
            crossing.way.release(crossing.done, crossing.after)
        task = asyncio.current_task()
        if task is not None and not crossing.returns_reply:
            stop_with(exchange, task)

    # --- bookkeeping ---

    def end(self, exchange: Exchange, way: Way, outcome: Outcome, *, tombstone: bool) -> None:
        """End an exchange that gets no answer from its peer."""
        way.exchanges.drop(exchange, outcome, tombstone=tombstone)
        self._ended(exchange)
        if outcome == "cancelled":
            self.keep(None if exchange.ticket is None else way.source.unanswered(exchange.ticket))

    def _ended(self, exchange: Exchange) -> None:
        recorder = self.guard.policy.recorder
        if exchange.tool and recorder:
            event = Event(code=f"core.{exchange.outcome}", category="outcome", sizes={"request": exchange.size})
            recorder.note([self.reports.about(event, exchange, exchange.principal)])

    def keep(self, waiting: Awaitable[None] | None) -> None:
        """See to it that a write which could not be done at once is done."""
        self._underway.keep(waiting)

    def speaker(self, way: Way) -> Principal:
        """Return who sends what travels this way, as the channel proved it."""
        return self.guard.principal if way.outward else self.connection.principal

    def may_initialize(self) -> None:
        """Refuse ``initialize`` after a refused ``server/discover``: a refusal is no reason to fall back.

        Raises:
            Refused: ``core.discover_refused``.
        """
        if self.discover_refused:
            raise Refused("core.discover_refused", "server/discover was refused on this connection")

    def learn(self, result: dict[str, Any]) -> None:
        """Take the protocol revision, and what there are lists of, from the answer to ``initialize``."""
        self.lists.declared(result)
        version = result.get("protocolVersion")
        self.connection.revision = version if type(version) is str else None
