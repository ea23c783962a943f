"""Requests in flight: correlation, bounds, and what is freed when a request ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.core.harness import call_params, request, rig, ring

from hauberk.bounds import Bounds
from hauberk.exchange import Exchange, Exchanges, Outcome
from hauberk.principal import ANONYMOUS
from hauberk.refusals import INVALID_REQUEST, LIMITS, Refused

SMALL = Bounds(exchanges=4, tombstones=3)
ALIKE = (7, "7", "+7", "07", " 7", "7\n", "\u0667", "0_7")
"""Ids that Python's ``int()`` reads as 7."""
DISTINCT = ("a", "A", "", "7.0", "0x7", 70, -7, "seven", "7_0")
"""Ids that no other one is taken for, except that ``"7_0"`` is 70."""


def opened(table: Exchanges, id: Any, method: str = "tools/call") -> Exchange:
    """Open an exchange whose request has been written."""
    exchange = table.open(id, method, ANONYMOUS, 0.0)
    exchange.sent = True
    return exchange


# --- correlation ---


@pytest.mark.parametrize("asked", ALIKE)
@pytest.mark.parametrize("answered", ALIKE)
def test_ids_alike_are_one(asked: Any, answered: Any) -> None:
    """Whatever ``int()`` reads alike finds the same request, which keeps its own id with its own type (A54)."""
    table = Exchanges(SMALL)
    exchange = opened(table, asked)
    assert table.find(answered) is exchange
    found = table.answer(answered)
    assert found is exchange
    assert found.id == asked
    assert type(found.id) is type(asked)
    assert table.answer(answered) is None


@pytest.mark.parametrize("answered", DISTINCT)
def test_ids_that_differ_do_not_meet(answered: Any) -> None:
    """An id that nothing reads as 7 does not answer 7 (A54)."""
    table = Exchanges(SMALL)
    opened(table, 7)
    assert table.answer(answered) is None
    assert table.find(answered) is None


def test_nobody_answers_what_has_not_been_asked() -> None:
    """An answer under the id of a request that has not left answers nothing; the request stays (A54)."""
    table = Exchanges(SMALL)
    exchange = opened(table, 7)
    exchange.sent = False
    assert table.answer(7) is None
    assert table.find(7) is exchange
    exchange.sent = True
    assert table.answer(7) is exchange


def test_grouped_digits_are_the_number() -> None:
    """``"7_0"`` is 70, as ``int()`` says, and so as a peer may say."""
    table = Exchanges(SMALL)
    exchange = opened(table, 70)
    assert table.answer("7_0") is exchange


@pytest.mark.parametrize("again", ALIKE)
def test_an_id_in_flight_is_refused(again: Any) -> None:
    """A second request under an id in flight is refused, and the first stays (A54)."""
    table = Exchanges(SMALL)
    first = opened(table, 7)
    with pytest.raises(Refused) as caught:
        opened(table, again)
    assert (caught.value.code, caught.value.jsonrpc) == ("core.id_in_flight", INVALID_REQUEST)
    assert table.answer(7) is first


def test_an_id_is_free_after_its_answer() -> None:
    """An id is free again once it is answered."""
    table = Exchanges(SMALL)
    opened(table, 7)
    table.answer("7")
    assert opened(table, 7).number == 2


def test_two_tables_can_share_their_numbers() -> None:
    """Two directions of one session never give two requests one number, which events name them by."""
    numbers = iter(range(1, 9))
    out, inn = Exchanges(SMALL, numbers), Exchanges(SMALL, numbers)
    assert [opened(out, 1).number, opened(inn, 1).number, opened(out, 2).number] == [1, 2, 3]


# --- bounds ---


def test_a_full_table_refuses_and_forgets_nothing() -> None:
    """A full table refuses the new request, publicly, and every old one is still answered (X.6)."""
    table = Exchanges(SMALL)
    old = [opened(table, id) for id in range(4)]
    with pytest.raises(Refused) as caught:
        opened(table, 4)
    assert (caught.value.code, caught.value.jsonrpc, caught.value.public) == ("core.busy", LIMITS, True)
    assert caught.value.retry_after is not None
    assert [table.answer(id) for id in range(4)] == old


def test_tombstones_are_bounded_oldest_first() -> None:
    """Cancelled requests are remembered up to the bound; the oldest goes first (X.6)."""
    table = Exchanges(SMALL)
    for id in range(5):
        table.drop(opened(table, id), "cancelled", tombstone=True)
    assert [table.late(id) for id in range(5)] == [False, False, True, True, True]
    assert not table.tombstones


def test_a_tombstone_is_good_for_one_answer() -> None:
    """The late answer of a cancelled request is known once (A58)."""
    table = Exchanges(SMALL)
    table.drop(opened(table, "07"), "cancelled", tombstone=True)
    assert table.answer(7) is None
    assert table.late(7)
    assert not table.late(7)


def test_a_tombstone_holds_no_exchange() -> None:
    """A tombstone keeps nothing of the request, whose ticket may hold a whole message."""
    table = Exchanges(SMALL)
    exchange = opened(table, 1)
    exchange.ticket = object()
    table.drop(exchange, "cancelled", tombstone=True)
    assert list(table.tombstones.values()) == [None]


def test_the_id_of_a_cancelled_request_is_free_once_its_answer_came() -> None:
    """A late answer is never taken for that of a new request with the same id (A54, A58)."""
    table = Exchanges(SMALL)
    table.drop(opened(table, 1), "cancelled", tombstone=True)
    with pytest.raises(Refused) as caught:
        opened(table, "+1")
    assert caught.value.code == "core.id_in_flight"
    assert table.late(1)
    again = opened(table, 1)
    assert table.answer(1) is again


def test_ending_an_old_request_leaves_a_new_one_of_its_id() -> None:
    """A request that was answered, and ends late, takes nothing from a new one with the same id."""
    table = Exchanges(SMALL)
    old = opened(table, 1)
    table.answer(1)
    new = opened(table, 1)
    table.set_token(new, "p")
    table.drop(old, "timed_out", tombstone=True)
    assert table.find(1) is new
    assert table.knows_token("p")
    assert not table.tombstones


# --- progress tokens ---


def test_a_token_lives_as_long_as_its_requests() -> None:
    """Progress is expected while any request in flight has the token, whatever its spelling (A58)."""
    table = Exchanges(SMALL)
    first, second = opened(table, 1), opened(table, 2)
    table.set_token(first, "5")
    table.set_token(second, 5)
    assert table.knows_token("05")
    table.answer(1)
    assert table.knows_token(5)
    table.drop(second, "cancelled", tombstone=True)
    assert not table.knows_token(5)


def test_a_foreign_token_is_not_known() -> None:
    """A token that no request in flight has is not known (A58)."""
    table = Exchanges(SMALL)
    table.set_token(opened(table, 1), "mine")
    assert not table.knows_token("yours")


# --- deferred functions ---


def test_deferred_functions_run_once_last_first() -> None:
    """Each deferred function runs exactly once, the last first, with the first outcome."""
    exchange = opened(Exchanges(SMALL), 1)
    seen: list[tuple[str, Outcome]] = []
    exchange.defer(lambda outcome: seen.append(("a", outcome)))
    exchange.defer(lambda outcome: seen.append(("b", outcome)))
    exchange.end("cancelled")
    exchange.end("answered")
    assert seen == [("b", "cancelled"), ("a", "cancelled")]


def test_deferring_to_an_exchange_that_is_over_runs_at_once() -> None:
    """What is deferred too late runs at once, with the outcome that was."""
    exchange = opened(Exchanges(SMALL), 1)
    exchange.end("timed_out")
    seen: list[Outcome] = []
    exchange.defer(seen.append)
    assert seen == ["timed_out"]


def test_what_is_deferred_while_ending_runs_too() -> None:
    """A deferred function may defer another one; it runs with the same outcome."""
    exchange = opened(Exchanges(SMALL), 1)
    seen: list[Outcome] = []
    exchange.defer(lambda _: exchange.defer(seen.append))
    exchange.end("error")
    assert seen == ["error"]


@pytest.mark.parametrize("error", [ValueError("secret"), asyncio.CancelledError("secret"), SystemExit("secret")])
def test_a_failing_deferred_function_keeps_no_other_from_running(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A deferred function that raises is logged by its type alone; the others run (A64)."""
    exchange = opened(Exchanges(SMALL), 1)
    seen: list[Outcome] = []

    def fail(_: Outcome) -> None:
        raise error

    exchange.defer(seen.append)
    exchange.defer(fail)
    exchange.defer(seen.append)
    with caplog.at_level(logging.ERROR, "hauberk"):
        exchange.end("answered")
    assert seen == ["answered", "answered"]
    assert type(error).__name__ in caplog.text
    assert "secret" not in caplog.text


def test_an_interrupt_waits_for_the_other_functions() -> None:
    """KeyboardInterrupt in a deferred function is raised once the others have run."""
    exchange = opened(Exchanges(SMALL), 1)
    seen: list[Outcome] = []

    def interrupt(_: Outcome) -> None:
        raise KeyboardInterrupt

    exchange.defer(seen.append)
    exchange.defer(interrupt)
    with pytest.raises(KeyboardInterrupt):
        exchange.end("answered")
    assert seen == ["answered"]


def test_close_ends_everything() -> None:
    """Closing ends each request in flight with ``closed``, and empties every table."""
    table = Exchanges(SMALL)
    seen: list[Outcome] = []
    for id in range(3):
        exchange = opened(table, id)
        table.set_token(exchange, id)
        exchange.defer(seen.append)
    table.drop(opened(table, 3), "cancelled", tombstone=True)
    assert [exchange.id for exchange in table.close()] == [0, 1, 2]
    assert seen == ["closed"] * 3
    assert not table.flight
    assert not table.tombstones
    assert not table._tokens


# --- against a model ---

IDS = st.sampled_from([1, "1", "01", 2, "2", "x", "y", "X", 3, 4])
TOKENS = st.none() | st.sampled_from([1, "1", "t"])
OUTCOMES = st.sampled_from(["refused", "cancelled", "timed_out"])


def key(id: Any) -> Any:
    return int(id) if isinstance(id, str) and id.isdigit() else id


class Table(RuleBasedStateMachine):
    """In any order of events a slot is freed exactly once, and the tables equal their model (A54, A58, A64)."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Exchanges(SMALL)
        self.flight: dict[Any, Exchange] = {}
        self.graves: list[Any] = []
        self.tokens: dict[int, Any] = {}
        self.taken: list[Exchange] = []
        """Taken out of the table by their answer, and not ended yet."""
        self.runs: dict[int, int] = {}
        self.gauge = 0

    def _freed(self, number: int) -> None:
        self.runs[number] += 1
        self.gauge -= 1

    @rule(id=IDS, token=TOKENS, sent=st.booleans())
    def open(self, id: Any, token: Any, sent: bool) -> None:
        taken = key(id) in self.flight or key(id) in self.graves
        if taken or len(self.flight) == SMALL.exchanges:
            with pytest.raises(Refused) as caught:
                opened(self.table, id)
            assert caught.value.code == ("core.id_in_flight" if taken else "core.busy")
            return
        exchange = opened(self.table, id)
        exchange.sent = sent
        self.flight[key(id)] = exchange
        number = exchange.number
        self.runs[number] = 0
        self.gauge += 1
        exchange.defer(lambda _: self._freed(number))
        if token is not None:
            self.table.set_token(exchange, token)
            self.tokens[number] = key(token)

    @rule(id=IDS)
    def answer(self, id: Any) -> None:
        found, asked = self.table.answer(id), self.flight.get(key(id))
        if asked is not None and not asked.sent:
            assert found is None
            return
        assert found is self.flight.pop(key(id), None)
        if found is not None:
            self.taken.append(found)

    @precondition(lambda self: self.taken)
    @rule(outcome=st.sampled_from(["answered", "error", "refused"]))
    def end(self, outcome: Outcome) -> None:
        self.taken.pop(0).end(outcome)

    @rule(id=IDS, outcome=OUTCOMES, tombstone=st.booleans())
    def drop(self, id: Any, outcome: Outcome, tombstone: bool) -> None:
        exchange = self.table.find(id)
        assert exchange is self.flight.pop(key(id), None)
        if exchange is None:
            return
        self.table.drop(exchange, outcome, tombstone=tombstone)
        self.table.drop(exchange, outcome, tombstone=tombstone)  # ending twice is ending once
        if tombstone:
            self.graves = [*self.graves, key(id)][-SMALL.tombstones :]

    @rule(id=IDS)
    def late(self, id: Any) -> None:
        assert self.table.late(id) == (key(id) in self.graves)
        if key(id) in self.graves:
            self.graves.remove(key(id))

    @rule()
    def close(self) -> None:
        assert self.table.close() == list(self.flight.values())
        self.flight.clear()
        self.graves.clear()

    @invariant()
    def same(self) -> None:
        assert self.table.flight == self.flight
        assert list(self.table.tombstones) == self.graves
        for token in (1, "t"):
            held = any(self.tokens.get(one.number) == token for one in self.flight.values())
            assert self.table.knows_token(token) == held

    @invariant()
    def freed_once(self) -> None:
        open_ones = {exchange.number for exchange in (*self.flight.values(), *self.taken)}
        assert all(runs == (number not in open_ones) for number, runs in self.runs.items())
        assert self.gauge == len(open_ones)


TestTable = Table.TestCase


# --- in a session ---


async def test_a_server_that_guesses_an_id_answers_nothing() -> None:
    """A call that still waits for its verdict is answered by nobody: the forged answer is dropped, the call goes on."""
    gate = asyncio.Event()

    async def judge(call: Any, connection: Any) -> None:
        await gate.wait()

    async with rig(ring(on_tool_call=judge)) as r:
        r.post(r.session.out, request("tools/call", call_params("ls"), id=1))
        r.post(r.session.inn, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
        await asyncio.sleep(0)
        assert (r.near.raw, r.far.raw) == ([], [])
        gate.set()
        await r.settle()
        assert [message["id"] for message in r.far.got] == [1]
        assert "core.unmatched" in [event.code for event in r.recorder.events]
        await r.answer()
        assert [message["id"] for message in r.near.got] == [1]
