"""Ten trivial plugins of hauberk before and after a call, driven by `dispatch`; with ``--async`` its hooks are async.

Before a call hauberk asks each plugin twice: whether it rewrites the message, and whether the call may be made. Both
are counted here, against one hook of CPEX that may do either.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from typing import Any

from hauberk.chains import Chain, Step
from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.layers import Layer
from hauberk.message import Message, ToolCall
from hauberk.pipeline import judge, judge_async, walk, walk_async
from hauberk.principal import ANONYMOUS

TEXT = "The quick brown fox jumps over the lazy dog. "
CONNECTION = Connection(id="bench", host="bench", server="bench", role="client")


class Trivial:
    """A plugin that looks and has nothing to say."""

    def on_send(self, message: Message, connection: Connection) -> None:
        """Let it pass."""

    def on_tool_call(self, call: ToolCall, connection: Connection) -> None:
        """Let it pass."""

    def on_receive(self, message: Message, connection: Connection) -> None:
        """Let it pass."""


class AsyncTrivial:
    """The same, async."""

    async def on_send(self, message: Message, connection: Connection) -> None:
        """Let it pass."""

    async def on_tool_call(self, call: ToolCall, connection: Connection) -> None:
        """Let it pass."""

    async def on_receive(self, message: Message, connection: Connection) -> None:
        """Let it pass."""


class Call:
    """One call, and the chains that it meets."""

    def __init__(self, plugins: list[Any]) -> None:
        self.outward, self.judges, self.inward = (
            chain(plugins, hook) for hook in ("on_send", "on_tool_call", "on_receive")
        )
        params = {"name": "echo", "arguments": {"text": TEXT}}
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": TEXT}]}}
        self.there = Message(kind="request", toward="server", method="tools/call", data=request, id=1)
        self.back = Message(kind="result", toward="client", method="tools/call", data=answer, id=1)
        self.call = ToolCall(self.there, Exchange(1, 1, "tools/call", ANONYMOUS, 0.0, 1), "bench")

    def plain(self, count: int) -> bool:
        """Make so many calls; return whether the last one passed."""
        clock = time.monotonic
        until = clock() + 3600
        for _ in range(count):
            sent = walk(self.outward, self.there, CONNECTION, until, clock)
            verdict = judge(self.judges, self.call, CONNECTION, until, clock)
            got = walk(self.inward, self.back, CONNECTION, until, clock)
        return sent is self.there and got is self.back and verdict is None

    async def waiting(self, count: int) -> bool:
        """Do the same with hooks that have to be awaited."""
        clock = time.monotonic
        for _ in range(count):
            sent = await walk_async(self.outward, self.there, CONNECTION, 2.0, clock)
            verdict = await judge_async(self.judges, self.call, CONNECTION, 2.0, clock)
            got = await walk_async(self.inward, self.back, CONNECTION, 2.0, clock)
        return sent is self.there and got is self.back and verdict is None


def chain(plugins: list[Any], hook: Any) -> Chain:
    """Return the chain of one hook."""
    calls = [getattr(plugin, hook) for plugin in plugins]
    return Chain(Step("bench", hook, Layer.POLICY, call, is_async=inspect.iscoroutinefunction(call)) for call in calls)


async def main() -> None:
    """Answer each number with the nanoseconds of CPU that so many calls took."""
    waits = "--async" in sys.argv
    made = Call([AsyncTrivial() if waits else Trivial() for _ in range(int(sys.argv[1]))])
    for line in sys.stdin:
        start = time.thread_time_ns()
        passed = await made.waiting(int(line)) if waits else made.plain(int(line))
        spent = time.thread_time_ns() - start
        print(spent, len(made.outward.steps), len(made.inward.steps), passed, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
