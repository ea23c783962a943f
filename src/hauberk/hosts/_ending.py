"""Clean-up that is done to its end, whatever cancels whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import anyio

PATIENCE: Final = 10.0
"""Seconds that a clean-up may still take once its caller was cancelled."""


async def to_the_end(ending: Coroutine[Any, Any, Any]) -> None:
    """Run a clean-up in a task of its own and wait for it; a cancellation is raised again when it is done.

    Raises:
        asyncio.CancelledError: The caller was cancelled meanwhile.
    """
    task = asyncio.get_running_loop().create_task(ending)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        # Once cancelled, a scope would cancel each further wait anew.
        with anyio.CancelScope(shield=cancelled is not None):
            try:
                await asyncio.wait([task], timeout=PATIENCE if cancelled is not None else None)
            except asyncio.CancelledError as error:
                cancelled = error
            else:
                task.cancel()  # over, or out of patience
    if cancelled is not None:
        raise cancelled
    task.result()
