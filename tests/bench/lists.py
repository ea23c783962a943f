"""A long list of tools, and its way through the plugins of a guard."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from hauberk.contents import Content
from hauberk.message import Message
from hauberk.pipeline import walk
from hauberk.testing import Rig

TOOLS: Final = 10_000


def answer() -> dict[str, Any]:
    """Return the answer to ``tools/list`` that has them all."""
    return {"jsonrpc": "2.0", "id": 1, "result": {"tools": [_tool(number) for number in range(TOOLS)]}}


def passing(rig: Rig, data: Any) -> Callable[[], Any]:
    """Return a function that takes a list through the plugins, as if it had just come."""
    encoded, latest = orjson.dumps(data), rig.session.lists.latest
    chain, clock = rig.guard.policy.chains.route("tools/list", "client").inward, time.monotonic

    def through() -> Any:
        content = Content(encoded, data, "tools/list", latest)
        message = Message("result", "client", "tools/list", data, 1, len(encoded), content=content)
        return walk(chain, message, rig.connection, clock() + 3600, clock)

    return through


def _tool(number: int) -> dict[str, Any]:
    return {
        "name": f"{('read', 'write')[number % 2]}_thing_{number}",
        "description": "Reads or writes one thing of many, and says what became of it.",
        "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
