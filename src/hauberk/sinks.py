"""Where events go: to each plugin with ``on_audit``.

A sink marked ``required`` is awaited before a message that carries a decision goes on; what it cannot record does not
pass. The others are behind a bounded queue each, and never hold up a message. A sink that fails is reported to the
other sinks and to standard error, once until it works again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from hauberk.bounds import Bounds
from hauberk.chains import Step
from hauberk.event import Event
from hauberk.refusals import FAILED_HOOK, Refused

logger = logging.getLogger("hauberk")


class Sink:
    """One plugin's ``on_audit``, and what waits for it."""

    __slots__ = ("both", "call", "failing", "is_async", "lost", "name", "queue", "required", "task")

    def __init__(self, step: Step, required: Any) -> None:
        self.name: Final = step.plugin
        self.call: Final = step.call
        self.is_async: Final = step.is_async
        self.required: Final = bool(required)
        self.both: Final = required == "both"
        """Whether a result's record is awaited too."""
        self.queue: deque[Event] = deque()
        self.lost = 0
        self.failing = False
        self.task: asyncio.Task[None] | None = None


class Recorder:
    """The sinks of one guard."""

    def __init__(self, sinks: Iterable[Sink], bounds: Bounds, complete: Callable[[Event], Event]) -> None:
        self._sinks: Final = tuple(sinks)
        self._bounds: Final = bounds
        self._complete: Final = complete
        self._required: Final = tuple(sink for sink in self._sinks if sink.required)
        self._draining = False
        self.waits: Final = any(sink.is_async for sink in self._required)
        """Whether a decision may have to wait for a sink."""
        self.both: Final = any(sink.both for sink in self._sinks)

    def __bool__(self) -> bool:
        return bool(self._sinks)

    def note(self, events: Sequence[Event]) -> None:
        """Queue events for every sink; nothing waits and nothing is refused."""
        for sink in self._sinks:
            self._queue(sink, events)

    def barrier(self, events: Sequence[Event], *, results: bool = False) -> Awaitable[None] | None:
        """Record events before a message goes on; return what is to be awaited, if anything is.

        Raises:
            Refused: ``core.unrecorded``: a required sink cannot record.
        """
        waiting: list[Sink] = []
        for sink in self._sinks:
            if not sink.required or (results and not sink.both):
                self._queue(sink, events)
            elif sink.is_async:
                waiting.append(sink)
            else:
                self._record_plain(sink, events)
        return self._record_all(waiting, events) if waiting else None

    def _record_plain(self, sink: Sink, events: Sequence[Event]) -> None:
        self._drain(sink)
        for event in events:
            try:
                sink.call(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - it refuses
                self._failed(sink, error)
                raise unrecorded(sink.name) from None
        sink.failing = False

    async def _record_all(self, sinks: Sequence[Sink], events: Sequence[Event]) -> None:
        tasks = [asyncio.ensure_future(self._record_one(sink, events)) for sink in sinks]
        try:
            _, late = await asyncio.wait(tasks, timeout=self._bounds.sink_deadline)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        for task in late:
            task.cancel()
        for sink, task in zip(sinks, tasks, strict=True):
            if task in late or task.cancelled():
                self._failed(sink, TimeoutError())
                raise unrecorded(sink.name)
            if (error := task.exception()) is not None:
                self._failed(sink, error)
                raise unrecorded(sink.name)
            sink.failing = False

    async def _record_one(self, sink: Sink, events: Sequence[Event]) -> None:
        for event in events:
            await sink.call(event)

    def _queue(self, sink: Sink, events: Sequence[Event]) -> None:
        for event in events:
            if len(sink.queue) >= self._bounds.events:
                sink.lost += 1
            else:
                sink.queue.append(event)
        if sink.is_async:
            if sink.task is None or sink.task.done():
                sink.task = asyncio.get_running_loop().create_task(self._work(sink))
        elif not self._draining:
            self._draining = True
            asyncio.get_running_loop().call_soon(self._drain_all)

    def _drain_all(self) -> None:
        self._draining = False
        for sink in self._sinks:
            if not sink.is_async:
                self._drain(sink)

    def _drain(self, sink: Sink) -> None:
        while sink.queue:
            event = sink.queue.popleft()
            try:
                sink.call(event)
                sink.failing = False
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - it is reported; this sink is not required
                self._failed(sink, error)
        self._report_lost(sink)

    async def _work(self, sink: Sink) -> None:
        while sink.queue:
            event = sink.queue.popleft()
            try:
                async with asyncio.timeout(self._bounds.sink_deadline):
                    await sink.call(event)
                sink.failing = False
            except asyncio.CancelledError:
                sink.queue.appendleft(event)
                raise
            except BaseException as error:  # noqa: BLE001 - it is reported; this sink is not required
                self._failed(sink, error)
        self._report_lost(sink)

    def _report_lost(self, sink: Sink) -> None:
        if sink.lost:
            lost, sink.lost = sink.lost, 0
            logger.warning("sink %r was too slow and lost %d events", sink.name, lost)
            self._tell_others(sink, Event(code="core.events_lost", severity="critical", count=lost, plugin=sink.name))

    def _failed(self, sink: Sink, error: BaseException) -> None:
        if sink.failing:
            return
        sink.failing = True
        logger.error("sink %r failed (%s)", sink.name, type(error).__name__)
        self._tell_others(
            sink,
            Event(
                code="core.sink_failed",
                category="system",
                severity="critical",
                plugin=sink.name,
                details={"error": type(error).__name__},
            ),
        )

    def _tell_others(self, sink: Sink, event: Event) -> None:
        complete = (self._complete(event),)
        for other in self._sinks:
            if other is not sink:
                self._queue(other, complete)

    async def close(self) -> None:
        """Record what waits, then stop."""
        for sink in self._sinks:
            if not sink.is_async:
                self._drain(sink)
            elif sink.task is not None and not sink.task.done():
                await asyncio.wait([sink.task], timeout=self._bounds.sink_deadline)
                sink.task.cancel()


def unrecorded(sink: str) -> Refused:
    """Return the refusal of what could not be recorded."""
    return Refused(
        "core.unrecorded",
        "the decision could not be recorded",
        plugin=sink,
        jsonrpc=FAILED_HOOK,
        hint=f"see why the sink {sink!r} cannot write (disk, permission), then try again",
    )
