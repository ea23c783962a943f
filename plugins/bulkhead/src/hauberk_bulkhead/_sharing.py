"""One host's part in breakers that several keep together: what it asks, what it tells, and what it learns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from hauberk.shared import SharedStore, StoreDown, StoreRefused
from hauberk_bulkhead._breaker import Terms
from hauberk_bulkhead._breakers import Breakers, Key, Pass
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._shared import Ended, SharedBreakers, Told

_PENDING: Final = 1024
"""What may be on its way to the store, of what nobody waits for; past it a failure counts for this host alone."""
_GRACE: Final = 2 * LIMITS.look_seconds
"""How long a breaker that was opened here may be unknown to the store (seconds)."""


class Sharing:
    """The breakers of this host, and those of the store."""

    def __init__(
        self,
        store: SharedStore,
        breakers: Breakers,
        clock: Callable[[], float],
        terms: Callable[[str], Terms],
        host: str = "",
    ) -> None:
        """Say what belongs together.

        Args:
            store: It is open.
            breakers: Of this host.
            clock: Monotonic seconds.
            terms: Returns when the breakers of a server open.
            host: What the host is called.
        """
        self._terms: Final = terms
        self.store: Final = store
        self.shared: Final = SharedBreakers(store, host=host)
        self.fault = ""
        """What the store said last in place of an answer, since it was looked at; empty where it answered."""
        self._breakers: Final = breakers
        self._clock: Final = clock
        self._requests: Final[dict[Key, int]] = {}
        """Requests since the last failure, of breakers that are there."""
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def asks(self, key: Key) -> bool:
        """Whether the store has to be asked: the breaker is not closed, as far as is known here."""
        breaker = self._breakers.get(key)
        return breaker is not None and breaker.state != "closed" and self.store.up

    async def ask(self, passed: Pass) -> tuple[Pass | None, str, float]:
        """Ask for a request; return how it passed (None: it does not), its probe's name, and when to come again."""
        key, terms = passed.key, passed.terms
        try:
            told = await self._asked(passed)
        except StoreDown as error:
            self._note(error)
            now = self._clock()
            found = self._breakers.allow(key, terms, now)
            if isinstance(found, Pass):
                return found, "", 0.0
            breaker = self._breakers.get(found)
            return None, "", 1.0 if breaker is None else breaker.again_in(now)
        if told.answer == "closed":
            self._breakers.close(key, self._clock())
            return passed, "", 0.0
        return (passed, told.probe, 0.0) if told.answer == "probe" else (None, "", told.seconds)

    async def _asked(self, passed: Pass) -> Told:
        """Ask; a probe that comes when nobody waits for it any more is given back."""
        asking = asyncio.ensure_future(self.shared.ask(passed.key, passed.terms))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(partial(self._unasked, passed))
            raise

    def _unasked(self, passed: Pass, asking: asyncio.Future[Told]) -> None:
        if not asking.cancelled() and asking.exception() is None and asking.result().probe:
            self.end(passed, asking.result().probe, "nothing")

    def end(self, passed: Pass, probe: str, how: Ended) -> bool:
        """Tell the store how a request ended; return whether that was all there is to do."""
        key = passed.key
        if probe:
            self._later(self._end_probe(passed, probe, how))
            return True
        if how == "nothing" or (how == "succeeded" and self._breakers.get(key) is None):
            return False
        self._requests[key] = self._requests.get(key, 0) + 1
        if how == "failed":
            self._later(self._tell(passed, self._requests.pop(key)))
        return False

    async def look(self) -> None:
        """Learn which breakers other hosts have opened and closed.

        Raises:
            StoreDown: The store could not be asked.
        """
        begun = self._clock()
        there = await self.shared.all_open()
        now = self._clock()
        for key, breaker in self._breakers.items():
            if key not in there and breaker.state != "closed" and breaker.since < begun - _GRACE:
                self._breakers.close(key, now)
        for key in there:
            own = self._breakers.get(key)
            if own is None or own.state == "closed":
                self._breakers.open(key, self._terms(key.server), now)
        for key in [key for key in self._requests if self._breakers.get(key) is None]:
            del self._requests[key]

    async def close(self) -> None:
        """Let what is on its way arrive."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LIMITS.look_seconds)

    async def _tell(self, passed: Pass, requests: int) -> None:
        if await self.shared.fail(passed.key, passed.terms, requests):
            self._breakers.open(passed.key, passed.terms, self._clock())

    async def _end_probe(self, passed: Pass, probe: str, how: Ended) -> None:
        state = await self.shared.end(passed.key, passed.terms, probe, how)
        if state == "closed":
            self._breakers.close(passed.key, self._clock())

    def _note(self, error: StoreDown) -> None:
        """Note an answer that is an error; that the store is lost is told of by itself."""
        if isinstance(error, StoreRefused):
            self.fault = error.message

    def _later(self, telling: Awaitable[None]) -> None:
        async def told() -> None:
            try:
                await telling
            except StoreDown as error:  # this host's own breaker has counted
                self._note(error)

        if len(self._tasks) >= _PENDING:
            getattr(telling, "close", lambda: None)()
            return
        task = asyncio.get_running_loop().create_task(told())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
