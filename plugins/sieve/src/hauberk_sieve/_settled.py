"""How the meshes judge a call, and what of it a later call of the same tool would only hear again.

The rules:

1. What goes by the connection, the name of the tool and who calls, and not by the arguments, is settled by one call: it
   holds for later ones. Each mesh says what it has to be asked all the same (`hauberk_sieve._mesh.Mesh.again`).
2. Only what was allowed is settled. A refusal is made, counted and told anew each time.
3. A message that a plugin made another one of is judged in full: who it is from may be less than the channel proved.
4. Any list that passes on the connection, of whatever kind, unsettles all of it: beside what a connection was shown,
   these meshes go by nothing that changes while a sieve lives. What does change, they are asked about each time.
5. A sieve takes only its own word: that of a reload judges anew.
6. It is bounded, over all connections together; where that is too little, all is settled anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, final
from weakref import ref

from hauberk.connection import Connection
from hauberk.message import ToolCall
from hauberk.principal import Principal
from hauberk.verdict import Allow, Ask, Deny, Verdict
from hauberk_sieve._limits import LIMITS

if TYPE_CHECKING:
    from hauberk_sieve._mesh import Mesh
    from hauberk_sieve._seen import Seen

Judge = Callable[[ToolCall, Connection], Verdict | None]


@final
class Settled:
    """What is settled of the calls of one tool."""

    __slots__ = ("by", "judges", "principal", "verdict")

    def __init__(self, by: Judges, principal: Principal, verdict: Verdict | None, judges: tuple[Judge, ...]) -> None:
        self.by: Final = by
        """Who said so."""
        self.principal: Final = principal
        """Who calls, as the channel proved it."""
        self.verdict: Final = verdict
        """The strictest that is settled; None where that is for one of the judges to say."""
        self.judges: Final = judges
        """Those that have to be asked each time, in the order of the meshes."""


@final
class Judges:
    """The meshes of one sieve that judge calls."""

    def __init__(self, meshes: Iterable[Mesh], seen: Seen) -> None:
        """Take those that may have anything to say.

        Args:
            meshes: In their order.
            seen: What connections were shown, beside which stands what is settled of their tools.
        """
        self._meshes: Final = tuple(meshes)
        self._all: Final = tuple(mesh.judge for mesh in self._meshes)
        self._seen: Final = seen
        self._shown: Final = seen.shown

    def verdict(self, call: ToolCall, connection: Connection) -> Verdict | None:
        """Return the strictest verdict; the first Deny is the last word."""
        shown, message = self._shown.get(ref(connection)), call.message
        settled = None if shown is None or message.first is not None else shown.settled.get(call.name)
        if settled is not None and settled.by is self and settled.principal == message.principal:
            strictest, judges = settled.verdict, settled.judges
        else:
            strictest, judges, settled = None, self._all, None
        for judge in judges:
            verdict = judge(call, connection)
            if verdict is None:
                continue
            if type(verdict) is Deny:
                return verdict
            if type(verdict) is Ask or (strictest is None and type(verdict) is Allow):
                strictest = verdict
        if settled is None and message.first is None and type(strictest) is Allow:
            self._settle(call, connection, strictest)
        return strictest

    def _settle(self, call: ToolCall, connection: Connection, allow: Allow) -> None:
        if len(call.name) > LIMITS.memo_chars:
            return
        judges: list[Judge] = []
        kept: Allow | None = allow
        for mesh in self._meshes:
            judge = mesh.again(call, connection)
            if judge is not None:
                judges.append(judge)
                kept = None if mesh.allows else kept
        self._seen.settle(call.name, connection, Settled(self, call.message.principal, kept, tuple(judges)))
