"""Requests in flight: how an answer finds its asker, and what is freed when a request ends.

The rules:

- an exchange holds no message, so nothing here is cyclic garbage;
- each deferred function runs exactly once, with the outcome;
- every table has a bound; a full table refuses the new request, it never forgets an old one;
- a cancelled request leaves a tombstone, so that its late answer is known and dropped, and answers no other request.
"""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Literal

import msgspec

from hauberk.bounds import Bounds
from hauberk.methods import correlation_key
from hauberk.principal import Principal
from hauberk.refusals import INVALID_REQUEST, LIMITS, Refused

logger = logging.getLogger("hauberk")
Outcome = Literal["answered", "error", "refused", "cancelled", "timed_out", "closed"]
RequestId = str | int


class Exchange(msgspec.Struct, eq=False):
    """One request in flight."""

    id: RequestId
    """The asker's own id, which its answer carries."""
    key: RequestId
    method: str
    principal: Principal
    started: float
    """Monotonic seconds."""
    number: int
    """Counts the exchanges of one session; with the connection's id it names this one in events."""
    revision: str | None = None
    token: RequestId | None = None
    tool: str = ""
    digest: str = ""
    size: int = 0
    round: int = 0
    approved: bool = False
    """Whether an approver said yes to this call, or to the one that it is the retry of."""
    sent: bool = False
    """Set by the step that writes the request; a charge is given back where it is false at the end."""
    outcome: Outcome | None = None
    error: int = 0
    """The number of the error that it was answered with, as it came in; 0 where it was none."""
    failed: bool = False
    """Whether a call was answered with a result that says ``isError``."""
    lost: bool = False
    """Whether its connection ended under it, and not because its asker closed it."""
    goes_on: bool = False
    """Whether its answer minted what its retry brings, so that the call is not over with it."""
    secrets: tuple[str, ...] = ()
    """The values that were put in for references, for whoever redacts the answer."""
    ticket: Any = None
    timer: Any = None
    resolve: Callable[[dict[str, Any]], None] | None = None
    """Set where the guard itself is the asker: gets the answer, which reaches no peer."""
    _deferred: list[Callable[[Outcome], object]] = []
    of_call: list[Callable[[Exchange], object]] = []
    """Run when the call is over of which this is one round, with the exchange of the last; see `defer_call`."""

    def defer(self, function: Callable[[Outcome], object]) -> None:
        """Run ``function`` exactly once when this exchange ends, with the outcome; at once if it has ended."""
        if self.outcome is not None:
            self._run(function, self.outcome)
        else:
            self._deferred.append(function)

    def defer_call(self, function: Callable[[Exchange], object]) -> None:
        """Run ``function`` at most once: with the exchange of the last round of this call, when that has ended.

        A call that its caller does not go on with has no last round.
        """
        if self.outcome is not None:
            self._run(lambda _: function(self), self.outcome)
        else:
            self.of_call.append(function)

    def end(self, outcome: Outcome) -> None:
        """End the exchange; the first outcome wins. What a deferred function raises goes to the log."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        interrupt: KeyboardInterrupt | None = None
        if not (self.goes_on and outcome == "answered"):
            self._deferred += [partial(_called, function, self) for function in self.of_call]
            self.of_call.clear()
        while self._deferred:
            try:
                self._run(self._deferred.pop(), outcome)
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _run(self, function: Callable[[Outcome], object], outcome: Outcome) -> None:
        try:
            function(outcome)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - one plugin's clean-up must not keep another's from running
            logger.error("a function deferred to the end of %r failed (%s)", self.method, type(error).__name__)  # noqa: TRY400 - its text may hold a secret


def _called(function: Callable[[Exchange], object], exchange: Exchange, _outcome: Outcome) -> None:
    function(exchange)


def in_flight() -> Refused:
    """Return what a request is refused with that has the id of another one."""
    return Refused(
        "core.id_in_flight",
        "a request with this id is in flight, or was cancelled and may still be answered",
        jsonrpc=INVALID_REQUEST,
        hint="give each request an id of its own until it is answered",
    )


class Exchanges:
    """The requests of one direction: in flight, and cancelled but not yet answered."""

    __slots__ = ("_bounds", "_numbers", "_tokens", "flight", "tombstones")

    def __init__(self, bounds: Bounds, numbers: Iterator[int] | None = None) -> None:
        self._bounds: Final = bounds
        self._numbers: Final = itertools.count(1) if numbers is None else numbers
        self.flight: dict[RequestId, Exchange] = {}
        self.tombstones: OrderedDict[RequestId, None] = OrderedDict()
        self._tokens: dict[RequestId, int] = {}

    def open(self, id: RequestId, method: str, principal: Principal, started: float) -> Exchange:
        """Open an exchange.

        Raises:
            Refused: ``core.id_in_flight`` for an id that the SDK would read as one in flight, or as one whose answer
                may still come; ``core.busy`` if the table is full.
        """
        key = id if type(id) is int else correlation_key(id)
        if key in self.flight or key in self.tombstones:
            raise in_flight()
        if len(self.flight) >= self._bounds.exchanges:
            raise Refused(
                "core.busy",
                f"{len(self.flight)} requests are in flight",
                jsonrpc=LIMITS,
                public=True,
                retry_after=1.0,
                hint="wait for answers, or raise core.bounds.exchanges",
            )
        exchange = Exchange(id, key, method, principal, started, next(self._numbers))
        self.flight[key] = exchange
        return exchange

    def set_token(self, exchange: Exchange, token: RequestId) -> None:
        """Let progress for ``token`` pass while the exchange is in flight; real clients use one token twice."""
        exchange.token = correlation_key(token)
        self.hold(exchange.token)

    def hold(self, token: RequestId) -> None:
        """Let progress for a token pass once more, until `release`."""
        self._tokens[token] = self._tokens.get(token, 0) + 1

    def release(self, token: RequestId) -> None:
        """Take back one `hold`."""
        left = self._tokens[token] - 1
        if left:
            self._tokens[token] = left
        else:
            del self._tokens[token]

    def knows_token(self, token: RequestId) -> bool:
        """Whether a request in flight asked for progress under this token."""
        return correlation_key(token) in self._tokens

    def answer(self, id: RequestId) -> Exchange | None:
        """Take the exchange that this id answers; None where nobody asked, or not yet, or who asked has cancelled."""
        key = id if type(id) is int else correlation_key(id)
        exchange = self.flight.get(key)
        if exchange is None or not exchange.sent:  # nobody can answer what has not been asked: it was guessed
            return None
        del self.flight[key]
        if exchange.token is not None:
            self.release(exchange.token)
        return exchange

    def late(self, id: RequestId) -> bool:
        """Whether this id answers a cancelled request; its tombstone is taken away."""
        key = correlation_key(id)
        if key not in self.tombstones:
            return False
        del self.tombstones[key]
        return True

    def find(self, id: RequestId) -> Exchange | None:
        """Return the exchange in flight with this id."""
        return self.flight.get(correlation_key(id))

    def drop(self, exchange: Exchange, outcome: Outcome, *, tombstone: bool) -> None:
        """End an exchange that gets no answer; a sent one leaves a tombstone until its answer comes."""
        if self.flight.get(exchange.key) is exchange:
            del self.flight[exchange.key]
            self._drop_token(exchange)
            if tombstone:
                self.tombstones[exchange.key] = None  # not the exchange: its ticket may hold a whole message
                if len(self.tombstones) > self._bounds.tombstones:
                    self.tombstones.popitem(last=False)
        exchange.end(outcome)

    def close(self) -> list[Exchange]:
        """End everything with ``closed``, and return what was in flight."""
        open_ones = list(self.flight.values())
        for exchange in open_ones:
            self.drop(exchange, "closed", tombstone=False)
        self.tombstones.clear()
        return open_ones

    def _drop_token(self, exchange: Exchange) -> None:
        if exchange.token is not None:
            self.release(exchange.token)
