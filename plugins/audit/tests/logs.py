"""Logs made for tests: lines of a chain in memory, and what a walk says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hauberk.event import Event
from hauberk_audit._entry import render
from hauberk_audit.verifying._walk import Walk
from hauberk_audit.writing._chain import GENESIS, Chain, read
from hauberk_audit.writing._ratchet import Ladder

KEY: Final = bytes(range(7, 250, 8)) + b"\xfe"
OTHER_KEY: Final = bytes(range(3, 250, 8)) + b"\xfd"
NOW: Final = 1_760_000_000.25

Found = tuple[str, int, int]
"""Kind, line and sequence number of a break."""


def event(number: int = 1, **fields: str) -> Event:
    """Return an event like those that the core makes."""
    given: dict[str, str] = {
        "code": "core.allowed",
        "id": f"00000000-0000-8000-8000-{number:012x}",
        "host": "default",
        "server": "files",
        "tool": "read_file",
        "principal": "host:default",
    }
    return Event(time=NOW + number, **(given | fields))  # type: ignore[arg-type]  # strings for strings


def chain(count: int, key: bytes = KEY, *, after: bytes = b"", text: str = "x") -> list[bytes]:
    """Return the lines, without their LF, of a chain; ``after`` is the last line of one that it goes on from."""
    return list(stream(count, key, after=after, text=text))


def stream(count: int, key: bytes = KEY, *, after: bytes = b"", text: str = "x") -> Iterator[bytes]:
    """Yield what `chain` returns."""
    signer = Chain(key)
    last = read(after)
    sequence, digest = (last.sequence, last.hash) if last else (0, GENESIS)
    for number in range(sequence + 1, sequence + count + 1):
        line, digest = signer.seal(render(event(number, rule=text)), number, digest)
        yield line[:-1]


def breaks(lines: Iterable[bytes], key: bytes = KEY, *, torn: bool = False) -> list[Found]:
    """Return what a walk says of lines."""
    walk = Walk(Ladder(key))
    found = [*walk.feed(lines), *walk.finish(torn=torn)]
    return [(one.kind, one.line, one.sequence) for one in found]


def file_breaks(path: Path, key: bytes = KEY) -> list[Found]:
    """Return what a walk says of a file that ends with LF."""
    *lines, rest = path.read_bytes().split(b"\n")
    return breaks(lines, key, torn=bool(rest))
