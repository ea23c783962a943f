"""What is asked again after a connection was lost, how often, and when: without any connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk import Config
from hauberk._servers import Retry
from hauberk.bounds import Bounds
from hauberk.edge import Overlong
from hauberk.exchange import Exchange, Exchanges
from hauberk.hosts._repeats import BACKOFF, READS, Backoff, Repeat, Repeats, may_repeat, pause
from hauberk.methods import METHODS
from hauberk.principal import ANONYMOUS
from hauberk.refusals import ConfigError

CHANCE = st.floats(0, 1)
BACKOFFS = st.builds(
    lambda first, times, factor, jitter: Backoff(first, first * times, factor, jitter),
    st.floats(0.001, 10),
    st.floats(1, 1000),
    st.floats(1, 10),
    st.floats(0, 0.9),
)

# --- how long ---


def test_backoff_is_what_is_asked_for() -> None:
    """100 ms to 30 s, twice as long each time, a tenth of it by chance (S4.21)."""
    assert BACKOFF == (0.1, 30.0, 2.0, 0.1)
    assert [pause(tries, 0.5) for tries in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4])
    assert (pause(1, 0.0), pause(1, 1.0)) == pytest.approx((0.09, 0.11))
    assert pause(10, 0.5) == 30.0
    assert pause(1_000_000, 1.0) == 30.0


@given(tries=st.integers(1, 10**9), chance=CHANCE, backoff=BACKOFFS)
def test_pause_is_bounded_and_grows(tries: int, chance: float, backoff: Backoff) -> None:
    """Whatever the chance, it is within the jitter round ``first * factor ** n``, never above ``most``, and grows."""
    found = pause(tries, chance, backoff)
    middle = pause(tries, 0.5, backoff)
    assert 0 < found <= backoff.most
    assert middle * (1 - backoff.jitter) * (1 - 1e-9) <= found <= middle * (1 + backoff.jitter) * (1 + 1e-9)
    assert pause(tries + 1, chance, backoff) >= found * (1 - 1e-9)
    if tries == 1:
        assert middle == pytest.approx(min(backoff.first, backoff.most))


# --- what ---


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_only_reads_may_be_repeated(method: str) -> None:
    """Of all methods of the protocol those that read; a client's, and none that sets, subscribes, calls or listens."""
    expected = {
        *("ping", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "server/discover"),
        *("prompts/get", "resources/read", "completion/complete"),
    }
    assert may_repeat(message(method), ()) is (method in expected)
    assert expected == READS
    if method in READS:
        assert METHODS[method].kind == "request"
        assert METHODS[method].sender in {"client", "both"}


def test_calls_of_named_tools_may_be_repeated() -> None:
    """A tool that the operator has named, by its exact name, and no other."""
    assert may_repeat(message("tools/call", name="read"), ("read",))
    for name in ("Read", "read_", "", None, 1, ["read"]):
        assert not may_repeat(message("tools/call", name=name), ("read",))
    assert not may_repeat(message("tools/call", name="read"), ())


@pytest.mark.parametrize("bound", ["requestState", "inputResponses", "task"])
@pytest.mark.parametrize("method", ["tools/call", "resources/read", "prompts/get"])
def test_what_belongs_to_its_connection_is_not_repeated(method: str, bound: str) -> None:
    """An answer to what a server asked for, and the beginning of a task, are not: both are state of the server."""
    assert not may_repeat(message(method, name="read", **{bound: {}}), ("read",))


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "prompts/get"])
def test_what_belongs_to_a_task_is_not_repeated(method: str) -> None:
    """A request that ``_meta`` ties to a task is not; what ``_meta`` says otherwise is nothing to it."""
    related = {"io.modelcontextprotocol/related-task": {"taskId": "t"}}
    assert not may_repeat(message(method, name="read", _meta=related), ("read",))
    assert not may_repeat(message(method, name="read", _meta=None), ("read",))
    assert may_repeat(message(method, name="read", _meta={"progressToken": 1}), ("read",))


@pytest.mark.parametrize(
    ("declared", "may"),
    [
        ({}, True),
        ({"extensions": {}}, True),
        ({"extensions": {"io.modelcontextprotocol/other": {}}}, True),
        ({"extensions": {"io.modelcontextprotocol/tasks": {}}}, False),
        ({"extensions": []}, False),
        ([], False),
    ],
)
def test_call_that_may_make_a_task_is_not_repeated(declared: Any, may: bool) -> None:
    """Who declares the extension leaves it to the server whether a call makes one; a read makes none (SEP-2663)."""
    meta = {"io.modelcontextprotocol/clientCapabilities": declared}
    assert may_repeat(message("tools/call", name="read", _meta=meta), ("read",)) is may
    assert may_repeat(message("resources/read", uri="note://1", _meta=meta), ())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["tools/call", "ping"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "method", "params", "name"]), inner, max_size=4)
        ),
        max_leaves=8,
    )
)
def test_anything_is_a_repetition_or_none(value: Any) -> None:
    """No frame of a client raises; what has no usable id, or is no request, is never kept."""
    if may_repeat(value, ("x",)):
        assert type(value["id"]) in (str, int)
        assert value["method"] in READS | {"tools/call"}


# --- a client's requests ---


class Stand:
    """One client's requests, a session without a peer, and what was given to it."""

    def __init__(self, retry: Retry | None, seconds: float | None, **bounds: int) -> None:
        self.options = SimpleNamespace(retry=retry)
        self.guard = SimpleNamespace(
            config=SimpleNamespace(server=lambda _: self.options),
            policy=SimpleNamespace(request_timeout=seconds),
            bounds=Bounds(**bounds),
        )
        self.gave: list[dict[str, Any]] = []
        self.late: list[Repeat] = []
        self.lost: list[Repeat] = []
        self.refuses = False
        self.exchanges = Exchanges(Bounds())
        self.session: Any = SimpleNamespace(out=SimpleNamespace(exchanges=self.exchanges))
        guard: Any = self.guard
        tells: dict[str, Any] = {"late": self.late.append, "lost": self.lost.append}
        self.repeats = Repeats(guard, "x", give=self._give, **tells, chance=lambda: 0.5)

    def _give(self, frame: bytes) -> None:
        self.gave.append(orjson.loads(frame))
        data = self.gave[-1]
        if not self.refuses and "id" in data and self.exchanges.find(data["id"]) is None:
            self.exchanges.open(data["id"], data["method"], ANONYMOUS, 0.0).sent = True

    def send(self, data: dict[str, Any]) -> Exchange | None:
        self.repeats.send(orjson.dumps(data), self.session)
        return self.exchanges.find(data["id"])

    def lose(self) -> list[bool]:
        """Lose the connection; return of each request in flight whether it is asked again."""
        flight = list(self.exchanges.flight.values())
        found = [self.repeats.lost(one) for one in flight]
        self.exchanges.close()
        return found

    @property
    def held(self) -> int:
        return self.repeats._bytes


READ = message("resources/read", uri="note://1")


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    made = Stand(Retry(tools=("read",)), None)
    yield made
    made.repeats.drop()
    made.exchanges.close()
    assert made.held == 0
    assert not made.repeats._asked


async def test_lost_request_is_asked_three_times(stand: Stand) -> None:
    """With ``tries = 3`` it is asked once and twice again, by the same frame and id; then it is lost (S4.21)."""
    told: list[tuple[int, bool]] = []
    clock = asyncio.get_running_loop().time
    stand.send(READ)
    for tries in (2, 3):
        assert stand.lose() == [True]
        await stand.repeats.ask(stand.session, lambda repeat: told.append((repeat.tries, clock() >= repeat.due - 1e-3)))
        assert told[-1] == (tries, True), "once its pause is over"
    assert stand.lose() == [False]
    assert stand.gave == [READ, READ, READ]


async def test_answered_request_is_over(stand: Stand) -> None:
    """What was answered, with a result or an error, cancelled, or not answered in time, is kept no longer."""
    for number, outcome in enumerate(("answered", "error", "refused", "cancelled", "timed_out", "closed")):
        exchange = stand.send(READ | {"id": number})
        assert exchange is not None
        stand.exchanges.drop(exchange, outcome, tombstone=False)  # type: ignore[arg-type]
        assert stand.held == 0
        assert not stand.repeats.lost(exchange)


async def test_refused_request_is_not_kept(stand: Stand) -> None:
    """What a guard refuses at once, the first time or again, opens no exchange, and nothing of it is kept."""
    stand.refuses = True
    stand.send(READ)
    assert stand.held == 0
    stand.refuses = False
    stand.send(READ)
    assert stand.lose() == [True]
    stand.refuses = True
    await stand.repeats.ask(stand.session, lambda _: None)
    assert stand.held == 0
    assert not stand.repeats.waiting


async def test_second_request_of_an_id_is_not_kept_for_the_first(stand: Stand) -> None:
    """A read that has the id of a call in flight is refused; it is not what is asked again in the call's place."""
    stand.send(message("tools/call", name="pay"))
    stand.send(message("tools/call", name="read"))
    stand.send(READ | {"id": "+1"})
    assert stand.lose() == [False]


async def test_nothing_is_kept_without_the_table(stand: Stand) -> None:
    """Without ``[server.NAME.retry]`` no frame is looked at; a reload that takes it away, or a tool, holds at once."""
    stand.options.retry = None
    stand.send(READ)
    assert stand.held == 0
    stand.exchanges.close()
    stand.options.retry = Retry(tools=("read",))
    stand.send(message("tools/call", name="read"))
    stand.options.retry = Retry()
    assert stand.lose() == [False]


@pytest.mark.parametrize("retry", [None, Retry(), Retry(tries=2, tools=("read",))], ids=["table", "tool", "tries"])
async def test_configuration_holds_for_who_waits(stand: Stand, retry: Retry | None) -> None:
    """A reload that takes the table away, or the tool, or lowers ``tries``, stops who waits; who is, is told so."""
    stand.options.retry = Retry(tries=5, tools=("read",))
    stand.send(message("tools/call", name="read"))
    for _ in range(2):
        assert stand.lose() == [True]
        if stand.gave[1:]:
            stand.options.retry = retry
        await stand.repeats.ask(stand.session, lambda _: None)
    assert len(stand.gave) == 2
    assert [one.id for one in stand.lost] == [1]
    assert not stand.repeats.waiting
    assert stand.held == 0


async def test_second_request_of_an_id_that_waits(stand: Stand) -> None:
    """The id of what waits is taken, in any form of it, for any request; one that comes all the same loses nothing."""
    stand.send(READ | {"id": 7})
    assert not stand.repeats.second(orjson.dumps(READ | {"id": 7})), "in flight, the session says so"
    stand.lose()
    held = stand.held
    for id in (7, "7", "+7"):
        assert stand.repeats.second(orjson.dumps(message("tools/call", name="pay") | {"id": id}))
    assert stand.repeats.second(b'{"jsonrpc":"2.0","id":7,"method":"ping","x":NaN}')
    assert stand.repeats.second(Overlong(1 << 30, b'{"jsonrpc":"2.0","id":7,"method":"ping"', b"}"))
    for other in (
        {"id": 8, "method": "ping"},
        {"id": 7, "result": {}},
        {"method": "ping"},
        {"id": True, "method": "x"},
    ):
        assert not stand.repeats.second(orjson.dumps({"jsonrpc": "2.0", **other}))
    assert not stand.repeats.second(b"[]")
    assert not stand.repeats.second(b"no json")
    exchange = stand.send(READ | {"id": 7})
    assert exchange is not None
    assert stand.lose() == [False]
    assert stand.held == held
    await stand.repeats.ask(stand.session, lambda _: None)
    assert stand.gave[-1] == READ | {"id": 7}
    assert not stand.repeats.waiting


async def test_cancelled_while_nobody_is_there(stand: Stand) -> None:
    """The client takes back what waits, under any form of its id; what is no such word goes on to the server."""
    stand.send(READ | {"id": 7})
    stand.lose()
    for params in ({}, {"requestId": 8}, {"requestId": True}, {"requestId": None}, {"requestId": [7]}):
        assert not stand.repeats.cancelled(
            orjson.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        )
    assert not stand.repeats.cancelled(b"no json")
    assert not stand.repeats.cancelled(b"[]")
    word = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "07"}}
    assert not stand.repeats.cancelled(orjson.dumps({**word, "id": 1}))
    assert stand.repeats.cancelled(orjson.dumps(word))
    await stand.repeats.ask(stand.session, lambda _: None)
    assert len(stand.gave) == 1


async def test_cancelled_between_two_repetitions(stand: Stand) -> None:
    """One that is cancelled while another one is on its way is not asked, and the next one is."""
    for number in (1, 2, 3):
        stand.send(READ | {"id": number})
    stand.lose()

    def told(repeat: Repeat) -> None:
        if repeat.id == 1:
            word = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
            assert stand.repeats.cancelled(orjson.dumps(word))

    await stand.repeats.ask(stand.session, told)
    assert [one["id"] for one in stand.gave[3:]] == [1, 3]


async def test_time_of_a_request_is_one_for_all_tries() -> None:
    """``core.request_timeout`` counts from the first time; who is late before he is asked again is told so (S4.21)."""
    stand = Stand(Retry(), 20.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    stand.send(READ)
    (repeat,) = stand.repeats._asked.values()
    assert repeat.until == pytest.approx(began + 20, abs=5)
    assert stand.lose() == [True]
    await stand.repeats.ask(stand.session, lambda _: None)
    exchange = stand.exchanges.find(1)
    assert exchange is not None
    assert exchange.timer.when() == pytest.approx(repeat.until)
    stand.exchanges.close()

    soon = Stand(Retry(), 1.0)
    soon.send(READ)
    assert soon.lose() == [True]
    async with asyncio.timeout(20):
        while not soon.late:  # noqa: ASYNC110 - what a timer does
            await asyncio.sleep(0.01)
    assert not soon.repeats.waiting
    assert soon.held == 0
    await soon.repeats.ask(soon.session, lambda _: None)
    assert len(soon.gave) == 1


async def test_pause_that_is_too_long_is_none() -> None:
    """What could not be asked again in its time is lost at once, and nobody waits for it."""
    stand = Stand(Retry(), 0.05)
    stand.send(READ)
    assert stand.lose() == [False]


async def test_frames_that_are_kept_have_a_bound() -> None:
    """Past ``core.bounds.buffer_bytes`` no frame is kept; what is answered makes room (X.6)."""
    stand = Stand(Retry(), None, buffer_bytes=1000)
    for number in range(50):
        stand.send(READ | {"id": number})
    assert 900 < stand.held <= 1000
    kept = stand.lose()
    assert kept.count(True) == len(stand.repeats.waiting) == stand.held // len(json.dumps(READ, separators=(",", ":")))
    stand.repeats.drop()
    assert stand.held == 0


# --- the table ---


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('command = "x"\n[server.a.retry]', "retry is for a socket or a url of tls://"),
        ('url = "https://a/mcp"\n[server.a.retry]', "retry is for a socket or a url of tls://"),
        ('url = "tls://a:1"\n[server.a.retry]\ntries = 1', "expected integer >= 2"),
        ('url = "tls://a:1"\n[server.a.retry]\ntries = 11', "expected integer >= 2 <= 10"),
        ('url = "tls://a:1"\n[server.a.retry]\ntool = ["x"]', "tool: unknown key"),
    ],
)
def test_table_that_is_wrong_is_told(toml: str, said: str) -> None:
    """Where nothing is dialled again, or a key is unknown, the file is refused."""
    with pytest.raises(ConfigError) as error:
        Config.from_toml(f"[server.a]\n{toml}\n").server("a")
    assert said in str(error.value)


def test_table_stands_alone() -> None:
    """A server that is dialled by an address of the command line may have the table alone; its defaults are S4.21's."""
    options = Config.from_toml("[server.a.retry]\n").server("a")
    assert options is not None
    assert options.retry == Retry(tries=3, tools=())
