"""Whether the history of policies is what was written, and what the audit log says of it.

The rules:

1. The hash of the row that is in force stands in the log, in each ``policy.loaded``: so rows that were cut off the end
   show, and a history that was made anew. All of them are compared: after a cut the next start names another row.
2. Rows at the beginning are gone only where as many as are kept follow them.
3. What is sealed is opened with the keys at hand. What they do not open is told: it could name a row that is gone.
4. That the log itself is whole is for ``hauberk audit verify`` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit._paths import log_set
from hauberk_audit.policies._history import History
from hauberk_audit.policies._keeper import LOADED
from hauberk_audit.policies._rows import Row, faults
from hauberk_audit.queries._parts import Progress
from hauberk_audit.queries._reading import Reader

Open = Callable[[dict[str, Any], Path], dict[str, Any]]
"""Returns an entry of a log as it was before it was sealed, or raises a `HauberkError`."""


class Anchor(NamedTuple):
    """A row that a log names."""

    log: str
    number: int
    hash: str


class Named(NamedTuple):
    """What the logs of a path say of a history."""

    anchors: list[Anchor]
    """The rows that they name, each once for each log; those that were named last come first."""
    closed: list[str]
    """Which of them hold entries that no key at hand opens."""


def examined(history: History) -> tuple[list[Row], list[str]]:
    """Return the rows of a history, and what is wrong with it.

    Raises:
        ConfigError: It cannot be read.
    """
    rows = history.rows()
    found = faults(rows, history.contents())
    if rows and (before := rows[0].number - 1) and rows[-1].number - before < history.kept:
        found.append(f"rows 1 to {before} are missing: the newest {history.kept} are kept, and fewer are there")
    highest = {row.place: row.serial for row in sorted(rows, key=lambda row: row.serial)}
    for place, serial in highest.items():
        known = history.serial(place) if serial else None
        if serial and (known is None or known.serial < serial):
            found.append(f"serial {serial} was accepted, and is not remembered: {place}")
    return rows, found


def anchors(path: Path, policy_path: str, opened: Open | None = None, progress: Progress | None = None) -> Named:
    """Return the rows that the logs of a path name for a policy; nothing where there is no log.

    Args:
        path: The path of the logs.
        policy_path: What they call the policy.
        opened: Opens what is sealed.
        progress: Is told how many bytes were read.

    Raises:
        ConfigError: A log cannot be read.
    """
    try:
        logs = log_set(path)
    except ConfigError:
        return Named([], [])
    found: dict[Anchor, None] = {}
    closed = []
    for log in logs:
        shut = 0
        for one in Reader(log, progress=progress).backwards():
            try:
                entry = _entry(one.entry, log, opened)
            except HauberkError:
                shut += 1
                continue
            if (anchor := _anchor(str(log), entry, policy_path)) is not None:
                found[anchor] = None
        if shut:
            closed.append(f"{log}: no key at hand opens {shut} of its entries, which may name rows that are gone")
    return Named(list(found), closed)


def unanchored(rows: Sequence[Row], named: Iterable[Anchor]) -> list[str]:
    """Return where rows are not those that logs name; for each log, what it named last of those that are gone."""
    hashes = {row.number: row.hash for row in rows}
    first, last = (rows[0].number, rows[-1].number) if rows else (1, 0)
    found: dict[tuple[str, str], str] = {}
    for log, number, expected in named:
        if number > last:
            said = f"{log} names row {number}, and the last one is {last}: rows were cut off"
            found.setdefault((log, "cut"), said)
        elif number >= first and hashes.get(number) != expected:
            said = f"{log} names another row {number}: the history is not the one that was written"
            found.setdefault((log, "other"), said)
    return list(found.values())


def _entry(entry: dict[str, Any], log: Path, opened: Open | None) -> dict[str, Any]:
    """Return an entry as it was before it was sealed.

    Raises:
        HauberkError: Nothing at hand opens it.
    """
    if "sealed" not in entry:
        return entry
    if opened is None:
        raise HauberkError("it is sealed")
    return opened(entry, log)


def _anchor(log: str, entry: dict[str, object], policy_path: str) -> Anchor | None:
    details = entry.get("details")
    if entry.get("code") != LOADED or not isinstance(details, dict) or details.get("policy_path") != policy_path:
        return None
    number, found = details.get("history_row"), details.get("history_hash")
    return Anchor(log, number, found) if isinstance(number, int) and isinstance(found, str) else None
