"""Requests that were lost with their connection, and are asked again on the next one (ADR 45).

The rules:

1. Nothing is asked again unless ``[server.NAME.retry]`` is written. Then it is what the protocol makes a read
   (`READS`), and calls of tools that the operator has named. What a server says of its tools (``idempotentHint``,
   ``readOnlyHint``) is never believed. What goes on with an earlier answer, or makes a task, belongs to its connection.
2. Only what was in flight on a connection that the peer, or the network, has ended. What a guard has refused, what was
   answered (with an error too), cancelled or not answered in time is over; so is what was answered, where the answer
   did not pass before its connection was lost. A connection that a plugin hung up is a refusal, too.
3. A repetition is a new request, in an exchange of its own: it meets every hook, limit and check, is sealed, judged,
   asked about and recorded as any other, and may be refused. Only its frame is the client's old one.
4. It is asked at most ``tries`` times, with a pause after each loss; and ``core.request_timeout`` holds for all of them
   together, from the first.
5. While it waits, the client may cancel it, and its id is in flight: another request under it is refused. Frames that
   are kept have a bound; past it what is lost is lost.
6. The configuration decides when it is lost, and when it would be asked again. Who waited, and is not asked again after
   all, is told what everybody is whose request was lost: it may have been done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from hauberk import edge, overdue
from hauberk.methods import correlation_key

if TYPE_CHECKING:
    from hauberk._servers import Retry
    from hauberk.exchange import Exchange, Outcome, RequestId
    from hauberk.guard import Guard
    from hauberk.session import Session

READS: Final = frozenset(
    (
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list", "ping", "server/discover"),
        *("prompts/get", "resources/read", "completion/complete"),
    )
)
"""Requests of a client that the protocol makes reads (the pages of ``server/`` that `hauberk.methods` names)."""
_BOUND: Final = frozenset({"inputResponses", "requestState", "task"})
"""Parameters of what belongs to an earlier answer (SEP-2322), or leaves something behind (SEP-1686)."""
_RELATED: Final = "io.modelcontextprotocol/related-task"
"""In ``_meta`` of what belongs to a task (2025-11-25 basic/utilities/tasks)."""
_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
_TASKS: Final = "io.modelcontextprotocol/tasks"
"""The extension under which the server decides whether a call makes a task (SEP-2663)."""


class Backoff(NamedTuple):
    """How long to wait before something is tried again (S4.21)."""

    first: float = 0.1
    """After the first try (seconds)."""
    most: float = 30.0
    """After any (seconds)."""
    factor: float = 2.0
    jitter: float = 0.1
    """The part of it that is left to chance, either way."""


BACKOFF: Final = Backoff()
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_STEPS: Final = 64
"""Past so many tries the pause grows no more: long before that it is the longest."""


def pause(tries: int, chance: float, backoff: Backoff = BACKOFF) -> float:
    """Return how long to wait before the next try (seconds).

    Args:
        tries: How many there were, at least one.
        chance: A random number from 0 to 1.
        backoff: The bounds.
    """
    grown = min(backoff.most, backoff.first * backoff.factor ** min(tries - 1, _STEPS))
    return min(backoff.most, grown * (1 + backoff.jitter * (2 * chance - 1)))


def may_repeat(message: Any, tools: tuple[str, ...]) -> bool:
    """Whether a request does nothing twice that it did once: by the protocol, or by what the operator says of it."""
    if type(message) is not dict or type(message.get("id")) not in (str, int):
        return False
    params = message.get("params", {})
    if type(params) is not dict or not _BOUND.isdisjoint(params):
        return False
    meta = params.get("_meta", {})
    if type(meta) is not dict or _RELATED in meta:
        return False
    method = message.get("method")
    if method == "tools/call":
        return params.get("name") in tools and not _may_make_task(meta)
    return type(method) is str and method in READS


def _may_make_task(meta: dict[str, Any]) -> bool:
    """Whether a server may answer a call with a task of its own accord; where that is not to be read, it may."""
    capabilities = meta.get(_CAPABILITIES, {})
    extensions = capabilities.get("extensions", {}) if type(capabilities) is dict else None
    return type(extensions) is not dict or _TASKS in extensions


class Repeat:
    """A request that may be asked again."""

    __slots__ = ("about", "due", "frame", "id", "key", "timer", "tool", "tries", "until")

    def __init__(self, frame: bytes, message: dict[str, Any], until: float | None) -> None:
        self.frame: Final = frame
        self.id: Final[RequestId] = message["id"]
        self.key: Final = correlation_key(self.id)
        method: str = message["method"]
        self.tool: Final[str] = message["params"]["name"] if method == "tools/call" else ""
        self.about: Final[Mapping[str, Any]] = {"method": method, "tool": self.tool}
        """What events say of it."""
        self.tries = 1
        """How often it was asked."""
        self.due = 0.0
        """Until when it waits (monotonic seconds)."""
        self.until: Final = until
        """When it is too late for an answer (monotonic seconds); None is never."""
        self.timer: asyncio.TimerHandle | None = None


class Repeats:
    """Those of one client."""

    def __init__(
        self,
        guard: Guard,
        server: str,
        *,
        give: Callable[[bytes], object],
        late: Callable[[Repeat], object],
        lost: Callable[[Repeat], object],
        chance: Callable[[], float],
    ) -> None:
        """Prepare.

        Args:
            guard: Whose configuration says what may be asked again.
            server: Of which server.
            give: Takes a frame as if the client had just written it.
            late: Tells the client that its request was not answered in time.
            lost: Tells it that its request was lost: the configuration asks it no more.
            chance: A random number from 0 to 1.
        """
        self._guard: Final = guard
        self._server: Final = server
        self._give: Final = give
        self._late: Final = late
        self._lost: Final = lost
        self._chance: Final = chance
        self._loop: Final = asyncio.get_running_loop()
        self._asked: Final[dict[RequestId, Repeat]] = {}
        """In flight."""
        self.waiting: Final[dict[RequestId, Repeat]] = {}
        """Lost, and to be asked again."""
        self._bytes = 0

    @property
    def _terms(self) -> Retry | None:
        options = self._guard.config.server(self._server)
        return None if options is None else options.retry

    # --- in flight ---

    def send(self, frame: bytes, session: Session, repeat: Repeat | None = None) -> None:
        """Give a frame of the client to the session, and keep it while it is in flight if it may be asked again."""
        terms = self._terms
        repeat = repeat if terms is None or repeat is not None else self._read(frame, terms)
        find = session.out.exchanges.find
        known = repeat is not None and find(repeat.id) is not None  # then this one is refused, and the other is kept
        self._give(frame)
        exchange = None if repeat is None or known else find(repeat.id)
        if repeat is not None and exchange is not None:
            self._keep(repeat, exchange, session)

    def _read(self, frame: bytes, terms: Retry) -> Repeat | None:
        try:
            message = orjson.loads(frame)
        except orjson.JSONDecodeError:
            return None
        if not may_repeat(message, terms.tools):
            return None
        seconds = self._guard.policy.request_timeout
        return Repeat(frame, message, None if seconds is None else self._loop.time() + seconds)

    def _keep(self, repeat: Repeat, exchange: Exchange, session: Session) -> None:
        if repeat.until is not None and repeat.tries > 1:
            if exchange.timer is not None:
                exchange.timer.cancel()
            overdue.start_timer(session, exchange, session.out, max(0.0, repeat.until - self._loop.time()))
        if self._bytes + len(repeat.frame) > self._guard.bounds.buffer_bytes:
            return
        self._bytes += len(repeat.frame)
        self._asked[repeat.key] = repeat
        exchange.defer(partial(self._over, repeat))

    def _over(self, repeat: Repeat, _outcome: Outcome) -> None:
        if self._asked.get(repeat.key) is repeat:
            del self._asked[repeat.key]
            self._bytes -= len(repeat.frame)

    # --- lost ---

    def lost(self, exchange: Exchange) -> bool:
        """Take a request that was in flight on a lost connection; return whether it is asked again."""
        repeat = self._asked.get(exchange.key)
        if repeat is None or repeat.key in self.waiting or not self._may(repeat):
            return False
        now = self._loop.time()
        repeat.due = now + pause(repeat.tries, self._chance())
        if repeat.until is not None:
            if repeat.due >= repeat.until:
                return False
            repeat.timer = self._loop.call_at(repeat.until, self._expire, repeat)
        del self._asked[repeat.key]  # its bytes are held as before
        self.waiting[repeat.key] = repeat
        return True

    def _may(self, repeat: Repeat) -> bool:
        """Whether it may be asked once more, as the configuration is now."""
        terms = self._terms
        if terms is None or repeat.tries >= terms.tries:
            return False
        return not repeat.tool or repeat.tool in terms.tools

    def second(self, frame: bytes | edge.Overlong) -> bool:
        """Whether a frame of the client is a request with the id of one that waits, whose answer it would take."""
        if not self.waiting:
            return False
        if isinstance(frame, edge.Overlong):
            id: Any = edge.loose_id(frame.head, frame.tail)
        else:
            try:
                message = orjson.loads(frame)
            except orjson.JSONDecodeError:
                kind, id = edge.salvage(frame)
                message = {"id": id, "method": ""} if kind == "request" else None
            if type(message) is not dict or "method" not in message:
                return False
            id = message.get("id")
        return type(id) in (str, int) and correlation_key(id) in self.waiting

    def cancelled(self, frame: bytes) -> bool:
        """Whether a frame of the client cancels a request that waits; if so, it does, and goes no further."""
        if not self.waiting:
            return False
        try:
            message = orjson.loads(frame)
        except orjson.JSONDecodeError:
            return False
        if type(message) is not dict or message.get("method") != "notifications/cancelled" or "id" in message:
            return False
        params = message.get("params")
        id: Any = params.get("requestId") if type(params) is dict else None
        if type(id) not in (str, int) or (repeat := self.waiting.get(correlation_key(id))) is None:
            return False
        self._leave(repeat)
        return True

    def _expire(self, repeat: Repeat) -> None:
        self._leave(repeat)
        self._late(repeat)

    def _leave(self, repeat: Repeat) -> None:
        """Let it wait no longer."""
        if repeat.timer is not None:
            repeat.timer.cancel()
            repeat.timer = None
        del self.waiting[repeat.key]
        self._bytes -= len(repeat.frame)

    def drop(self) -> list[Repeat]:
        """Let none wait any longer; return them."""
        dropped = list(self.waiting.values())
        for repeat in dropped:
            self._leave(repeat)
        return dropped

    # --- asked again ---

    async def ask(self, session: Session, told: Callable[[Repeat], object]) -> None:
        """Ask again what waits, each when its pause is over.

        Args:
            session: On the next connection.
            told: Called before each.
        """
        for repeat in sorted(self.waiting.values(), key=lambda one: one.due):
            await asyncio.sleep(max(0.0, repeat.due - self._loop.time()))
            if self.waiting.get(repeat.key) is not repeat:
                continue
            self._leave(repeat)
            if not self._may(repeat):  # the configuration was another one when it was lost
                self._lost(repeat)
                continue
            repeat.tries += 1
            told(repeat)
            self.send(repeat.frame, session, repeat)
