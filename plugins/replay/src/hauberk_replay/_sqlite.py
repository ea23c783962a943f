"""The memory of one machine: a file, which its processes share and which outlives them.

One thread writes. What came while it wrote is written next, together, in one transaction that is on the disk before
anybody hears of it. The rules:

1. Looking and keeping are one step in the transaction (``BEGIN IMMEDIATE``, a unique key), whoever else writes.
2. ``since`` is kept with the nonces: where memory begins. It is first ``skew`` seconds later than the file was made:
   the file before it may have been lost, and a message may have been made that far ahead of its time. Then it is the
   latest message that was forgotten; it is moved in the transaction that forgets.
3. A file that was taken away or replaced under us is not gone on with: what it knew is lost, so memory begins ``skew``
   seconds later than we see it, also in a file that another process has made meanwhile.
4. Who hears nothing within the deadline is refused. The file cannot be written: refused.
"""

from __future__ import annotations

import asyncio
import math
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from hauberk import files
from hauberk.refusals import ConfigError, HauberkError, Refused
from hauberk_replay._bound import check_room
from hauberk_replay._nonces import check_nonce
from hauberk_replay._refusals import refused
from hauberk_replay._window import Window

if TYPE_CHECKING:
    import sqlite3

FORMAT: Final = 1
SECONDS: Final = 1.0
"""What an answer may take."""
_BUSY: Final = 0.5
"""Seconds to wait for another process."""
_QUEUE: Final = 8192
_BATCH: Final = 256
_FORGET: Final = 512
"""Rows that one transaction forgets at most: twice what it may add."""
_SCHEMA: Final = """
CREATE TABLE meta (format INTEGER NOT NULL, since REAL NOT NULL, held INTEGER NOT NULL);
CREATE TABLE senders (id INTEGER PRIMARY KEY, key_id TEXT NOT NULL UNIQUE, held INTEGER NOT NULL);
CREATE TABLE nonces (
    sender INTEGER NOT NULL, nonce BLOB NOT NULL, issued REAL NOT NULL, PRIMARY KEY (sender, nonce)
) WITHOUT ROWID;
CREATE INDEX nonces_issued ON nonces (issued);
"""


class _Asked(NamedTuple):
    """One nonce, and who waits."""

    key_id: str
    nonce: bytes
    issued: float
    now: float
    answered: Callable[[HauberkError | None], None]


@final
class SqliteNonces:
    """Nonces in a file."""

    def __init__(
        self, path: Path, window: Window, most: int, *, now: Callable[[], float], seconds: float = SECONDS
    ) -> None:
        """Settle where; nothing is opened.

        Args:
            path: The file; it is made, of mode 0600, where there is none.
            window: What messages are accepted by.
            most: How many nonces may be held, by all processes.
            now: The time, for a file that is made.
            seconds: What an answer may take.
        """
        self.path: Final = path
        self._window: Final = window
        self._most: Final = most
        self._now: Final = now
        self._seconds: Final = seconds
        self._queue: queue.Queue[_Asked | None] = queue.Queue(_QUEUE)
        self._thread: threading.Thread | None = None
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._lost = False
        """Whether a file that was in use is gone."""

    # --- for whoever asks ---

    async def open(self) -> None:
        """Open the file, or make it.

        Raises:
            ConfigError: It cannot be used.
        """
        await asyncio.to_thread(self._open)
        self._queue = queue.Queue(_QUEUE)
        self._thread = threading.Thread(target=self._work, name="hauberk-replay", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, and close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(self._queue.put, None)
            await asyncio.to_thread(thread.join)

    async def remember(self, key_id: str, nonce: bytes, issued: float, now: float) -> None:
        """Take a nonce that has not come before."""
        check_nonce(nonce)
        if self._thread is None:
            raise refused("replay.store_down", f"{str(self.path)!r} is not open")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[HauberkError | None] = loop.create_future()

        def answered(error: HauberkError | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, future, error)

        try:
            self._queue.put_nowait(_Asked(key_id, nonce, issued, now, answered))
            async with asyncio.timeout(self._seconds):
                error = await future
        except queue.Full:
            raise refused("replay.store_down", f"{_QUEUE} messages wait for {str(self.path)!r}") from None
        except TimeoutError:
            raise refused("replay.store_down", f"no answer within {self._seconds:g} s") from None
        if error is not None:
            raise error

    # --- the thread ---

    def _work(self) -> None:
        try:
            while (first := self._queue.get()) is not None:
                batch, ends = [first], False
                with suppress(queue.Empty):
                    while len(batch) < _BATCH and not ends:
                        more = self._queue.get_nowait()
                        if more is None:
                            ends = True
                        else:
                            batch.append(more)
                for asked, error in zip(batch, self._answers(batch), strict=True):
                    asked.answered(error)
                if ends:
                    return
        finally:
            self._close()

    def _answers(self, batch: list[_Asked]) -> list[HauberkError | None]:
        try:
            if self._db is None or _identity(self.path) != self._file:
                self._reopen()
            assert self._db is not None  # noqa: S101 - for the type checker
            return _transact(self._db, batch, self._window, self._most)
        except Exception as error:  # noqa: BLE001 - whatever it was, who waits is told, and the next batch is tried
            self._undo()
            why = error.message if isinstance(error, ConfigError) else f"{str(self.path)!r} ({error!r})"
            return [refused("replay.store_down", why) for _ in batch]

    def _undo(self) -> None:
        import sqlite3

        with suppress(sqlite3.Error):
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _reopen(self) -> None:
        self._lost = self._lost or self._db is not None
        self._close()
        self._open()
        self._lost = False

    def _open(self) -> None:
        import sqlite3

        files.private_dir(self.path.parent)
        try:
            os.close(files.append_private(self.path))
            db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise _unusable(self.path, error) from error
        try:
            _prepare(db, self._now() + self._window.skew, lost=self._lost)
        except sqlite3.Error as error:
            db.close()
            raise _unusable(self.path, error) from error
        except BaseException:
            db.close()
            raise
        self._db, self._file = db, _identity(self.path)

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _settle(future: asyncio.Future[HauberkError | None], error: HauberkError | None) -> None:
    if not future.done():
        future.set_result(error)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _unusable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"cannot use the memory of messages {str(path)!r} ({error})",
        hint="remove the file if it is damaged: messages from before that are then refused",
    )


# --- the file ---


def _prepare(db: sqlite3.Connection, since: float, *, lost: bool) -> None:
    """Make the tables where there are none; where there are, and a file was lost, let memory begin later.

    Raises:
        ConfigError: They are another version's.
    """
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # what was accepted is on the disk before it is acted on
    db.execute("BEGIN IMMEDIATE")
    try:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES (?, ?, 0)", (FORMAT, since))
        _check_format(db)
        if lost:
            db.execute("UPDATE meta SET since = max(since, ?)", (since,))
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _check_format(db: sqlite3.Connection) -> None:
    (found,) = db.execute("SELECT format FROM meta").fetchone()
    if found != FORMAT:
        raise ConfigError(
            f"the memory of messages has format {found}, and this version writes {FORMAT}",
            hint="use the version that made it, or another file",
        )


def _transact(db: sqlite3.Connection, batch: list[_Asked], window: Window, most: int) -> list[HauberkError | None]:
    """Take each nonce of a batch that may be taken, and forget a few that are too old."""
    db.execute("BEGIN IMMEDIATE")
    since, held = db.execute("SELECT since, held FROM meta").fetchone()
    ledger = _Ledger(db, since, held)
    ledger.forget(max(asked.now for asked in batch) - window.max_age - window.skew)
    answers: list[HauberkError | None] = []
    for asked in batch:
        try:
            ledger.take(asked, most)
        except Refused as error:
            answers.append(error)
        else:
            answers.append(None)
    ledger.write()
    db.execute("COMMIT")
    return answers


class _Ledger:
    """What one transaction knows, and changes."""

    def __init__(self, db: sqlite3.Connection, since: float, held: int) -> None:
        self._db: Final = db
        self._since = since
        self._held = held
        self._senders: Final[dict[str, list[int]]] = {}
        """By key id: the number of the row, and how many it holds."""

    def forget(self, before: float) -> None:
        """Forget some that were made before a time."""
        rows = self._db.execute(
            "SELECT sender, nonce, issued FROM nonces WHERE issued < ? ORDER BY issued LIMIT ?", (before, _FORGET)
        ).fetchall()
        if not rows:
            return
        self._db.executemany("DELETE FROM nonces WHERE sender = ? AND nonce = ?", [row[:2] for row in rows])
        self._db.executemany("UPDATE senders SET held = held - 1 WHERE id = ?", [row[:1] for row in rows])
        self._db.execute("DELETE FROM senders WHERE held = 0")
        self._held -= len(rows)
        self._since = max(self._since, math.nextafter(rows[-1][2], math.inf))

    def take(self, asked: _Asked, most: int) -> None:
        """Take one.

        Raises:
            Refused: It came before, it is from before memory begins, or there is no room.
        """
        sender = self._sender(asked.key_id)
        row, held = sender
        taken = (row, asked.nonce)
        if row and self._db.execute("SELECT 1 FROM nonces WHERE sender = ? AND nonce = ?", taken).fetchone():
            raise refused("replay.detected", f"key {asked.key_id!r}")
        if asked.issued < self._since:
            raise refused("replay.not_remembered", f"{self._since - asked.issued:.3f} s before")
        check_room(self._held, held, most)
        if not row:
            row = self._db.execute("INSERT INTO senders (key_id, held) VALUES (?, 0)", (asked.key_id,)).lastrowid or 0
            sender[0] = row
        self._db.execute("INSERT INTO nonces VALUES (?, ?, ?)", (row, asked.nonce, asked.issued))
        sender[1] += 1
        self._held += 1

    def write(self) -> None:
        """Write how many are held."""
        counts = [(held, row) for row, held in self._senders.values() if row]
        self._db.executemany("UPDATE senders SET held = ? WHERE id = ?", counts)
        self._db.execute("UPDATE meta SET since = ?, held = ?", (self._since, self._held))

    def _sender(self, key_id: str) -> list[int]:
        sender = self._senders.get(key_id)
        if sender is None:
            found: Any = self._db.execute("SELECT id, held FROM senders WHERE key_id = ?", (key_id,)).fetchone()
            sender = self._senders[key_id] = list(found or (0, 0))
        return sender
