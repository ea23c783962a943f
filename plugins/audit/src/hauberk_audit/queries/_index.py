"""An index of one log in SQLite, for queries: made from the log, brought up to date before each use, never believed.

The rules:

1. What is in it was read from the log, in the order of the log. It remembers of each file how far that was read, and
   the hash of the last line there; of files that are closed the checksum of all, and what the disk says of them.
2. Before it is used, each file is compared with that. From the first file on that is another one, the log is read anew:
   so after a truncation, a reset, or where another log stands there. Files that are gone from the beginning take their
   entries along.
3. It is written in short transactions, each of which begins where the last one ended, whosever that was: what is
   stopped goes on later, and two commands at once help each other.
4. Only commands make and use it, no host. One that is damaged is deleted, and made anew. Where none can stand beside
   the log, one without a name is made, which is gone with the process.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from hauberk.refusals import HauberkError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit.queries import _index_files
from hauberk_audit.queries._index_rows import COLUMNS, TABLES, Words, row
from hauberk_audit.queries._parts import Part, Progress
from hauberk_audit.queries._reading import Reader

Watch = Callable[[int], AbstractContextManager[Progress | None]]
"""Shows how it goes, of so many bytes."""
Connect = Callable[[Path], sqlite3.Connection]
"""Opens a database that is private already."""
LOOKUPS: Final = ("id", "code", "severity", "action", "server", "tool", "principal")

_VERSION: Final = 2
_BATCH: Final = 4096
"""Lines of one transaction."""
_PATIENCE: Final = 300.0
"""Seconds to wait for another command that writes the index."""
_N, _SEQUENCE, _TIME = (COLUMNS.index(name) for name in ("n", "sequence", "time"))
_LAST: Final = 2**63 - 1
_NEVER: Final = -(2**62)
"""What stands for the time of an entry that has none."""
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def unwatched(_: int, /) -> AbstractContextManager[Progress | None]:
    """Show nothing."""
    return nullcontext()


class Unusable(HauberkError):
    """An index is damaged, or cannot be written."""

    def __init__(self, reason: str, *, damaged: bool = True) -> None:
        super().__init__(
            f"cannot use the index of the audit log: {reason}",
            hint="ask again: it is made anew; hauberk audit verify says whether the log was changed",
        )
        self.damaged: Final = damaged
        """Whether another one is to be made in its place."""


class File(NamedTuple):
    """How far a file was read."""

    number: int
    first: int
    """The row of its first entry."""
    lines: int = 0
    rows: int = 0
    skipped: int = 0
    offset: int = 0
    crc: int = 0
    """CRC-32 of the lines."""
    last: int = 0
    """Where the last line begins."""
    hash: bytes = b""
    """SHA-256 of the last line."""
    stamp: str = ""
    """What the disk says of it, once it is closed and was read to its end."""


@final
class Index:
    """The index of one log. Make it by `ready`."""

    def __init__(self, db: sqlite3.Connection, lock: int = -1) -> None:
        self.db: Final = db
        self._lock = lock
        self._words: Final = Words(db)
        self._part: Part | None = None
        self._lines: Iterator[tuple[int, bytes]] = iter(())
        self._at = (0, 0)
        """The number of the file that `_lines` reads, and how far."""

    def close(self) -> None:
        """Let go of it."""
        self._leave()
        self.db.close()
        _index_files.release(self._lock)
        self._lock = -1

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Say in one way what is wrong with it.

        Raises:
            Unusable: It is damaged, or cannot be written.
        """
        try:
            yield
        except self.db.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            raise Unusable(str(error), damaged=code not in _BUSY) from error

    @property
    def skipped(self) -> int:
        """How many lines of the log are no entries."""
        with self.telling():
            return sum(file.skipped for file in self.files())

    def files(self) -> list[File]:
        """Return how far the files were read, the oldest first.

        Raises:
            Unusable: What it says is of no sense.
        """
        found = [File(*values) for values in self.db.execute("SELECT * FROM files ORDER BY number")]
        for file in found:
            if [type(value) for value in file] != [*[int] * 8, bytes, str] or min(file[:8]) < 0:
                raise Unusable("a file of it makes no sense")
        return found

    def behind(self, reader: Reader) -> int:
        """Return about how many bytes `update` will read."""
        try:
            read = {file.number: file for file in self.files()}
        except (self.db.DatabaseError, Unusable):
            read = {}
        sizes = reader.sizes()
        return sum(
            max(0, size - read[number].offset) if number in read and not read[number].stamp else size
            for number, size in sizes.items()
            if number not in read or not read[number].stamp
        )

    # --- bringing it up to date ---

    def update(self, reader: Reader, progress: Progress | None = None) -> None:
        """Read what the log has and the index has not.

        Raises:
            Unusable: It is damaged, or cannot be written.
            ConfigError: The log cannot be read.
        """
        try:
            with self.telling():
                self._begin()
                with self._writing():
                    self._fit(reader)
                while self._step(reader, progress):
                    pass
                for name in LOOKUPS:  # after all is there: made at once they take a fraction of the time
                    self.db.execute(f"CREATE INDEX IF NOT EXISTS by_{name} ON entries ({name})")
        finally:
            self._leave()

    def _begin(self) -> None:
        self.db.execute("PRAGMA trusted_schema = OFF")
        if self.db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        with self._writing():
            version = self.db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for table in TABLES:
                    self.db.execute(table)
                self.db.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise Unusable(f"it is of version {version}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            self._leave()
            self._words.forget()
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    # --- what fits, and what does not ---

    def _fit(self, reader: Reader) -> None:
        """Let go of what is not what the log holds now."""
        numbers, files = reader.numbers(), self.files()
        if self._rows() != (files[-1].first + files[-1].rows - 1 if files else 0):
            raise Unusable("its tables do not fit each other")
        while files and files[0].number < numbers[0]:
            gone = files.pop(0)
            self.db.execute("DELETE FROM entries WHERE file = ? AND n < ?", (gone.number, _first(files)))
            self.db.execute("DELETE FROM files WHERE number = ?", (gone.number,))
        for place, file in enumerate(files):
            there = numbers[place : place + 1] == [file.number] and not (file.stamp and file.number == numbers[-1])
            if not (there and self._fits(reader, file, last=file is files[-1])):
                self._forget(file, everything=place == 0)
                return

    def _fits(self, reader: Reader, file: File, *, last: bool) -> bool:
        part = reader.part(file.number)
        if part is None:
            return file.offset == 0
        with part:
            if last:
                return _ends(part, file)
            if part.stamp == file.stamp:
                return True
            crc = 0
            for _, line in part.lines():
                crc = _crc(line, crc)
            if (crc, part.end) != (file.crc, file.offset):
                return False
            self.db.execute("UPDATE files SET stamp = ? WHERE number = ?", (part.stamp, file.number))
            return True

    def _forget(self, file: File, *, everything: bool) -> None:
        """Let go of a file, and all after it."""
        if everything:
            self._words.forget()
            for table in ("entries", "files", "spans", "words"):
                self.db.execute(f"DELETE FROM {table}")  # noqa: S608 - one of these
            return
        self.db.execute("DELETE FROM entries WHERE n >= ?", (file.first,))
        self.db.execute("DELETE FROM spans WHERE first >= ?", (file.first,))
        self.db.execute("DELETE FROM files WHERE number >= ?", (file.number,))

    # --- one step ---

    def _step(self, reader: Reader, progress: Progress | None) -> bool:
        """Read some lines; return whether there may be more."""
        with self._writing():
            file = self._next(reader)
            if file is None:
                return False
            closed = reader.is_closed(file.number)  # first: then what is read to its end now stays as it is
            batch = list(islice(self._from(reader, file, progress), _BATCH))
            ended = len(batch) < _BATCH
            file = self._add(reader, file, batch, closed=closed and ended)
            places = ", ".join("?" for _ in file)
            self.db.execute(f"INSERT OR REPLACE INTO files VALUES ({places})", file)  # noqa: S608 - question marks
        self._at = (file.number, file.offset)
        if ended:
            self._leave()
        return not ended or reader.is_closed(file.number)

    def _next(self, reader: Reader) -> File | None:
        """Return the file that is to be read on."""
        files = self.files()
        if files and not files[-1].stamp:
            return files[-1]
        after = files[-1].number if files else 0
        number = next((number for number in reader.numbers() if number > after), None)
        return None if number is None else File(number, self._rows() + 1)

    def _from(self, reader: Reader, file: File, progress: Progress | None) -> Iterator[tuple[int, bytes]]:
        """Return the lines of a file from where it was read to."""
        if self._part is None or self._at != (file.number, file.offset):
            self._leave()
            self._part = reader.part(file.number, progress)
            self._lines = iter(()) if self._part is None else self._part.lines(file.offset)
        return self._lines

    def _add(self, reader: Reader, file: File, batch: list[tuple[int, bytes]], *, closed: bool) -> File:
        """Add lines that were read; return how far the file is read now."""
        part, n, crc = self._part, self._rows() + 1, file.crc
        if part is None:
            return file._replace(stamp="gone" if closed else "")
        rows: list[tuple[Any, ...]] = []
        for line, (offset, raw) in enumerate(batch, file.lines + 1):
            crc = _crc(raw, crc)
            if (found := reader.found(part, line, offset, raw)) is not None:
                rows.append(row(n + len(rows), found, len(raw), self._words))
        places = ", ".join("?" for _ in COLUMNS)
        self.db.executemany(f"INSERT INTO entries VALUES ({places})", rows)  # noqa: S608 - question marks
        self._span(rows)
        skipped = file.skipped + len(batch) - len(rows)
        if batch:
            last, ending = batch[-1]
            file = file._replace(lines=file.lines + len(batch), rows=file.rows + len(rows), skipped=skipped, crc=crc)
            file = file._replace(offset=part.end, last=last, hash=hashlib.sha256(ending).digest())
        return file._replace(stamp=part.stamp, skipped=file.skipped + part.damaged) if closed else file

    def _span(self, rows: list[tuple[Any, ...]]) -> None:
        """Note the times and numbers of rows, so that a query for others need not look at them."""
        if not rows:
            return
        first, last = rows[0][_N], rows[-1][_N]
        times = [time for row in rows if (time := row[_TIME]) is not None] or [_NEVER]
        numbers = [row[_SEQUENCE] for row in rows]
        before = self.db.execute("SELECT * FROM spans ORDER BY first DESC LIMIT 1").fetchone()
        if before is not None and last - before[0] < _BATCH:  # not one for each entry of a quiet log
            first, times, numbers = before[0], [*times, *before[2:4]], [*numbers, *before[4:]]
        span = (first, last, min(times), max(times), min(numbers), max(numbers))
        self.db.execute("INSERT OR REPLACE INTO spans VALUES (?, ?, ?, ?, ?, ?)", span)

    def _rows(self) -> int:
        return int(self.db.execute("SELECT coalesce(max(n), 0) FROM entries").fetchone()[0])

    def _leave(self) -> None:
        if self._part is not None:
            self._part.close()
        self._part, self._at = None, (0, 0)


def ready(
    reader: Reader, *, connect: Connect | None = None, watch: Watch = unwatched, beside: bool = True
) -> Index | None:
    """Return the index of a log, up to date: the one beside it, or one that is gone with the process.

    Args:
        reader: The log.
        connect: What opens the index where that is encrypted; then there is none but beside the log.
        beside: Whether to use the one beside the log.
        watch: Is told how many bytes there are to read, and shows how it goes.

    Raises:
        ConfigError: The log cannot be read.
        Unusable: No index can be made.
    """
    for _ in range(2 if beside else 0):  # the first may be a damaged one
        index = _beside(reader.log, connect or _connect)
        if index is None:
            break
        try:
            return _updated(index, reader, watch)
        except Unusable as fault:
            if not fault.damaged or not _index_files.drop(reader.log):
                break
    return None if connect is not None else _updated(Index(sqlite3.connect("", isolation_level=None)), reader, watch)


def _updated(index: Index, reader: Reader, watch: Watch) -> Index:
    try:
        with watch(index.behind(reader)) as progress:
            index.update(reader, progress)
    except BaseException:
        index.close()
        raise
    return index


def _beside(log: Path, connect: Connect) -> Index | None:
    lock = _index_files.take(log)
    if lock is None:
        return None
    try:
        return Index(connect(_index_files.index_path(log)), lock)
    except BaseException:
        _index_files.release(lock)
        raise


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)


def _first(files: list[File]) -> int:
    return files[0].first if files else _LAST


def _crc(line: bytes, crc: int) -> int:
    return zlib.crc32(b"\n", zlib.crc32(line, crc))


def _ends(part: Part, file: File) -> bool:
    """Whether the last line that was read stands where it stood."""
    if file.offset == 0:
        return True
    size = file.offset - file.last - 1
    line = part.line_at(file.last, size) if 0 <= size <= BOUNDS.line else None
    return line is not None and hashlib.sha256(line).digest() == file.hash
