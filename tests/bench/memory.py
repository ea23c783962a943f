"""Memory: whatever an outsider sends, and however often, nothing grows beyond the configured bounds.

usage: python tests/bench/memory.py [--scale N] [CASE …]

Each case runs a tenth of its messages first, which fills every bounded table. Then, over eight tenths, the growth of
the process (RSS) and of the blocks that Python holds is measured. The last tenth is traced: its first half turns every
table over, and what its second half adds to that is growth (tracemalloc, bytes). The scale is the number of messages of
a case; sessions are a tenth of it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.core.harness import META, ring

from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.layers import Layer
from hauberk.verdict import Allow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hauberk.session import Session

SCALE: Final = 1_000_000
TURN: Final = 64
"""Messages between two turns of the event loop, as a carrier hands them over."""
ALLOWED_BYTES: Final = 64 * 1024
ALLOWED_BLOCKS: Final = 3000
"""What stays with the interpreter: free lists, tables of the next size, and the parser's cache of 2,048 keys."""


class Sink:
    """A port that counts and keeps nothing."""

    bytes_only = True

    def __init__(self) -> None:
        self.count = 0

    def deliver(self, _data: Any, _ticket: Any) -> Awaitable[None] | None:
        self.count += 1
        return None

    def unanswered(self, _ticket: Any) -> Awaitable[None] | None:
        return None


class Bench:
    """A guard whose plugins do a little of everything, and one session of it."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.near, self.far = Sink(), Sink()
        self.deferred = 0
        self.ended = 0
        self.session: Session

    async def start(self) -> None:
        connection = await self.guard.connect("files", "client")
        self.session = self.guard.session(connection, self.near, self.far)

    def ask(self, method: str, params: Mapping[str, Any], id: Any) -> None:
        data = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        self.session.receive(self.session.out, orjson.dumps(data))

    def cancel(self, id: Any) -> None:
        data = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}
        self.session.receive(self.session.out, orjson.dumps(data))

    def answer(self, result: Mapping[str, Any], id: Any) -> None:
        self.session.receive(self.session.inn, orjson.dumps({"jsonrpc": "2.0", "id": id, "result": result}))


@asynccontextmanager
async def bench(toml: str = "") -> AsyncIterator[Bench]:
    """Open a guard with a judge, a charger that counts what is freed, and a sink."""
    made: Bench

    def charge(call: Any, _connection: Any) -> None:
        made.deferred += 1
        call.exchange.defer(ended)

    def ended(_outcome: str) -> None:
        made.ended += 1

    plugins = [
        ring("judge", on_tool_call=Allow("rule")),
        ring("charge", Layer.ADMIT, on_tool_call=charge),
        ring("watch", on_send=lambda _m, _c: None, on_receive=lambda _m, _c: None),
        ring("sink", on_audit=lambda _event: None),
    ]
    made = Bench(Guard(Config.from_toml(toml), plugins))
    async with made.guard:
        await made.start()
        yield made
        await made.session.close()


# --- cases: each handles one message, by its number ---


def answered(b: Bench, n: int) -> None:
    """Calls that are answered, with progress and a notification between."""
    b.ask("tools/call", {"name": "ls", "arguments": {"path": f"/{n}"}, "_meta": {"progressToken": n}}, n)
    for method, params in (
        ("notifications/progress", {"progressToken": n, "progress": 1}),
        ("notifications/message", {"level": "info", "data": n}),
    ):
        b.session.receive(b.session.inn, orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params}))
    b.answer({"content": []}, n)


def unanswered(b: Bench, n: int) -> None:
    """Calls that nobody ever answers."""
    b.ask("tools/call", {"name": f"tool{n}", "_meta": {"progressToken": f"p{n}"}}, n)


def cancelled(b: Bench, n: int) -> None:
    """Calls that are cancelled and never answered."""
    b.ask("tools/call", {"name": "ls", "_meta": {"progressToken": f"p{n}"}}, f"c{n}")
    b.cancel(f"c{n}")


def unmatched(b: Bench, n: int) -> None:
    """Answers that nobody asked for."""
    b.answer({"content": []}, f"u{n}")


def refused(b: Bench, n: int) -> None:
    """Lines that are refused at the edge, each with an id of its own."""
    b.session.receive(b.session.out, b'{"jsonrpc":"2.0","id":%d,"method":"m%d"}' % (n, n))


def noisy(b: Bench, n: int) -> None:
    """Lines of a server that are no messages."""
    b.session.receive(b.session.inn, b"INFO line %d" % n)


def foreign(b: Bench, n: int) -> None:
    """Progress for tokens that nobody gave, and cancels of requests that nobody sent."""
    data = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": f"p{n}", "progress": 1}}
    b.session.receive(b.session.inn, orjson.dumps(data))
    b.cancel(n)


def stateful(b: Bench, n: int) -> None:
    """Calls of 2026-07-28 that are answered with a new request state each, and never retried."""
    b.ask("tools/call", {"name": "ls", "arguments": {"n": n}, "_meta": META}, n)
    asks = {f"k{n}": {"method": "roots/list"}}
    b.answer({"resultType": "input_required", "requestState": f"s{n}", "inputRequests": asks}, n)


def tasked(b: Bench, n: int) -> None:
    """Calls that become tasks that nobody fetches."""
    b.ask("tools/call", {"name": "ls", "_meta": {"progressToken": f"p{n}"}}, n)
    b.answer({"resultType": "task", "taskId": f"t{n}"}, n)


async def opened(b: Bench, n: int) -> None:
    """Sessions that are opened, used and closed with a call in flight."""
    await b.session.close()
    await b.start()
    answered(b, n)
    unanswered(b, n + 1)


CASES: Final[dict[str, Callable[[Bench, int], Any]]] = {
    "answered": answered,
    "opened": opened,
    "unanswered": unanswered,
    "cancelled": cancelled,
    "unmatched": unmatched,
    "refused": refused,
    "noisy": noisy,
    "foreign": foreign,
    "stateful": stateful,
    "tasked": tasked,
}


class Growth:
    """What a case left behind."""

    def __init__(self, case: str, count: int, seconds: float) -> None:
        self.case = case
        self.count = count
        self.seconds = seconds
        self.blocks = 0
        """Blocks that Python holds, more than after a tenth."""
        self.rss = 0
        """KiB of peak resident memory, more than after a tenth."""
        self.traced = 0
        """Bytes that the last twentieth added, says tracemalloc."""
        self.left = 0
        """Deferred functions that have not run once everything is closed."""

    @property
    def bounded(self) -> bool:
        """Whether nothing grew but what the interpreter keeps for itself."""
        return self.blocks < ALLOWED_BLOCKS and self.traced < ALLOWED_BYTES and self.left == 0


def parts(count: int) -> Iterator[tuple[str, range]]:
    """Split a case: a tenth to fill the tables, eight to measure, one, in two halves, to trace."""
    tenth = max(2, count // 10)
    ends = (0, tenth, count - tenth, count - tenth // 2, count)
    for part, first, last in zip(("filled", "measured", "traced", "end"), ends, ends[1:], strict=False):
        yield part, range(first + 1, last + 1)


async def run(case: str, count: int, toml: str = "") -> Growth:
    """Run one case; the bounds are those of ``toml``."""
    step, start = CASES[case], time.perf_counter()
    async with bench(toml) as b:
        marks: dict[str, tuple[int, int, int]] = {}
        for part, numbers in parts(count):
            if part == "traced":
                tracemalloc.start()
            await _go(b, step, numbers)
            marks[part] = await _mark()
        tracemalloc.stop()
    growth = Growth(case, count, time.perf_counter() - start)
    growth.blocks = marks["measured"][0] - marks["filled"][0]
    growth.rss = marks["measured"][1] - marks["filled"][1]
    growth.traced = marks["end"][2] - marks["traced"][2]
    growth.left = b.deferred - b.ended
    return growth


async def _go(b: Bench, step: Callable[[Bench, int], Any], numbers: range) -> None:
    for n in numbers:
        waiting = step(b, n)
        if waiting is not None:
            await waiting
        if n % TURN == 0:
            await asyncio.sleep(0)


async def _mark() -> tuple[int, int, int]:
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    return sys.getallocatedblocks(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, traced


def main() -> int:
    """Print a table; the exit status is 1 where something grew."""
    parser = argparse.ArgumentParser(description="Show that nothing grows beyond its bounds.")
    parser.add_argument("cases", nargs="*", help=f"any of {', '.join(CASES)}; all of them by default")
    parser.add_argument("--scale", type=int, default=SCALE, help="messages of a case (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"{'case':<12}{'count':>10}{'seconds':>9}{'blocks':>9}{'RSS KiB':>9}{'traced B':>10}  verdict")
    grown = 0
    for case in arguments.cases or CASES:
        growth = asyncio.run(run(case, arguments.scale // 10 if case == "opened" else arguments.scale))
        grown += not growth.bounded
        figures = f"{growth.count:>10}{growth.seconds:>9.1f}{growth.blocks:>9}{growth.rss:>9}{growth.traced:>10}"
        print(f"{case:<12}{figures}  {'bounded' if growth.bounded else 'grew'}", flush=True)
    return 1 if grown else 0


if __name__ == "__main__":
    raise SystemExit(main())
