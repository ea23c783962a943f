"""A host on its ordinary walk: it opens, lists all there is, uses it, lists again, and uses a tool once more.

It is the same walk for each attack, in process and through a pipe, guarded and not; errors do not end it. What reached
the host is taken before any client makes something of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Final

from mcp import Client
from tests.attacks.matrix import Row, Seen
from tests.sdk.kit import client, within

from hauberk.testing import Era, HostileServer

MODES: Final = {"2025-11-25": "legacy", "2026-07-28": "auto"}
PAGES: Final = 150
"""So many pages of a list a host takes."""
ROUNDS: Final = 6
"""So often a host answers a call that wants more input."""
ARGUMENTS: Final = {"path": "a" * 32, "filter": {"by": "day"}}


def calls(row: Row) -> list[str]:
    """Return the tools that the host's model calls: the honest ones, and the one that it was talked into."""
    return list(dict.fromkeys(["read_note", "list_notes", row.evil or "list_notes"]))


# --- in process ---


class Tap:
    """A transport that writes down what reaches the host."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.heard: list[str] = []

    async def __aenter__(self) -> Any:
        read, write = await self._inner.__aenter__()
        return _Tapped(read, self.heard), write

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        closed: bool | None = await self._inner.__aexit__(kind, error, trace)
        return closed


class _Tapped:
    def __init__(self, inner: Any, heard: list[str]) -> None:
        self._inner = inner
        self._heard = heard

    async def receive(self) -> Any:
        item = await self._inner.receive()
        self._heard.append(text_of(item))
        return item

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        item = await self._inner.__anext__()
        self._heard.append(text_of(item))
        return item

    async def __aenter__(self) -> Any:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *how: object) -> Any:
        return await self._inner.__aexit__(*how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def text_of(item: Any) -> str:
    """Return as JSON what reached the host on the SDK's stream."""
    if isinstance(item, Exception):
        return str(item)
    plain = item.message.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


async def in_process(row: Row, server: HostileServer, where: Any, era: Era) -> Seen:
    """Let the SDK's client walk."""
    tap = Tap(where)
    try:
        async with client(tap, MODES[era], input_required_max_rounds=ROUNDS) as connected:
            await _walk(row, connected)
    except* OSError:
        raise
    except* Exception as errors:  # noqa: BLE001 - a host that cannot open gives up
        tap.heard.append(f"gave up: {errors.exceptions!r}")
    return Seen("\n".join(tap.heard), tuple(call["name"] for call in server.called()))


async def _walk(row: Row, connected: Client) -> None:
    for again in (False, True):
        await _all_pages(connected.list_tools)
        if not again:
            await _all_pages(connected.list_prompts)
            await _all_pages(connected.list_resources)
            await _all_pages(connected.list_resource_templates)
        for name in calls(row):
            await _try(connected.call_tool(name, ARGUMENTS, progress_callback=_progress))
        if not again:
            await _try(connected.get_prompt("welcome"))
            await _try(connected.read_resource("note://1"))
    for _ in range(20):
        await asyncio.sleep(0)


async def _progress(progress: float, total: float | None, message: str | None) -> None:
    pass


async def _all_pages(listing: Any) -> None:
    cursor = None
    for _ in range(PAGES):
        page = await _try(listing(cursor=cursor))
        cursor = getattr(page, "next_cursor", None)
        if cursor is None:
            return


async def _try(asked: Awaitable[Any]) -> Any:
    try:
        return await within(asked)
    except Exception as error:  # noqa: BLE001 - the host goes on, whatever it is told
        return error
