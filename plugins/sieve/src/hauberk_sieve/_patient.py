"""The plugin where a mesh has to wait for something, such as the address of a name."""

from __future__ import annotations

from typing import Any, Final

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.message import Message
from hauberk.refusals import Refused
from hauberk_sieve import _options
from hauberk_sieve._mesh import Mesh
from hauberk_sieve._plugin import Sieve


class Patient(Sieve):
    """A sieve whose message hooks are async, so that its chains are; a plain one never touches the event loop."""

    def __init__(self, options: _options.Options, guard: Any) -> None:
        super().__init__(options, guard)
        waiting = [mesh for mesh in self.meshes.values() if type(mesh).settle is not Mesh.settle]
        methods = {method for mesh in waiting for method in mesh.methods}
        self._settles: Final = {
            method: tuple(mesh.settle for mesh in waiting if method in mesh.methods) for method in methods
        }

    @hookimpl
    async def on_send(self, message: Message, connection: Connection) -> Message | None:  # type: ignore[override]
        """Let what leaves through the meshes."""
        return await self._settled(message, connection)

    @hookimpl
    async def on_receive(self, message: Message, connection: Connection) -> Message | None:  # type: ignore[override]
        """Let what comes through the meshes."""
        return await self._settled(message, connection)

    async def _settled(self, message: Message, connection: Connection) -> Message | None:
        passed = self._sifted(message, connection) or message
        try:
            for settle in self._settles.get(message.method, ()):
                passed = await settle(passed, connection) or passed
        except Refused:
            self._suspicion.refused(message, connection)
            raise
        return None if passed is message else passed
