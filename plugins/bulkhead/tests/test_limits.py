"""Sizes, shapes, memory, connections, breakers and load in a real guard."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from plugins.bulkhead.tests.conftest import Opened, codes, nothing_held, plugin_of

from hauberk.connection import Connection, Credentials, Peer, Role
from hauberk.principal import Principal
from hauberk.refusals import PluginError, Refused
from hauberk.testing import Clock, Rig, request
from hauberk_bulkhead._load import Load, Sampler, looking
from hauberk_bulkhead._options import Shedding

ROLES: tuple[Role, ...] = ("client", "server")
both = pytest.mark.parametrize("role", ROLES)


def big(size: int, id: int = 1) -> bytes:
    """Return a call of exactly so many bytes."""
    head = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"a","arguments":{"x":"' % id
    return head + b"x" * (size - len(head) - 4) + b'"}}}'


# --- sizes ---


@both
async def test_size_has_a_limit_each_way(guarded: Opened, role: Role) -> None:
    """A message of the limit passes, a byte more is refused unparsed; each direction has its own (S4.21)."""
    async with guarded("to_server_bytes = 2048\nto_client_bytes = 4096\n", role=role) as rig:
        await rig.send(rig.from_client, big(2048, 1))
        assert len(rig.reached) == 1
        await rig.send(rig.from_client, big(2049, 2))
        rig.assert_refused("bulkhead.too_large")
        assert len(rig.reached) == 1
        await rig.answer({"x": "x" * 3000}, id=1)
        assert rig.replies[-1]["result"]
        await rig.call("a", id=3)
        await rig.answer({"x": "x" * 4096}, id=3)
        error = rig.replies[-1]["error"]
        assert error["data"]["code"] == "bulkhead.too_large"
        assert nothing_held(rig)


async def test_each_server_has_its_own_sizes(guarded: Opened) -> None:
    """Documents may be larger than a search (S4.21)."""
    toml = "[bulkhead]\nto_server_bytes = 2048\n[server.docs.bulkhead]\noverride = true\nto_server_bytes = 8192\n"
    async with guarded(toml, name="docs") as rig:
        await rig.send(rig.from_client, big(8000))
        assert len(rig.reached) == 1
    async with guarded(toml, name="search") as rig:
        await rig.send(rig.from_client, big(8000))
        rig.assert_refused("bulkhead.too_large")


async def test_size_near_the_limit_is_an_alert(guarded: Opened, clock: Clock) -> None:
    """From 80 % on there is an alert, one in ten seconds with how many there were (S4.21, S0.39)."""
    async with guarded("to_server_bytes = 10000\n") as rig:
        await rig.send(rig.from_client, big(7999, 1))
        assert codes(rig) == []
        for number in range(2, 7):
            await rig.send(rig.from_client, big(8000, number))
        clock.turn(10)
        await rig.send(rig.from_client, big(10000, 7))
        alerts = rig.recorder.of("bulkhead.near_limit")
        assert [(alert.count, alert.details["percent"]) for alert in alerts] == [(1, 80.0), (5, 100.0)]
        assert {alert.server for alert in alerts} == {"files"}


# --- shape ---


@both
@pytest.mark.parametrize(
    ("body", "code"),
    [('{"a":' + "[" * 20 + "]" * 20 + "}", "bulkhead.too_deep"), ("[" + "1," * 100 + "1]", "bulkhead.too_wide")],
    ids=["deep", "wide"],
)
async def test_shape_has_a_limit_each_way(guarded: Opened, role: Role, body: str, code: str) -> None:
    """What is deeper or wider than this server may take or give is refused, asked or answered (S4.18)."""
    async with guarded("depth = 16\nwidth = 100\n", role=role) as rig:
        call = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":' + body + "}}}"
        await rig.send(rig.from_client, call.encode())
        rig.assert_refused(code)
        assert rig.reached == []
        await rig.call("a", id=2)
        await rig.send(rig.from_server, ('{"jsonrpc":"2.0","id":2,"result":{"x":' + body + "}}").encode())
        assert rig.replies[-1]["error"]["data"]["code"] == code
        assert nothing_held(rig)


# --- memory ---


@both
async def test_memory_is_the_bytes_that_are_held(guarded: Opened, role: Role) -> None:
    """What waits for answers on one connection is bounded in bytes, and given back with each answer (S4.18)."""
    async with guarded("memory_bytes = 10000\nmemory_total_bytes = 20000\n", role=role) as rig:
        for number in (1, 2):
            await rig.send(rig.from_client, big(4500, number))
        account = plugin_of(rig).gate.state.account
        assert account.of(rig.connection.id) == account.total == 9000
        await rig.send(rig.from_client, big(1001, 3))
        rig.assert_refused("bulkhead.memory")
        await rig.answer(id=1)
        await rig.send(rig.from_client, big(4500, 4))
        assert len(rig.reached) == 3
        assert account.total == 9000


async def test_memory_of_all_connections_is_bounded(guarded: Opened) -> None:
    """The total holds for all connections together; one that ends gives back what it held (S4.18)."""
    async with guarded("memory_bytes = 10000\nmemory_total_bytes = 20000\n") as rig:
        others = []
        for _ in range(3):
            connection = await rig.guard.connect("files", "client")
            others.append(rig.guard.session(connection, rig.near, rig.far))
        for session in others:
            session.receive(session.out, big(9000))
        await asyncio.sleep(0.01)
        assert plugin_of(rig).gate.state.account.total == 18000
        assert rig.codes == ["bulkhead.memory"]
        for session in others:
            await session.close()
        assert nothing_held(rig)


# --- connections ---


async def test_connections_of_a_service_have_a_cap(guarded: Opened) -> None:
    """Document 50, search 100, memory 75, system 25: one more is refused, one that ended makes room (S4.16)."""
    toml = "[bulkhead]\n[server.system.bulkhead]\nconnections = 2\n"
    async with guarded(toml) as rig:
        made = [await rig.guard.connect("system", "server") for _ in range(2)]
        with pytest.raises(Refused) as error:
            await rig.guard.connect("system", "server")
        assert (error.value.code, error.value.public) == ("bulkhead.too_many_connections", True)
        await rig.guard.connect("search", "server")
        await rig.guard.session(made.pop(), rig.near, rig.far).close()
        await rig.guard.connect("system", "server")


async def test_connection_that_never_came_to_a_session_is_freed(guarded: Opened) -> None:
    """One that is refused after it was counted, or given up in its handshake, does not count for ever (S4.16)."""
    async with guarded("connections = 3\n") as rig:
        for _ in range(20):
            connection = await rig.guard.admit("system", "server", carrier="tls", peer="192.0.2.1:4000")
            del connection
            gc.collect()
        state = plugin_of(rig).gate.state
        assert state.of_server == {"files": 1}
        assert state.of_address == {}
    assert state.connections == {}


async def test_addresses_have_a_cap_before_anything_is_read(guarded: Opened) -> None:
    """So many connections come from one address, or one /64, whatever port and name they have (A62, A65)."""
    async with guarded("connections_per_address = 2\n") as rig:
        peers = ["[2001:db8::1]:1", "[2001:db8::2]:2", "[2001:db8::3]:3", "[2001:db8:0:1::1]:4"]
        made, refusals = [], []
        for peer in peers:
            try:
                made.append(await rig.guard.admit("web", "server", carrier="tls", peer=peer))
            except Refused as error:
                refusals.append((peer, error.code))
        assert refusals == [(peers[2], "bulkhead.too_many_connections")]


async def test_users_of_a_socket_have_a_cap(guarded: Opened) -> None:
    """By a Unix socket the user at the other end counts in place of an address, once the kernel has named him."""
    async with guarded("connections_per_address = 2\n") as rig:

        async def connect(uid: int) -> Connection:
            connection = await rig.guard.admit("web", "server", carrier="unix", peer="/run/web.sock")
            try:
                connection.proved(Peer("unix", "/run/web.sock", Credentials(uid, uid)))
            except Refused:
                connection.end()
                raise
            return connection

        one = await connect(1000)
        await connect(1000)
        for _ in range(3):
            with pytest.raises(Refused, match="uid:1000 has 2 connections"):
                await connect(1000)
        await connect(1001)
        one.end()
        two = await connect(1000)
        two.end()
        assert plugin_of(rig).gate.state.of_address == {"uid:1000": 1, "uid:1001": 1}


async def test_a_million_addresses_leave_nothing(guarded: Opened) -> None:
    """Connections from ever other addresses leave no count behind (X.6)."""
    async with guarded() as rig:
        for number in range(5000):
            connection = await rig.guard.admit(
                "web", "server", carrier="tls", peer=f"10.0.{number >> 8}.{number & 255}:1"
            )
            del connection
        gc.collect()
        assert plugin_of(rig).gate.state.of_address == {}


# --- the breaker ---


async def fail(rig: Rig, first: int, count: int = 5, tool: str = "read", code: int = -32603) -> None:
    for number in range(first, first + count):
        await rig.call(tool, id=number)
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": "no"}})


@both
async def test_failing_tool_is_left_alone(guarded: Opened, clock: Clock, role: Role) -> None:
    """After five failures its calls are refused and no other tool's; then one is tried, three close it (S4.20)."""
    async with guarded(role=role) as rig:
        await fail(rig, 1)
        await rig.call("read", id=10)
        assert rig.error()["data"] == (rig.error()["data"] | {"code": "bulkhead.open", "retryAfter": 30.0})
        await rig.call("write", id=11)
        await rig.answer(id=11)
        clock.turn(30)
        for number in (20, 21, 22):
            await rig.call("read", id=number)
            await rig.call("read", id=number + 10)
            assert rig.replies[-1]["id"] == number + 10, "one at once is tried"
            await rig.answer(id=number)
        for number in (40, 41):
            await rig.call("read", id=number)
        assert [one["id"] for one in rig.reached[-2:]] == [40, 41]
        assert codes(rig).count("bulkhead.open") == 4
        assert [code for code in codes(rig) if code != "bulkhead.open"] == [
            "bulkhead.opened",
            "bulkhead.half_open",
            "bulkhead.closed",
        ]


@both
@pytest.mark.parametrize("code", [-32602, -32601, -32003])
async def test_clients_mistakes_open_nothing(guarded: Opened, role: Role, code: int) -> None:
    """A thousand refused or invalid calls leave the tool to everybody (S4.20, A66)."""
    async with guarded(role=role) as rig:
        await fail(rig, 1, 1000 if role == "client" else 50, code=code)
        await rig.call("read", id=5000)
        assert rig.reached[-1]["id"] == 5000


async def test_one_principal_cannot_open_it_for_another(guarded: Opened) -> None:
    """Whoever makes a tool fail is cut off from it himself; another principal's calls pass (A66)."""
    async with guarded(role="server") as rig:
        rig.connection.principal = Principal(id="evil", kind="user")
        await fail(rig, 1)
        await rig.call("read", id=10)
        rig.assert_refused("bulkhead.open")
        rig.connection.principal = Principal(id="good", kind="user")
        await rig.call("read", id=11)
        assert rig.reached[-1]["id"] == 11


async def test_tools_breaker_is_for_all_where_that_is_asked(guarded: Opened) -> None:
    """With ``scope = "tool"`` what fails for one is refused to all."""
    async with guarded('breaker.scope = "tool"\n', role="server") as rig:
        rig.connection.principal = Principal(id="one", kind="user")
        await fail(rig, 1)
        rig.connection.principal = Principal(id="two", kind="user")
        await rig.call("read", id=11)
        rig.assert_refused("bulkhead.open")


async def test_stuck_server_opens_it(guarded: Opened, clock: Clock) -> None:
    """Calls that find no room because the server gives none back count as failures (S4.20: exhaustion)."""
    async with guarded("in_flight = 1\nqueue = 0\n") as rig:
        await rig.call("read", id=1)
        for number in range(2, 7):
            await rig.call("read", id=number)
            rig.assert_refused("bulkhead.full")
        await rig.call("read", id=8)
        rig.assert_refused("bulkhead.open")


@pytest.mark.parametrize("queue", [0, 5])
async def test_nobody_is_blamed_for_places_that_others_hold(guarded: Opened, queue: int) -> None:
    """Who keeps the places of a tool does not open the breaker of those who find none (S4.20, A69)."""
    toml = f"queue = {queue}\nqueue_seconds = 0.02\ntools = {{convert = 2}}\n"
    async with guarded(toml, role="server") as rig:
        rig.connection.principal = by("mallory")
        await rig.call("convert", id="m1")
        await rig.call("convert", id="m2")
        rig.connection.principal = by("victim")
        for number in range(6):
            await rig.call("convert", id=f"v{number}")
        await rig.answer(id="m1")
        await rig.answer(id="m2")
        await rig.call("convert", id="after")
        assert rig.reached[-1]["id"] == "after"
        assert "bulkhead.opened" not in codes(rig)


async def test_mode_audit_opens_no_breaker(guarded: Opened) -> None:
    """A call that would find no room is sent in mode ``audit``, and its answer says how the server is."""
    async with guarded('mode = "audit"\nqueue = 0\nin_flight = 1\n', role="server") as rig:
        for number in range(20):
            await rig.call("x", id=number)
        for number in range(20):
            await rig.answer(id=number)
        assert "bulkhead.opened" not in codes(rig)
        assert nothing_held(rig)


async def test_own_cap_of_a_principal_opens_nothing(guarded: Opened) -> None:
    """Who asks for more than his own share has filled no server."""
    async with guarded("in_flight_per_principal = 1\nqueue = 0\n") as rig:
        await rig.call("read", id=1)
        for number in range(2, 20):
            await rig.call("read", id=number)
        await rig.answer(id=1)
        await rig.call("read", id=30)
        assert rig.reached[-1]["id"] == 30


async def test_error_in_a_result_counts_where_that_is_asked(guarded: Opened) -> None:
    """``isError`` is neither failure nor success, unless ``tool_errors`` says that it is one (A66)."""
    for toml, refused in (("", False), ("breaker.tool_errors = true\n", True)):
        async with guarded(toml) as rig:
            for number in range(5):
                await rig.call("read", id=number)
                await rig.answer({"content": [], "isError": True}, id=number)
            await rig.call("read", id=10)
            assert (rig.codes == ["bulkhead.open"]) is refused


# --- load ---


class Machine:
    """A machine whose load a test says."""

    def __init__(self) -> None:
        self.percent = {"cpu": 0.0, "memory": 0.0, "disk": 0.0}


def busy(rig: Rig, cpu: float, times: int = 3) -> None:
    care, load = plugin_of(rig).care, plugin_of(rig).gate.load
    assert load is not None
    for _ in range(times):
        care._see(load, {"cpu": cpu, "memory": 10.0, "disk": 10.0})


SHEDDING = "[bulkhead]\n[bulkhead.shedding]\nsample_seconds = 60\n"


@both
async def test_busy_machine_refuses_requests_and_nothing_else(guarded: Opened, role: Role) -> None:
    """Over the threshold new requests are refused; answers and ``ping`` pass; below it all pass again (S4.19)."""
    async with guarded(SHEDDING, role=role) as rig:
        await rig.call("a", id=1)
        busy(rig, 79.9, 50)
        busy(rig, 80.0)
        await rig.call("b", id=2)
        rig.assert_refused("bulkhead.overloaded")
        await rig.request("prompts/list", id=3)
        rig.assert_refused("bulkhead.overloaded")
        await rig.answer(id=1)
        assert rig.replies[-1]["result"] == {"content": []}
        await rig.request("ping", id=4)
        assert rig.reached[-1]["method"] == "ping"
        busy(rig, 75.0, 50)
        await rig.call("c", id=5)
        rig.assert_refused("bulkhead.overloaded")
        busy(rig, 69.0)
        await rig.call("d", id=6)
        assert rig.reached[-1]["id"] == 6
        assert [code for code in codes(rig) if code != "bulkhead.overloaded"] == [
            "bulkhead.shedding",
            "bulkhead.shedding_ended",
        ]


async def test_busy_machine_takes_no_new_connection(guarded: Opened) -> None:
    """In front of a server nobody new is let in; the host's own connections are made (S4.19)."""
    async with guarded(SHEDDING) as rig:
        busy(rig, 99.0)
        with pytest.raises(Refused, match="busy"):
            await rig.guard.connect("web", "server")
        await rig.guard.connect("web", "client")


def test_sampler_is_a_thread_of_its_own() -> None:
    """A look that hangs, or fails, holds up nobody and does not end the looking."""
    seen: list[dict[str, float]] = []
    some, fails, hangs = threading.Event(), iter((True, False, False)), threading.Event()

    def look() -> dict[str, float]:
        if next(fails, None) is None:
            hangs.wait(5)
        if not seen and not some.is_set():
            some.set()
            raise OSError
        return {"cpu": 1.0}

    sampler = Sampler(look, 0.001, seen.append)
    sampler.start()
    while not seen:
        some.wait(0.01)
    sampler.stop()
    hangs.set()
    assert seen[0] == {"cpu": 1.0}


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without psutil a host that is to shed load does not start, and says what to install."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(PluginError, match="psutil") as caught:
        looking(frozenset({"cpu"}), tmp_path)
    assert caught.value.hint == "pip install psutil"


def test_machine_is_looked_at(tmp_path: Path) -> None:
    """What psutil says of processors, memory and disk are percentages, and only what has a threshold is looked at."""
    load = Load(Shedding(cpu_percent=None))
    seen = looking(load.watched, tmp_path)()
    assert set(seen) == {"memory", "disk"}
    assert all(0.0 <= percent <= 100.0 for percent in seen.values())
    assert load.see(seen) == []


async def test_old_look_is_told_once(guarded: Opened, clock: Clock) -> None:
    """Where the machine has not been looked at for long, that is an event, once."""
    async with guarded("[bulkhead]\n[bulkhead.shedding]\nsample_seconds = 60\n") as rig:
        clock.turn(601)
        for _ in range(3):
            await plugin_of(rig).care.look()
        await rig.settle()
        assert codes(rig) == ["bulkhead.unsampled"]


NO_IMPORT = """
import sys
from hauberk.guard import Guard
from hauberk.config import Config
import asyncio
async def main():
    config = Config.from_toml(sys.argv[1])
    async with Guard.load(config):
        pass
asyncio.run(main())
print(sorted({"psutil", "redis", "click"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("more", "loaded"), [("", "[]"), ("[bulkhead]\n", "[]"), ("[bulkhead]\n[bulkhead.shedding]\n", "['psutil']")]
)
def test_nothing_heavy_is_loaded_unasked(tmp_path: Path, more: str, loaded: str) -> None:
    """A host loads psutil only to shed load, and redis only for a shared store."""
    toml = f'core.state_dir = "{tmp_path}/state"\nplugins.disable = ["audit", "pins", "sieve"]\n{more}'
    done = subprocess.run([sys.executable, "-c", NO_IMPORT, toml], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded


# --- slow peers ---


async def test_slow_server_does_not_grow_queues(guarded: Opened) -> None:
    """Ten thousand calls of a server that answers none hold what the caps say, and not more (S1.42)."""
    async with guarded("in_flight = 10\nqueue = 20\nqueue_seconds = 1.9\nbreaker.enabled = false\n") as rig:
        state = plugin_of(rig).gate.state
        most = 0
        for number in range(10_000):
            rig.post(rig.from_client, request("tools/call", {"name": "a"}, id=number))
            if number % 50 == 0:
                await asyncio.sleep(0)
                room = state.rooms["files"]
                most = max(most, room.held + room.waiting)
        await asyncio.sleep(0)
        assert (most, len(rig.reached)) == (30, 10)
        assert len(rig.session.out.exchanges.flight) <= 1024 + 30
        await rig.session.close()
        assert nothing_held(rig)


async def test_slow_reader_keeps_no_more_than_its_requests(guarded: Opened) -> None:
    """A client that asks and does not read holds its requests' places until they are written or it goes (A65)."""
    async with guarded("in_flight = 10\nqueue = 0\nin_flight_per_principal = 10\n", role="server") as rig:
        rig.client.held = asyncio.Event()
        for number in range(100):
            rig.post(rig.from_client, request("tools/call", {"name": "a"}, id=number))
            rig.post(rig.from_server, {"jsonrpc": "2.0", "id": number, "result": {"content": []}})
        room = plugin_of(rig).gate.state.rooms["files"]
        assert room.held == 10
        await rig.session.close()
        assert nothing_held(rig)


async def test_storm_of_news_takes_no_place(guarded: Opened) -> None:
    """Ten thousand notifications take no place of anybody's calls (A67)."""
    async with guarded("in_flight = 1\nqueue = 0\n") as rig:
        for _ in range(10_000):
            rig.post(rig.from_server, {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        await rig.settle()
        await rig.call("a", id=1)
        assert rig.reached[-1]["id"] == 1


def by(name: str) -> Any:
    return Principal(id=name, kind="user", method="mtls")


async def test_principal_is_who_the_channel_proved(guarded: Opened) -> None:
    """Another name in ``clientInfo`` or ``_meta`` is no other principal: caps are of who the channel proved (A62)."""
    async with guarded("in_flight_per_principal = 2\nqueue = 0\n", role="server") as rig:
        rig.connection.principal = by("ann")
        for number in range(4):
            meta = {
                "io.modelcontextprotocol/clientInfo": {"name": f"other{number}", "version": "1"},
                "principal": "bob",
            }
            await rig.call("a", id=number, _meta=meta)
        assert rig.codes == ["bulkhead.full"] * 2
