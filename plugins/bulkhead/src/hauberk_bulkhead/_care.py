"""What is looked after aside from any message: the book, the machine's load, the shared store, who is suspended."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import partial
from typing import Any, Final

from hauberk.event import Event
from hauberk.refusals import ConfigError
from hauberk_bulkhead import _events
from hauberk_bulkhead._book import Book, Live, Page
from hauberk_bulkhead._callers import readable
from hauberk_bulkhead._door import Door
from hauberk_bulkhead._gate import Gate
from hauberk_bulkhead._isolation import Blame
from hauberk_bulkhead._limits import LIMITS, shown
from hauberk_bulkhead._load import Load, Sampler, looking
from hauberk_bulkhead._options import Options
from hauberk_bulkhead._state import State
from hauberk_bulkhead._suspended import Suspension


class Care:
    """It, for one policy."""

    def __init__(self, guard: Any, options: Options, gate: Gate, door: Door) -> None:
        self._guard: Final = guard
        self._options: Final = options
        self._gate: Final = gate
        self._door: Final = door
        self._blame: Final = Blame(options.isolation)
        self._book: Book | None = None
        self._sampler: Sampler | None = None
        self._task: asyncio.Task[None] | None = None
        self._reset = 0.0
        self._sampled = 0.0
        self._written = 0.0
        self._last: tuple[Any, ...] = ()
        self._faults: dict[str, str] = {}

    @property
    def _state(self) -> State:
        return self._gate.state

    # --- life ---

    async def open(self) -> None:
        """Read the book, reach the store, and begin to look.

        Raises:
            ConfigError: The book cannot be believed.
            PluginError: The store cannot be reached.
        """
        self._book = Book(self._guard.config.state_dir, now=self._guard.now)
        page = self._book.changed() or Page()
        self._reset = page.reset
        self._state.suspended.take(page.suspended, self._guard.now())
        self._state.breakers.tell(lambda *turn: self._guard.emit(_events.turned(*turn)))
        if self._options.breaker.store is not None:
            await self._share(self._options.breaker.store)
        self._watch()
        self._task = asyncio.get_running_loop().create_task(self._looking(), name="hauberk-bulkhead")

    async def close(self) -> None:
        """Look after nothing any more."""
        if self._sampler is not None:
            self._sampler.stop()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._book is not None:
            with suppress(ConfigError, OSError):  # it has been told of
                await asyncio.to_thread(_write, self._book, self._state.suspended.news, None)
            self._book.gone(os.getpid())
        if self._gate.sharing is not None:
            await self._gate.sharing.close()
            await self._gate.sharing.store.close()

    async def _share(self, uri: str) -> None:
        from hauberk.shared import SharedStore  # only here: most breakers are this host's own
        from hauberk_bulkhead._sharing import Sharing

        def changed(found: bool, why: str) -> None:  # noqa: FBT001 - as the store calls it
            code = "bulkhead.store_back" if found else "bulkhead.store_lost"
            self._guard.emit(_events.system(code, why, store=store.where))

        store = SharedStore(uri, on_change=changed)
        await store.open()
        self._gate.sharing = Sharing(
            store,
            self._state.breakers,
            self._guard.clock,
            lambda server: self._gate.rules(server).terms,
            self._guard.host,
        )

    # --- the machine ---

    def _watch(self) -> None:
        options = self._options.shedding
        if options is None:
            return
        load = self._gate.load = Load(options)
        disk, loop = options.disk or self._guard.config.state_dir, asyncio.get_running_loop()
        while not disk.exists():
            disk = disk.parent
        seen = partial(self._see, load)
        self._sampled = self._guard.clock()
        self._sampler = Sampler(looking(load.watched, disk), options.sample_seconds, partial(_called, loop, seen))
        self._sampler.start()

    def _see(self, load: Load, percent: dict[str, float]) -> None:
        self._sampled = self._guard.clock()
        for change in load.see(percent):
            self._guard.emit(_events.shed(change))

    # --- who did what ---

    def heard(self, event: Event) -> None:
        """Count what somebody did, and suspend who did too much of it."""
        options = self._options.isolation
        if not options.enabled:
            return
        culprit = self._blame.of(event, self._state.connections)
        if culprit is None:
            return
        now = self._guard.clock()
        if not self._state.tally.count(
            culprit, now, events=options.events, window=options.window_seconds, times=event.count
        ):
            return
        time = self._guard.now()
        until = time + options.suspend_seconds if options.suspend_seconds else 0.0
        why = f"{options.events} events within {options.window_seconds:g} s, the last {event.code}"
        one = Suspension(culprit.kind, culprit.name, time, until, why)
        self._state.suspended.add(one, time)
        asyncio.get_running_loop().call_soon(self._guard.emit, _events.isolated(one))

    # --- every second ---

    async def _looking(self) -> None:
        while True:
            await asyncio.sleep(LIMITS.look_seconds)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        state, now = self._state, self._guard.clock()
        state.breakers.tidy(now)
        self._door.look()
        await self._look_at_book()
        if self._gate.sharing is not None:
            await self._look_at_store()
        shedding = self._options.shedding
        if shedding is not None:
            late = now - self._sampled > LIMITS.stale_samples * shedding.sample_seconds
            self._tell("bulkhead.unsampled", "the machine was not looked at for long" if late else "")

    async def _look_at_book(self) -> None:
        book, state = self._book, self._state
        if book is None:
            return
        news, live = state.suspended.news, self._news_of_live()
        page: Page | None = None
        try:
            if news or live is not None:
                await asyncio.to_thread(_write, book, news, live)
            if book.is_stale:
                page = await asyncio.to_thread(book.changed)
        except (ConfigError, OSError) as error:
            self._tell("bulkhead.unwritten", str(error))
            return
        if page is None:
            return
        self._tell("bulkhead.unwritten", "")
        state.suspended.written(news)
        state.suspended.take(page.suspended, self._guard.now())
        if page.reset > self._reset:
            self._reset = page.reset
            await self._begin_anew()

    def _news_of_live(self) -> Live | None:
        """Return what is in flight, if it is to be written now: every so often, and not what was written last."""
        now = self._guard.clock()
        if now - self._written < LIMITS.written_seconds:
            return None
        self._written = now
        live = self._live()
        shape = (live.rooms, live.breakers, live.memory, live.load)
        if shape == self._last or not (any(shape) or any(self._last)):
            return None
        self._last = shape
        return live

    def _live(self) -> Live:
        state = self._state
        rooms = {
            shown(name): {"in_flight": room.held, "waiting": room.waiting}
            for name, room in list(state.rooms.items())[: LIMITS.shown]
        }
        for server, connections in list(state.of_server.items())[: LIMITS.shown]:
            rooms.setdefault(shown(server), {})["connections"] = connections
        breakers = [
            {
                "server": shown(key.server),
                "tool": shown(key.tool),
                "tenant": readable(key.tenant),
                "state": breaker.state,
            }
            for key, breaker in state.breakers.items()
        ]
        breakers.sort(key=lambda one: one["state"] == "closed")
        load = self._gate.load.percent if self._gate.load is not None else {}
        guard = self._guard
        return Live(
            os.getpid(), guard.host, guard.now(), rooms, tuple(breakers[: LIMITS.shown]), state.account.total, load
        )

    async def _begin_anew(self) -> None:
        state, sharing = self._state, self._gate.sharing
        state.tally.clear()
        if sharing is not None:
            from hauberk.shared import StoreDown

            with suppress(StoreDown):
                await sharing.shared.close({key for key, _ in state.breakers.items()} | await sharing.shared.all_open())
        state.breakers.reset(self._guard.clock())

    async def _look_at_store(self) -> None:
        from hauberk.shared import StoreDown, StoreRefused

        sharing = self._gate.sharing
        if sharing is None:
            return
        fault, sharing.fault = sharing.fault, ""
        try:
            await sharing.look()
        except StoreRefused as error:
            fault = error.message
        except StoreDown:
            return  # it is told of by the store itself, once
        self._tell("bulkhead.store_lost", fault)

    def _tell(self, code: str, fault: str) -> None:
        """Tell of a fault once, until it is gone or another."""
        if fault and self._faults.get(code) != fault:
            self._guard.emit(_events.system(code, fault))
        self._faults[code] = fault


def _called(loop: asyncio.AbstractEventLoop, see: Any, percent: dict[str, float]) -> None:
    with suppress(RuntimeError):  # the loop is over, and so is everything
        loop.call_soon_threadsafe(see, percent)


def _write(book: Book, news: list[Suspension], live: Live | None) -> None:
    if news:
        book.add(news)
    if live is not None:
        book.show(live)
