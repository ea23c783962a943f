"""Dispatch of plain hooks against a direct loop over the same functions."""

from __future__ import annotations

import time
from typing import Any

from tests.bench.measure import Row, micros, ratio, rounds
from tests.bench.samples import call

from hauberk.chains import Chain, Step
from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.layers import Layer
from hauberk.message import Message, ToolCall
from hauberk.pipeline import judge, walk
from hauberk.principal import ANONYMOUS


class Plain:
    """A plugin that looks and has nothing to say."""

    def on_send(self, message: Message, connection: Connection) -> None:
        """Look."""

    def on_tool_call(self, call: ToolCall, connection: Connection) -> None:
        """Look."""


def run() -> list[Row]:
    """Measure 0, 1, 5 and 10 hooks, over messages and over calls."""
    connection = Connection(id="bench", host="bench", server="bench", role="client")
    message = Message(kind="request", toward="server", method="tools/call", data=call({"a": 1}), id=1)
    tool_call = ToolCall(message, Exchange(1, 1, "tools/call", ANONYMOUS, 0.0, 1), "bench")
    rows = []
    for count in (0, 1, 5, 10):
        plugins = [Plain() for _ in range(count)]
        for hook, item in (("on_send", message), ("on_tool_call", tool_call)):
            calls = tuple(getattr(plugin, hook) for plugin in plugins)
            chain = Chain(Step("bench", hook, Layer.POLICY, one) for one in calls)  # type: ignore[arg-type]
            times = rounds(
                {"loop": _loop(calls, item, connection), "chain": _chain(hook, chain, item, connection)},
                repeat=31,
                count=4000,
            )
            bars: dict[str, Any] = {"bar": 1.6, "aim": 1.4} if count >= 5 else {}
            what = f"{count} hooks, {hook} ({micros(times, 'chain'):.2f} µs)"
            rows.append(Row("dispatch / direct loop", what, ratio(times, "chain", "loop"), **bars))
    return rows


def _loop(calls: tuple[Any, ...], item: Any, connection: Connection) -> Any:
    def loop() -> Any:
        result = item
        for one in calls:
            answer = one(item, connection)
            if answer is not None:
                result = answer
        return result

    return loop


def _chain(hook: str, chain: Chain, item: Any, connection: Connection) -> Any:
    run = walk if hook == "on_send" else judge
    clock = time.monotonic
    until = clock() + 3600
    return lambda: run(chain, item, connection, until, clock)
