"""The guard's own lists: what a server shows now, asked for before something is used that may have changed.

One list of a kind is under way on a connection, however many calls wait for it, and the core lets the guard ask a
server for one list of a kind a second (`hauberk.asking`). A resource may be listed itself, or be of a template: both
lists are asked for at once. The answers pass the chains like all others, so they are judged there;
here nothing is read but the cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from hauberk.connection import Connection
from hauberk.refusals import Refused
from hauberk_pins._limits import LIMITS

_PROTOCOL: Final = "io.modelcontextprotocol/"
_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    "tool": ("tools/list",),
    "prompt": ("prompts/list",),
    "resource": ("resources/list", "resources/templates/list"),
    "template": ("resources/templates/list",),
}


class Relister:
    """The lists that one guard asks for."""

    def __init__(self, guard: Any) -> None:
        self._guard: Final = guard
        self._under_way: Final[dict[tuple[str, str], asyncio.Task[None]]] = {}

    async def list(self, connection: Connection, kind: str, params: Mapping[str, Any], seconds: float) -> None:
        """Ask for all pages of a kind, and wait until they are there or the time is over.

        Args:
            connection: Whose server is asked.
            kind: What is asked for.
            params: Of the request that waits; the protocol's own ``_meta`` is taken from it.
            seconds: How long to wait; the lists go on after it.
        """
        session = next((one for one in self._guard.sessions if one.connection is connection), None)
        if session is None or connection.role != "client":
            return  # in front of a server the peer is the client, and has no lists
        key = (connection.id, kind)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(_all(session, _OF_KIND[kind], _meta(params)))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        _ = await asyncio.wait([task], timeout=seconds)

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            _ = await asyncio.wait(tasks)


async def _all(session: Any, methods: tuple[str, ...], meta: dict[str, Any]) -> None:
    await asyncio.gather(*(_pages(session, method, meta) for method in methods))


async def _pages(session: Any, method: str, meta: dict[str, Any]) -> None:
    params = dict(meta)
    with suppress(Refused, TimeoutError):  # then there is no list, and what waits for it is refused
        for _ in range(LIMITS.pages):
            result = await session.request(method, params or None, seconds=LIMITS.list_seconds)
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str):
                return
            params = {**meta, "cursor": cursor}


def _meta(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what revision 2026-07-28 wants in each request, as the host says it."""
    meta = params.get("_meta")
    kept = {key: value for key, value in meta.items() if key.startswith(_PROTOCOL)} if isinstance(meta, dict) else {}
    return {"_meta": kept} if kept else {}
