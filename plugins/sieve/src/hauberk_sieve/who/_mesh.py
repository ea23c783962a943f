"""The mesh of people: who they are in the operator's own file, and whether they may do anything at all.

The rules:

1. Whoever is not active is refused whatever it asks for, at once: calls, prompts, resources, subscriptions and what it
   answers a server; what was on its way to it when it was suspended is refused as well. A list is empty (S1.7).
2. What a connection itself needs passes: its handshake, ``ping``, and the word that a request is given up.
3. No role is above this: nothing here asks for one.
4. When what is known of people is another, clients are told that their lists may be others too (S1.2).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.event import Action, Event, Severity
from hauberk.listings import LISTS
from hauberk.message import Message, ToolCall
from hauberk.principal import Principal
from hauberk.verdict import Deny
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve.who._file import File
from hauberk_sieve.who._register import SUSPENDED, is_probe
from hauberk_sieve.who._standing import Refusal, Standing, refusal, stand
from hauberk_sieve.who._watch import Told, Watch

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve._options import Options
    from hauberk_sieve.who._options import People

_PASS: Final = frozenset(
    {
        "initialize",
        "notifications/initialized",
        "server/discover",
        "ping",
        "notifications/cancelled",
    }
)
_SEVERITY: Final[dict[Told, Severity]] = {
    "sieve.people_loaded": "info",
    "sieve.people_unreadable": "warning",
    "sieve.people_expired": "critical",
    "sieve.people_readable": "info",
}


class Who(Mesh):
    """People: status, groups, roles and grants of each principal (S1.7-S1.10)."""

    word = "who"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._watches: Final[dict[People, Watch]] = {}
        self._of: Final = PerServer(setting, self._watched)
        self._telling: Final[set[asyncio.Task[None]]] = set()
        self.everything = self.judges = any(people is not None for people in self._tables())

    def open(self) -> None:
        """Read each file of people.

        Raises:
            ConfigError: One cannot be read, or says something that nothing reads.
        """
        for people in self._tables():
            if people is not None:
                self._watch(people).open()

    async def close(self) -> None:
        """Tell clients what is still to be told."""
        await asyncio.gather(*self._telling)

    def standing(self, principal: Principal, server: str = "", *, proved: Principal | None = None) -> Standing:
        """Return how a principal stands now. Ask once for each message: the file is looked at each time.

        Args:
            principal: Who asks; ``message.principal`` of a request, ``message.exchange.principal`` of a result.
            server: The server that is asked, for a table of people of its own.
            proved: What the channel proved (``message.original.principal``), where ``principal`` may be narrower.
        """
        proved = principal if proved is None else proved
        people, watch = self._of[server]
        if people is None or watch is None:
            return Standing(principal.id, principal.groups, principal.roles, proved.groups, proved.roles)
        register = watch.current()
        if register is None:
            return Standing(principal.id, refused=refusal("people_stale", people.help_url))
        return stand(register.find(principal), principal, proved, people)

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Refuse what somebody asks or gets who is not active; empty a list."""
        method = message.method
        if method in _PASS or (method == "tools/call" and message.kind == "request"):  # a call is judged
            return None
        answer = message.kind in ("result", "error")
        if method in LISTS and not answer:
            return None
        principal, proved = self._subject(message, connection)
        refused = self.standing(principal, connection.server, proved=proved).refused
        if refused is None:
            return None
        if method in LISTS and message.kind == "result":
            message.note(self._emptied(refused))
            kept = {key: value for key, value in (message.result or {}).items() if key != "nextCursor"}
            return message.with_result({**kept, LISTS[method].member: []})
        raise refused.refused()

    def judge(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Refuse each call of somebody who is not active."""
        if not self.everything:
            return None
        principal, message = call.principal, call.message
        people, _ = self._of[connection.server]
        if people is not None and is_probe(principal, call.name):
            refused = stand(SUSPENDED, principal, principal, people).refused
        else:
            refused = self.standing(principal, connection.server, proved=message.original.principal).refused
        return None if refused is None else refused.deny()

    def probes(self) -> list[Probe]:
        """Return what shows that people are known, and that somebody who is suspended is refused."""
        from hauberk_sieve.who._probes import probes  # in development a host starts without them

        return probes(self._watches.values(), general=self._of[""][0] is not None)

    def _emptied(self, refused: Refusal) -> Event:
        action: Action = "blocked" if self.setting.options.mode == "enforce" else "logged"
        return Event(code="sieve.emptied", action=action, rule=refused.rule, plugin="sieve")

    def _subject(self, message: Message, connection: Connection) -> tuple[Principal, Principal]:
        """Return who asks, answers or is told, perhaps narrowed, and what the channel proved."""
        if message.toward == "server":
            return message.principal, message.original.principal
        if message.exchange is not None and message.kind in ("result", "error"):
            return message.exchange.principal, message.exchange.principal
        client: Principal = self.setting.guard.principal if connection.role == "client" else connection.principal
        return client, client

    # --- the registers ---

    def _tables(self) -> list[People | None]:
        names = self.setting.guard.config.servers_of(self.setting.plugin.name)
        return list(dict.fromkeys((self.setting.options.people, *(self.setting.of(name).people for name in names))))

    def _watched(self, options: Options) -> tuple[People | None, Watch | None]:
        people = options.people
        return people, None if people is None else self._watch(people)

    def _watch(self, people: People) -> Watch:
        watch = self._watches.get(people)
        if watch is None:
            guard = self.setting.guard
            watch = Watch(File(people.file), guard.clock, ttl=people.ttl, tell=self._tell)
            self._watches[people] = watch
        return watch

    def _tell(self, what: Told, details: dict[str, Any]) -> None:
        event = Event(code=what, category="system", severity=_SEVERITY[what], plugin="sieve", details=details)
        self.setting.guard.emit(event)
        if what in ("sieve.people_expired", "sieve.people_readable") or "before" in details:
            task = asyncio.get_running_loop().create_task(self._tell_clients())
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell_clients(self) -> None:
        for session in self.setting.guard.guard.sessions:
            await session.lists.changed()
