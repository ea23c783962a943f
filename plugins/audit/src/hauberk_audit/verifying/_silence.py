"""Find where a log was silent for longer than its host is: it says at least that it is there (`audit.heartbeat`).

The rules:

1. A host runs from its first entry until ``core.stopped``. While it runs no two entries are further apart than the
   limit, and neither are the last one and the time of the check.
2. What a command adds to the log of a host that does not run does not make it run.
3. Of a sealed line nothing can be told, and neither of what is before and behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, final

from hauberk_audit.verifying._heads import Head, head
from hauberk_audit.verifying._walk import Break

STOPPED: Final = "core.stopped"
_COMMANDS: Final = frozenset({"audit.chain_reset", "audit.pruned"})


@final
class Silence:
    """One log, as it is read."""

    def __init__(self, limit: float, now: float) -> None:
        """Take the limit in seconds, and the time of the check (seconds since 1970)."""
        self._limit: Final = limit
        self._now: Final = now
        self._last: Head | None = None
        """The last entry, while the host runs."""
        self.found: list[Break] = []
        """What is wrong with the file that is read."""
        self.unheard = 0
        """Lines of which nothing can be told."""

    def through(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on the lines of a file, without their LF, and look at their times."""
        self.found = []
        for number, line in enumerate(lines, 1):
            said = head(line)
            if said is not None:
                self._take(number, said)
            else:
                self._last, self.unheard = None, self.unheard + 1
            yield line

    def end(self) -> Iterator[Break]:
        """Yield what is wrong with the end of the log."""
        if self._last is not None and self._now - self._last.seconds > self._limit:
            seconds = round(self._now - self._last.seconds)
            detail = f"nothing after {self._last.time}, which is {seconds} s, and not that the host was stopped"
            yield Break("silent", 0, detail)

    def _take(self, number: int, said: Head) -> None:
        last = self._last
        if last is not None and (seconds := said.seconds - last.seconds) > self._limit:
            self.found.append(Break("silent", number, f"nothing before it for {round(seconds)} s, from {last.time} on"))
        if said.code == STOPPED:
            self._last = None
        elif last is not None or said.code not in _COMMANDS:
            self._last = said
