"""One message's way through the guard, from the port where it came in to the port where it leaves.

The whole way is one generator. It yields what has to be awaited and nothing else, so a message whose hooks are plain
crosses without touching the event loop, and one that must wait goes on in a task of its own.

The way out (and in, mirrored, without the split) of a request:

    frame, edge, correlate
    CONTENT and POLICY may rewrite
    a tools/call is frozen, judged, charged, approved
    ADMIT and REPLAY
    the decision is recorded
    secrets are put in
    last comparison, SEAL, GATE, WIRE, write: one step
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from hauberk import agreement, answers, edge, notices, outside, overdue, pipeline, refusing, requests
from hauberk._twins import check_result
from hauberk.contents import KEPT, Content
from hauberk.event import Event
from hauberk.message import Frame, Message, ToolCall, encode, freeze
from hauberk.methods import ABSENT, check, classify, revision_of
from hauberk.refusals import HookError, Refused
from hauberk.reports import internal
from hauberk.ways import Stopped, raising

if TYPE_CHECKING:
    from hauberk.chains import Chain
    from hauberk.exchange import Exchange, RequestId
    from hauberk.policy import Policy
    from hauberk.principal import Principal
    from hauberk.session import Session
    from hauberk.ways import Reply, Way

logger = logging.getLogger("hauberk")
Walk = Generator[Awaitable[Any], Any, Any]
_NOTHING = b"{}"
LONG = 1536
"""After a message of more bytes, the next on its way is likely to be long too."""

_CROSS: Final[Mapping[str, Callable[[Crossing, Message], Walk | None]]] = {
    "request": requests.cross,
    "notification": notices.cross,
    "result": answers.cross,
    "error": answers.cross,
}


class Crossing(msgspec.Struct, eq=False):
    """One message on one way of one session."""

    session: Session
    way: Way
    policy: Policy
    """The one in force when the message began."""
    ticket: Any
    headers: Mapping[str, str]
    after: Any
    """What must have left before this message may (a future, or None)."""
    done: asyncio.Future[None] | None = None
    """What later messages wait for, once this one had to wait; none waits for a request."""
    returns_reply: bool = False
    """Whether the caller writes: a refusal is left in ``reply`` for it, and the last wait in ``writing``."""
    reply: Reply = None
    writing: Awaitable[None] | None = None
    kind: str = ""
    method: str = ""
    id: RequestId | None = None
    exchange: Exchange | None = None
    message: Message | None = None
    encoded: bytes | None = None
    """The message as it was checked, while no hook and no rule has had a hand in it. A call keeps it until one makes
    another message of it: it is compared before it leaves."""
    route: Any = None
    """The message hooks for its method, once that is known."""
    notes: list[Event] = []

    def begin(self, raw: bytes | None, data: dict[str, Any] | None) -> tuple[Walk, Awaitable[Any]] | None:
        """Cross as far as that goes without waiting; in plain calls, where no hook has a say in the message.

        Args:
            raw: The message as one frame, without its line feed, from a byte carrier.
            data: The message as an object, from a carrier with a parser of its own.

        Returns:
            The rest of the way and what it waits for, if it does.
        """
        rest: Walk | None
        try:
            frames = self.policy.chains.frames_in
            if not frames.steps or self.way.outward:
                rest = self._enter(raw, data)
            elif frames.plain:
                frame = self.walk(frames, self._frame(raw, data))
                rest = self._enter(frame.data, None, frame)
            else:
                rest = self._unframe(raw, data)
        except BaseException as error:  # noqa: BLE001 - raised again on the rest of the way
            rest = raising(error)
        if rest is None:
            return None
        walk = self._run(rest, raw, data)
        waiting = next(walk, None)
        return None if waiting is None else (walk, waiting)

    def _run(self, rest: Walk, raw: bytes | None, data: dict[str, Any] | None) -> Walk:
        """Walk the rest of the way; return the reply for the asker where `returns_reply` says so, else None."""
        try:
            yield from rest
        except Stopped:
            self.flush()
        except (Refused, HookError) as error:  # by no other name: its traceback holds this frame
            self.reply = yield from refusing.read(self, error, raw, data)
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
        except Exception as error:
            logger.exception("a message was refused because of an error in hauberk itself")
            self.reply = yield from refusing.read(self, internal(error), raw, data)
        finally:
            exchange = self.exchange
            if exchange is not None and exchange.outcome is None and not (exchange.sent and self.kind == "request"):
                self._over(exchange)
        return self.reply

    def _over(self, exchange: Exchange) -> None:
        """Leave no exchange open that nothing else would end: its task was cancelled, here or while refusing."""
        if self.kind != "request":
            exchange.end("closed")
        else:
            self.session.end(exchange, self.way, "cancelled", tombstone=False)

    # --- in: what is it, and does anybody expect it ---

    def _frame(self, raw: bytes | None, data: dict[str, Any] | None) -> Frame:
        """Return what came in as WIRE, GATE and SEAL get it, before anything in it is read."""
        frame = Frame(encode(data or {}) if raw is None else raw, self.way.toward, self.session.connection.peer)
        self.notes = frame.notes
        return frame

    def _unframe(self, raw: bytes | None, data: dict[str, Any] | None) -> Walk:
        """Take a frame through hooks of which one may wait, then on as the message in it."""
        frame = yield from self.through(self.policy.chains.frames_in, self._frame(raw, data))
        yield from self.turn()  # what came earlier is matched earlier: an answer ends the progress before it
        if (rest := self._enter(frame.data, None, frame)) is not None:
            yield from rest

    def _enter(self, raw: bytes | None, data: dict[str, Any] | None, frame: Frame | None = None) -> Walk | None:
        """Read a message, and take it on as what it is; return the rest of its way, where there is one."""
        way, session, policy = self.way, self.session, self.policy
        bounds = session.bounds
        if raw is None:
            data, encoded = edge.normalise(data or {}, long=way.long, bounds=bounds)
        else:
            data, encoded = edge.read(raw, bounds=bounds)
        kind, method, id = classify(data, bounds)
        self.kind, self.id, checked = kind, id, data
        speaker = session.guard.principal if way.outward else session.connection.principal
        if method is not None:
            self.method = method
            params = data.get("params", ABSENT)
            check(method, kind, way.sender, params, policy.methods, bounds)
            if kind == "request":
                self._open(id, method, params, speaker)
        else:
            data = self._match(data)
            method = self.method
            if kind == "result":
                check_result(data["result"])
        if frame is not None and frame.kind is not None:
            outside.compare(frame, kind, id, checked)
        self.route = route = policy.chains.route(method, way.toward)
        way.long = len(encoded) > LONG
        idle = route.idle_out if way.outward else route.idle_in
        if data is checked and (idle or (kind == "request" and method == "tools/call")):
            self.encoded = encoded
        self.message = message = Message(
            kind,
            way.toward,
            method,
            data,
            self.id,
            len(encoded),
            speaker,
            self.exchange,
            self.headers,
            None if frame is None else frame.proof,
            None,
            None,
            self.ticket,
            self.notes,
            Content(encoded, checked, method, session.lists.latest) if kind == "result" and method in KEPT else None,
        )
        if self.done is not None and self.exchange is not None and kind == "request":
            session.let_pass(self, self.exchange)
        cross = agreement.cross if method in policy.answers else _CROSS[kind]
        return cross(self, message)

    def _open(self, id: Any, method: str, params: Any, speaker: Principal) -> None:
        session, way = self.session, self.way
        if method == "initialize":
            session.may_initialize()
        exchange = way.exchanges.open(id, method, speaker, session.guard.clock())
        self.exchange = exchange
        exchange.ticket = self.ticket
        if params is not ABSENT:
            meta = params.get("_meta")
            if meta:
                exchange.revision = revision_of(params)
                if (token := meta.get("progressToken")) is not None:
                    way.exchanges.set_token(exchange, token)
            if "taskId" in params:
                session.tasks.inherit(exchange, params)
        if self.policy.request_timeout is not None:
            overdue.start_timer(session, exchange, way, self.policy.request_timeout)

    def _match(self, data: dict[str, Any]) -> dict[str, Any]:
        """Find who asked, and write the asker's own id into the answer."""
        exchanges = self.way.opposite.exchanges
        exchange = exchanges.answer(self.id) if self.id is not None else None
        if exchange is None:
            if self.id is None or not exchanges.late(self.id):
                self.unasked(Event(code="core.unmatched", category="refusal", severity="warning", action="blocked"))
            self.flush()
            raise Stopped
        self.exchange, self.method = exchange, exchange.method
        if type(self.id) is not type(exchange.id) or self.id != exchange.id:
            data = {**data, "id": exchange.id}
        self.id = exchange.id
        return data

    # --- out: one step ---

    def leave(self, message: Message) -> Walk:
        """Wait for the message's turn, then `write`."""
        yield from self.turn()
        return self.write(message, None, message.data)

    def write(self, message: Message, call: ToolCall | None, data: dict[str, Any]) -> Awaitable[None] | None:
        """Write in one step: the call compared once more, SEAL, GATE, WIRE; return what is still to be awaited."""
        self.message = message
        if message.first is not None:
            self.encoded = None
        if call is not None:
            data = self._compared(message, call, data)
        if message.first is not None and not self.way.target.bytes_only:
            encode(data)  # what a plugin made goes on as it stands, so it must be JSON here
        exchange = self.exchange if self.kind == "request" else None
        if exchange is not None:
            exchange.sent = True  # before it is written: the answer may come while it is
            exchange.size = message.size
        try:
            waiting = self.session.emit(
                self.policy, self.way.target, data, self.encoded, ticket=message.ticket, method=message.method
            )
        except BaseException:
            if exchange is not None:
                exchange.sent = False
            raise
        if self.returns_reply:
            self.writing, waiting = waiting, None
        return waiting

    def _compared(self, message: Message, call: ToolCall, data: dict[str, Any]) -> dict[str, Any]:
        """Refuse a call that is not the one that was judged; return it built round the very bytes."""
        params = message.data["params"]
        same: bool = params["name"] == call.name
        if self.encoded is not None:
            if same and encode(data) == self.encoded:  # whoever read it, at any time, has read what was checked
                return data
            raise self._changed()
        # From the frozen bytes themselves, whatever became of the arguments since.
        built = data is message.data and self.way.target.bytes_only
        same = same and message.data["method"] == "tools/call" and message.data["id"] == message.id
        if same and (call.read or self.route.admit_out.steps or not built):
            same = freeze(params.get("arguments") or {}) == call.frozen
        if not same:
            raise self._changed()
        if not built or ("arguments" not in params and call.frozen == _NOTHING):
            return data
        return {**data, "params": {**params, "arguments": orjson.Fragment(call.frozen)}}

    def _changed(self) -> HookError:
        """Return the refusal of a call that is not the one that was judged, with all who could have changed it."""
        route, chains = self.route, self.policy.chains
        first = route.shape_out if self.way.outward else route.inward
        return pipeline.call_changed(first, chains.judges, chains.charges, route.admit_out)

    # --- shared ---

    def hooks(self, message: Message) -> Walk:
        """Take a message that is no call through all message hooks of its way."""
        route = self.policy.chains.route(message.method, message.toward)
        for chain in (route.shape_out, route.admit_out) if self.way.outward else (route.inward,):
            if chain.steps:
                message = self.walk(chain, message) if chain.plain else (yield from self.through(chain, message))
        return message

    def walk(self, chain: Chain, item: Any) -> Any:
        """Take a message or frame through one plain chain."""
        session = self.session
        clock = session.guard.clock
        return pipeline.walk(chain, item, session.connection, clock() + self.policy.deadline, clock)

    def through(self, chain: Chain, item: Any) -> Walk:
        """Take a message or frame through one chain, plain or not."""
        if not chain.steps:
            return item
        if chain.plain:
            return self.walk(chain, item)
        session = self.session
        item = yield pipeline.walk_async(chain, item, session.connection, self.policy.deadline, session.guard.clock)
        self.alive()
        return item

    @property
    def asked(self) -> Exchange:
        """Return the exchange of a request or an answer, which has one since it came in."""
        if self.exchange is None:
            raise LookupError("this message belongs to no exchange")
        return self.exchange

    def turn(self) -> Walk:
        """Wait until what came earlier has left."""
        if self.after is not None and not self.after.done():
            yield asyncio.shield(self.after)
            self.alive()

    def alive(self) -> None:
        """Stop after a wait if the exchange, or the session, has ended meanwhile."""
        if self.session.closed or (self.exchange is not None and self.exchange.outcome is not None):
            raise Stopped

    def unasked(self, event: Event) -> None:
        """Leave an event about what nobody asked for; a flood of them from the wire is counted."""
        if self.way.outward or not self.session.floods.counts(event):
            self.note(event)

    def note(self, event: Event) -> None:
        """Leave an event for the record."""
        self.notes.append(event)

    def flush(self) -> None:
        """Record what was noted, without waiting."""
        if self.notes and (events := self.completed()):
            self.policy.recorder.note(events)

    def completed(self) -> list[Event]:
        """Take what was noted, with who, where and when; nothing where nobody records."""
        if not self.notes:
            return []
        events, self.notes[:] = list(self.notes), []
        if not self.policy.recorder.used:
            return []
        return [self.session.reports.complete(event, self) for event in events]
