"""The mesh of names: what looks like another name of the same list, or of another server of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Message, ToolCall
from hauberk.names import Kind
from hauberk.principal import DOCTOR
from hauberk.refusals import ConfigError, Refused
from hauberk.verdict import Deny
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._settled import Judge
from hauberk_sieve.names._findings import CODE, LISTS, USES, denied, name_of, named, refused, told, used, without
from hauberk_sieve.names._identity import METHODS, impersonates
from hauberk_sieve.names._options import Names as Options

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve.names._findings import Finding
    from hauberk_sieve.names._lists import Checks, Listing, Outcome
    from hauberk_sieve.names._others import Others
    from hauberk_sieve.names._shadows import Shadows

_State = dict[str, "Listing"]


class Names(Mesh):
    """Tells of, or refuses, names that are taken for another one (A43, A44)."""

    word = "names"
    methods = (*LISTS, USES, *METHODS)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._shadows: Shadows | None = None
        self._states: Final[WeakKeyDictionary[Connection, _State]] = WeakKeyDictionary()
        self._refusing: Final[WeakKeyDictionary[Connection, bool]] = WeakKeyDictionary()
        self._options: Final = PerServer(setting, lambda options: options.names)
        self._checks: Final[dict[Kind, PerServer[Checks]]] = {}

    def adopt(self, old: Any) -> None:
        """Go on refusing what connections were shown before a reload."""
        self._states.update(old._states)  # noqa: SLF001 - the same class
        self._refusing.update(old._refusing)  # noqa: SLF001

    async def close(self) -> None:
        """Wait until other guards of the host know what was listed."""
        if self._shadows is not None:
            await self._shadows.close()

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Compare a list with itself and with what others show, and refuse a prompt that was hidden."""
        if message.method in METHODS:
            for event in impersonates(message, connection, self.setting.guard.config.servers):
                message.note(event)
        elif message.kind == "request":
            self._asked(message, connection)
        elif message.kind == "result" and message.toward == "client" and message.method in LISTS:
            return self._listed(message, connection)
        return None

    def judge(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Refuse a name that is hidden, listed or not."""
        if self._refuses_none(connection):
            return None
        finding = self._refused("tools", call.name, connection)
        return None if finding is None else denied(finding, connection.server, call.name)

    def again(self, call: ToolCall, connection: Connection) -> Judge | None:  # noqa: ARG002 - the same of each call
        """Compare each time where something is refused: what other servers show changes."""
        return None if self._refuses_none(connection) else self.judge

    def probes(self) -> list[Probe]:
        """Return what shows that names are compared."""
        from hauberk_sieve.names._probes import twins

        return twins(self.setting)

    def _refuses_none(self, connection: Connection) -> bool:
        """Whether no call is refused: no list held anything that may be, and what others show refuses nothing."""
        return connection not in self._refusing and self._options[connection.server].shadows == "alert"

    def _asked(self, message: Message, connection: Connection) -> None:
        if (kind := LISTS.get(message.method)) is not None:
            if message.toward == "server" and "cursor" not in message.params:
                self._listing(kind, connection).again()
        elif (name := used(message)) is not None:
            finding = self._refused("prompts", name, connection)
            if finding is not None:
                raise refused(finding, connection.server, name)

    def _listed(self, message: Message, connection: Connection) -> Message | None:
        """Compare one page, and hide what may not be shown."""
        from hauberk_sieve.names._lists import by_name  # lists are few, and the start does not wait for it

        kind, server = LISTS[message.method], connection.server
        checks, listing = self._checks_of(kind, server), self._listing(kind, connection)
        others = self._others(kind, connection, message)
        standing: bytes = self.setting.meshes["access"].digest(message)
        if standing and listing.is_quiet(standing, others, checks):
            return None
        pairs = [(name, entry) for entry in named(message) if (name := name_of(entry)) is not None]
        entries = by_name(pairs)
        more = isinstance((message.result or {}).get("nextCursor"), str)
        plain = not more and len(entries) == len(pairs)
        before = listing.known(list(entries), others, checks) if plain else None
        outcome = before or listing.take(server, entries, others, checks, more=more)
        hidden = [name for name, finding in outcome.found.items() if finding.denies(checks.options)]
        if outcome.found:
            self._refusing[connection] = True
        if hidden or outcome != listing.told:
            listing.told = outcome
            self._told(message, connection, entries, outcome, checks.options)
        if hidden or not plain:
            gone = frozenset(hidden)
            entries = {name: one for name, one in entries.items() if name not in gone and isinstance(one, dict)}
        done = others is None or self._spread(kind, server, entries, outcome)
        listing.digest = standing if done and plain and not hidden else b""
        return without(message, hidden)

    def _told(
        self, message: Message, connection: Connection, entries: dict[str, Any], outcome: Outcome, options: Options
    ) -> None:
        from hauberk_sieve.names._shadows import digest, shadowed

        server, blocking = connection.server, self.setting.of(connection.server).mode == "enforce"
        kind = LISTS[message.method]
        if outcome.held:
            items = {name: digest(kind, entries[name]) for name in outcome.held if isinstance(entries[name], dict)}
            hides = blocking and any(finding.why == "shadows" for finding in outcome.found.values())
            action = "blocked" if hides and options.shadows == "deny" else "logged"
            message.note(shadowed(server, items, outcome.held, action))
        found = {name: finding for name, finding in outcome.found.items() if finding.why not in {"shadows", "spelling"}}
        for event in told(found, options, blocking=blocking, uncompared=outcome.uncompared):
            message.note(event)

    def _spread(self, kind: Kind, server: str, entries: dict[str, Any], outcome: Outcome) -> bool:
        return self._shadows is None or self._shadows.tell(server, kind, entries, outcome.held)

    def _refused(self, kind: Kind, name: str, connection: Connection) -> Finding | None:
        """Return why a name is refused: for the list that it was on, or, of shadows, for itself."""
        options = self._options[connection.server]
        state = self._states.get(connection)
        finding = state[kind].refused(name) if state is not None and kind in state else None
        if finding is not None and finding.denies(options):
            checks = self._checks_of(kind, connection.server)
            return None if finding.settled and checks.trusted.names(connection.server, name) else finding
        if options.shadows == "alert":
            return None
        others = self._others(kind, connection, None)
        if others is None:
            return None
        outcome = self._checks_of(kind, connection.server).compared(connection.server, [name], others, {name})
        return outcome.found.get(name) if name in outcome.held else None

    def _listing(self, kind: Kind, connection: Connection) -> Listing:
        from hauberk_sieve.names._lists import Listing

        state = self._states.setdefault(connection, {})
        return state.get(kind) or state.setdefault(kind, Listing())

    def _checks_of(self, kind: Kind, server: str) -> Checks:
        if (made := self._checks.get(kind)) is None:
            from hauberk_sieve.names._lists import Checks
            from hauberk_sieve.names._others import Ranks
            from hauberk_sieve.names._trusted import Trusted

            servers = self.setting.guard.config.servers
            made = self._checks[kind] = PerServer(
                self.setting,
                lambda options: Checks(
                    options.names, Trusted(options.allow, kind), Ranks(options.names.owners, servers)
                ),
            )
        return made[server]

    def _others(self, kind: Kind, connection: Connection, message: Message | None) -> Others | None:
        """Return what all servers show; None where that does not count, or cannot be read and may be missing.

        Raises:
            Refused: It cannot be read, and names of others are refused.
        """
        if connection.role != "client" or connection.server == DOCTOR.id:
            return None
        if self._shadows is None:
            from hauberk_sieve.names._shadows import of_guard

            self._shadows = of_guard(self.setting.guard)
        try:
            return self._shadows.others(kind)
        except (ConfigError, OSError) as error:
            events = self._shadows.failure(connection.server, error)
            self._noted(events, message)
            if self._options[connection.server].shadows == "deny":
                raise _unknown(connection.server) from None
            return None

    def _noted(self, events: list[Event], message: Message | None) -> None:
        for event in events:
            if message is None:
                self.setting.guard.emit(event)
            else:
                message.note(event)


def _unknown(server: str) -> Refused:
    return Refused(
        CODE,
        f"nobody can tell which names of server '{server}' are those of others: the shared names cannot be read",
        rule="names of other servers are known",
        hint="the event sieve.unshared says why; repair names.json in the state directory",
    )
