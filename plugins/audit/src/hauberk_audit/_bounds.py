"""How much one entry and one set of logs may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final


@final
@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of the log. The format knows only ``line``."""

    line: int = 256 * 1024
    """Bytes of one line. What is longer was not written by this package."""
    text: int = 1024
    """Characters of one string; the rest is counted."""
    details: int = 16 * 1024
    """Bytes of ``details`` and of ``sizes``, as JSON."""
    depth: int = 8
    """Levels of ``details``."""
    nodes: int = 256
    """Values in ``details`` and in ``sizes``."""
    siblings: int = 63
    """Numbered logs beside the first, each with a writer of its own."""
    breaks: int = 1000
    """Breaks that one report lists; the rest is counted."""
    linger: float = 0.01
    """Seconds that an event may wait for company where nobody waits for its record."""
    batch: int = 256
    """Events that wait for company no longer."""
    waiting: int = 65_536
    """Events that wait for the disk; more are not taken."""
    interval: float = 0.1
    """Seconds after which what was written is on the disk, where nobody waits for it."""
    losses: int = 64
    """Failed writes that are remembered for those who wait."""
    keys: int = 16 * 1024 * 1024
    """Bytes of the file of data keys."""
    sealed: int = 2**32
    """Lines that one data key seals: those of its file, and what a run adds (NIST SP 800-38D section 8.3)."""
    chunk: int = 128 * 1024
    """Bytes that verify reads at once."""
    note: int = 64 * 1024
    """Bytes of a checkpoint with its signatures, and of what a place answers that gets it."""
    checkpoints: int = 4_000_000
    """Checkpoints that verify takes in."""
    piece: int = 64 * 1024
    """Bytes of the log that are hashed for a checkpoint before others may go on."""
    patience: float = 10.0
    """Seconds that a place may take for a checkpoint."""
    farewell: float = 20.0
    """Seconds that a host waits for its last checkpoint."""


BOUNDS: Final = Bounds()
