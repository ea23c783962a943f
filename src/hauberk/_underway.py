"""Messages that wait in a session: which task each of them is, and whom an answer among them is for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hauberk.crossing import Crossing
    from hauberk.exchange import Exchange
    from hauberk.ways import Way


class Underway:
    """Those of one session."""

    def __init__(self) -> None:
        self._tasks: Final[dict[asyncio.Future[Any], Crossing | None]] = {}
        """Each with its message; None is a write that goes on."""

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: asyncio.Future[Any], crossing: Crossing | None = None) -> None:
        """Take one that has begun to wait."""
        self._tasks[task] = crossing

    def discard(self, task: asyncio.Future[Any]) -> None:
        """Let one go that waits no longer."""
        self._tasks.pop(task, None)

    def keep(self, waiting: Awaitable[None] | None) -> None:
        """See to it that a write which could not be done at once is done."""
        if waiting is not None:
            task = asyncio.ensure_future(waiting)
            self.add(task)
            task.add_done_callback(self.discard)

    def answered(self, way: Way) -> list[Exchange]:
        """Return the requests of one way whose answer has come and waits: they are in flight no more, nor ended."""
        return [
            one.exchange
            for one in self._tasks.values()
            if one is not None
            and one.way is way.opposite
            and one.kind in ("result", "error")
            and one.exchange is not None
            and one.exchange.outcome is None
        ]

    async def passed(self, way: Way, seconds: float) -> None:
        """Wait until none waits that travels one way, or until none of them has gone on for so long."""
        while mine := [task for task, one in self._tasks.items() if one is not None and one.way is way]:
            done, _ = await asyncio.wait(mine, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return

    async def quiet(self) -> None:
        """Wait until none waits."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self, seconds: float) -> None:
        """Cancel all, and wait for that, but no longer than so long."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
