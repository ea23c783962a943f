"""Host processes that share limits, for tests: each calls at a rate of its own, and says what came of it.

usage: python hosts.py OPTIONS CALLS_PER_SECOND SECONDS      options as JSON, one of them the store
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hauberk import Config
from hauberk_ratelimit._book import Book
from hauberk_ratelimit._desk import Desk
from hauberk_ratelimit._ledger import Short
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._rules import Ref


def guard() -> Any:
    """Return as much of a guard as limits need."""
    return SimpleNamespace(
        host="test",
        clock=time.monotonic,
        now=time.time,
        emit=lambda _: None,
        config=Config.from_toml(""),
        options_for=lambda *_: None,
    )


def desk(seen: Any = None, **options: Any) -> Desk:
    """Return limits that are shared as the options say, and no part of a guard."""
    given = {"global_" if key == "global" else key: value for key, value in options.items()}
    if "store" in given:
        given.setdefault("store_timeout", 2)  # a machine that is busy is no store that is lost
    return Desk(SimpleNamespace(name="ratelimit"), Options(**given), guard() if seen is None else seen)


def refs(book: Book) -> tuple[Ref, ...]:
    """Return every shared bucket of a book."""
    return tuple((bucket, "") for bucket in book.calls)


async def called(where: Desk, per_second: float, seconds: float) -> dict[str, Any]:
    """Call as often as is said; return how often it was let pass, refused, and failed, and the longest call."""
    assert where.store is not None
    wanted, start = refs(where.book), time.monotonic()
    counts = {"passed": 0, "refused": 0, "failed": 0}
    longest, due = 0.0, start
    chance = random.Random()  # of its own for each process: those that call in step would find the same one first
    while (now := time.monotonic()) < start + seconds:
        if due > now:
            await asyncio.sleep(due - now)
            continue
        due += chance.expovariate(per_second)
        before = time.monotonic()
        if where.options.sharing == "sync":
            answer: Any = where.local.charge(wanted)
        else:
            answer = await where.store.charge(wanted, 1)
        longest = max(longest, time.monotonic() - before)
        short = isinstance(answer, Short)
        counts["refused" if short else "passed" if callable(answer) else "failed"] += 1
        await asyncio.sleep(0)
    return {**counts, "longest": longest}


def say(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(options: dict[str, Any], per_second: float, seconds: float) -> None:
    """Be one host."""
    where = desk(**options)
    assert where.store is not None
    await where.store.open()
    say("ready")
    sys.stdin.readline()
    say(json.dumps(await called(where, per_second, seconds)))
    await where.store.close()


class Hosts:
    """Several of them at once."""

    def __init__(self, count: int, options: dict[str, Any], per_second: float, seconds: float) -> None:
        command = [sys.executable, __file__, json.dumps(options), str(per_second), str(seconds)]
        self._children = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
            )
            for _ in range(count)
        ]
        for child in self._children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"

    def begin(self) -> None:
        """Let all of them begin."""
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()

    def said(self) -> list[dict[str, Any]]:
        """Wait until they are done; return what each says."""
        return [json.loads(child.communicate(timeout=120)[0]) for child in self._children]


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
