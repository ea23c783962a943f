"""The history of policies: a private SQLite file in the state directory, written by the host that loads one.

The rules:

1. ``policies/history.sqlite``, of mode 0600, in a directory of mode 0700 (`hauberk.files`), in the state directory.
   Nothing is kept open.
2. A row and what it says are written in one transaction, and are on the disk when it ends. What is kept are the bytes
   that were read and are enforced; the file is not read again.
3. The newest `LIMITS.kept` rows are kept; content that no row names is taken away with the row.
4. Beside the rows stands the highest serial that was accepted in each place (`hauberk_audit.policies._check`). It is
   raised in the transaction that writes the row, and lowered by nothing.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeGuard

import msgspec

from hauberk import files
from hauberk.config import Config
from hauberk.refusals import ConfigError
from hauberk_audit.policies import _rows
from hauberk_audit.policies._limits import LIMITS
from hauberk_audit.policies._rows import NOTHING, Row

if TYPE_CHECKING:
    import sqlite3

_FORMAT: Final = 1
_COLUMNS: Final = tuple(name for name in Row.__struct_fields__ if name != "diff")
_NAMES: Final = ", ".join((*_COLUMNS, "diff"))
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS policy_versions (version TEXT PRIMARY KEY, content BLOB NOT NULL)",
    """CREATE TABLE IF NOT EXISTS policy_loads (
        number INTEGER PRIMARY KEY, version TEXT NOT NULL REFERENCES policy_versions, policy_name TEXT NOT NULL,
        place TEXT NOT NULL, host TEXT NOT NULL, policy_file TEXT NOT NULL, loaded_at REAL NOT NULL, how TEXT NOT NULL,
        changed_by TEXT NOT NULL, prev_version TEXT NOT NULL, summary TEXT NOT NULL, signature TEXT NOT NULL,
        signer TEXT NOT NULL, key_id TEXT NOT NULL, serial INTEGER NOT NULL, prev_hash TEXT NOT NULL,
        hash TEXT NOT NULL, diff TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS policy_serials (
        place TEXT PRIMARY KEY, serial INTEGER NOT NULL, content TEXT NOT NULL)""",
)
Told = tuple[str, tuple[str, ...]]
"""The summary of a diff, and its lines."""
Compare = Callable[[Row, bytes, Row], Told]
"""Tells the row of what was in force, and its content, from another row."""


class Accepted(NamedTuple):
    """The highest serial that was accepted in one place."""

    serial: int
    content: str
    """The versions of the policy and its ``policy.py``; empty where somebody only said what the serial is."""


class Contents(NamedTuple):
    """What came into force."""

    policy: bytes
    local: bytes = b""
    """The ``policy.py``."""


class History:
    """The history of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.path: Final = state_dir / "policies" / "history.sqlite"

    @classmethod
    def of(cls, settings: Config, log: Path) -> Self:
        """Return the history of a host: in its state directory, or beside its log where that is all that it names."""
        try:
            return cls(settings.state_dir)
        except ConfigError:  # in production a variable moves it, and so it is none (X.5)
            return cls(log.parent)

    # --- what was ---

    @property
    def kept(self) -> int:
        """How many rows are kept."""
        return LIMITS.kept

    def rows(self) -> list[Row]:
        """Return the rows, the oldest first; none where there is no history.

        Raises:
            ConfigError: It cannot be read.
        """
        with self._reading() as db:
            return [] if db is None else [_row(one) for one in db.execute(_SELECT + "ORDER BY number")]

    def contents(self) -> dict[str, bytes]:
        """Return what is kept, by version.

        Raises:
            ConfigError: It cannot be read.
        """
        with self._reading() as db:
            found = () if db is None else db.execute("SELECT version, content FROM policy_versions")
            return {version: _unpacked(content) for version, content in found}

    def serial(self, place: str) -> Accepted | None:
        """Return the highest serial that was accepted in a place; None where nothing is remembered.

        Raises:
            ConfigError: It cannot be read.
        """
        with self._reading() as db:
            return None if db is None else _serial(db, place)

    # --- what is ---

    def check(self) -> None:
        """Check that it can be written, making it where there is none.

        Raises:
            ConfigError: It cannot, or is not whole at its end.
        """
        with self._writing() as db:
            _last(db)

    def record(self, made: Row, contents: Contents, compare: Compare, *, strict: bool) -> tuple[Row, bool]:
        """Write a row for what came into force, unless that is what was in force there last.

        Args:
            made: The row, without number, version before, diff and hashes.
            contents: What the row says by its versions.
            compare: Compares the row of what was in force there, and its content, with this one.
            strict: Whether a serial that is not high enough is an error, and not only not remembered.

        Returns:
            The row of what is in force, and whether it was written now.

        Raises:
            ConfigError: It cannot be written, or a higher serial was accepted meanwhile.
        """
        if not made.serial and (standing := self._standing(made)) is not None:
            return standing, False  # as at most starts: nothing is written, and nobody waits for the disk
        with self._writing() as db:
            if made.serial:
                _accept(db, made, strict=strict)
            before = _in_force(db, made)
            if _is_same(before, made):
                return before, False
            held = None if before is None else _content(db, before.version)
            if before is None or held is None:
                return _add(db, made, contents), True
            summary, lines = compare(before, held, made)
            return _add(db, made, contents, prev_version=before.version, summary=summary, diff=lines), True

    def _standing(self, made: Row) -> Row | None:
        """Return the row of what is in force, if it says the same."""
        with self._reading() as db:
            before = None if db is None else _in_force(db, made)
            return before if _is_same(before, made) else None

    def keep(self, made: Row, content: bytes) -> Row | None:
        """Write a row for a content that is about to be replaced; None where it is kept already.

        Raises:
            ConfigError: It cannot be written.
        """
        with self._writing() as db:
            if _content(db, made.version) == content:
                return None
            return _add(db, made, Contents(content))

    def at_least(self, place: str, serial: int) -> Accepted:
        """Remember that no policy of a place may have a lower serial; a higher one that is remembered stands.

        Raises:
            ConfigError: It cannot be written.
        """
        with self._writing() as db:
            known = _serial(db, place)
            if known is None or serial > known.serial:
                _remember(db, place, known := Accepted(serial, ""))
            return known

    # --- the file ---

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if not os.path.lexists(self.path):
            yield None
            return
        with self._open() as db:
            yield db if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'policy_serials'").fetchone() else None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement in _SCHEMA:
                    db.execute(statement)
                if _format(db) < _FORMAT:  # written only once: what changes nothing needs no disk
                    db.execute(f"PRAGMA user_version = {_FORMAT}")
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        import sqlite3  # most commands need none, and a start has no time for it before it must

        try:
            files.private_dir(self.path.parent)
            os.close(files.append_private(self.path, in_place=True))
            db = sqlite3.connect(self.path, timeout=LIMITS.busy, isolation_level=None)
            try:
                _prepare(db, self.path)
                yield db
            finally:
                db.close()
        except (sqlite3.Error, zlib.error, OSError) as error:
            raise self._cannot(error) from error

    def _cannot(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"cannot use the history of policies {str(self.path)!r}: {str(error).lower()}",
            hint="see the disk and who else uses it; a damaged one is moved away, not deleted, and a new one begins",
        )


_SELECT: Final = f"SELECT {_NAMES} FROM policy_loads "  # noqa: S608 - names of this module


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")  # what was taken away may have held a secret
    if _format(db) > _FORMAT:
        raise ConfigError(
            f"cannot use the history of policies {str(path)!r}: a newer hauberk has written it",
            hint="use that one, or move the file away",
        )


def _format(db: sqlite3.Connection) -> int:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def _row(values: tuple[Any, ...]) -> Row:
    try:
        held = dict(zip(_COLUMNS, values[:-1], strict=True)) | {"diff": msgspec.json.decode(values[-1])}
        return msgspec.convert(held, Row)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ConfigError(
            f"cannot use the history of policies: row {values[0]!r} is damaged",
            hint="move the file away, and a new one begins",
        ) from error


def _last(db: sqlite3.Connection) -> Row | None:
    """Return the newest row.

    Raises:
        ConfigError: It is not what was written, so that nothing can follow it.
    """
    found = db.execute(_SELECT + "ORDER BY number DESC LIMIT 1").fetchone()
    row = None if found is None else _row(found)
    if row is not None and _rows.sealed(row).hash != row.hash:
        raise ConfigError(
            f"cannot go on with the history of policies: row {row.number} is not what was written",
            hint="hauberk policy verify says more; move the file away, and a new one begins",
        )
    return row


def _in_force(db: sqlite3.Connection, made: Row) -> Row | None:
    """Return the row of what was in force in the place of another; a program's texts do not follow one another."""
    only = "version = ? AND place = ''" if not made.place else "place = ?"
    query = f"{_SELECT} WHERE {only} AND how != 'kept' ORDER BY number DESC LIMIT 1"
    found = db.execute(query, (made.place or made.version,)).fetchone()
    return None if found is None else _row(found)


def _is_same(before: Row | None, made: Row) -> TypeGuard[Row]:
    return before is not None and (before.version, before.policy_file) == (made.version, made.policy_file)


def _content(db: sqlite3.Connection, version: str) -> bytes | None:
    found = db.execute("SELECT content FROM policy_versions WHERE version = ?", (version,)).fetchone()
    return None if found is None else _unpacked(found[0])


def _add(db: sqlite3.Connection, made: Row, contents: Contents, **more: Any) -> Row:
    last = _last(db)
    number, link = (1, NOTHING) if last is None else (last.number + 1, last.hash)
    row = _rows.sealed(msgspec.structs.replace(made, number=number, prev_hash=link, **more))
    for version, content in ((row.version, contents.policy), (row.policy_file, contents.local)):
        if version:
            db.execute("INSERT OR REPLACE INTO policy_versions VALUES (?, ?)", (version, zlib.compress(content, 9)))
    values = [getattr(row, name) for name in _COLUMNS] + [msgspec.json.encode(row.diff).decode()]
    marks = ", ".join("?" * len(values))
    db.execute(f"INSERT INTO policy_loads ({_NAMES}) VALUES ({marks})", values)  # noqa: S608 - names of this module
    db.execute("DELETE FROM policy_loads WHERE number <= ?", (number - LIMITS.kept,))
    db.execute(
        "DELETE FROM policy_versions WHERE version NOT IN "
        "(SELECT version FROM policy_loads UNION SELECT policy_file FROM policy_loads)"
    )
    return row


def _unpacked(content: bytes) -> bytes:
    """Return a content; one that is no longer than a policy may be.

    Raises:
        zlib.error: It is damaged, or longer.
    """
    reader = zlib.decompressobj()
    found = reader.decompress(content, files.MAX_TRUSTED_BYTES + 1)
    if len(found) > files.MAX_TRUSTED_BYTES or not reader.eof:
        raise zlib.error("a content is damaged")
    return found


# --- serials ---


def content_of(version: str, policy_file: str) -> str:
    """Return what one serial stands for."""
    return f"{version} {policy_file}".rstrip()


def _serial(db: sqlite3.Connection, place: str) -> Accepted | None:
    found = db.execute("SELECT serial, content FROM policy_serials WHERE place = ?", (place,)).fetchone()
    return None if found is None else Accepted(*found)


def _accept(db: sqlite3.Connection, made: Row, *, strict: bool) -> None:
    known, new = _serial(db, made.place), Accepted(made.serial, content_of(made.version, made.policy_file))
    if (fault := behind(known, new)) is None:
        if known != new:
            _remember(db, made.place, new)
    elif strict:
        raise ConfigError(fault, hint="reload: another host of this place has a newer policy")


def behind(known: Accepted | None, new: Accepted) -> str | None:
    """Return why a serial is not high enough."""
    if known is None or new.serial > known.serial:
        return None
    if new.serial < known.serial:
        return f"its serial is {new.serial}, and serial {known.serial} was accepted before"
    if known.content not in {"", new.content}:
        return f"its serial is {new.serial}, and so was that of another policy that was accepted"
    return None


def _remember(db: sqlite3.Connection, place: str, new: Accepted) -> None:
    db.execute("INSERT OR REPLACE INTO policy_serials VALUES (?, ?, ?)", (place, *new))


def kept_of(contents: Mapping[str, bytes], prefix: str) -> str:
    """Return the version that begins so, with or without ``sha256:``.

    Raises:
        ConfigError: None does, or several do.
    """
    digits = prefix.removeprefix("sha256:").lower()
    found = [version for version in contents if version.removeprefix("sha256:").startswith(digits)]
    if len(digits) < LIMITS.prefix:
        raise ConfigError(
            f"{prefix!r} is too short to name a version", hint=f"give {LIMITS.prefix} hexadecimal digits or more of it"
        )
    if not found:
        raise ConfigError(f"no version {prefix!r} is kept", hint="hauberk policy history lists them")
    if len(found) > 1:
        raise ConfigError(f"{len(found)} versions begin with {prefix!r}", hint="give more of it")
    return found[0]
