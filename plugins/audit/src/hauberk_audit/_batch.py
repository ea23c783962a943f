"""Events that wait a moment for company, so that many are rendered and written at once.

Only where nobody waits for the record: a sink that is required writes each event before it returns.
"""

from __future__ import annotations

import asyncio
from typing import Final, final

from hauberk.event import Event
from hauberk.refusals import PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import render
from hauberk_audit._log import Log


@final
class Batch:
    """What waits for one log."""

    __slots__ = ("_error", "_events", "_log", "_timer")

    def __init__(self, log: Log) -> None:
        self._log: Final = log
        self._events: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None
        self._error: PluginError | None = None

    def add(self, event: Event) -> None:
        """Take an event; it is written within `BOUNDS.linger`.

        Raises:
            PluginError: Those before it could not be written, and are lost.
        """
        events = self._events
        events.append(event)
        if len(events) >= BOUNDS.batch:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BOUNDS.linger, self._flush)
        if self._error is not None:
            self._raise()

    def close(self) -> None:
        """Write what waits.

        Raises:
            PluginError: It could not be written.
        """
        self._flush()
        self._raise()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._events = self._events, []
        try:
            self._log.extend([render(event) for event in events])
        except PluginError as error:
            self._error = error

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
