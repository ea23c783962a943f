"""A relay on hauberk's own carrier that parses nothing: what is left is the price of standing between."""

from __future__ import annotations

import asyncio
import os
import sys

from hauberk.bounds import Bounds
from hauberk.carriers.child import Child
from hauberk.carriers.stdio import Reader, Writer


async def main(command: list[str]) -> None:
    """Pass lines both ways until one side ends."""
    bounds, over = Bounds(), asyncio.Event()
    child = Child(command[0], command[1:], env=dict(os.environ))
    near, far = Writer(1, limit=bounds.buffer_bytes), Writer(child.stdin, limit=bounds.buffer_bytes)
    there = Reader(0, lambda frame: far.deliver(frame, None), over.set, bounds=bounds)  # type: ignore[arg-type]
    back = Reader(child.stdout, lambda frame: near.deliver(frame, None), over.set, bounds=bounds)  # type: ignore[arg-type]
    there.start()
    back.start()
    await over.wait()
    child.close_input()
    await child.end()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
