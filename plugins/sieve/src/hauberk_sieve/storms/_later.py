"""Telling the client what was held: a word of the guard's own, after what came before it.

What a guard says itself meets no hooks but those of the frame. What is told here met them when it came: nothing in it
is new.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.refusals import HauberkError


class Teller:
    """The words that wait for their turn."""

    def __init__(self, guard: Any) -> None:
        """Say for whom.

        Args:
            guard: As a plugin sees it.
        """
        self._guard: Final = guard
        self._running: Final[set[asyncio.Task[None]]] = set()

    def tell(self, connection: Connection, news: list[dict[str, Any]]) -> None:
        """Write notifications to the client of a connection, if it is still there.

        Args:
            connection: Whose client is told.
            news: The notifications, as they came.
        """
        sessions = getattr(self._guard, "guard", self._guard).sessions
        session = next((one for one in sessions if one.connection is connection), None)
        if session is not None and not session.closed:
            task = asyncio.get_running_loop().create_task(self._tell(session, news))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Tell nothing any longer."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            _ = await asyncio.wait(tasks)

    async def _tell(self, session: Any, news: list[dict[str, Any]]) -> None:
        way = session.out if session.out.sender == "server" else session.inn
        try:
            if way.tail is not None:
                await asyncio.shield(way.tail)
            for word in news:
                if not session.closed and (waiting := session.emit(session.guard.policy, way.target, word)) is not None:
                    await waiting
        except HauberkError as error:  # sealing it was refused
            self._guard.emit(_untold(session.connection.server, getattr(error, "code", type(error).__name__)))


def _untold(server: str, why: str) -> Event:
    return Event(code="sieve.untold", severity="warning", server=server, plugin="sieve", details={"why": why})
