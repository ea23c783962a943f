"""Logs on a disk for the tests of queries: lines that look like entries, and what may happen to their files."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from hauberk_audit._paths import closed, closed_files
from hauberk_audit.queries._reading import microseconds
from hauberk_audit.writing._packing import compress

NOON = 1_760_011_200_000_000
"""2025-10-09T12:00:00Z, in microseconds since 1970."""


def time_text(second: int) -> str:
    """Return a time of the ninth of October 2025, so many seconds after noon."""
    return f"2025-10-09T{12 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000000Z"


def entry(number: int, second: int | None = None, **more: Any) -> dict[str, Any]:
    """Return an entry of a number; its time is so many seconds after noon, or its number's."""
    given: dict[str, Any] = {
        "format": "hauberk-audit/1",
        "time": time_text(number if second is None else second),
        "code": "core.allowed",
        "id": f"00000000-0000-8000-8000-{number:012x}",
        "category": "decision",
        "severity": "info",
        "action": "allowed",
        "server": "files",
        "tool": "read_file",
        "principal": "host:default",
        "count": 1,
    }
    integrity = {
        "sequence": number,
        "prev_hash": f"hmac-sha256:{number - 1:064x}",
        "key_id": "90b305495e358861",
        "entry_hash": f"hmac-sha256:{number:064x}",
    }
    return {**given, **more, "integrity": integrity}


def line(found: dict[str, Any]) -> bytes:
    """Return the line of an entry."""
    return orjson.dumps(found) + b"\n"


def write(log: Path, entries: Iterable[dict[str, Any]], mode: str = "ab") -> None:
    """Append entries to a log, whose directory is made."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open(mode) as file:
        file.writelines(map(line, entries))


def rotate(log: Path, *, pack: bool = False) -> None:
    """Close the file that is written, as a writer does."""
    name = closed(log, max(closed_files(log), default=0) + 1)
    log.rename(name)
    log.touch()
    if pack:
        compress(name)


def files_of(log: Path) -> Iterator[bytes]:
    """Yield the content of each file of a log, the oldest first."""
    for path in closed_files(log).values():
        yield gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if log.exists():
        yield log.read_bytes()


def parsed(log: Path) -> list[dict[str, Any]]:
    """Return the entries of a log, in their order: what is read by the plainest of means."""
    found = []
    for data in files_of(log):
        for text in data.split(b"\n")[:-1]:
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError:
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


def by_time(*logs: Path) -> list[dict[str, Any]]:
    """Return the entries of logs as one, the oldest first; the clock of none went back."""
    return sorted((one for log in logs for one in parsed(log)), key=lambda one: microseconds(one["time"]) or 0)


def ids(found: Iterable[Any]) -> list[str]:
    """Return the ids of entries, or of what was found."""
    return [str((one if isinstance(one, dict) else one.entry)["id"]) for one in found]
