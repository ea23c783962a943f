"""A host that records events as fast as it can, and says of each when it may go on.

    python -m tests.crash.load FOLDER ['{"callers": 2, …}']

Each line of its output is ``open NAME``, the log that it got, or the id of an event that was acknowledged, or
``refused ID``. It is there to be killed; left alone, it ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from hauberk import plugins
from hauberk.config import Config
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.refusals import Refused
from hauberk_audit import Audit

CODE: Final = "crash.event"
OPEN: Final = "open "
REFUSED: Final = "refused "
Tell = Callable[[str], None]


class Load(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a host is to do."""

    name: str = "run"
    """Of the run, in the ids of its events."""
    durability: Literal["event", "group", "interval"] = "group"
    entries: int = 20
    """Entries of a file of its log."""
    compress: bool = True
    callers: int = 2
    """How many wait at the same time."""
    count: int = 3
    """Events of each of them."""
    bytes: int = 0
    """By which an event is larger than need be, at most 15,000."""

    def toml(self, folder: Path) -> str:
        """Return the configuration of the host."""
        return (
            f'[core]\nstate_dir = "{folder}"\n[audit]\nrequired = true\ndurability = "{self.durability}"\n'
            f"[audit.rotation]\nentries = {self.entries}\ncompress = {str(self.compress).lower()}\n"
        )


def host(folder: Path, load: Load) -> Guard:
    """Return a guard whose only plugin is the log."""
    others = plugins.installed
    plugins.installed = lambda: {"audit": plugins.Source("audit", "hauberk-audit", "0", lambda: Audit)}
    try:
        return Guard.load(Config.from_toml(load.toml(folder)))
    finally:
        plugins.installed = others


def log_of(guard: Guard) -> Path:
    """Return the log that a guard writes."""
    plugin: Audit = guard.loaded["audit"].plugin
    return plugin.log_path()


async def run(folder: Path, load: Load, tell: Tell) -> None:
    """Be that host."""
    details: dict[str, Any] = {str(number): "x" * 1000 for number in range(load.bytes // 1000)}
    async with host(folder, load) as guard:
        tell(f"{OPEN}{log_of(guard).name}")

        async def call(caller: int) -> None:
            for number in range(load.count):
                event = Event(code=CODE, id=f"{load.name}.{caller}.{number}", details=details)
                try:
                    waiting = guard.recorder.barrier([event])
                    if waiting is not None:
                        await waiting
                except Refused:
                    tell(f"{REFUSED}{event.id}")
                else:
                    tell(event.id)
                await asyncio.sleep(0)

        await asyncio.gather(*(call(caller) for caller in range(load.callers)))


def told_to(fd: int) -> Tell:
    """Return what writes a line to a pipe at once, so that a kill takes back nothing that was said."""

    def tell(line: str) -> None:
        os.write(fd, f"{line}\n".encode())

    return tell


def main() -> None:
    """Run, and say so on standard output."""
    load = msgspec.json.decode(sys.argv[2], type=Load) if len(sys.argv) > 2 else Load()
    asyncio.run(run(Path(sys.argv[1]), load, told_to(1)))


if __name__ == "__main__":
    main()
