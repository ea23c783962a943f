"""A sink that keeps every event."""

from __future__ import annotations

from hauberk.config import Options
from hauberk.event import Event
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer


class Recorder:
    """A plugin that keeps every event, and stops nothing.

    >>> recorder = Recorder()
    >>> recorder.on_audit(Event("curfew.night"))
    >>> recorder.codes
    ['curfew.night']
    """

    name = "recorder"
    layer = Layer.POLICY
    Options = Options

    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def on_audit(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    @property
    def codes(self) -> list[str]:
        """Return the code of each event, in order."""
        return [event.code for event in self.events]

    def of(self, code: str) -> list[Event]:
        """Return the events of one code."""
        return [event for event in self.events if event.code == code]
