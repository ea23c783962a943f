"""Where events go: to each plugin with ``on_audit``.

A sink marked ``required`` is awaited before a message that carries a decision goes on; what it cannot record does not
pass. A plain one that only takes events, and records them elsewhere, has ``settled()``: it returns None where all that
it was given is recorded, else what is to be awaited; that raises where something is not.

The others are behind a bounded queue each, and never hold up a message. A sink that fails is reported to the other
sinks and to standard error, once until it works again; so is one that is so slow that events are lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from hauberk import pipeline
from hauberk.bounds import Bounds
from hauberk.chains import Step
from hauberk.event import Event
from hauberk.refusals import FAILED_HOOK, HookError, Refused

logger = logging.getLogger("hauberk")
Settled = Callable[[], Awaitable[object] | None]


class Sink:
    """One plugin's ``on_audit``, and what waits for it."""

    __slots__ = (
        "both",
        "call",
        "failing",
        "is_async",
        "lost",
        "name",
        "queue",
        "quick",
        "required",
        "settled",
        "step",
        "task",
    )

    def __init__(self, step: Step, required: Any, *, quick: bool = False, settled: Settled | None = None) -> None:
        self.step: Final = step
        self.name: Final = step.plugin
        self.call: Final = step.call
        self.is_async: Final = step.is_async
        self.required: Final = bool(required)
        self.both: Final = required == "both"
        """Whether a result's record is awaited too."""
        self.quick: Final = quick and not (self.is_async or self.required)
        """Whether it only puts events aside for a while, so that it is called at once: a queue and a turn of the event
        loop would cost more than it does."""
        self.settled: Final = settled if self.required and not self.is_async else None
        self.queue: deque[Event] = deque()
        self.lost = 0
        self.failing = False
        self.task: asyncio.Task[None] | None = None

    def record(self, event: Event) -> None:
        """Give a plain sink one event.

        Raises:
            Refused: It could not be recorded.
            HookError: The sink answered, which a sink does not.
        """
        answer = self.call(event)
        if answer is not None:
            raise pipeline.nonsense(self.step, answer)

    async def record_async(self, event: Event) -> None:
        """Give an async sink one event, as `record`; whatever it raises comes out as one of these two."""
        answer = await pipeline.answered(self.step, event)
        if answer is not None:
            raise pipeline.nonsense(self.step, answer)


class _Parts(NamedTuple):
    """What becomes of an event that has to be recorded, by sink."""

    plain: tuple[Sink, ...]
    """Called at once."""
    waiting: tuple[Sink, ...]
    """Awaited."""
    settling: tuple[Sink, ...]
    """Those called at once that are awaited then."""
    others: tuple[Sink, ...]
    """They hold up nothing."""

    @classmethod
    def of(cls, sinks: Sequence[Sink], *, results: bool) -> _Parts:
        needed = [sink for sink in sinks if sink.required and (sink.both or not results)]
        plain = [sink for sink in needed if not sink.is_async]
        return cls(
            tuple(plain),
            tuple(sink for sink in needed if sink.is_async),
            tuple(sink for sink in plain if sink.settled is not None),
            tuple(sink for sink in sinks if sink not in needed),
        )


class Recorder:
    """The sinks of one guard."""

    def __init__(
        self,
        sinks: Iterable[Sink],
        bounds: Bounds,
        complete: Callable[[Event], Event],
        clock: Callable[[], float],
    ) -> None:
        self._sinks: Final = tuple(sinks)
        self._decisions: Final = _Parts.of(self._sinks, results=False)
        self._results: Final = _Parts.of(self._sinks, results=True)
        self._bounds: Final = bounds
        self._complete: Final = complete
        self._clock: Final = clock
        self._draining = False
        self.waits: Final = any(sink.is_async or sink.settled for sink in self._sinks if sink.required)
        """Whether a decision may have to wait for a sink."""
        self.required: Final = any(sink.required for sink in self._sinks)
        """Whether a decision has to be recorded before its message goes on."""
        self.both: Final = any(sink.both for sink in self._sinks)
        self.used: Final = bool(self._sinks)
        """Whether anybody records at all."""

    def __bool__(self) -> bool:
        return bool(self._sinks)

    def note(self, events: Sequence[Event], to: Sequence[Sink] | None = None) -> None:
        """Queue events for every sink, or for some; nothing waits and nothing is refused."""
        for sink in self._sinks if to is None else to:
            if not sink.quick:
                self._queue(sink, events)
                continue
            for event in events:
                try:
                    answer = sink.call(event)
                except BaseException as error:  # noqa: BLE001 - it is reported; no message waits for it
                    self._failed_aside(sink, error)
                    continue
                if answer is not None:
                    self._failed_aside(sink, pipeline.nonsense(sink.step, answer))
                elif sink.failing:
                    sink.failing = False

    def barrier(self, events: Sequence[Event], *, results: bool = False) -> Awaitable[None] | None:
        """Record events before a message goes on; return what is to be awaited, if anything is.

        Raises:
            Refused: ``core.unrecorded``: a required sink cannot record.
        """
        if not self.required:
            self.note(events)
            return None
        plain, waiting, settling, others = self._results if results else self._decisions
        if others:
            Recorder.note(self, events, others)
        refused = self._record_plain(plain, events) if plain else None
        if refused is not None:
            Recorder.note(self, events, waiting)
            raise refused
        if waiting or len(settling) > 1:
            return self._record_all(waiting, settling, events)
        return self._settled(settling[0]) if settling else None

    def _settled(self, sink: Sink) -> Awaitable[None] | None:
        """Return what is to be awaited for a sink that was given events, if anything is."""
        refused: Refused | None = None
        settling: Awaitable[object] | None = None
        try:
            settling = sink.settled() if sink.settled is not None else None
        except BaseException as error:  # noqa: BLE001 - it refuses
            refused = self._unrecorded(sink, error)
        if refused is not None:
            raise refused
        return None if settling is None else self._settle(sink, settling)

    async def _settle(self, sink: Sink, settling: Awaitable[object]) -> None:
        error = await _settled_in(settling, self._bounds.sink_deadline)
        if error is not None:
            raise self._unrecorded(sink, error)
        sink.failing = False

    def _record_plain(self, sinks: Sequence[Sink], events: Sequence[Event]) -> Refused | None:
        """Record in every plain sink, whatever the others do; return the first refusal."""
        until = self._clock() + self._bounds.sink_deadline
        refused: Refused | None = None
        for sink in sinks:
            if sink.queue or sink.lost:
                self._drain(sink)
            try:
                for event in events:
                    answer = sink.call(event)
                    if answer is not None:
                        raise pipeline.nonsense(sink.step, answer)  # noqa: TRY301 - as `Sink.record`, in a frame less
            except BaseException as error:  # noqa: BLE001 - it refuses
                refused = refused or self._unrecorded(sink, error)
            else:
                sink.failing = sink.failing and sink.settled is not None
                if self._clock() > until:
                    refused = refused or self._unrecorded(sink, TimeoutError())
        return refused

    async def _record_all(self, waiting: Sequence[Sink], settling: Sequence[Sink], events: Sequence[Event]) -> None:
        sinks = [*waiting, *settling]
        tasks = [asyncio.ensure_future(_record_one(sink, events)) for sink in waiting]
        tasks += [asyncio.ensure_future(_settle_one(sink)) for sink in settling]
        try:
            _, late = await asyncio.wait(tasks, timeout=self._bounds.sink_deadline)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        for task in late:
            task.cancel()
        refused: Refused | None = None
        for sink, task in zip(sinks, tasks, strict=True):
            error = TimeoutError() if task in late or task.cancelled() else task.result()
            if error is None:
                sink.failing = False
            else:
                refused = refused or self._unrecorded(sink, error)
        if refused is not None:
            raise refused

    def _unrecorded(self, sink: Sink, error: BaseException) -> Refused:
        """Report a required sink, and return the refusal of what it could not record."""
        self._failed(sink, error)
        refused = unrecorded(sink.name)
        refused.__cause__ = error if isinstance(error, KeyboardInterrupt) else error.__cause__
        return refused

    # --- the queues ---

    def _queue(self, sink: Sink, events: Sequence[Event]) -> None:
        room = self._bounds.events - len(sink.queue)
        sink.queue.extend(events[: max(room, 0)])
        if sink.is_async:
            if sink.task is None or sink.task.done():
                sink.task = asyncio.get_running_loop().create_task(self._work(sink))
        elif not self._draining:
            self._draining = True
            asyncio.get_running_loop().call_soon(self._drain_all)
        if room < len(events):
            self._lose(sink, len(events) - max(room, 0))

    def _drain_all(self) -> None:
        self._draining = False
        for sink in self._sinks:
            if not sink.is_async:
                self._drain(sink)

    def _drain(self, sink: Sink) -> None:
        while sink.queue:
            event = sink.queue.popleft()
            try:
                sink.record(event)
                sink.failing = False
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - it is reported; no message waits for it
                self._failed(sink, error)
        self._report_lost(sink)

    async def _work(self, sink: Sink) -> None:
        while sink.queue:
            event = sink.queue.popleft()
            try:
                async with asyncio.timeout(self._bounds.sink_deadline):
                    await sink.record_async(event)
                sink.failing = False
            except asyncio.CancelledError:
                sink.queue.appendleft(event)
                raise
            except (Refused, HookError, TimeoutError) as error:
                self._failed(sink, error)
                if isinstance(error.__cause__, KeyboardInterrupt):
                    raise KeyboardInterrupt from None
        self._report_lost(sink)

    # --- what is said of a sink ---

    def _lose(self, sink: Sink, count: int) -> None:
        """Count what a full queue does not take; that it happens is reported at once, the sum when the sink is done."""
        sink.lost += count
        if sink.lost == count:
            self._report(sink, "core.events_lost", "was too slow and loses events", count=count)

    def _report_lost(self, sink: Sink) -> None:
        if sink.lost:
            lost, sink.lost = sink.lost, 0
            self._report(sink, "core.events_lost", f"was too slow and lost {lost} events", count=lost)

    def _failed(self, sink: Sink, error: BaseException) -> None:
        if not sink.failing:
            sink.failing = True
            kind = type(error.__cause__ or error).__name__
            self._report(sink, "core.sink_failed", f"failed ({kind})", error=kind)

    def _failed_aside(self, sink: Sink, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise error
        self._failed(sink, error)

    def _report(self, sink: Sink, code: str, text: str, *, count: int = 1, **details: str) -> None:
        """Tell the other sinks and standard error about a sink."""
        logger.error("sink %r %s", sink.name, text)
        event = Event(
            code=code, category="system", severity="critical", plugin=sink.name, count=count, details=dict(details)
        )
        Recorder.note(self, (self._complete(event),), [other for other in self._sinks if other is not sink])

    async def close(self) -> None:
        """Record what waits, for as long as a sink may take for one decision; what is left is reported as lost."""
        for _ in range(2):  # what one sink has to say of another comes second
            working = [sink.task for sink in self._sinks if sink.task is not None and not sink.task.done()]
            if working:
                await asyncio.wait(working, timeout=self._bounds.sink_deadline)
            self._drain_all()
        for sink in self._sinks:
            if sink.task is not None and not sink.task.done():
                sink.task.cancel()
                await asyncio.wait([sink.task], timeout=self._bounds.sink_deadline)
            if sink.queue:
                logger.error("sink %r was too slow and lost %d events at the end", sink.name, len(sink.queue))
                sink.queue.clear()


async def _record_one(sink: Sink, events: Sequence[Event]) -> BaseException | None:
    try:
        for event in events:
            await sink.record_async(event)
    except (Refused, HookError) as error:
        return error
    return None


async def _settle_one(sink: Sink) -> BaseException | None:
    try:
        settling = sink.settled() if sink.settled is not None else None
    except Exception as error:  # noqa: BLE001 - the caller refuses
        return error
    return None if settling is None else await _settled_in(settling, None)


async def _settled_in(settling: Awaitable[object], seconds: float | None) -> BaseException | None:
    """Return why a sink has not recorded what it was given, if it has not."""
    try:
        async with asyncio.timeout(seconds):
            await settling
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return error
    except BaseException as error:  # noqa: BLE001 - the caller refuses
        return error
    return None


def unrecorded(sink: str) -> Refused:
    """Return the refusal of what could not be recorded."""
    return Refused(
        "core.unrecorded",
        "the decision could not be recorded",
        plugin=sink,
        jsonrpc=FAILED_HOOK,
        hint=f"see why the sink {sink!r} cannot write (disk, permission), then try again",
    )
