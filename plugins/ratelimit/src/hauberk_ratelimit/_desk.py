"""What the hooks ask: which buckets a call, a frame or a message is charged to, and the charge itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.exchange import Exchange, Outcome
from hauberk.message import Frame, Message, ToolCall
from hauberk.probe import SERVER
from hauberk.refusals import ConfigError, Refused
from hauberk.verdict import Deny
from hauberk_ratelimit._book import Book
from hauberk_ratelimit._buckets import Buckets, kept
from hauberk_ratelimit._charge import Paid, used_by
from hauberk_ratelimit._due import Due, Dues
from hauberk_ratelimit._ledger import Local, Short
from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._options import Options, check_places, check_store, merged
from hauberk_ratelimit._peers import address_of, keys_of
from hauberk_ratelimit._rates import Rate, stricter
from hauberk_ratelimit._resets import NAME, Resets
from hauberk_ratelimit._rules import Bucket, Ref
from hauberk_ratelimit._usage import told, usage_of

if TYPE_CHECKING:
    from hauberk_ratelimit._shared import Exact

RESET: Final = "ratelimit.reset"
DOCTOR_TOOL: Final = "hauberk-doctor-flood"
DOCTOR_MARK: Final = "hauberk-doctor-frame"
DEFAULT: Final = "servers"
"""The preset of a host that is told to limit, and not what (S0.35)."""
_SAYS: Final = ("preset", "global", "calls", "messages", "address", "tools", "domains", "principals", "rules", "plans")
_ALWAYS: Final = frozenset({"notifications/initialized", "notifications/cancelled"})
"""What only ends or settles something is not held back: a limit must not keep a call from being cancelled."""
_ONCE: Final = Rate(1, 60, 1)


class Desk:
    """The limits of one policy, and how they stand here."""

    def __init__(self, plugin: Any, options: Options, guard: Any) -> None:
        """Read every table of the configuration; of a plugin that has none, the options that it was given.

        Raises:
            ConfigError: What is one for a whole host stands in a table of a server, or ``store`` names none.
        """
        self.guard: Final = guard
        self.options: Final = options
        self.edge: Final = Local(guard.clock, guard.now)
        """Charges frames and messages: these are limits of this process, whatever is shared."""
        synced = options.store is not None and options.sharing == "sync"
        self.book: Final = Book(options.max_ids, LIMITS.debts * options.sync_seconds if synced else 0.0)
        self.local: Local = Local(guard.clock, guard.now)
        self.store: Exact | None = None
        if options.store is not None:
            check_store(options.store, guard.config)
            self._share()
        self._resets: Resets | None = None
        self._tries: Final = itertools.count()
        self._doctor: Final = Bucket("doctor", "doctor#0", _ONCE, Buckets(_ONCE, LIMITS.known), shared=False)
        check_places(guard.config)
        levels = _levels(plugin.name, options, guard)
        if not any(level.table.get(key) for level in levels for key in _SAYS):
            levels = [_Level("", None, {"preset": DEFAULT}, set())]  # what is switched on does something (X.1)
        for level in _planned(levels):
            self.book.add(*level)
        _check_sharing(options, self.book)
        self.dues: Final = Dues(self.book)

    def _share(self) -> None:
        """Share the buckets of calls over a store."""
        from hauberk_ratelimit._leased import Leased  # a host that shares nothing needs neither
        from hauberk_ratelimit._shared import Exact
        from hauberk_ratelimit._sync import Counted, Synced

        options, guard = self.options, self.guard
        if options.sharing == "sync":
            self.local = counted = Counted(guard.clock, guard.now, options.max_ids)
            self.store = Synced(options, guard, counted)
        else:
            self.store = (Exact if options.sharing == "exact" else Leased)(options, guard, self.local)

    async def open(self) -> None:
        """Reach the store, if there is one.

        Raises:
            PluginError: It cannot be reached.
        """
        settings = self.guard.config
        with suppress(ConfigError):  # moved by the environment: what lies there lifts nothing
            self._resets = Resets(settings.state_dir / NAME, settings.host, self.guard.clock)
        if self.store is not None:
            await self.store.open()

    async def close(self) -> None:
        """Let go of the store."""
        if self.store is not None:
            await self.store.close()

    def lifted(self) -> bool:
        """Begin anew what an operator has reset; return whether there was anything."""
        new = [] if self._resets is None else self._resets.new()
        for entry in new:
            for bucket in self.book.buckets:
                if entry.concerns(bucket):
                    for key in [None] if entry.id is None else [""] if bucket.shared else keys_of(entry.id):
                        bucket.table.forget(None if key is None else kept(key))
            details = {"limit": entry.rule or "all", "of": entry.id or "all"}
            self.guard.emit(
                Event(code=RESET, category="system", severity="warning", plugin="ratelimit", details=details)
            )
        return bool(new)

    @property
    def waits(self) -> bool:
        """Whether a call has to wait for the store."""
        return self.store is not None and self.options.sharing != "sync"

    # --- calls ---

    def probed(self, call: ToolCall, connection: Connection) -> Due | None:
        """Return a bucket with one permit for the call of a probe, of which nobody else knows; none for others."""
        probe = connection.server == SERVER and call.name == DOCTOR_TOOL
        return Due(self._tried(connection)) if probe else None

    def _tried(self, connection: Connection) -> tuple[Ref, ...]:
        return ((self._doctor, f"{connection.id}.{next(self._tries)}"),)

    def charge(self, call: ToolCall, connection: Connection, due: Due) -> Deny | None:
        """Charge a call to the buckets of this process; give it back at its end, if it is not sent (`Paid`)."""
        paid = self.local.charge(*due)
        if isinstance(paid, Short) and (not self.lifted() or isinstance(paid := self.local.charge(*due), Short)):
            return paid.deny()
        if self.options.usage:
            self._tell(paid, connection)
        call.exchange.defer_call(paid)
        return None

    async def charge_shared(self, call: ToolCall, connection: Connection, due: Due) -> Deny | None:
        """Charge a call to the buckets that hosts share.

        Raises:
            Refused: Nobody can tell what is left of them.
        """
        if self.store is None:
            return self.charge(call, connection, due)
        paid = await self.store.charge(*due)
        if isinstance(paid, Refused):
            raise paid
        if isinstance(paid, Short):
            return paid.deny()
        if self.options.usage:
            self._tell(paid, connection)
        call.exchange.defer_call(paid)
        return None

    def _tell(self, paid: Paid, connection: Connection) -> None:
        """Let the answers to a client tell what was used."""
        if connection.role == "server":
            paid.used = usage_of(paid.refs, paid.left(), paid.price)

    def answered(self, message: Message) -> Message | None:
        """Return an answer with what was used, where that is known and the call did not fail; None as it is."""
        return told(message, used_by(message.exchange)) if self.options.usage else None

    # --- frames and messages ---

    def connected(self, connection: Connection) -> None:
        """Charge a connection that was accepted to its address, before its handshake.

        Raises:
            Refused: The address has used up its limit.
        """
        if connection.role == "server" and connection.server != SERVER and self.book.address:
            self._charge(tuple((bucket, address_of(connection)) for bucket, _ in self.book.address))

    def frame(self, frame: Frame, connection: Connection) -> None:
        """Charge what comes in toward a server, to its address and to who has proved who he is.

        Raises:
            Refused: One of them has used up its limit.
        """
        if frame.toward != "server":
            return
        if connection.server == SERVER:
            if DOCTOR_MARK.encode() in frame.data:
                refs = self._tried(connection)
                self._charge(refs)
                self._charge(refs)
            return
        self._charge(self.dues.of_sender(connection.principal, connection)[0])

    def message(self, message: Message, connection: Connection) -> None:
        """Charge what the host sends toward a server to who speaks.

        Raises:
            Refused: He has used up his limit.
        """
        if message.toward != "server" or connection.server == SERVER or message.kind not in ("request", "notification"):
            return
        if message.method in _ALWAYS:
            return
        paid = self._charge(self.dues.of_sender(message.principal, connection)[1])
        if message.kind == "request" and message.exchange is not None:
            unless_sent(message.exchange, paid.give)

    def _charge(self, refs: tuple[Ref, ...]) -> Paid:
        paid = self.edge.charge(refs)
        if isinstance(paid, Short) and (not self.lifted() or isinstance(paid := self.edge.charge(refs), Short)):
            raise paid.refused()
        return paid


def _check_sharing(options: Options, book: Book) -> None:
    """Check that what is shared can be shared as it is said.

    Raises:
        ConfigError: It cannot.
    """
    if options.store is None:
        return
    if options.sharing == "sync" and (credit := next((bucket for bucket in book.calls if bucket.credit), None)):
        raise ConfigError(
            f"[ratelimit] {credit.rule}: credits that hosts tell each other of now and then would be spent twice",
            hint='write sharing = "exact"',
        )
    if options.sharing == "lease" and options.usage:
        raise ConfigError(
            "[ratelimit] usage: of leased permits nobody knows at each call what is left",
            hint='write sharing = "exact"',
        )


def unless_sent(exchange: Exchange, give: Callable[[], None]) -> None:
    """Give a charge back at the end of an exchange whose request was never written."""

    def settle(_: Outcome) -> None:
        if not exchange.sent:
            give()

    exchange.defer(settle)


class _Level(NamedTuple):
    """One table that holds on this host."""

    prefix: str
    server: str | None
    table: dict[str, Any]
    spared: set[str]


def _planned(levels: list[_Level]) -> list[_Level]:
    """Give the members of each table the plans of all; a plan of one name in several is as strict as each of them.

    Raises:
        ConfigError: Somebody has a plan that no table which holds has.
    """
    tables, plans = [merged(dict(level.table)) for level in levels], dict[str, str]()
    for table in tables:
        for name, text in table.get("plans", {}).items():
            plans[name] = stricter(plans[name], text) if name in plans else text
    for table in tables:
        members = table.get("members", {})
        table["plans"] = plans if members else {}
        for name, plan in members.items():
            if plan not in plans:
                raise ConfigError(f"[ratelimit] members.{name!r}: there is no plan {plan!r}", hint="write it in plans")
    return [level._replace(table=table | {"preset": ""}) for level, table in zip(levels, tables, strict=True)]


def _levels(name: str, options: Options, guard: Any) -> list[_Level]:
    """Return each table that holds on this host, the general ones first."""
    settings = guard.config
    places = [place for place in settings.tables if place.word == name and place.host in (None, settings.host)]
    if not places:
        given = {field: getattr(options, field) for field in options.__struct_fields__}
        given["global"] = given.pop("global_")
        return [_Level("", None, {key: value for key, value in given.items() if value is not None}, set())]
    found: list[_Level] = []
    for place in sorted(places, key=lambda place: (place.server is not None, place.host is not None)):
        table = dict(settings.tables[place])
        words = (("host", place.host), ("server", place.server))
        prefix = "".join(f"{word}.{value}." for word, value in words if value is not None)
        if table.pop("override", False):
            if place.server is None:
                found.clear()
            for one in found:
                one.spared.add(place.server or "")
        found.append(_Level(prefix, place.server, table, set()))
    return found
