"""What the hooks ask: which buckets a call, a frame or a message is charged to, and the charge itself."""

from __future__ import annotations

import itertools
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk.exchange import Exchange, Outcome
from hauberk.message import Frame, Message, ToolCall
from hauberk.probe import SERVER
from hauberk.refusals import Refused
from hauberk_ratelimit._buckets import Buckets, kept
from hauberk_ratelimit._domains import UnclearHostError, host_of, hosts_in
from hauberk_ratelimit._ledger import Local, Short
from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._options import Options, check_places
from hauberk_ratelimit._peers import address_of, identity_of
from hauberk_ratelimit._rates import Rate
from hauberk_ratelimit._rules import Book, Bucket, Caller, Ref

HOST: Final = "ratelimit.host"
DOCTOR_TOOL: Final = "hauberk-doctor-flood"
DOCTOR_MARK: Final = "hauberk-doctor-frame"
_WEB: Final = ("http", "https")
_ALWAYS: Final = frozenset({"notifications/initialized", "notifications/cancelled"})
"""What only ends or settles something is not held back: a limit must not keep a call from being cancelled."""
_ONCE: Final = Rate(1, 86_400, 1)


class Desk:
    """The limits of one policy, and how they stand here."""

    def __init__(self, plugin: Any, options: Options, guard: Any) -> None:
        """Read every table of the configuration; of a plugin that has none, the options that it was given.

        Raises:
            ConfigError: What is one for a whole host stands in a table of a server.
        """
        self.guard: Final = guard
        self.options: Final = options
        debt = 10 * options.sync_seconds if options.store is not None and options.sharing == "sync" else 0.0
        self.book: Final = Book(options.max_ids, debt)
        self.local: Final = Local(guard.clock, guard.now)
        self._addresses: Final[WeakKeyDictionary[Connection, str]] = WeakKeyDictionary()
        self._tries: Final = itertools.count()
        self._doctor: Final = Bucket("doctor", "doctor#0", _ONCE, Buckets(_ONCE, LIMITS.known), shared=False)
        check_places(guard.config)
        for level in _levels(plugin.name, options, guard):
            self.book.add(*level)

    # --- calls ---

    def wanted(self, call: ToolCall, connection: Connection) -> tuple[tuple[Ref, ...], int]:
        """Return what a call is charged to, and how much.

        Raises:
            Refused: The host of a URL in it cannot be told.
        """
        book, server = self.book, connection.server
        hosts: list[str] = []
        if book.by_domain:
            try:
                hosts = self._hosts(call, connection)
            except UnclearHostError as error:
                raise unclear(str(error)) from None
        caller = Caller(server, call.name, call.principal, identity_of(call.principal, connection))
        cost = book.cost(server, call.name)
        if isinstance(cost, str):
            items = call.arguments.get(cost)
            cost = max(1, len(items)) if isinstance(items, list | dict) else 1
        return book.refs(caller, hosts), cost

    def _hosts(self, call: ToolCall, connection: Connection) -> list[str]:
        hosts = hosts_in(call.arguments)
        if connection.carrier in _WEB or connection.target.startswith(("http://", "https://")):
            own = host_of(connection.target)
            if own is not None and own not in hosts:
                hosts.append(own)
        return hosts

    def doctored(self, connection: Connection) -> tuple[Ref, ...]:
        """Return a bucket with one permit, of which nobody else knows, for a probe."""
        return ((self._doctor, f"{connection.id}.{next(self._tries)}"),)

    def refund_unsent(self, exchange: Exchange, refs: tuple[Ref, ...], cost: int) -> None:
        """Give a charge back at the end of an exchange whose request was never written."""
        since = self.guard.now()

        def settle(_: Outcome) -> None:
            if not exchange.sent:
                self.local.refund(refs, cost, since)

        exchange.defer(settle)

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
                refs = self.doctored(connection)
                self._charge(refs)
                self._charge(refs)
            return
        address = self._addresses.get(connection)
        if address is None:
            self._addresses[connection] = address = kept(address_of(connection))
        who = kept(identity_of(connection.principal, connection))
        book = self.book
        self._charge(
            (*((bucket, address) for bucket, _ in book.address), *((bucket, who) for bucket, _ in book.messages))
        )

    def message(self, message: Message, connection: Connection) -> None:
        """Charge what the host sends toward a server to who speaks.

        Raises:
            Refused: He has used up his limit.
        """
        if message.toward != "server" or connection.server == SERVER or message.kind not in ("request", "notification"):
            return
        if message.method in _ALWAYS:
            return
        who = kept(identity_of(message.principal, connection))
        refs = tuple((bucket, who) for bucket, _ in self.book.messages)
        self._charge(refs)
        if message.kind == "request" and message.exchange is not None:
            self.refund_unsent(message.exchange, refs, 1)

    def _charge(self, refs: tuple[Ref, ...]) -> None:
        short = self.local.charge(refs)
        if short is not None:
            raise short.refused()

    def short_of(self, refs: tuple[Ref, ...], cost: int) -> Short | None:
        """Charge a call to the buckets of this process."""
        return self.local.charge(refs, cost)


def unclear(why: str) -> Refused:
    """Return the refusal of a call whose URLs cannot be told apart."""
    return Refused(
        HOST,
        why,
        hint="write the host of the URL plainly: no backslash, no percent sign, no user with an @, two strokes",
        public=True,
    )


class _Level(NamedTuple):
    """One table that holds on this host."""

    prefix: str
    server: str | None
    table: dict[str, Any]
    spared: set[str]


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
