"""The mesh of storms: news is thinned out, and no list leads a client on for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk.message import Message
from hauberk.refusals import LIMITS as OVER
from hauberk.refusals import Refused
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._spelling import shown
from hauberk_sieve.storms._later import Teller
from hauberk_sieve.storms._pace import Pace
from hauberk_sieve.storms._pages import Walk

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve.storms._options import Storms as Table

LISTS: Final = ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "tasks/list")
_UPDATED: Final = "notifications/resources/updated"
NEWS: Final = (
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    _UPDATED,
)
_STREAM: Final = "io.modelcontextprotocol/subscriptionId"


class Timer(Protocol):
    """What can be stopped before its time."""

    def cancel(self) -> None:
        """Stop it."""


Later = Callable[[float, Callable[[], None]], Timer]
"""Calls a function after some seconds."""


class _State:
    """What is known of one connection."""

    def __init__(self) -> None:
        self.pace: Final = Pace()
        self.walks: Final[dict[str, Walk]] = {}
        self.pages: Final[dict[Any, int]] = {}
        """The page that each request in flight asks for, by the key of its exchange."""


class Storms(Mesh):
    """News that comes too often is one word (A67), and a list that never ends is refused (A46)."""

    word = "storms"
    methods = (*NEWS, *LISTS)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.tables: Final[PerServer[Table]] = PerServer(setting, lambda options: options.storms)
        self.later: Later = lambda seconds, function: asyncio.get_running_loop().call_later(seconds, function)
        self._timers: Final[WeakKeyDictionary[Connection, Timer]] = WeakKeyDictionary()
        self._teller: Final = Teller(setting.guard)
        self._states: Final[WeakKeyDictionary[Connection, _State]] = WeakKeyDictionary()

    def adopt(self, old: Any) -> None:
        """Go on where the old mesh stopped; what it held is told by this one."""
        self._states.update(old._states)  # noqa: SLF001 - the same class
        for connection, state in self._states.items():
            self._arm(connection, state)

    async def close(self) -> None:
        """Hold nothing any longer; who is still there has its lists at the next question."""
        for timer in self._timers.values():
            timer.cancel()
        await self._teller.close()

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Hold news that comes too soon; count pages."""
        if message.kind == "notification":
            if message.toward == "client":
                self._news(message, connection)
        elif message.kind == "request":
            self._asked(message, connection)
        elif message.kind == "result" and message.toward == "client":
            self._answered(message, connection)
        return None

    def probes(self) -> list[Probe]:
        """Return what shows that news is thinned out and lists end."""
        from hauberk_sieve.storms._probes import probes  # in development a host starts without them

        return probes(self.setting.guard, self.setting.plugin)

    # --- news ---

    def _news(self, message: Message, connection: Connection) -> None:
        every = self.tables[connection.server].every
        if not every:
            return
        state, now = self._state(connection), self.setting.guard.clock()
        answer = state.pace.take(_kind(message), message.data, now, every)
        if answer == "pass":
            return
        connection.held[message.method] = connection.held.get(message.method, 0) + 1  # of the methods in NEWS only
        if answer == "hold":
            self._arm(connection, state)
        raise Refused(
            "sieve.storm",
            f"server '{shown(connection.server)}' says too often that something changed",
            rule=f"every = {every:g}" if answer == "hold" else f"at most {LIMITS.streams} kinds of news at once",
            hint="nothing: the last word of each list is told a little later",
            jsonrpc=OVER,
        )

    def _arm(self, connection: Connection, state: _State) -> None:
        due = state.pace.next()
        if due is None or connection in self._timers or self.setting.options.mode != "enforce":
            return
        wait = max(0.0, due - self.setting.guard.clock())
        self._timers[connection] = self.later(wait, lambda: self._tell(connection, state))

    def _tell(self, connection: Connection, state: _State) -> None:
        self._timers.pop(connection, None)
        every = self.tables[connection.server].every
        news = state.pace.due(self.setting.guard.clock(), every)
        if news:
            self._teller.tell(connection, news)
        self._arm(connection, state)

    # --- pages ---

    def _asked(self, message: Message, connection: Connection) -> None:
        exchange = message.exchange
        if message.method not in LISTS or message.toward != "server" or exchange is None:
            return
        state, cursor = self._state(connection), message.params.get("cursor")
        walk = state.walks.setdefault(message.method, Walk())
        pages, key = state.pages, exchange.key
        pages[key] = walk.asked(cursor if type(cursor) is str else None)
        exchange.defer(lambda _: pages.pop(key, None))

    def _answered(self, message: Message, connection: Connection) -> None:
        cursor, exchange = (message.result or {}).get("nextCursor"), message.exchange
        state = self._states.get(connection)
        if type(cursor) is not str or exchange is None or state is None:
            return
        page = state.pages.get(exchange.key)
        if page is None:  # the guard's own question, which has a bound of its own
            return
        rule = state.walks[message.method].answered(page, cursor, self.tables[connection.server].pages)
        if rule is not None:
            raise Refused(
                "sieve.endless_list",
                f"{message.method} of server '{shown(connection.server)}' does not end",
                rule=rule,
                hint="raise sieve.storms.pages if the list is that long; else report it to the author of the server",
                jsonrpc=OVER,
            )

    def _state(self, connection: Connection) -> _State:
        found = self._states.get(connection)
        if found is None:
            found = self._states[connection] = _State()
        return found


def _kind(message: Message) -> tuple[Any, ...]:
    """Return what news is about: a list or one resource, in one stream (2026-07-28)."""
    meta = message.params.get("_meta")
    stream = meta.get(_STREAM) if type(meta) is dict else None
    about = hash(message.params.get("uri")) if message.method == _UPDATED else 0
    return message.method, about, hash(stream) if type(stream) in (str, int) else 0
