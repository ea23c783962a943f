"""The hooks: agree on a session with the guard at the other end, then seal what leaves and open what comes in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Frame
from hauberk_envelope import _options

if TYPE_CHECKING:
    import click

    from hauberk.probe import Probe
    from hauberk_envelope.session._desk import Desk


class Envelope:
    """Sealed sessions between two guards, and ``hauberk keys``."""

    name = "envelope"
    layer = Layer.SEAL
    Options = _options.Options
    answers = ("io.github.hauberk/seal",)

    def __init__(self, options: _options.Options, guard: Any) -> None:  # noqa: ARG002 - each server has its own
        self.guard: Final = guard

    @cached_property
    def desk(self) -> Desk:
        """The keys and sessions, made when they are first needed."""
        from hauberk_envelope.session._desk import Desk  # a host that seals nothing loads no cryptography

        return Desk(type(self), self.guard)

    def sources(self) -> list[Path]:
        """Return the directories of keys that are read."""
        return self.desk.sources()

    def adopt(self, old: Any) -> None:
        """Go on with the sessions that there are."""
        self.desk.take(old.desk)

    def open(self) -> None:
        """Read the keys.

        Raises:
            ConfigError: A file is missing, loose, or cannot be used.
        """
        self.desk.open()

    @hookimpl
    def on_connect(self, connection: Connection) -> None:
        """Refuse a connection whose messages cannot be sealed, where they must be."""
        self.desk.connect(connection)

    async def agree(self, connection: Connection, ask: Callable[..., Awaitable[Any]]) -> None:
        """Agree with the guard in front of a server."""
        await self.desk.agree(connection, ask)

    def answer(self, method: str, params: dict[str, Any], connection: Connection) -> dict[str, Any]:  # noqa: ARG002
        """Agree with the guard beside a client; there is one method."""
        return self.desk.answer(params, connection)

    @hookimpl
    def on_send(self, message: Frame, connection: Connection) -> Frame | None:
        """Seal a message."""
        return self.desk.send(message, connection)

    @hookimpl
    def on_receive(self, message: Frame, connection: Connection) -> Frame | None:
        """Open a message, and prove who sealed it."""
        return self.desk.receive(message, connection)

    @staticmethod
    def commands() -> click.Command:
        """Return ``hauberk keys``."""
        from hauberk_envelope.keys import keys  # a host without its commands loads no cryptography

        return keys

    def probes(self) -> list[Probe]:
        """Return what shows that each control is live."""
        from hauberk_envelope._probes import probes  # in development a host starts without them

        return probes(self.desk.all(), self.guard.now) if self.desk.seals else []
