"""The entries of logs, in their order: whatever reads them, but for verify, reads them here.

The rules:

1. A log is its closed files, by their numbers, compressed or not, and then the one that is written. Each entry is given
   once, also if the log is rotated or a file compressed meanwhile.
2. Several logs are merged by the times of their entries; each keeps its own order, whatever its clock did.
3. A line that is no JSON object is skipped, and counted. Nothing is verified: what is given is what stands there.
4. What was sealed is opened by an `Opener`, if there is one; what that cannot open is skipped, and counted.
"""

from __future__ import annotations

import datetime as dt
import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, final

import orjson

from hauberk.refusals import HauberkError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import closed_files
from hauberk_audit.queries._parts import Part, Progress

_TRIES: Final = 3
_BRACKETS: Final = 64
"""Opening brackets in a line, above which its depth is looked at."""
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_LARGEST: Final = 2**63
_OFTEN: Final = 10**9
"""How often one entry may stand for what happened; SQLite sums those of nine thousand million entries."""


class Opener(Protocol):
    """Opens what is sealed in entries."""

    def __call__(
        self, entry: dict[str, Any], log: Path, /, *, number: int | None = None, line: int | None = None
    ) -> dict[str, Any]:
        """Return an entry as it was before it was sealed; one that is not sealed, as it is.

        Args:
            entry: A line of the log, as JSON.
            log: The log, by its name without the number of a closed file.
            number: The place of its file in the log, from 1, where the line is known too.
            line: The line of the file, from 1; None where that was read from its end.

        Raises:
            HauberkError: It cannot be opened, or stands in another place than it says.
        """


class Found(NamedTuple):
    """One entry, and where it stands."""

    file: Path
    line: int
    """From 1; 0 where its file was read from the end."""
    sequence: int
    """The number that it names; 0 where it names none."""
    entry: dict[str, Any]
    raw: bytes
    """Its line, without LF; empty where it was sealed, and is open here."""
    log: Path
    number: int
    """The place of its file in the log, from 1."""
    offset: int
    """Where it begins in the file."""


@final
class Reader:
    """Reads one log."""

    __slots__ = ("_opener", "_progress", "log", "skipped")

    def __init__(self, log: Path, *, opener: Opener | None = None, progress: Progress | None = None) -> None:
        self.log: Final = log
        self.skipped = 0
        """Lines that are no entries, of those that were read; what cannot be decompressed counts as one."""
        self._opener: Final = opener
        self._progress: Final = progress

    @property
    def opens(self) -> bool:
        """Whether it opens what is sealed: then what it gives must not be written in clear."""
        return self._opener is not None

    # --- files ---

    def numbers(self) -> list[int]:
        """Return the numbers of the files, the oldest first; the last one is that of the file that is written."""
        closed = list(closed_files(self.log))
        return [*closed, max(closed, default=0) + 1]

    def sizes(self) -> dict[int, int]:
        """Return the bytes on the disk of each file, by its number."""
        paths = {**closed_files(self.log), self.numbers()[-1]: self.log}
        return {number: path.stat().st_size for number, path in paths.items() if path.is_file()}

    def is_closed(self, number: int) -> bool:
        """Whether a file was closed."""
        return number in closed_files(self.log)

    def part(self, number: int, progress: Progress | None = None) -> Part | None:
        """Open the file of a number, or return None if there is none.

        Raises:
            ConfigError: It cannot be read.
        """
        for _ in range(_TRIES):
            closed = closed_files(self.log)
            written = number == max(closed, default=0) + 1
            path = self.log if written else closed.get(number)
            try:
                part = Part(path, number, progress or self._progress) if path is not None else None
            except FileNotFoundError:  # it was renamed, or compressed, just now; or there is none yet
                continue
            if part is None or not (written and self.is_closed(number)):
                return part
            part.close()  # closed just now: what was opened may be the next one already
        return None

    def parts(self, first: int = 0) -> Iterator[Part]:
        """Yield the files from a number on, the oldest first; each is closed before the next one."""
        more = True
        while more:
            more = False
            for number in [number for number in self.numbers() if number >= first]:
                part = self.part(number)
                if part is None:
                    continue
                with part:
                    yield part
                first, more = number + 1, part.path != self.log

    # --- entries ---

    def forwards(self) -> Iterator[Found]:
        """Yield all entries, the oldest first.

        Raises:
            ConfigError: A file cannot be read.
        """
        for part in self.parts():
            for line, (offset, raw) in enumerate(part.lines(), 1):
                yield from self._counted(self.found(part, line, offset, raw))
            self.skipped += part.damaged

    def backwards(self) -> Iterator[Found]:
        """Yield all entries, the newest first; no more is read than is asked for.

        Raises:
            ConfigError: A file cannot be read.
        """
        for number in reversed(self.numbers()):
            part = self.part(number)
            if part is None:
                continue
            with part:
                for offset, raw in part.back():
                    yield from self._counted(self.found(part, 0, offset, raw))
                self.skipped += part.damaged

    def at(self, number: int, places: Sequence[tuple[int, int, int]]) -> Iterator[Found | None]:
        """Yield the entries at these places of a file, given as line, offset and bytes; None where there is none."""
        part = self.part(number)
        if part is None:
            yield from (None for _ in places)
            return
        with part:
            for line, offset, size in places:
                raw = part.line_at(offset, size)
                yield self.found(part, line, offset, raw) if raw is not None else None

    def found(self, part: Part, line: int, offset: int, raw: bytes) -> Found | None:
        """Return the entry of a line, or None if it is none."""
        entry = parse(raw)
        if entry is None:
            return None
        if self._opener is not None:
            try:
                number, place = (part.number, line) if line else (None, None)
                opened = self._opener(entry, self.log, number=number, line=place)
            except HauberkError:
                return None
            entry, raw = opened, raw if opened is entry else b""
        return Found(part.path, line, sequence_of(entry), entry, raw, self.log, part.number, offset)

    def _counted(self, found: Found | None) -> tuple[Found, ...]:
        if found is None:
            self.skipped += 1
            return ()
        return (found,)


def entries(readers: Iterable[Reader]) -> Iterator[Found]:
    """Yield the entries of logs, the oldest first."""
    return merged([reader.forwards() for reader in readers])


def merged(logs: Sequence[Iterator[Found]], *, newest: bool = False) -> Iterator[Found]:
    """Yield the entries of logs as one, by their times; ``newest`` says that each log begins with its last one."""
    if len(logs) == 1:
        return logs[0]
    ordered = reversed(logs) if newest else logs  # so that one order is the other one from its end
    return heapq.merge(*ordered, key=lambda found: time_of(found.entry) or 0, reverse=newest)


# --- what an entry says ---


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a line, or None of any other line."""
    if len(line) > BOUNDS.line:
        return None
    try:
        value = orjson.loads(line)
        if line.count(b"{") + line.count(b"[") > _BRACKETS:
            orjson.dumps(value)  # it reads deeper than it, and json, write
    except (orjson.JSONDecodeError, TypeError):
        return None
    return value if isinstance(value, dict) else None


def text_of(entry: dict[str, Any], name: str) -> str:
    """Return a member of an entry that is a string; empty if there is none."""
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def table_of(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a member of an entry that is an object; empty if there is none."""
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def count_of(entry: dict[str, Any]) -> int:
    """Return how often what an entry tells of has happened; more than 10**9 is 10**9."""
    value = entry.get("count")
    return min(value, _OFTEN) if type(value) is int and 0 < value < _LARGEST else 1


def sequence_of(entry: dict[str, Any]) -> int:
    """Return the number that an entry names; 0 if it names none."""
    value = table_of(entry, "integrity").get("sequence")
    return value if type(value) is int and 0 < value < _LARGEST else 0


def time_of(entry: dict[str, Any]) -> int | None:
    """Return the time of an entry in microseconds since 1970, or None if it has none."""
    return microseconds(text_of(entry, "time"))


def microseconds(text: str) -> int | None:
    """Return a date and time (RFC 3339) in microseconds since 1970, or None of any other text.

    What is in UTC before the year 1, or after the year 9999, is None too: no date says it.
    """
    if _TIME.fullmatch(text) is None:
        return None
    try:
        return (dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):  # the 30th of February; a leap second; the year 0
        return None


def time_text(micros: int) -> str:
    """Return what `microseconds` returned as a date and time (RFC 3339), in UTC."""
    return (_EPOCH + micros * _MICROSECOND).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
