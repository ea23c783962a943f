"""What comes from the wire and is about nothing that was asked: some of it is recorded one by one, the rest counted.

A peer that sends noise would else fill the log, and keep the guard busy writing it: a line of two bytes is an event of
hundreds. What was counted is one event a second, and one when the session ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from hauberk.event import Event

APART: Final = 1.0
"""Seconds between two records of what was counted."""
BURST: Final = 64
"""Events of one kind that are recorded one by one in that time."""
KINDS: Final = 32
"""Kinds that are told apart: code and plugin. A plugin may name any number of codes; further ones are one kind."""
_REST: Final = ("", "")


class _Kind:
    __slots__ = ("counted", "last", "one_by_one")

    def __init__(self) -> None:
        self.one_by_one = 0
        self.counted = 0
        self.last: Event | None = None


class Floods:
    """The counts of one session."""

    def __init__(self, record: Callable[[Event], None]) -> None:
        self._record: Final = record
        self._kinds: Final[dict[tuple[str, str], _Kind]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def counts(self, event: Event) -> bool:
        """Whether there were so many such events within a second that this one is counted, and not to be recorded."""
        name = (event.code, event.plugin)
        if name not in self._kinds and len(self._kinds) >= KINDS:
            name = _REST
        kind = self._kinds.setdefault(name, _Kind())
        if kind.one_by_one < BURST:
            kind.one_by_one += 1
            self._arm()
            return False
        kind.counted += 1
        kind.last = event
        return True

    def tell(self) -> None:
        """Record what was counted, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kinds = list(self._kinds.values())
        self._kinds.clear()
        for kind in kinds:
            if kind.last is not None:
                self._record(replace(kind.last, count=kind.counted))

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(APART, self.tell)
