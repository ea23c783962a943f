"""Credits: what calls cost, what is refused and given back, what is bought, and what an answer tells of it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from plugins.ratelimit.tests import hosts
from tests.redis_server import RedisServer

from hauberk.config import Config
from hauberk.config import Options as Base
from hauberk.connection import Connection
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message
from hauberk.principal import Principal
from hauberk.refusals import ConfigError, Refused
from hauberk.testing import Clock, Rig, notification
from hauberk_ratelimit import _seen
from hauberk_ratelimit._commands import limits
from hauberk_ratelimit._quotas import month_of
from hauberk_ratelimit._usage import KEY

EACH = """
[ratelimit]
principals = {"*" = "10 credits/month each"}
prices = {dear = 4, batch = "calls", free = 0}
"""
ERROR = {"jsonrpc": "2.0", "error": {"code": -32000, "message": "no"}}


@pytest.fixture(params=["memory", "exact", "lease"])
def shared(request: pytest.FixtureRequest) -> str:
    """Return what says where limits are kept: in this process, or in a store."""
    if request.param == "memory":
        return ""
    server: RedisServer = request.getfixturevalue("server")
    return f'store = "{server.uri}"\nsharing = "{request.param}"\nstore_timeout = 2\n'


def kept_in(shared: str, toml: str) -> str:
    return toml.replace("[ratelimit]\n", f"[ratelimit]\n{shared}", 1)


async def calls(rig: Rig, count: int, tool: str = "ls", arguments: Any = None, **more: Any) -> int:
    before = len(rig.reached)
    for _ in range(count):
        await rig.call(tool, arguments, **more)
    return len(rig.reached) - before


async def left(rig: Rig, rule: str = "principals.*") -> int:
    """Return what a call that costs more than anybody has is told to be left."""
    await rig.call("batch", {"calls": [0] * 1000})
    (*_, event) = [event for event in rig.recorder.events if event.code == "ratelimit.insufficient_credits"]
    assert event.rule == rule
    balance: int = rig.error()["data"]["balance"]
    return balance


async def until_left(rig: Rig, count: int) -> None:
    """Wait until so many are left: a store is told in its own time."""
    deadline = time.monotonic() + 20
    while (found := await left(rig)) != count:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)


async def until_kept(server: RedisServer, name: str, value: str) -> None:
    """Wait until a store keeps this."""
    deadline = time.monotonic() + 20
    while value.encode() not in (found := server.ask("GET", name)).split():
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)


# --- what is refused ---


async def test_who_has_no_credits_is_told_so(limited: Any, shared: str) -> None:
    """The answer is 403 with the balance and the price, and no time at which to come again (S1.23, S1.41)."""
    async with limited(kept_in(shared, EACH)) as rig:
        assert await calls(rig, 9, "dear") == 2
        assert rig.error() == {
            "code": -32003,
            "message": "ratelimit.insufficient_credits: "
            "this call costs 4 of the credits of principals.*, and 2 are left",
            "data": {
                "code": "ratelimit.insufficient_credits",
                "plugin": "ratelimit",
                "rule": "principals.*",
                "hint": "buy credits: `hauberk limits credit`; or wait for those of the next month",
                "httpStatus": 403,
                "balance": 2,
                "cost": 4,
                "reset": rig.error()["data"]["reset"],
            },
        }
        assert 0 < rig.error()["data"]["reset"] <= 31 * 86_400
        (*_, event) = [event for event in rig.recorder.events if event.code == "ratelimit.insufficient_credits"]
        assert event.details["own"] is True
        assert await calls(rig, 9) == 2


async def test_a_remote_peer_learns_its_balance_and_no_rule(limited: Any) -> None:
    """In front of a server, too, who lacks credits learns that, and not by which rule."""
    async with limited(EACH, role="server") as rig:
        await calls(rig, 3, "dear")
        assert rig.error()["data"].keys() == {"code", "httpStatus", "balance", "cost", "reset"}


async def test_nothing_is_given_is_nothing_and_no_number_is_all(limited: Any, shared: str) -> None:
    """Of no credits nothing passes, and only the word is without a limit (S1.41(b))."""
    async with limited(kept_in(shared, '[ratelimit]\nglobal = "0 credits/month"')) as rig:
        assert await calls(rig, 3) == 0
        assert rig.error()["data"]["balance"] == 0
    async with limited('[ratelimit]\nglobal = "unlimited"') as rig:
        assert await calls(rig, 99) == 99


async def test_credits_are_looked_at_last(limited: Any, shared: str, clock: Clock) -> None:
    """A call that lacks permits and credits is told of the permits; it is charged neither (S1.41: the order)."""
    toml = '[ratelimit]\nprincipals = {"*" = "3 credits/month each"}\nprices = {dear = 9}\n'
    toml += 'global = "2/hour"\ncalls = "3/month"'
    async with limited(kept_in(shared, toml)) as rig:
        assert await calls(rig, 2) == 2
        await rig.call("dear")
        assert (rig.codes[-1], rig.error()["data"]["rule"]) == ("ratelimit.exceeded", "global")
        if not shared:
            clock.turn(7200)
            await rig.call("dear")
            assert rig.codes[-1] == "ratelimit.insufficient_credits"
            assert await calls(rig, 9) == 1


async def test_who_lacks_credits_is_charged_no_permit(limited: Any, shared: str) -> None:
    """All or none holds for credits, too: what they refuse takes nothing of rates and quotas (S3.44)."""
    toml = '[ratelimit]\nprincipals = {"*" = "5 credits/month each"}\nprices = {dear = 9}\n'
    toml += 'global = "5/hour"\ncalls = "6/month"'
    async with limited(kept_in(shared, toml)) as rig:
        assert await calls(rig, 20, "dear") == 0
        assert set(rig.codes) == {"ratelimit.insufficient_credits"}
        assert await calls(rig, 20) == 5


async def test_a_call_costs_credits_as_was_said(limited: Any, shared: str) -> None:
    """A price is a number, or as many as an argument has items; without one, credits cost what permits do."""
    toml = kept_in(f'{shared}global = "9/hour"\ncosts = {{twice = 2, bare = 0, dear = 0}}\n', EACH)
    async with limited(toml) as rig:
        assert await calls(rig, 1, "batch", {"calls": [1, 2, 3]}) == 1
        assert await left(rig) == 7
        assert await calls(rig, 2, "twice") == 2
        assert await left(rig) == 3
        assert await calls(rig, 2, "free") == 2
        assert await left(rig) == 3
        assert await calls(rig, 9, "bare") == 9
        assert await left(rig) == 3
        assert await calls(rig, 9, "free") == 2  # of nine permits seven were used, which is a matter of the rate
        assert await calls(rig, 1, "dear") == 0
        assert rig.codes[-1] == "ratelimit.insufficient_credits"
    async with limited(toml.replace("9/hour", "0/hour"), role="server") as rig:
        rig.connection.principal = Principal(id="alice", kind="user")
        assert await calls(rig, 3, "dear") == 2
        assert rig.error()["data"]["balance"] == 2


# --- what is given back ---


async def test_credits_of_a_call_that_fails_come_back(limited: Any, shared: str) -> None:
    """Credits are given back of an error and of a result that says so; not of an answer, nor of a cancel (S1.41(c))."""
    async with limited(kept_in(shared, EACH)) as rig:
        await rig.call("dear", id="good")
        await rig.answer(id="good")
        assert await left(rig) == 6
        await rig.call("dear", id="error")
        await rig.send(rig.from_server, {**ERROR, "id": "error"})
        await until_left(rig, 6)
        await rig.call("dear", id="failed")
        await rig.answer({"content": [], "isError": True}, id="failed")
        await until_left(rig, 6)
        await rig.call("dear", id="cancelled")
        await rig.send(rig.from_client, notification("notifications/cancelled", {"requestId": "cancelled"}))
        assert await left(rig) == 2


async def test_a_quota_of_a_call_that_fails_comes_back_and_a_rate_does_not(limited: Any, shared: str) -> None:
    """What is counted by the month is given back of a call that failed; a rate is for load, and it was load."""
    async with limited(kept_in(shared, '[ratelimit]\ncalls = "2/month"\nglobal = "4/hour"')) as rig:
        for number in range(9):
            await rig.call("ls", id=number)
            if len(rig.reached) > number:
                await rig.send(rig.from_server, {**ERROR, "id": number})
                await asyncio.sleep(0.01)
        assert len(rig.reached) == 4
        assert rig.error()["data"]["rule"] == "global"


async def test_credits_of_a_call_that_takes_too_long_come_back(limited: Any, clock: Clock) -> None:
    """A call that the guard gave up is one that failed."""
    async with limited(EACH + "[core]\nrequest_timeout = 0.05\n") as rig:
        await rig.call("dear")
        deadline = time.monotonic() + 20
        while not rig.replies:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert rig.codes == ["core.timed_out"]
        assert await left(rig) == 10


async def test_credits_of_an_answer_that_is_refused_come_back(limited: Any) -> None:
    """Who gets an error in place of what the server said has paid nothing."""

    class Late:
        """Refuses each result of a call."""

        name = "late"
        layer = Layer.CONTENT

        class Options(Base, frozen=True):
            """No options."""

        @hookimpl
        def on_receive(self, message: Message, connection: Connection) -> None:
            if message.kind == "result":
                raise Refused("late.no", "no")

    async with limited(EACH, Late()) as rig:
        await rig.call("dear", id="a")
        await rig.answer(id="a")
        assert rig.codes == ["late.no"]
        assert await left(rig) == 10


async def test_credits_of_a_connection_that_its_caller_closed_are_spent(limited: Any) -> None:
    """Who leaves before he is answered is not served for nothing: the call was sent."""
    async with limited(EACH) as rig:
        await rig.call("dear")
        await rig.session.close()
        await rig.start()
        assert await left(rig) == 6


# --- a store ---


async def test_all_hosts_spend_one_balance(server: RedisServer, limited: Any) -> None:
    """However hosts share permits, a credit is spent once: with leases, too."""
    toml = kept_in(f'store = "{server.uri}"\nsharing = "lease"\nstore_timeout = 2\n', EACH)
    toml = toml.replace("[ratelimit]\n", '[ratelimit]\nglobal = "1000/hour"\n')
    async with limited(toml) as one, limited(toml) as other:
        passed = 0
        for _ in range(9):
            passed += await calls(one, 1) + await calls(other, 1)
        assert passed == 10
        assert set(one.codes + other.codes) == {"ratelimit.insufficient_credits"}


async def test_calls_that_cost_credits_wait_for_no_lease(server: RedisServer) -> None:
    """Of leased permits that are at hand, calls are charged side by side, and as often as there are credits."""
    options = {"store": server.uri, "sharing": "lease", "lease": 100, "store_timeout": 2}
    desk: Any = hosts.desk(global_="1/hour burst 500", calls="40 credits/month", **options)
    await desk.store.open()
    refs = hosts.refs(desk.book)
    assert callable(await desk.store.charge(refs))
    async with desk.store._one:
        answers = await asyncio.wait_for(asyncio.gather(*(desk.store.charge(refs) for _ in range(60))), 20)
    assert sum(map(callable, answers)) == 39
    assert desk.store.held == 60
    await desk.store.close()


async def test_permits_at_hand_are_used_beside_those_that_are_fetched(server: RedisServer) -> None:
    """A call that lacks only a permit of its caller uses one of each that is at hand, and no more pass than may."""
    options = {"store": server.uri, "sharing": "lease", "store_timeout": 2}
    limits = {"global_": "1/hour burst 10", "principals": {"*": "1/hour burst 5 each"}, "calls": "100 credits/month"}
    desk: Any = hosts.desk(**limits, **options)
    await desk.store.open()
    there = {bucket.rule: bucket for bucket in desk.book.calls}
    both = [(there["global"], ""), (there["calls"], "files")]
    passed = [await desk.store.charge([*both, (there["principals.*"], f"id:{number}")]) for number in range(20)]
    assert sum(map(callable, passed)) == 10
    await desk.store.close()


async def test_a_call_that_is_cancelled_while_a_store_is_asked_costs_nothing(server: RedisServer) -> None:
    """Credits, and permits that were put aside meanwhile, are there again."""
    for sharing in ("exact", "lease"):
        server.ask("FLUSHALL")
        desk: Any = hosts.desk(global_="1/day burst 8", calls="5 credits/month", store=server.uri, sharing=sharing)
        await desk.store.open()
        refs = hosts.refs(desk.book)
        assert callable(await desk.store.charge(refs))
        for _ in range(9):
            task = asyncio.ensure_future(desk.store.charge(refs))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        deadline = time.monotonic() + 20
        while await _stands(desk, refs) != 4:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert sum([callable(await desk.store.charge(refs)) for _ in range(9)]) == 4
        await desk.store.close()


async def _stands(desk: Any, refs: Any) -> int:
    (credit,) = (bucket for bucket, _ in refs if bucket.credit)
    count, _ = await _seen._stands(desk.store, credit)
    return count


async def test_of_a_charge_of_last_month_only_what_was_bought_comes_back(server: RedisServer, limited: Any) -> None:
    """What was given goes with its month; what was bought and not used is there in the next one."""
    toml = kept_in(f'store = "{server.uri}"\nstore_timeout = 2\n', EACH.replace('"10', '"3'))
    async with limited(toml, role="server") as rig:
        rig.connection.principal = Principal(id="alice", kind="user", method="mtls")
        name = "hauberk:ratelimit:default:principals.*#credits:id:alice"
        month = month_of(time.time())
        server.ask("SET", name, f"{month}:1:7")
        await rig.call("dear", id="late")
        assert server.ask("GET", name).split()[1].decode() == f"{month}:3:5"
        server.ask("SET", name, f"{month - 1}:3:5")
        await rig.call("dear", id="later")
        assert server.ask("GET", name).split()[1].decode() == f"{month}:3:4"
        server.ask("SET", name, f"{month + 1}:3:4")
        for id in ("late", "later"):
            await rig.send(rig.from_server, {**ERROR, "id": id})
        await until_kept(server, name, f"{month + 1}:3:7")
        server.ask("SET", name, f"{month}:0:1")
        await rig.call("dear", id="last")
        server.ask("DEL", name)  # as the store does where nothing is left that was bought
        await rig.send(rig.from_server, {**ERROR, "id": "last"})
        await until_kept(server, name, f"{month}:0:1")


# --- what is bought ---


def bought(folder: Path, *words: str) -> Any:
    return CliRunner().invoke(limits, ["credit", "--config", str(folder / "hauberk.toml"), *words])


async def test_bought_credits_stay_until_they_are_spent(
    server: RedisServer, limited: Any, tmp_path: Path, clock: Clock
) -> None:
    """What a person bought is added to what his plan gives, goes with him to another plan, and outlives a reset."""
    toml = f"""
        core.state_dir = "{tmp_path}/state"
        [ratelimit]
        store = "{server.uri}"
        plans = {{free = "1/day, 2 credits/month", pro = "9/day, 5 credits/month"}}
        members = {{"group:paying" = "pro", "*" = "free"}}
        prices = {{batch = "calls"}}
    """
    (tmp_path / "hauberk.toml").write_text(toml)

    async def buys(*words: str) -> Any:
        return await asyncio.to_thread(bought, tmp_path, *words)

    async with limited(toml, role="server") as rig:
        rig.connection.principal = Principal(id="alice", kind="user", tenant="acme")
        assert await calls(rig, 1, "batch", {"calls": [1, 2]}) == 1
        rig.connection.principal = Principal(id="alice", kind="user", tenant="acme", groups=frozenset({"paying"}))
        assert await left(rig, "plans.pro") == 3
        done = await buys("7", "--id", "alice", "--tenant", "acme", "--json")
        assert json.loads(done.output) == {"limit": "plans.pro", "id": "alice", "tenant": "acme", "bought": 7}
        assert await left(rig, "plans.pro") == 10
        assert await calls(rig, 1, "batch", {"calls": [1] * 5}) == 1
        assert await left(rig, "plans.pro") == 5
        assert "6 credits that were bought are left" in (await buys("1", "--id", "alice", "--tenant", "acme")).output
        done = await asyncio.to_thread(CliRunner().invoke, limits, ["reset", "--config", f"{tmp_path}/hauberk.toml"])
        assert done.exit_code == 0, done.output
        assert await left(rig, "plans.pro") == 11
        assert b"-1" in server.ask("TTL", "hauberk:ratelimit:default:plans#credits:id:acme\0alice")
        rig.connection.principal = Principal(id="alice", kind="user", tenant="other", groups=frozenset({"paying"}))
        assert await left(rig, "plans.pro") == 5


@pytest.mark.parametrize("sharing", ["exact", "lease"])
@pytest.mark.parametrize("given", [0, 4])
async def test_who_has_bought_needs_no_place(server: RedisServer, limited: Any, sharing: str, given: int) -> None:
    """Who finds no room for a bucket spends what he bought, and has it back; whoever bought nothing leaves no key."""
    shared = f'[ratelimit]\nstore = "{server.uri}"\nsharing = "{sharing}"\nstore_timeout = 2\nmax_ids = 3\n'
    toml = f'plans = {{p = "{given} credits/month"}}\nmembers = {{"*" = "p"}}\nprices = {{"*" = 4, batch = 9}}\n'
    name = "hauberk:ratelimit:default:plans#credits:id:"
    server.ask("SET", f"{name}alice", f"{month_of(time.time())}:0:9")
    async with limited(shared + toml, role="server") as rig:
        for one in ("one", "two", "three", "four", "five"):  # three have a bucket, the others one
            rig.connection.principal = Principal(id=one, kind="user", method="mtls")
            assert await calls(rig, 2) == (1 if given and one != "five" else 0)
        rig.connection.principal = Principal(id="alice", kind="user", method="mtls")
        await rig.call("dear", id="mine")
        assert server.ask("GET", f"{name}alice").split()[1].decode().endswith(":0:5")
        await rig.send(rig.from_server, {**ERROR, "id": "mine"})
        await until_kept(server, f"{name}alice", f"{month_of(time.time())}:0:9")
        assert await calls(rig, 9) == 2
        assert rig.error()["data"]["code"] == "ratelimit.insufficient_credits"
        assert b"four" not in server.ask("KEYS", "*")
        assert b"five" not in server.ask("KEYS", "*")


@pytest.mark.parametrize(
    ("toml", "words", "said"),
    [
        ('store = "STORE"\nglobal = "9/hour"', ["5"], "there are: none"),
        ('global = "9 credits/month"', ["5"], "in the memory of a process"),
        ('store = "STORE"\nglobal = "9 credits/month"\ncalls = "9 credits/month"', ["5"], "there are: global, calls"),
        ('store = "STORE"\ncalls = "9 credits/month"', ["5"], "and not for this"),
        ('store = "STORE"\nglobal = "9 credits/month"', ["5", "--id", "x"], "all share this"),
        ('store = "STORE"\nprincipals = {"*" = "9 credits/month each"}', ["5"], "each caller has this"),
        ('store = "STORE"\nglobal = "9 credits/month"', ["1000000000"], "holds at most"),
    ],
)
def test_what_cannot_be_bought_is_said(
    server: RedisServer, tmp_path: Path, toml: str, words: list[str], said: str
) -> None:
    """Credits are added to one balance, of all or of a caller, in a store; whatever else is asked for is an error."""
    (tmp_path / "hauberk.toml").write_text(
        f'core.state_dir = "{tmp_path}/state"\n[ratelimit]\n{toml.replace("STORE", server.uri)}\n'
    )
    if "holds" in said:
        assert bought(tmp_path, "1").output == "1 credits that were bought are left\n"
    done = bought(tmp_path, *words)
    assert done.exit_code == 1
    assert said in str(done.exception)
    named = bought(tmp_path, "5", "--rule", "global") if "global, calls" in said else None
    assert named is None or named.output == "5 credits that were bought are left\n"


SOLD = """
core.state_dir = "{folder}/state"
[ratelimit]
store = "{server.uri}"
store_timeout = 2
principals = {{"*" = "0 credits/month each"}}
"""


@pytest.mark.parametrize(
    "words", [["--id", ""], ["--id", "*"], ["--id", "alice "], ["--id", "\talice"], ["--id", "alice", "--tenant", ""]]
)
def test_nobody_buys_by_a_slip(server: RedisServer, tmp_path: Path, words: list[str]) -> None:
    """An id that nobody has, as of a variable that is not set, is an error that says so, and adds nothing."""
    (tmp_path / "hauberk.toml").write_text(SOLD.format(folder=tmp_path, server=server))
    done = bought(tmp_path, "5", *words)
    assert isinstance(done.exception, ConfigError)
    assert done.exception.hint is not None
    assert "hauberk" not in str(server.ask("KEYS", "*"))


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('store = "redis://127.0.0.1:1"\nsharing = "sync"\nglobal = "5 credits/month"', "would be spent twice"),
        ('store = "redis://127.0.0.1:1"\nsharing = "lease"\nglobal = "5/hour"\nusage = true', "leased permits"),
        ('messages = "5 credits/month"', "credits are paid for tool calls"),
        ('address = "5 credits/month"', "credits are paid for tool calls"),
        ('global = "5 credits/hour"', 'write "5 credits/month"'),
        ('global = "-1 credits/month"', "a limit is not negative"),
        ("prices = {x = -1}", "costs from 0 to"),
    ],
)
def test_what_credits_cannot_be_is_an_error(toml: str, said: str) -> None:
    """Credits are of months and of calls, and of what one place keeps."""
    config = Config.from_toml(f'[plugins]\ndisable = ["pins", "sieve", "audit"]\n[ratelimit]\n{toml}\n')
    with pytest.raises(ConfigError, match=said):
        Guard.load(config)


# --- what an answer tells ---


@pytest.mark.parametrize("where", ["memory", "exact"])
async def test_an_answer_tells_what_is_left(limited: Any, server: RedisServer, where: str) -> None:
    """Of a call that passed, burst, rate, quota and balance after it are told in the result (S1.41)."""
    toml = """
        [ratelimit]
        usage = true
        global = "90/second"
        calls = "50/minute, 99/hour"
        principals = {"*" = "20/second, 30/month, 10 credits/month each"}
        prices = {dear = 4}
    """
    store = f'store = "{server.uri}"\nstore_timeout = 2\n' if where == "exact" else ""
    toml = toml.replace("usage", f"{store}usage")
    async with limited(toml, role="server") as rig:
        await rig.call("dear", id=1)
        await rig.answer({"content": [], "_meta": {"x": 1, KEY: "a lie"}}, id=1)
        meta = rig.replies[-1]["result"]["_meta"]
        assert meta["x"] == 1
        used = meta[KEY]
        assert used["burst"] == {"limit": 20, "remaining": 19}
        assert used["rate_limit"] == {"limit": 50, "remaining": 49, "reset": pytest.approx(1.2, abs=1e-3)}
        reset = used["quota"].pop("reset")
        assert used["quota"] == {"limit": 30, "used": 1, "remaining": 29}
        assert 0 < reset <= 31 * 86_400
        assert used["credit"] == {"balance": 6, "cost": 4}
        assert list(used) == ["burst", "rate_limit", "quota", "credit"]
        await rig.call("ls", id=2)
        await rig.answer({"content": [], "isError": True}, id=2)
        await rig.request("tools/list", id=3)
        await rig.answer({"tools": []}, id=3)
        assert not any(KEY in str(reply) for reply in rig.replies[1:])


@pytest.mark.parametrize(("role", "usage"), [("client", "true"), ("server", "false")])
async def test_nobody_is_told_what_was_not_asked_for(limited: Any, role: Any, usage: str) -> None:
    """Beside a client, and where it is not switched on, results are as they came."""
    async with limited(f'[ratelimit]\nusage = {usage}\nglobal = "9/hour"', role=role) as rig:
        await rig.call("ls", id=1)
        await rig.answer({"content": []}, id=1)
        assert rig.replies[-1]["result"] == {"content": []}
