"""The definitions of tools that each connection was shown, as the server sent them.

The rules:

1. What counts is ``message.original``: what the server said, not what was left of it.
2. Of two definitions of one name the last that came counts. A list that is asked for anew replaces, once its last page
   is there, what was there before.
3. ``list_changed`` forgets nothing: what is known stays known until the server says otherwise.
4. A server chooses how much it shows; what is over a bound is not kept, and is as if it was never shown.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk.message import Message
from hauberk_sieve._limits import LIMITS

Definition = dict[str, Any]


class _Shown:
    """What one connection was shown."""

    __slots__ = ("gathering", "tools", "whole")

    def __init__(self) -> None:
        self.whole = b""
        """The digest of the list that all tools are from, where it came on one page."""
        self.tools: dict[str, Definition] = {}
        self.gathering: dict[str, Definition] = {}


class Seen:
    """What all connections of one guard were shown."""

    def __init__(self) -> None:
        self._shown: Final[WeakKeyDictionary[Connection, _Shown]] = WeakKeyDictionary()
        self.changes = 0
        """How often anything changed: while it stays, so does what `tool` answers."""

    def adopt(self, old: Seen) -> None:
        """Take over what connections were shown before a reload."""
        self._shown.update(old._shown)
        self.changes += 1

    def take(self, message: Message, connection: Connection) -> None:
        """Keep the definitions of one page of ``tools/list``."""
        result = message.original.result
        if message.method != "tools/list" or message.toward != "client" or result is None:
            return
        shown = self._shown.setdefault(connection, _Shown())
        tools, cursor, begins = result.get("tools"), result.get("nextCursor"), not shown.gathering
        if begins and shown.whole and shown.whole == message.result_digest:
            return
        self.changes += 1
        for tool in tools if isinstance(tools, list) else ():
            name = tool.get("name") if isinstance(tool, dict) else None
            if isinstance(name, str) and len(shown.gathering) < LIMITS.seen_tools:
                shown.gathering[name] = tool
        if isinstance(cursor, str):
            shown.tools, shown.whole = {**shown.tools, **shown.gathering}, b""
        else:
            shown.tools, shown.gathering = shown.gathering, {}
            shown.whole = message.result_digest if begins else b""

    def tool(self, name: str, connection: Connection) -> Definition | None:
        """Return the definition of a tool as it was listed last, or None where it was not."""
        shown = self._shown.get(connection)
        return None if shown is None else shown.tools.get(name)
