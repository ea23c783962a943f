"""The mesh of names: what other servers of the host call their tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hauberk.connection import Connection
from hauberk.message import Message
from hauberk_sieve._mesh import Mesh, Setting

if TYPE_CHECKING:
    from hauberk_sieve.names._shadows import Shadows


class Names(Mesh):
    """Tells of tools whose names other servers have."""

    word = "names"
    methods = ("tools/list",)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._shadows: Shadows | None = None

    async def close(self) -> None:
        """Wait until other guards of the host know what was listed."""
        if self._shadows is not None:
            await self._shadows.close()

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Compare a list that comes to the host with what other servers show."""
        result = message.result
        if connection.role != "client" or message.toward != "client" or result is None:
            return None
        tools = result.get("tools")
        named = [tool for tool in tools if _is_named(tool)] if isinstance(tools, list) else []
        if self._shadows is None:
            from hauberk_sieve.names._shadows import of_guard  # lists are few, and the start does not wait for it

            self._shadows = of_guard(self.setting.guard)
        if (shadowed := self._shadows.look(connection.server, named)) is not None:
            message.note(shadowed)
        return None


def _is_named(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("name"), str)
