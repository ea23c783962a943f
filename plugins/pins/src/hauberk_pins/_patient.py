"""The hooks where something may be refused: they ask the server for a list before they say that nobody can tell."""

from __future__ import annotations

from typing import Any, Final

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.message import Message, ToolCall
from hauberk.verdict import Allow, Deny
from hauberk_pins import _gate, _uses
from hauberk_pins._items import Key
from hauberk_pins._judge import UNLISTED
from hauberk_pins._limits import LIMITS
from hauberk_pins._plugin import ALLOWED, Pins

_AS_SEEN: Final = Allow("pins, as last seen")


class Patient(Pins):
    """Pins that ask the server for a list before something is used that may have changed."""

    @hookimpl
    async def on_send(self, message: Message, connection: Connection) -> Message | None:  # type: ignore[override]
        """Refuse what is used and not pinned, as it is listed now; hide it from a list that leaves a server."""
        keys = _uses.used(message)
        if not keys:
            return self.gate.seen(message, connection)
        _gate.check(await self._after_list(keys, message.params, connection))
        return None

    @hookimpl
    async def on_tool_call(self, call: ToolCall, connection: Connection) -> Allow | Deny:  # type: ignore[override]
        """Compare a tool with its pin once more, as it is listed now."""
        key = ("tool", call.name)
        if call.dry:
            return self._as_last_seen(key, call, connection)
        refused = self.gate.refusal([key], connection)
        if refused is None:
            return ALLOWED
        return await self._after_list([key], call.message.params, connection) or ALLOWED

    def _as_last_seen(self, key: Key, call: ToolCall, connection: Connection) -> Allow | Deny:
        """Judge a call that is not sent, for which no server is asked."""
        refused = self.gate.refusal([key], connection, dry=True)
        if refused is None:
            return _AS_SEEN
        if refused.code == UNLISTED:
            call.lacks("the list of the server's tools, which no guard has seen yet")
        return refused

    async def _after_list(self, keys: list[Key], params: dict[str, Any], connection: Connection) -> Deny | None:
        seconds = LIMITS.waiting * self.guard.config.core.bounds.deadline
        return await self.gate.refusal_after_list(keys, connection, params, seconds)
