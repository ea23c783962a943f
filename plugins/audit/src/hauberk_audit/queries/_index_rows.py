"""The tables of an index, and what of an entry goes into them.

What repeats is written once, in ``words``; hashes and ids are written as bytes where they look as they should. The view
``audit_log`` has the columns of a log of secrets, for those who know them: what was done, to what, from where, and how
it ended.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any, Final, final

from hauberk_audit.queries._reading import Found, count_of, table_of, text_of, time_of

WORDS: Final = ("code", "severity", "action", "server", "tool", "principal", "source", "method")
COLUMNS: Final = (
    *("n", "file", "line", "offset", "size", "sequence", "time", "count", "id"),
    *WORDS,
    *("digest", "reason", "prev_hash", "hash"),
)
TABLES: Final = (
    "CREATE TABLE words (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    """CREATE TABLE files (number INTEGER PRIMARY KEY, first INTEGER NOT NULL, lines INTEGER NOT NULL,
        rows INTEGER NOT NULL, skipped INTEGER NOT NULL, offset INTEGER NOT NULL, crc INTEGER NOT NULL,
        last INTEGER NOT NULL, hash BLOB NOT NULL, stamp TEXT NOT NULL)""",
    """CREATE TABLE entries (n INTEGER PRIMARY KEY, file INTEGER NOT NULL, line INTEGER NOT NULL,
        offset INTEGER NOT NULL, size INTEGER NOT NULL, sequence INTEGER NOT NULL, time INTEGER,
        count INTEGER NOT NULL, id BLOB NOT NULL, code INTEGER NOT NULL, severity INTEGER NOT NULL,
        action INTEGER NOT NULL, server INTEGER NOT NULL, tool INTEGER NOT NULL, principal INTEGER NOT NULL,
        source INTEGER NOT NULL, method INTEGER NOT NULL, digest BLOB NOT NULL, reason TEXT NOT NULL,
        prev_hash BLOB NOT NULL, hash BLOB NOT NULL)""",
    """CREATE TABLE spans (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, earliest INTEGER NOT NULL,
        latest INTEGER NOT NULL, lowest INTEGER NOT NULL, highest INTEGER NOT NULL)""",
    """CREATE VIEW audit_log AS SELECT
        CASE typeof(e.id) WHEN 'blob' THEN lower(substr(hex(e.id), 1, 8) || '-' || substr(hex(e.id), 9, 4) || '-' ||
            substr(hex(e.id), 13, 4) || '-' || substr(hex(e.id), 17, 4) || '-' || substr(hex(e.id), 21))
            ELSE e.id END AS id,
        CASE WHEN substr(c.text, instr(c.text, '.') + 1) IN ('get', 'set', 'delete', 'list', 'run')
                THEN substr(c.text, instr(c.text, '.') + 1)
            WHEN m.text = 'tools/call' THEN 'run'
            WHEN m.text LIKE '%/list' THEN 'list'
            WHEN m.text IN ('resources/read', 'prompts/get') THEN 'get'
            ELSE c.text END AS action,
        CASE typeof(e.digest) WHEN 'blob' THEN 'sha256:' || lower(hex(e.digest)) ELSE e.digest END AS key_hash,
        s.text AS source,
        a.text <> 'blocked' AND c.text <> 'core.error' AS success,
        e.reason AS error_msg,
        strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000, 'unixepoch') || printf('.%06dZ', e.time % 1000000) AS timestamp,
        CASE typeof(e.prev_hash) WHEN 'blob' THEN 'hmac-sha256:' || lower(hex(e.prev_hash)) ELSE e.prev_hash END
            AS prev_hash,
        CASE typeof(e.hash) WHEN 'blob' THEN 'hmac-sha256:' || lower(hex(e.hash)) ELSE e.hash END AS hash
        FROM entries e JOIN words c ON c.id = e.code JOIN words m ON m.id = e.method
        JOIN words s ON s.id = e.source JOIN words a ON a.id = e.action""",
)

_KNOWN: Final = 65_536
"""Words whose numbers are remembered."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HASH: Final = re.compile(r"hmac-sha256:[0-9a-f]{64}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@final
class Words:
    """The numbers of words."""

    __slots__ = ("_db", "_known")

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db: Final = db
        self._known: Final[dict[str, int]] = {}

    def number(self, word: str) -> int:
        """Return the number of a word, which is noted if it is new."""
        number = self._known.get(word)
        if number is None:
            found = self._db.execute("SELECT id FROM words WHERE text = ?", (word,)).fetchone()
            if found is None:
                found = (self._db.execute("INSERT INTO words (text) VALUES (?)", (word,)).lastrowid,)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            number = self._known[word] = int(found[0])
        return number

    def forget(self) -> None:
        """Forget what may not be there any more."""
        self._known.clear()


def row(n: int, found: Found, size: int, words: Words) -> tuple[Any, ...]:
    """Return the row of an entry, in the order of `COLUMNS`.

    Args:
        n: Its number.
        found: The entry.
        size: Bytes of its line in the log.
        words: The words of the index.
    """
    entry = found.entry
    integrity = table_of(entry, "integrity")
    return (
        *(n, found.number, found.line, found.offset, size, found.sequence, time_of(entry), count_of(entry)),
        packed_id(text_of(entry, "id")),
        *[words.number(text_of(entry, name)) for name in WORDS],
        _packed(text_of(entry, "digest"), _DIGEST),
        text_of(table_of(entry, "details"), "reason"),
        _packed(text_of(integrity, "prev_hash"), _HASH),
        _packed(text_of(integrity, "entry_hash"), _HASH),
    )


def packed_id(id: str) -> bytes | str:
    """Return the id of an entry as it stands in the index."""
    return bytes.fromhex(id.replace("-", "")) if _UUID.fullmatch(id) else id


def _packed(text: str, pattern: re.Pattern[str]) -> bytes | str:
    return bytes.fromhex(text.rpartition(":")[2]) if pattern.fullmatch(text) else text
