"""The plugin whose memory is outside of this process."""

from __future__ import annotations

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.message import Message
from hauberk_replay._plugin import Replay


class Patient(Replay):
    """Waits for the memory."""

    @hookimpl
    async def on_receive(self, message: Message, connection: Connection) -> None:
        """Refuse a message that is too old, or came before."""
        waiting = super().on_receive(message, connection)
        if waiting is not None:
            await waiting
