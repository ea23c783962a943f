"""The definitions of tools that each connection was shown, as the server sent them.

The rules:

1. What counts is ``message.original``: what the server said, not what was left of it.
2. Of two definitions of one name the last that came counts. A list that is asked for anew replaces, once its last page
   is there, what was there before.
3. ``list_changed`` forgets nothing: what is known stays known until the server says otherwise.
4. A server chooses how much it shows; what is over a bound is not kept, and is as if it was never shown.
5. What was settled by what a connection was shown (`hauberk_sieve._settled`) stands beside it, so that it is gone with
   it, for every sieve that goes by it: beside the one of a reload, that of a call which is still being asked about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from hauberk.connection import Connection
from hauberk.message import Message
from hauberk_sieve._limits import LIMITS

if TYPE_CHECKING:
    from hauberk_sieve._settled import Settled

Definition = dict[str, Any]


class Shown:
    """What one connection was shown."""

    __slots__ = ("gathering", "settled", "tools", "whole")

    def __init__(self) -> None:
        self.whole = b""
        """The digest of the list that all tools are from, where it came on one page."""
        self.tools: dict[str, Definition] = {}
        self.gathering: dict[str, Definition] = {}
        self.settled: dict[str, Settled] = {}
        """By the names of tools, until any list passes."""


class Seen:
    """What all connections of one guard were shown."""

    def __init__(self) -> None:
        self.shown: Final[dict[ref[Connection], Shown]] = {}
        """By connection, for as long as it lives; a call asks for it without what a `WeakKeyDictionary` adds."""
        self._settled = 0

    def adopt(self, old: Seen) -> None:
        """Take over what connections were shown before a reload."""
        for key, shown in list(old.shown.items()):
            if (connection := key()) is not None:
                self.shown[ref(connection, self._gone)] = shown
                shown.settled = {}

    def of(self, connection: Connection) -> Shown:
        """Return what a connection was shown."""
        shown = self.shown.get(ref(connection))
        if shown is None:
            shown = self.shown[ref(connection, self._gone)] = Shown()
        return shown

    def take(self, message: Message, connection: Connection) -> None:
        """Keep the definitions of one page of ``tools/list``; after a list of any kind nothing is settled."""
        shown = self.of(connection)
        shown.settled = {}
        result = message.original.result
        if message.method != "tools/list" or message.toward != "client" or result is None:
            return
        tools, cursor, begins = result.get("tools"), result.get("nextCursor"), not shown.gathering
        if begins and shown.whole and shown.whole == message.result_digest:
            return
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
        shown = self.shown.get(ref(connection))
        return None if shown is None else shown.tools.get(name)

    def settle(self, name: str, connection: Connection, settled: Settled) -> None:
        """Keep what is settled of the calls of a tool."""
        if self._settled >= LIMITS.settled:
            self._settled = 0
            for shown in list(self.shown.values()):
                shown.settled = {}
        self._settled += 1
        self.of(connection).settled[name] = settled

    def _gone(self, key: ref[Connection]) -> None:
        self.shown.pop(key, None)
