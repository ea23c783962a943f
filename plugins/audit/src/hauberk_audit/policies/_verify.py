"""Whether the history of policies is what was written, and what the audit log says of it.

The hash of the newest row stands in the log, in each ``policy.loaded``: so rows that were cut off the end show, and a
history that was made anew. That the log itself is whole is for ``hauberk audit verify`` to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hauberk.refusals import ConfigError
from hauberk_audit._paths import log_set
from hauberk_audit.policies._history import History
from hauberk_audit.policies._keeper import LOADED
from hauberk_audit.policies._rows import Row, faults
from hauberk_audit.queries._reading import Reader


class Anchor(NamedTuple):
    """A row that a log names."""

    log: str
    number: int
    hash: str


def examined(history: History) -> tuple[list[Row], list[str]]:
    """Return the rows of a history, and what is wrong with it.

    Raises:
        ConfigError: It cannot be read.
    """
    rows = history.rows()
    found = faults(rows, history.contents())
    highest = {row.place: row.serial for row in sorted(rows, key=lambda row: row.serial)}
    for place, serial in highest.items():
        known = history.serial(place) if serial else None
        if serial and (known is None or known.serial < serial):
            found.append(f"serial {serial} was accepted, and is not remembered: {place}")
    return rows, found


def anchors(path: Path, policy_path: str) -> Iterator[Anchor]:
    """Yield the newest row that each of the logs of a path names for a policy; nothing where there is no log.

    Raises:
        ConfigError: A log cannot be read.
    """
    try:
        logs = log_set(path)
    except ConfigError:
        return
    for log in logs:
        named = (_anchor(str(log), found.entry, policy_path) for found in Reader(log).backwards())
        newest = next((one for one in named if one is not None), None)
        if newest is not None:
            yield newest


def unanchored(rows: Sequence[Row], named: Iterable[Anchor]) -> list[str]:
    """Return where rows are not those that logs name."""
    hashes = {row.number: row.hash for row in rows}
    first, last = (rows[0].number, rows[-1].number) if rows else (1, 0)
    found = []
    for log, number, expected in named:
        if number > last:
            found.append(f"{log} names row {number}, and the last one is {last}: rows were cut off")
        elif number >= first and hashes.get(number) != expected:
            found.append(f"{log} names another row {number}: the history is not the one that was written")
    return found


def _anchor(log: str, entry: dict[str, object], policy_path: str) -> Anchor | None:
    details = entry.get("details")
    if entry.get("code") != LOADED or not isinstance(details, dict) or details.get("policy_path") != policy_path:
        return None
    number, found = details.get("history_row"), details.get("history_hash")
    return Anchor(log, number, found) if isinstance(number, int) and isinstance(found, str) else None
