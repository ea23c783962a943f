"""What must be true of a host's logs after its processes were killed, whenever that was.

The rules:

1. Before anything is opened again, verify finds nothing but a line without end, as the last of a log; and a log that
   was never begun, where one of a higher number was.
2. Opened again, each log goes on, and verify finds nothing at all.
3. What was acknowledged is in the logs, once; each caller's events stand in the order in which they were given.
4. A log whose writer was killed says so (``audit.recovered``).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple, final

from tests.crash.lives import entries_of
from tests.crash.load import CODE, OPEN, REFUSED, Load, host

from hauberk import files, keys
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import log_set, sibling, state_path
from hauberk_audit.verifying._verify import verify
from hauberk_audit.verifying._walk import Break
from hauberk_audit.writing import _custody

RECOVERED: Final = "audit.recovered"


class Killed(NamedTuple):
    """What a process said before it was killed."""

    name: str
    """Of its run."""
    log: str
    """The name of its log; empty if it had none yet."""
    acknowledged: list[str]
    """The ids of the events that it was let go on with, in that order."""
    refused: int = 0
    """How many it was not."""


def heard(name: str, said: bytes) -> Killed:
    """Return what the output of a process says; its last line may be cut."""
    lines = said.decode().split("\n")[:-1]
    log = next((line.removeprefix(OPEN) for line in lines if line.startswith(OPEN)), "")
    refused = sum(line.startswith(REFUSED) for line in lines)
    return Killed(name, log, [line for line in lines if not line.startswith((OPEN, REFUSED))], refused)


@final
class Logs:
    """The logs of one state directory, over any number of kills."""

    def __init__(self, folder: Path, *, ratchet: bool) -> None:
        """Make the directory and its key."""
        self.folder: Final = files.private_dir(folder)
        self.path: Final = folder / "audit" / "audit.jsonl"
        escrow = folder / ("escrow.key" if ratchet else "audit.key")
        if ratchet:
            _custody.make(folder / "audit.key", escrow)
        else:
            keys.create_key(escrow, random=os.urandom)
        self.key: Final = keys.load_key(escrow)
        self.torn = 0
        """Lines without end that were found so far."""
        self.entries = 0
        """In all files."""
        self._acknowledged: Final[set[str]] = set()
        self._recovered: Counter[str] = Counter()

    def wrong(self, killed: list[Killed]) -> list[str]:
        """Return what is not as it must be after these were killed."""
        self._acknowledged.update(event for one in killed for event in one.acknowledged)
        if not self._there():
            return self._lost(set())
        found = list(self._torn())
        asyncio.run(self._recover())
        found += [f"{Path(one.file).name}:{one.line}: {one.kind}: {one.detail}" for one in self._breaks()]
        return found + self._entries(killed)

    def _breaks(self) -> list[Break]:
        return verify([self.path], self.key).breaks

    def _there(self) -> list[Path]:
        """Return the logs; where there is one there is its state, which is made first."""
        logs = (sibling(self.path, number) for number in range(BOUNDS.siblings + 1))
        return [log for log in logs if state_path(log).exists()]

    def _torn(self) -> Iterator[str]:
        """Yield what is wrong with what the kill left; a line without end is not."""
        ends = {str(path) for path in self._there()}
        for one in self._breaks():
            if one.kind == "torn" and one.file in ends:
                self.torn += 1
            elif one.kind != "missing" or state_path(Path(one.file)).stat().st_size:
                yield f"as it was left: {Path(one.file).name}:{one.line}: {one.kind}: {one.detail}"

    async def _recover(self) -> None:
        """Start as many hosts as there are logs, and let each end."""
        async with AsyncExitStack() as stack:
            for _ in self._there():
                await stack.enter_async_context(host(self.folder, Load()))

    def _entries(self, killed: list[Killed]) -> list[str]:
        found: list[str] = []
        ids: Counter[str] = Counter()
        recovered: Counter[str] = Counter()
        self.entries = 0
        for log in log_set(self.path):
            callers: dict[str, int] = {}
            for _, entry in entries_of(log):
                self.entries += 1
                recovered[log.name] += entry["code"] == RECOVERED
                if entry["code"] == CODE:
                    ids[entry["id"]] += 1
                    caller, _, number = entry["id"].rpartition(".")
                    if int(number) <= callers.get(caller, -1):
                        found.append(f"{log.name}: {entry['id']} stands after {callers[caller]}")
                    callers[caller] = int(number)
        found += [f"{event} is there {count} times" for event, count in ids.items() if count > 1]
        found += self._lost(set(ids))
        unknown = sum(not one.log for one in killed)  # they may have had a log, and not have come to say so
        for name in {one.log for one in killed if one.log}:
            kills, told = sum(one.log == name for one in killed), recovered[name] - self._recovered[name]
            if not kills <= told <= kills + unknown:
                found.append(f"{name} says {told} times that its writer was killed, and {kills} were")
        self._recovered = recovered
        return found

    def _lost(self, there: set[str]) -> list[str]:
        lost = sorted(self._acknowledged - there)
        return [f"lost: {', '.join(lost[:5])}{' and more' if len(lost) > 5 else ''}"] if lost else []
