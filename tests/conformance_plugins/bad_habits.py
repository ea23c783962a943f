"""A plugin that is well-mannered with one peer, and bad over time."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import Any

import hauberk

STARTED = time.time()


class BadHabits:
    """A plugin that remembers every peer, has its own clock, and will not be stopped."""

    name = "bad_habits"
    layer = hauberk.Layer.POLICY
    Options = hauberk.Options

    def __init__(self, options: hauberk.Options, guard: Any) -> None:
        self.seen: dict[str, float] = {}

    @hauberk.hookimpl
    async def on_tool_call(self, call: hauberk.ToolCall, connection: hauberk.Connection) -> None:
        """Remember who called and when, for ever; go on when cancelled."""
        self.seen[call.principal.id] = dt.datetime.now(dt.UTC).timestamp()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return
        call.exchange.defer(self.done)

    def done(self, outcome: str) -> None:
        """Fail when a request ends in a way that was not thought of."""
        time.localtime()
        {"answered": None, "error": None}[outcome]
