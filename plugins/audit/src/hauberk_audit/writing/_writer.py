"""The thread that writes a log, so that no event loop waits for a disk.

The rules:

1. Events are written in the order in which they are given, whoever gives them. What is given while the disk is busy is
   written together when it is free (group commit): one write and one sync, however many wait.
2. Who waits is told of the very events that were given: they are recorded, or they are not and will not be.
3. An error of the disk loses what was to be written with it, and is said to those who wait; where nobody does, to who
   gives the next event. The log goes on when the disk does (`writing._log`).
4. How much may wait is bounded; beyond it nothing is taken. A disk that hangs fills no memory.
5. Where nobody waits, events linger for company, and what is written is synced every `BOUNDS.interval`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple, Self, final

from hauberk.event import Event
from hauberk.refusals import PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import render
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._packing import Packer, left
from hauberk_audit.writing._reached import Reached

Durability = Literal["event", "group", "interval"]


class _Waiter(NamedTuple):
    """Somebody who waits until events are recorded: those after one number, up to another."""

    after: int
    upto: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


_Outcome = tuple["asyncio.Future[None]", PluginError | None]
"""Who waited, and why what it waited for was lost."""


@final
class Writer:
    """The one writer of one log; several plugins of one host may share it over a reload."""

    def __init__(self, log: Log, *, compress: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a log that is open.

        Args:
            log: The log.
            compress: Whether files of it that are closed are compressed.
            clock: Seconds that only go on.
        """
        self.log: Final = log
        self._clock: Final = clock
        self.wrote = clock()
        """When an entry was written last, by the clock."""
        self._packer: Final = Packer(compress=compress)
        self._state: Final = threading.Condition()
        self._disk: Final = threading.Lock()
        """Held while the log is written; never taken while ``_state`` is held by the thread."""
        self.fresh: Final[deque[Event]] = deque()
        """Events that are given and not counted yet: to put one here is all that a call pays for, if it sees that there
        is nothing to `attend` to."""
        self._bodies: list[bytes] = []
        """Entries for the thread. They are made by who gives them: what two threads touch is slow for both."""
        self._not_taken: PluginError | None = None
        self._given = 0
        self._settled = 0
        """How many events are recorded, or lost."""
        self._claimed = 0
        """How many events somebody has asked about."""
        self._losses: Final[deque[tuple[range, PluginError]]] = deque(maxlen=BOUNDS.losses)
        self._waiters: list[_Waiter] = []
        self.error: PluginError | None = None
        """Of events that nobody waited for, until somebody is told."""
        self.timer: asyncio.TimerHandle | asyncio.Handle | None = None
        """What wakes the thread for fresh events."""
        self._due = False
        self._closing = False
        self._dirty = False
        self._users: Final[list[Durability]] = []
        self._thread = threading.Thread(target=self._run, name="hauberk-audit", daemon=True)
        self._thread.start()
        for path in left(log.path) if compress else ():
            self._packer.pack(path)  # of a run that was stopped before it came to that

    # --- users ---

    def share(self, durability: Durability) -> Self:
        """Take one more user; the log is synced as the strictest of them wants."""
        with self._state:
            self._users.append(durability)
            self._set_sync()
        return self

    def leave(self, durability: Durability) -> None:
        """Let one user go; the last one closes the log.

        Raises:
            PluginError: What waited could not be written.
            OSError: The disk failed.
        """
        if self._users:
            with self._state:
                self._users.remove(durability)
                self._set_sync()
        try:
            self.flush()
        finally:
            if not self._users:
                self._close()

    def _set_sync(self) -> None:
        self.log.sync = any(durability != "interval" for durability in self._users)

    # --- events ---

    def put(self, event: Event, durability: Durability) -> None:
        """Take an event.

        Raises:
            PluginError: It is not recorded, or with ``interval`` those before it are not.
        """
        if durability == "event":
            self._write_now(event)
            return
        self.fresh.append(event)
        self.attend(durability)

    def attend(self, durability: Durability) -> None:
        """See to it that fresh events are written, at once if they are many; say what was lost.

        Raises:
            PluginError: With ``interval``: what was given before is not recorded.
        """
        if len(self.fresh) >= BOUNDS.batch:
            self._wake()
        elif self.timer is None:
            self.timer = self._later(BOUNDS.linger if durability == "interval" else None)
        if self.error is not None and durability == "interval":
            self._raise()

    def settled(self) -> asyncio.Future[None] | None:
        """Return None if all that was given is recorded, else what is to be awaited.

        Raises:
            PluginError: At once, or by awaiting it: something is not, and will not be.
        """
        with self._state:
            self._count()
            after, self._claimed = self._claimed, self._given
            if (refused := self._not_taken) is not None:
                self._not_taken = self.error = None
                raise refused
            if self._settled == self._given:
                if (lost := self._lost(after, self._given)) is not None:
                    self.error = None
                    raise lost
                return None
            loop = asyncio.get_running_loop()
            waiter = _Waiter(after, self._given, loop, loop.create_future())
            self._waiters.append(waiter)
        return waiter.future

    def flush(self) -> None:
        """Write what waits, and return when that is done.

        Raises:
            PluginError: It could not be written.
        """
        with self._state:
            self._count()
            if self._settled != self._given:
                self._wake()
                self._state.wait_for(lambda: self._settled == self._given)
        self._raise()

    def _raise(self) -> None:
        """Say once what nobody waited for."""
        with self._state:
            error, self.error = self.error, None
        if error is not None:
            raise error

    def _count(self) -> None:
        """Make entries of fresh events, for the thread; what is over the bound, or cannot be made one, is not taken."""
        fresh, bodies, before = self.fresh, self._bodies, len(self._bodies)
        try:
            while fresh:
                event = fresh.popleft()
                if len(bodies) >= BOUNDS.waiting:
                    self._not_taken = self.error = self._too_slow()
                    continue
                try:
                    bodies.append(render(event))
                except Exception as error:  # noqa: BLE001 - whoever waits must be told
                    self._not_taken = self.error = self._failed(error)
        finally:
            self._given += len(bodies) - before

    def _too_slow(self) -> PluginError:
        return PluginError(
            f"audit log {str(self.log.path)!r}: {BOUNDS.waiting} events wait for the disk",
            hint="see why it is so slow",
        )

    def _failed(self, error: BaseException) -> PluginError:
        return PluginError(f"audit log {str(self.log.path)!r} failed ({type(error).__name__})")

    def _later(self, seconds: float | None) -> asyncio.Handle:
        """Wake the thread soon: when this turn of the event loop is over, or a moment later."""
        loop = asyncio.get_running_loop()
        return loop.call_soon(self._wake) if seconds is None else loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        with self._state:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
            self._count()
            self._due = True
            self._state.notify_all()

    def _write_now(self, event: Event) -> None:
        self.flush()  # what was given before stands before it
        with self._disk:
            self.log.extend([render(event)])
            self.wrote = self._clock()
        self._tidy()

    # --- who looks after the log ---

    def insert(self, body: bytes) -> None:
        """Write an entry, given as `hauberk_audit._entry.render` returns it, and return when it is on the disk.

        Any thread may call this. What others gave and what is not written yet stands after it.

        Raises:
            PluginError: It could not be written.
            OSError: It is written, and the disk failed.
        """
        with self._disk:
            self.log.append(body)
            self.log.flush()
            self.wrote = self._clock()
        self._tidy()

    def reached(self) -> Reached:
        """Bring what was written to the disk, and return how far that is; any thread may call this.

        Raises:
            OSError: The disk failed.
        """
        with self._disk:
            self.log.flush()
            return self.log.reached

    # --- the thread ---

    def _run(self) -> None:
        while True:
            with self._state:
                ready = self._state.wait_for(
                    lambda: self._due or self._closing, BOUNDS.interval if self._dirty else None
                )
                if not ready:
                    self._sync()
                    continue
                bodies, self._bodies, self._due = self._bodies, [], False
                first, closing = self._settled, self._closing
            error = self._written(bodies) if bodies else None
            with self._state:
                self._settled += len(bodies)
                if error is not None:
                    self._losses.append((range(first, self._settled), error))
                self._tell(first, error)
                self._state.notify_all()
                if closing and not self._bodies:
                    return
            del bodies  # they are not held on to while nothing comes

    def _written(self, bodies: list[bytes]) -> PluginError | None:
        try:
            with self._disk:
                self.log.extend(bodies)
                self.wrote = self._clock()
        except PluginError as error:
            return error
        except BaseException as error:  # noqa: BLE001 - whoever waits must be told, and the thread must not end
            return self._failed(error)
        self._dirty = not self.log.sync
        self._tidy()
        return None

    def _tidy(self) -> None:
        """Compress files that were closed, beside whoever writes."""
        closed, self.log.closed = self.log.closed, []
        for path in closed:
            self._packer.pack(path)

    def _sync(self) -> None:
        self._dirty = False
        try:
            with self._disk:
                self.log.flush()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            self.error = PluginError(f"cannot bring audit log {str(self.log.path)!r} to the disk: {reason}")

    def _tell(self, first: int, error: PluginError | None) -> None:
        """Tell those who wait for what is settled now; an error that nobody waited for is kept."""
        told = False
        waiting: list[_Waiter] = []
        ready: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
        for waiter in self._waiters:
            if waiter.upto > self._settled:
                waiting.append(waiter)
                continue
            lost = self._lost(waiter.after, waiter.upto)
            told = told or lost is not None
            ready.setdefault(waiter.loop, []).append((waiter.future, lost))
        for loop, outcomes in ready.items():
            _call(loop, outcomes)
        self._waiters = waiting
        if error is not None and not told and not any(waiter.after <= first for waiter in waiting):
            self.error = error

    def _lost(self, after: int, upto: int) -> PluginError | None:
        """Return why one of the events after one number, up to another, was lost."""
        return next((error for lost, error in self._losses if lost.start < upto and lost.stop > after), None)

    def _close(self) -> None:
        with self._state:
            self._closing = True
            self._state.notify_all()
        self._thread.join()
        self._packer.close()
        self.log.close()


def _call(loop: asyncio.AbstractEventLoop, outcomes: Sequence[_Outcome]) -> None:
    """Tell those who wait in one event loop, at once: to wake it costs more. One that was closed waits for nothing."""

    def tell() -> None:
        for future, error in outcomes:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    call: Callable[..., object] = loop.call_soon_threadsafe
    with suppress(RuntimeError):
        call(tell)
