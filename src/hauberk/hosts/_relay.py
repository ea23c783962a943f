"""Frames between two sides with a session between, and back-pressure: who does not read holds up the other side.

Refusals go back to where the message came from, so that one who only writes would fill us with them: past twice the
bound he is held up himself. Not before: a server that reads nothing until its own answer has left must be able to
write it.
"""

from __future__ import annotations

from typing import Protocol

from hauberk import edge
from hauberk.session import Session
from hauberk.ways import Port, Way


class Outlet(Port, Protocol):
    """A port that knows what waits there."""

    @property
    def flooded(self) -> bool:
        """Whether so much waits that even who caused it is to be held up."""


class Inlet(Protocol):
    """Where frames come from; calls are counted."""

    def pause(self) -> None:
        """Give no more frames until `resume`."""

    def resume(self) -> None:
        """Go on, if nothing else holds it up."""


class Side:
    """One side of a session: what comes from it, and what is written to it."""

    outlet: Outlet
    inlet: Inlet
    other: Side

    def __init__(self) -> None:
        self._held = False

    def join(self, session: Session, way: Way) -> None:
        """Hand what comes from here to a session, as what travels this way."""
        self._session, self._way = session, way

    def took(self, frame: bytes | edge.Overlong) -> None:
        """Take one frame."""
        take(self._session, self._way, frame)
        self.hold()

    def hold(self) -> None:
        """Take nothing more from here, if what goes back to here has become too much."""
        if self.outlet.flooded and not self._held:
            self._held = True
            self.inlet.pause()

    def full(self) -> None:
        """Learn that this side does not read what is written to it."""
        self.other.inlet.pause()

    def drained(self) -> None:
        """Learn that it has read."""
        if self._held:
            self._held = False
            self.inlet.resume()
        self.other.inlet.resume()


def sides() -> tuple[Side, Side]:
    """Return two sides that hold each other up."""
    one, other = Side(), Side()
    one.other, other.other = other, one
    return one, other


def take(session: Session, way: Way, frame: bytes | edge.Overlong) -> None:
    """Hand one frame to the session."""
    if isinstance(frame, bytes):
        session.receive(way, frame)
    else:
        session.overlong(way, frame.size, edge.loose_id(frame.head, frame.tail))
