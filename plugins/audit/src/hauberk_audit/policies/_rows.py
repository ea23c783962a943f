"""One row of the history of policies, and what ties it to the one before it.

The rules:

1. A row is written when another policy comes into force than the last one of that place. A policy that comes back (A,
   B, A) has a row each time; what it says is kept once, by its version.
2. ``hash`` is SHA-256 over a label and the canonical JSON (RFC 8785) of all other members; one of them is the hash of
   the row before. So a row that is changed, left out, added or moved shows, but for the last ones: their hash stands
   in the audit log.
3. Rows are numbered from 1. The first that is kept may have a higher number: those before it were taken away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from hauberk import canon
from hauberk.config import Config

_LABEL: Final = "hauberk/policy-history/v1"
NOTHING: Final = "sha256:" + 64 * "0"
"""What stands for the hash of the row before the first one."""

How = Literal["startup", "reload", "kept"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One policy that came into force, or was kept when it was replaced."""

    number: int
    version: str
    """``sha256:`` and the SHA-256 of the bytes that were enforced, in hexadecimal."""
    policy_name: str
    place: str
    """The path of the file; empty for the text of a program's own."""
    host: str
    policy_file: str = ""
    """The version of its ``policy.py``, if it had one."""
    loaded_at: float
    """Seconds since 1970."""
    how: How
    """``kept``: it was never in force, or not from here; a rollback has replaced it."""
    changed_by: str
    prev_version: str = ""
    """What was in force in that place before, as far as is known."""
    summary: str = ""
    diff: tuple[str, ...] = ()
    """What differs from the version before, rule by rule."""
    signature: str = ""
    """``valid``, or what was wrong; empty where nobody had to sign it."""
    signer: str = ""
    key_id: str = ""
    serial: int = 0
    prev_hash: str = NOTHING
    hash: str = ""


def text(value: object) -> str:
    """Return a name or a path as text that can be written anywhere, whatever bytes it was made of."""
    return str(value).encode(errors="backslashreplace").decode()


def place_of(config: Config) -> str:
    """Return what the rows of one policy have in common: the path of its file, whether it is there or not."""
    return "" if config.place is None else text(config.place)


def sealed(row: Row) -> Row:
    """Return a row with its hash."""
    return msgspec.structs.replace(row, hash=_hash(row))


def version_of(content: bytes) -> str:
    """Return the version of a content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def faults(rows: Sequence[Row], contents: Mapping[str, bytes]) -> list[str]:
    """Return where rows do not follow one another, or are not what was written; nothing where they are whole.

    Args:
        rows: In their order.
        contents: What is kept, by version.
    """
    found = []
    for before, row in zip((None, *rows), rows, strict=False):
        if row.hash != _hash(row):
            found.append(f"row {row.number}: it is not what was written")
        number, link = (row.number, None) if before is None else (before.number + 1, before.hash)
        if row.number != number:
            found.append(f"row {row.number}: {_missing(number, row.number)}")
        elif (link or (NOTHING if row.number == 1 else row.prev_hash)) != row.prev_hash:
            found.append(f"row {row.number}: it does not follow the one before it")
    return found + _lost(rows, contents)


def _missing(first: int, after: int) -> str:
    return f"row {first} is missing before it" if after == first + 1 else f"rows {first} to {after - 1} are missing"


def _lost(rows: Iterable[Row], contents: Mapping[str, bytes]) -> list[str]:
    """Return which versions are not kept, or are not what they are called."""
    wanted = dict.fromkeys(version for row in rows for version in (row.version, row.policy_file) if version)
    found = [f"version {version}: what it said is missing" for version in wanted if version not in contents]
    changed = (version for version, content in contents.items() if version_of(content) != version)
    return [*found, *(f"version {version}: it is not what was kept" for version in changed)]


def _hash(row: Row) -> str:
    held = msgspec.to_builtins(row)
    del held["hash"]
    return canon.digest(_LABEL, held)
