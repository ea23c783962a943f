"""What is charged for what comes in: which buckets, how many permits of each, and how many credits.

The rules:

1. What does not depend on a call's arguments is worked out once for server, tool and caller, and remembered by just
   that: who calls, with all that was proved of him, and of whom nothing was proved by his address too. So who is
   narrowed, proves something else or comes from elsewhere is looked up anew.
2. Buckets are remembered, and not how they stand, and a book is not added to once it is asked. So nothing else makes it
   stale: a reload makes another book, and what is lifted, bought or taken over is seen at the bucket.
3. On a call's arguments depend the buckets of hosts, where rules name any, and a cost that counts the items of one.
4. What is remembered is bounded in number (`LIMITS.known`) and in length (`LIMITS.place`); longer names are worked out
   each time. All is forgotten at once, which costs time and gives nobody a permit.
5. A call that an approver said yes to was charged before he was asked, one that is only explained is never sent, and
   what goes to the doctor's server is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from hauberk.connection import Connection
from hauberk.message import ToolCall
from hauberk.principal import Principal
from hauberk.probe import SERVER
from hauberk.refusals import Refused
from hauberk_ratelimit._book import Book
from hauberk_ratelimit._buckets import kept
from hauberk_ratelimit._costs import Said, cost_of, counted
from hauberk_ratelimit._domains import UnclearHostError, host_of, hosts_in
from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._peers import address_of, identity_of, name_of
from hauberk_ratelimit._rules import Caller, Ref

HOST: Final = "ratelimit.host"
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_WEB: Final = ("http", "https")


class Due(NamedTuple):
    """What a call is charged."""

    refs: tuple[Ref, ...]
    cost: int = 1
    """How many permits of each rate and quota."""
    price: int = 1
    """How many credits of each balance."""


class Terms(msgspec.Struct, frozen=True, eq=False):
    """What is known of calls of one tool by one caller before their arguments are looked at."""

    caller: Caller
    refs: tuple[Ref, ...]
    cost: Said
    price: Said
    counts: bool
    """Whether what they cost depends on their arguments."""
    varies: bool
    """Whether it or their buckets do."""
    due: Due | None
    """What they are charged if it does not; None is nothing."""
    hosts: dict[str, tuple[Ref, ...]] = {}
    """The buckets of hosts that were named lately."""


class Dues:
    """What calls, frames and messages are charged by one book."""

    __slots__ = ("_book", "_senders", "_terms")

    def __init__(self, book: Book) -> None:
        self._book: Final = book
        self._terms: Final[dict[Any, Terms]] = {}
        self._senders: Final[dict[Any, tuple[tuple[Ref, ...], tuple[Ref, ...]]]] = {}

    def of(self, call: ToolCall, connection: Connection) -> Due | None:
        """Return what a call is charged; None where it is charged nothing.

        Raises:
            Refused: The host of a URL in it cannot be told.
        """
        who = call.message.principal
        place: Any = (connection.server, call.name, who)
        terms = self._terms.get(place)
        if terms is None:
            if who.is_anonymous:
                place = (*place, connection.peer, connection.credentials)
                terms = self._terms.get(place)
            if terms is None:
                terms = self._looked_up(place, call, connection)
        if call.approved is not None or call.dry:
            return None
        return self._by_arguments(terms, call, connection) if terms.varies else terms.due

    def _looked_up(self, place: Any, call: ToolCall, connection: Connection) -> Terms:
        server, who, book = connection.server, call.message.principal, self._book
        caller = Caller(server, call.name, who, identity_of(who, connection), name_of(who, connection))
        cost, price = book.costs.said(server, call.name), book.prices.said(server, call.name)
        counts = counted(cost) or counted(price)
        if server == SERVER:
            terms = Terms(caller, (), cost, price, counts, varies=False, due=None)
        else:
            refs = book.refs(caller)
            terms = Terms(caller, refs, cost, price, counts, counts or book.by_domain, _due(refs, cost, price))
        if len(call.name) + len(connection.peer) + _length(who) <= LIMITS.place:
            _remember(self._terms, place, terms, LIMITS.known)
        return terms

    def _by_arguments(self, terms: Terms, call: ToolCall, connection: Connection) -> Due | None:
        refs = terms.refs
        if self._book.by_domain:
            try:
                hosts = _hosts(call, connection)
            except UnclearHostError as error:
                raise unclear(str(error)) from None
            if not hosts and not terms.counts:
                return terms.due
            refs = tuple(dict.fromkeys((*refs, *(ref for host in hosts for ref in self._of_host(terms, host)))))
        return _due(refs, terms.cost, terms.price, call.arguments if terms.counts and refs else NOTHING)

    def _of_host(self, terms: Terms, host: str) -> tuple[Ref, ...]:
        refs = terms.hosts.get(host)
        if refs is None:
            refs = self._book.refs_of_host(terms.caller, host)
            _remember(terms.hosts, host, refs, LIMITS.hosts)
        return refs

    def of_sender(self, who: Principal, connection: Connection) -> tuple[tuple[Ref, ...], tuple[Ref, ...]]:
        """Return what a frame is charged, by its address and who sends it; and what a message is, by who sends it."""
        place = (who, connection.peer, connection.credentials)
        found = self._senders.get(place)
        if found is None:
            address, identity = kept(address_of(connection)), kept(identity_of(who, connection))
            messages = tuple((bucket, identity) for bucket, _ in self._book.messages)
            found = (*((bucket, address) for bucket, _ in self._book.address), *messages), messages
            if len(connection.peer) + _length(who) <= LIMITS.place:
                _remember(self._senders, place, found, LIMITS.known)
        return found


def _remember(known: dict[Any, Any], place: Any, what: Any, most: int) -> None:
    if len(known) >= most:
        known.clear()
    known[place] = what


def _length(who: Principal) -> int:
    """Return how many characters are kept of somebody."""
    return len(who.id) + len(who.tenant or "") + sum(map(len, who.groups)) + sum(map(len, who.roles))


def _due(refs: tuple[Ref, ...], said: Said, priced: Said, arguments: Mapping[str, Any] = NOTHING) -> Due | None:
    cost = cost_of(said, arguments, 1)
    price = cost_of(priced, arguments, cost)
    if not (cost and price):  # what nothing is taken of is not asked, so it is no matter how much
        refs = tuple(ref for ref in refs if (price if ref[0].credit else cost))
    return Due(refs, cost or 1, price or 1) if refs else None


def _hosts(call: ToolCall, connection: Connection) -> list[str]:
    hosts = hosts_in(call.arguments)
    if connection.carrier in _WEB or connection.target.startswith(("http://", "https://")):
        own = host_of(connection.target)
        if own is not None and own not in hosts:
            hosts.append(own)
    return hosts


def unclear(why: str) -> Refused:
    """Return the refusal of a call whose URLs cannot be told apart."""
    return Refused(
        HOST,
        why,
        hint="write the host of the URL plainly: no backslash, no percent sign, no user with an @, two strokes",
        public=True,
    )
