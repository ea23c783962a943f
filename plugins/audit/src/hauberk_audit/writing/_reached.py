"""How far a log is on the disk: what its writer says to those who read it beside."""

from __future__ import annotations

from typing import NamedTuple


class Reached(NamedTuple):
    """A place in a log, and what is before it."""

    file: int
    """The number of the file that is written."""
    size: int
    """Its bytes, up to the last whole line."""
    sequence: int
    """The number of the last entry."""
