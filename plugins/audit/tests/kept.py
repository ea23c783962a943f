"""Logs on the disk with their checkpoints, made for tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from plugins.audit.tests.logs import KEY, NOW, event

from hauberk.event import Event
from hauberk_audit._entry import render
from hauberk_audit.checkpoints._checkpoints import Checkpointer
from hauberk_audit.checkpoints._note import Signer
from hauberk_audit.checkpoints._sinks import SinkError
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._custody import Signing
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._packing import compress
from hauberk_audit.writing._reached import Reached
from hauberk_audit.writing._rotation import Rotation, Rotator

SIGNER: Final = Signer("example.com/host1", bytes(range(32)))
OTHER_SIGNER: Final = Signer("example.com/host1", bytes(range(1, 33)))


def said(code: str, details: dict[str, Any]) -> bytes:
    """Return an entry of the log's own."""
    return render(Event(code=code, id="00000000-0000-8000-8000-00000000000a", time=NOW, details=details))


class Written:
    """A log that is written, in files of so many entries."""

    def __init__(
        self, path: Path, entries: int | None = None, *, signing: Signing | None = None, text: str = "x"
    ) -> None:
        rotator = Rotator(Rotation(bytes=None, entries=entries), lambda: NOW, said)
        self.log = Log.open(path, signing or Chain(KEY), sync=False, rotator=rotator)
        self.path = path
        self.text = text

    def add(self, count: int = 1) -> None:
        """Write entries."""
        for _ in range(count):
            self.log.append(render(event(self.log.sequence + 1, rule=self.text)))

    def reached(self) -> Reached:
        """Bring it to the disk, and say how far it is."""
        self.log.flush()
        return self.log.reached

    def pack(self) -> None:
        """Compress the files that were closed."""
        for name in self.log.closed:
            compress(name)
        self.log.closed = []

    def close(self) -> None:
        """Let go of it."""
        self.log.close()


class Box:
    """A sink in memory, which can fail and can add something."""

    def __init__(self) -> None:
        self.notes: list[bytes] = []
        self.broken = ""
        self.adds = b""

    def send(self, note: bytes) -> bytes:
        """Keep a checkpoint."""
        if self.broken:
            raise SinkError(self.broken)
        self.notes.append(note)
        return self.adds

    def within_reach(self) -> str:
        """Return nothing."""
        return ""

    @property
    def data(self) -> bytes:
        """A file with all that is kept."""
        return b"\n".join(self.notes)


class Told:
    """Who is told what happened."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int, dict[str, Any]]] = []

    def __call__(self, code: str, severity: str, count: int, details: dict[str, Any]) -> None:
        self.events.append((code, severity, count, details))

    @property
    def codes(self) -> list[str]:
        """What happened."""
        return [code for code, *_ in self.events]


def checkpointer(
    written: Written,
    *sinks: Box,
    told: Told | None = None,
    signer: Signer = SIGNER,
    reached: Callable[[], Reached] | None = None,
    clock: Callable[[], float] | None = None,
    max_age: float = 1e9,
    origin: str = "example.com/host1",
) -> Checkpointer:
    """Return what makes the checkpoints of a log; each is a second later than the one before it."""
    times = itertools.count()
    return Checkpointer(
        written.path,
        signer,
        origin,
        [(f"box:{number}", sink) for number, sink in enumerate(sinks)],
        reached=reached or written.reached,
        now=lambda: NOW + next(times),
        clock=clock or (lambda: 0.0),
        max_age=max_age,
        tell=told or Told(),
    )
