"""Read logs, and report each place where one is not what its writer wrote.

The rules:

1. A log is its closed files, the oldest first, and the one that is written: one chain through all of them
   (`verifying._walk`), and none is missing.
2. A log that ends before the state beside it says lost its end. Without that state, or if both were put back to an
   older pair, what was cut from the end cannot be missed: nothing else says how long the log was.
3. A log without any line is reported as nothing to verify, never as whole.
4. The first files of a log may be missing if it says itself that they were let go (`checkpoints._pruned`).
5. With checkpoints that were kept elsewhere, what is read is compared with them (`verifying._anchor`). Without the
   key of the log that is all that is done, and what no checkpoint covers is not verified.
6. A log may be written meanwhile, and its files be closed and compressed: each is opened under the name that it has
   then, and after the last one those are read that came after it.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, final

import msgspec

from hauberk.refusals import ConfigError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import rfc3339
from hauberk_audit._paths import closed, log_set, packed, state_path
from hauberk_audit.verifying._anchor import Anchor
from hauberk_audit.verifying._claims import Claim, Count
from hauberk_audit.verifying._files import File, files_of, opened
from hauberk_audit.verifying._lines import Lines, first_line, open_log
from hauberk_audit.verifying._silence import Silence
from hauberk_audit.verifying._walk import Break, Walk
from hauberk_audit.writing._chain import read
from hauberk_audit.writing._ratchet import Ladder
from hauberk_audit.writing._rotation import closes
from hauberk_audit.writing._state import Position, Seen, seen


class Checked(msgspec.Struct, frozen=True):
    """One log, read to its end."""

    file: str
    entries: int
    """Signed lines."""
    lines: int
    last: int
    """The number of its last entry."""
    breaks: int


class LetGo(msgspec.Struct, frozen=True):
    """Entries that are missing from the beginning of a log, and were to go."""

    file: str
    """The log."""
    entries: int
    """How many: the number of the last of them."""
    said: int
    """The number of the entry that says so; 0 where a checkpoint does."""


class Report(msgspec.Struct):
    """What the logs are."""

    key_id: str
    """Empty if they were compared with checkpoints alone."""
    logs: list[Checked] = []
    breaks: list[Break] = []
    """The first of them (`Bounds.breaks`)."""
    broken: int = 0
    """How many there are."""
    anchored: bool = False
    """Whether something outside the logs says how long they are."""
    checkpoints: int = 0
    """How many are trusted."""
    covered: int = 0
    """Entries up to the last checkpoint of each log."""
    newest: str = ""
    """When the newest checkpoint was made that a log bears out (RFC 3339)."""
    uncovered: list[str] = []
    """Logs of which there is no checkpoint."""
    let_go: list[LetGo] = []
    unheard: list[str] = []
    """Logs of which it cannot be told whether they were silent, and it was asked."""

    @property
    def entries(self) -> int:
        """How many signed entries were read."""
        return sum(log.entries for log in self.logs)

    @property
    def empty(self) -> list[str]:
        """The logs without any line."""
        return [log.file for log in self.logs if not log.lines and not log.breaks and not log.last]

    @property
    def status(self) -> int:
        """0: whole; 1: broken; 2: there is a log with nothing to verify, or none at all."""
        if self.broken:
            return 1
        unverified = self.unheard or (self.uncovered and not self.key_id)
        return 2 if self.empty or unverified or not self.logs else 0


class Terms(NamedTuple):
    """What logs are verified by, beside their key."""

    anchor: Anchor | None = None
    """Checkpoints of them."""
    silence: float | None = None
    """Seconds for which a host that runs may write nothing."""
    now: float = 0.0
    """Until when the logs go (seconds since 1970)."""
    bad: tuple[tuple[Break, Path], ...] = ()
    """What is wrong with the checkpoints themselves, and with which file of them."""


def verify(
    paths: Iterable[Path],
    key: bytes | None,
    terms: Terms = Terms(),  # noqa: B008 - immutable
    *,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Read logs and return what is wrong with them.

    Args:
        paths: Logs, each with its numbered siblings, and directories of logs.
        key: The initial key (32 bytes); without it they are compared with checkpoints, and no more.
        terms: What else they are verified by.
        progress: Is told how many bytes were read.

    Raises:
        ConfigError: A path is nothing that can be read.
        OSError: The disk failed.
    """
    ladder = None if key is None else Ladder(key)
    report = Report("" if ladder is None else ladder.plain.key_id.decode())
    for found, name in terms.bad:
        _add(report, found, name)
    begun: dict[bytes, Path] = {}
    anchor = terms.anchor
    for path in dict.fromkeys(log for name in paths for log in _logs(name, anchor)):
        _Log(path, ladder, terms, report, begun, progress).verify()
    if anchor is not None:
        anchor.missing(lambda found, name: _add(report, found, name))
        report.anchored, report.checkpoints, report.covered = True, anchor.count, anchor.covered
        report.newest, report.uncovered = rfc3339(anchor.newest) if anchor.newest else "", anchor.uncovered
    return report


def _logs(name: Path, anchor: Anchor | None) -> list[Path]:
    """Return the logs that a path stands for; where there are none, their checkpoints say what is missing."""
    try:
        return log_set(name)
    except ConfigError:
        if anchor is None or not anchor.count:
            raise
        return []


def load_checkpoints(anchor: Anchor, path: Path, report: Callable[[Break, Path], None]) -> None:
    """Take in the checkpoints of a file.

    Raises:
        ConfigError: It cannot be read.
    """
    lines = Lines(open_log(path), None, packed=path.suffix == ".gz")
    try:
        anchor.load(path, lines, report)
    finally:
        lines.close()


@final
class _Log:
    """One log that is verified."""

    def __init__(
        self,
        path: Path,
        ladder: Ladder | None,
        terms: Terms,
        report: Report,
        begun: dict[bytes, Path],
        progress: Callable[[int], None] | None,
    ) -> None:
        self._path: Final = path
        self._ladder: Final = ladder
        self._report: Final = report
        self._begun: Final = begun
        self._progress: Final = progress
        self._walk: Final = Count() if ladder is None else Walk(ladder)
        self._anchored: Final = None if terms.anchor is None else terms.anchor.of(path)
        self._silence: Final = None if terms.silence is None else Silence(terms.silence, terms.now)
        self._claim: Final = Claim(self._walk)

    def verify(self) -> None:
        """Read the files of the log, and add what is wrong with them to the report."""
        state = None if self._ladder is None else _state_of(self._path, self._ladder)
        self._walk.mark = 0 if state is None else state.at.sequence
        files, gone = self._begin(files_of(self._path))
        rest, first = deque(files), True
        while rest:
            file = rest.popleft()
            before, entries, self._walk.lines = self._report.broken, self._walk.entries, 0
            name = self._read(file, rest)
            if name is None and (rest or first or not self._is_new(state)):
                self._add([file.missing], file.name)
            name = name or file.name
            if first:
                self._compare_beginning(name)
            if not rest:
                self._end(name, state, gone)
            walk = self._walk
            self._report.logs.append(
                Checked(str(name), walk.entries - entries, walk.lines, walk.sequence, self._report.broken - before)
            )
            first = False

    def _begin(self, files: list[File]) -> tuple[list[File], list[File]]:
        """Return the files of the log from the first on that is there, and those before it."""
        first = next((place for place, file in enumerate(files[:-1]) if os.path.lexists(file.name)), 0)
        entry = read(first_line(files[first].name)) if first else None
        if entry is None or entry.sequence == 1:
            return files, []
        self._walk.begin(entry)
        self._claim.before, self._claim.hash = entry.sequence - 1, entry.prev_hash.decode()
        return files[first:], files[:first]

    def _read(self, file: File, rest: deque[File]) -> Path | None:
        """Read a file before others; return its name, or None if it is gone."""
        found = self._open(file, rest)
        if found is None:
            return None
        name, fd = found
        lines = Lines(fd, self._progress, packed=name.suffix == ".gz")
        try:
            tapped = self._tapped(self._all(lines, file, rest), file.number)
            self._add(_breaks(tapped, lines, self._walk, rest), name)
        finally:
            lines.close()
        if self._silence is not None:
            self._add(self._silence.found, name)
        return name

    def _open(self, file: File, rest: deque[File]) -> tuple[Path, int] | None:
        """Open a file under the name that it has now."""
        if not rest:
            found = opened(file.name)
            if not self._was_closed(file, rest):
                return found
            if found is not None:  # before it was closed, or what was begun after it
                os.close(found[1])
        names = (closed(self._path, file.number), packed(self._path, file.number))
        return next((found for name in names if (found := opened(name)) is not None), None)

    def _all(self, lines: Lines, file: File, rest: deque[File]) -> Iterator[bytes]:
        """Yield the lines of a file; if it was the last one and was closed meanwhile, those until then as well."""
        yield from lines
        if not rest and self._was_closed(file, rest):
            yield from lines

    def _was_closed(self, file: File, rest: deque[File]) -> bool:
        """Whether the last file was closed meanwhile; then others follow it."""
        names = (closed(self._path, file.number), packed(self._path, file.number))
        if not any(map(os.path.lexists, names)):
            return False
        rest.extend(later for later in files_of(self._path) if later.number > file.number)
        return True

    def _tapped(self, lines: Iterable[bytes], number: int) -> Iterable[bytes]:
        """Return the lines of a file of a number, past all who look at them."""
        if self._claim.before:
            lines = self._claim.through(lines)
        if self._anchored is not None:
            lines = self._anchored.through(lines, number)
        return lines if self._silence is None else self._silence.through(lines)

    def _is_new(self, state: Seen | None) -> bool:
        """Whether the last file of the log need not be there: the one before it was closed, and it was not begun."""
        if state is None:  # without the key: what was in it shows by its checkpoints, or by nothing
            return closes(self._walk.last)
        return not state.fault and state.at.sequence <= self._walk.sequence

    def _compare_beginning(self, name: Path) -> None:
        first = self._walk.first
        twin = self._begun.setdefault(first, self._path) if first else self._path
        if twin != self._path:
            self._add([Break("copied", 1, f"it begins as {str(twin)!r} does", 1)], name)

    def _end(self, name: Path, state: Seen | None, gone: list[File]) -> None:
        if state is not None and self._ladder is not None:
            self._add(_compared(self._walk, state, self._ladder), name)
        if self._anchored is not None:
            self._add(self._anchored.end(), self._path)
        if self._silence is not None:
            self._add(self._silence.end(), name)
            self._report.unheard += [str(self._path)] if self._silence.unheard else []
        before, said = self._claim.before, self._claim.said
        if self._ladder is None:  # what an entry says counts with the key alone
            before, said = max(before, 0 if self._anchored is None else self._anchored.let_go), 0
        if not before:
            return
        if said if self._ladder is not None else self._anchored is not None and self._anchored.let_go:
            self._report.let_go.append(LetGo(str(self._path), before, said))
            return
        for one in gone:
            self._add([one.missing], one.name)

    def _add(self, found: Iterable[Break], name: Path) -> None:
        for one in found:
            _add(self._report, one, name)


def _state_of(path: Path, ladder: Ladder) -> Seen:
    """Return what the state of a log says; read before its log, so a log that is being written is never behind it."""
    found = seen(state_path(path), ladder.plain.state_key)
    return seen(state_path(path), None) if found.fault == "corrupt" else found


def _compared(walk: Walk | Count, state: Seen, ladder: Ladder) -> Iterator[Break]:
    """Yield what is wrong with a log and its state together; a log alone may be a copy."""
    if state.fault == "missing":
        return
    if not state.fault and (state.rung is None or ladder.rung(state.rung.name) == state.rung):
        yield from _behind(walk, state.at)
    elif walk.entries:
        yield Break("unsigned_state", 0, "the state beside it is damaged, or is not of this key")


def _add(report: Report, found: Break, path: Path) -> None:
    report.broken += 1
    if len(report.breaks) < BOUNDS.breaks:
        report.breaks.append(msgspec.structs.replace(found, file=str(path)))


def _behind(walk: Walk | Count, state: Position) -> Iterator[Break]:
    """Yield what a log lost since its state was written."""
    if state.sequence > walk.sequence:
        which = f"entries {walk.sequence + 1} to {state.sequence} are gone from its end"
        yield Break("truncated", 0, f"{which}, as the state beside it says", state.sequence)
    elif walk.marked and walk.marked.decode() != state.hash:
        which = f"its entry {state.sequence} is another one than the state beside it says"
        yield Break("rewritten", 0, which, state.sequence)


def _breaks(tapped: Iterable[bytes], lines: Lines, walk: Walk | Count, rest: Collection[File]) -> Iterator[Break]:
    try:
        yield from walk.feed(tapped)
        walk.lines = walk.line
        yield from walk.finish(torn=bool(lines.rest))
        if rest:
            yield from walk.turn()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield Break("edited", walk.line + 1, "what follows cannot be decompressed")
