"""The index of a log that is sealed: the same database, encrypted page by page by SQLCipher.

The rules:

1. Database, log of changes and journals are ciphertext. What SQLite would put into temporary files stays in memory.
2. The key is derived from the first data key of the log since its keys were changed (`sealing._sealing`), and is given
   as it is: SQLCipher derives nothing from it.
3. Without the package there is no index of a sealed log: each query reads the log.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from hauberk.refusals import HauberkError

Connect = Callable[[Path], Any]
_PATIENCE: Final = 300.0
"""Seconds to wait for another command that writes the index."""


def works() -> bool:
    """Whether there is an SQLCipher here."""
    try:
        database = _open(":memory:")
    except (ImportError, HauberkError):
        return False
    with closing(database):
        return bool(database.execute("PRAGMA cipher_version").fetchone())


def connector(key: bytes) -> Connect:
    """Return what opens a database with a key (32 bytes). A database of another key fails when it is used."""

    def connect(path: Path) -> Any:
        database = _open(str(path))
        database.execute(f"PRAGMA key = \"x'{key.hex()}'\"")  # raw, and no parameter: a pragma takes none
        database.execute("PRAGMA temp_store = MEMORY")
        return database

    return connect


def _open(path: str) -> Any:
    from sqlcipher3 import dbapi2  # type: ignore[import-untyped]  # it has no types

    database = dbapi2.connect(path, timeout=_PATIENCE, isolation_level=None)
    database.execute("PRAGMA cipher_log_level = NONE")  # it would write to stderr that a key is another one
    return database
