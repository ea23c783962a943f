"""The mesh that notices probing: somebody who is refused again and again looks for a way round (S1.5).

The rules:

1. What counts is what this sieve refused to a client: its requests, notifications and calls. A result that is refused
   is the server's fault, and what other plugins refuse is theirs to count: of their refusals an event does not say
   which of the two it was.
2. It is counted by principal and server, so that one server which everybody is refused by does not hide behind others.
   All who proved nothing are one principal.
3. Nothing is refused for it. It leaves an event that is critical, and what to do about it is the operator's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Message
from hauberk.principal import DOCTOR
from hauberk.probe import SERVER
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve.probing._windows import Windows

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve._options import Options
    from hauberk_sieve.probing._options import Probing

PROBED: Final = {"probing": True}
"""The arguments of a refused call by which the doctor sees that refusals are counted: it alone is alarmed at once."""


class Suspicion(Mesh):
    """Refusals, counted in windows of time by who was refused."""

    word = "probing"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._windows: Final[dict[Probing, Windows]] = {}
        self._of: Final = PerServer(setting, self._made)
        for name in setting.guard.config.servers_of(setting.plugin.name):
            self._window(setting.of(name).probing)

    def adopt(self, old: Any) -> None:
        """Go on counting where the options are what they were."""
        for options, windows in self._windows.items():
            if (before := old._windows.get(options)) is not None:  # noqa: SLF001 - the same class
                windows.adopt(before)

    def refused(self, message: Message, connection: Connection) -> None:
        """Count what was refused, and leave an event when it becomes too much."""
        if message.toward != "server" or message.kind not in ("request", "notification"):
            return
        principal = message.original.principal
        options, windows = self._of[connection.server]
        if connection.server == SERVER and principal == DOCTOR:
            count = 1 if message.params.get("arguments") == PROBED else 0
        else:
            count = windows.refused((connection.server, principal.tenant, principal.id), self.setting.guard.clock())
        if count:
            message.note(_event(options, count))

    def probes(self) -> list[Probe]:
        """Return what shows that refusals are counted."""
        from hauberk_sieve.probing._probes import probes  # in development a host starts without them

        return probes()

    def _made(self, options: Options) -> tuple[Probing, Windows]:
        return options.probing, self._window(options.probing)

    def _window(self, options: Probing) -> Windows:
        found = self._windows.get(options)
        if found is None:
            found = self._windows[options] = Windows(options.refusals, options.window)
        return found


def _event(options: Probing, count: int) -> Event:
    return Event(
        code="sieve.probing",
        severity="critical",
        action="escalated",
        plugin="sieve",
        count=count,
        rule=f"{options.refusals} refusals in {options.window:g} s",
    )
