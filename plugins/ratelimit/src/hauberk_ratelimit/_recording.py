"""What an operator does is recorded by the sinks of his configuration, as what a process of the host does would be."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from hauberk.config import Config
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.opening import Opened

CREDITED: Final = "ratelimit.credited"


@asynccontextmanager
async def recording(settings: Config) -> AsyncIterator[Callable[[Event], Awaitable[None]]]:
    """Open what records; yield what records one event, before it returns where a record is required.

    Raises:
        ConfigError: The operator must change something.
        PluginError: One of them cannot open, so nothing is to be done that has to be on record.
    """
    guard = Guard.load(settings)
    sinks = {name: one for name, one in guard.loaded.items() if any(step.hook == "on_audit" for step in one.steps)}
    opened = await Opened.all_of(sinks)

    async def record(event: Event) -> None:
        if (waiting := guard.recorder.barrier([guard.complete(event)])) is not None:
            await waiting

    try:
        yield record
        await guard.recorder.close()
    finally:
        await opened.close()


def credited(**details: Any) -> Event:
    """Return the event of credits that an operator has added to a balance."""
    who = {key: value for key, value in details.items() if value is not None}
    return Event(code=CREDITED, category="system", plugin="ratelimit", details={**who, "by": f"uid:{os.getuid()}"})
