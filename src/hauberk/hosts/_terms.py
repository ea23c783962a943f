"""``[server.NAME.listen]`` as it is in force: what a reload changes for who comes next, and what takes a restart."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from hauberk._servers import Listen
from hauberk.event import Event

if TYPE_CHECKING:
    from hauberk._servers import ServerOptions
    from hauberk.guard import Guard

logger = logging.getLogger("hauberk")
_STARTED: Final = ("command", "args", "env", "cwd")
_LISTENED: Final = ("address", "shared")


class Terms:
    """Who may connect, how many and how long: for each arrival anew, since a reload takes users out at once."""

    def __init__(self, guard: Guard, server: str, listen: Listen) -> None:
        self._guard: Final = guard
        self._server: Final = server
        self._options = guard.config.server(server)
        self._listen = listen
        self._first: Final = _fixed(self._options, listen)
        """What was listened on and started; it stays so."""
        self._other: list[str] = []
        """What of it is written otherwise by now."""

    @property
    def listen(self) -> Listen:
        """What holds for whoever comes now."""
        options = self._guard.config.server(self._server)
        if options != self._options:
            self._options = options
            self._listen = (options and options.listen) or Listen()
            self._tell(_fixed(options, self._listen))
        return self._listen

    def _tell(self, now: dict[str, Any]) -> None:
        """Say what was changed and is not in force: nobody may take it for done."""
        other = [name for name, value in now.items() if value != self._first[name]]
        if other and other != self._other:
            what = f"{', '.join(other)} of server {self._server!r} changed, and stay as they were until a restart"
            logger.warning("%s", what)
            event = Event(
                "core.restart_needed",
                category="policy",
                severity="warning",
                server=self._server,
                details={"changed": ", ".join(other)},
            )
            self._guard.note(event)
        self._other = other


def _fixed(options: ServerOptions | None, listen: Listen) -> dict[str, Any]:
    started = {name: getattr(options, name, None) for name in _STARTED}
    return started | {name: getattr(listen, name) for name in _LISTENED}
