"""The plugin in a guard: behind a seal, its options, its memory over restarts and reloads, its events."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from plugins.replay.tests.conftest import Now, Seal, made, sealed
from tests.redis_server import RedisServer, begun
from tests.serving import until

from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.message import Frame, Proof
from hauberk.refusals import ConfigError, PluginError, Refused
from hauberk.testing import Recorder, Rig, guard_from
from hauberk_replay import Replay
from hauberk_replay._options import check_memory

Guarded = Callable[..., Any]
MEMORIES = {"memory": "memory", "sqlite": "sqlite://", "shared": "{uri}"}


def table(memory: str, server: RedisServer | None = None, *more: str) -> str:
    """Return the plugin's table."""
    uri = "" if server is None else server.uri
    return "\n".join(["[replay]", f'memory = "{MEMORIES[memory].format(uri=uri)}"', *more, ""])


async def called(rig: Rig, proof: Any) -> str:
    """Let a call come in; return the last event's code if it was refused, else ``"passed"``."""
    before, seen = len(rig.reached), len(rig.recorder.events)
    await rig.call("ls", proof)
    if len(rig.reached) > before:
        return "passed"
    news = (event.code for event in rig.recorder.events[seen:] if event.plugin == "replay")
    return next(code for code in news if not code.startswith("replay.store_") or code == "replay.store_down")


# --- what it does ---


@pytest.mark.parametrize("memory", list(MEMORIES))
async def test_a_message_passes_once(memory: str, guarded: Guarded, now: Now, server: RedisServer) -> None:
    """S0.31-S0.33: by each memory a call passes once; again, too old, too early and expired it is refused."""
    async with guarded(table(memory, server)) as rig:
        proof = sealed(now, "aa" * 12)
        assert await called(rig, proof) == "passed"
        assert await called(rig, proof) == "replay.detected"
        assert await called(rig, sealed(now, "bb" * 12, ago=300.1)) == "replay.too_old"
        assert await called(rig, sealed(now, "bb" * 12, ago=-61)) == "replay.from_the_future"
        assert await called(rig, sealed(now, "bb" * 12, expires=now() - 1)) == "replay.expired"
        assert await called(rig, sealed(now, "bb" * 12)) == "passed"
        assert [await called(rig, sealed(now, 3, key_id="s")) for _ in range(2)] == ["passed", "replay.detected"]
        assert await called(rig, {}) == "passed", "without a seal it is not replay's to judge"


async def test_a_remote_peer_does_not_learn_why(guarded: Guarded, now: Now) -> None:
    """The peer gets one generic refusal; the event has the code, and no nonce."""
    async with guarded() as rig:
        await called(rig, sealed(now, "ca" * 12))
        await called(rig, sealed(now, "ca" * 12))
        error = rig.replies[-1]["error"]
        assert error["message"] == "refused"
        assert "replay" not in str(error)
        (event,) = [event for event in rig.recorder.events if event.code == "replay.detected"]
        assert "ca" * 12 not in str(event)
        assert "key 'a'" in str(event.details)


async def test_a_server_may_have_a_shorter_window(guarded: Guarded, now: Now) -> None:
    """A server's own table narrows the window, and does not widen it."""
    toml = "[replay]\nmax_age = 100\n[server.files.replay]\nmax_age = 10\n[server.other.replay]\nmax_age = 1000\n"
    async with guarded(toml) as rig:
        now.ahead = 1000
        assert await called(rig, sealed(now, "aa", ago=11)) == "replay.too_old"
        assert await called(rig, sealed(now, "aa", ago=9)) == "passed"
    async with guarded(toml, "other", "other") as rig:
        now.ahead = 2000
        assert await called(rig, sealed(now, "aa", ago=101)) == "replay.too_old"
        assert await called(rig, sealed(now, "aa", ago=99)) == "passed"


@pytest.mark.parametrize("memory", list(MEMORIES))
async def test_a_restart_accepts_nothing_again(memory: str, guarded: Guarded, now: Now, server: RedisServer) -> None:
    """A11, S0.34: after a restart of the host, what passed before is refused, by each memory."""
    proof, ahead = sealed(now, "aa"), sealed(now, "bb", ago=-30)
    async with guarded(table(memory, server)) as rig:
        proof = sealed(now, "aa")
        assert [await called(rig, one) for one in (proof, ahead)] == ["passed", "passed"]
    why = "replay.not_remembered" if memory == "memory" else "replay.detected"
    async with guarded(table(memory, server)) as rig:
        assert [await called(rig, one) for one in (proof, ahead)] == [why, why]
        now.ahead += 40
        assert await called(rig, sealed(now, "cc")) == "passed"


async def test_a_file_is_where_it_is_said_to_be(guarded: Guarded, now: Now, tmp_path: Path) -> None:
    """``sqlite:///PATH`` is that file, and no other: two hosts that name it share what they accepted."""
    path = tmp_path / "shared" / "nonces.sqlite"
    await made(path)
    text = f'[replay]\nmemory = "sqlite://{path}"\n'
    async with guarded(text, state="1") as one, guarded(text, state="2") as two:
        proof = sealed(now, "aa")
        assert [await called(rig, proof) for rig in (one, two)] == ["passed", "replay.detected"]


@pytest.mark.parametrize(
    ("option", "strict", "loose"), [("max_age", 10, 100), ("skew", 1, 30), ("on_store_failure", "refuse", "local")]
)
def test_the_stricter_table_stands(option: str, strict: Any, loose: Any) -> None:
    """What a table of a host or server says looser than the general one, or the other way round, does not hold."""
    for first, second in ((strict, loose), (loose, strict)):
        toml = f"[replay]\n{option} = {first!r}\n[host.default.replay]\n{option} = {second!r}\n"
        assert getattr(Config.from_toml(toml).options("replay", Replay.Options), option) == strict


async def test_two_hosts_and_one_store(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """A12: a message that one host let through is refused by the other; where each has its own memory it is not."""
    for memory, answer in (("shared", "replay.detected"), ("memory", "passed")):
        toml = table(memory, server)
        async with guarded(toml, state=f"{memory}1") as here, guarded(toml, state=f"{memory}2") as there:
            proof = sealed(now, "aa" if memory == "shared" else "bb")
            assert await called(here, proof) == "passed"
            assert await called(there, proof) == answer


async def test_hosts_of_a_group_accept_a_message_once(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """``group`` says which hosts share their memory: another group accepts a message once, too."""
    begun(server, "a", "b")
    tables = {name: table("shared", server, f'group = "{name}"') for name in "ab"}
    one, two, other = (guarded(tables[name], state=f"{at}") for at, name in enumerate("aab"))
    async with one as first, two as second, other as third:
        proof = sealed(now, "aa")
        answers = [await called(rig, proof) for rig in (first, second, third, third)]
        assert answers == ["passed", "replay.detected", "passed", "replay.detected"]


@pytest.mark.parametrize("memory", list(MEMORIES))
async def test_there_is_room_for_as_much_as_is_said(
    memory: str, guarded: Guarded, now: Now, server: RedisServer
) -> None:
    """S0.34, A14: ``rate`` bounds every memory; what has no room is refused, and nothing is forgotten."""
    async with guarded(table(memory, server, "rate = 0.01", "max_age = 100", "skew = 60")) as rig:
        codes = [await called(rig, sealed(now, f"{number:04x}")) for number in range(8)]
        assert codes[0] == "passed"
        assert codes[-1] == "replay.full"
        assert set(codes) == {"passed", "replay.full"}
        first = sealed(now, "0000")
        assert await called(rig, first) == "replay.detected"


async def test_what_is_inside_of_a_message_comes_with_it(only_replay: None, now: Now, tmp_path: Path) -> None:
    """A message that holds others has one proof, and is judged once: it passes with what it holds, and only once."""

    class Once(Seal):
        """Proves the same of every answer."""

        @hookimpl
        def on_receive(self, message: Frame) -> Frame:
            return message.with_data(message.data, proof=Proof(key_id="a", nonce=b"n", issued=now() + 30))

    clock = cast("Any", now)
    asks = {"q": {"method": "roots/list", "params": {}}, "r": {"method": "roots/list", "params": {}}}
    result = {"resultType": "input_required", "inputRequests": asks, "requestState": "s"}
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    async with guard_from("[replay]\n", Once(), folder=tmp_path, clock=clock) as rig:
        for id in (1, 2):
            await rig.call("ls", {}, id=id, _meta=meta)
            await rig.answer(result, id=id)
        assert rig.replies[0]["result"]["inputRequests"] == asks
        assert rig.codes == ["replay.detected"]


# --- the store fails ---


async def test_a_lost_store_refuses_and_is_reported(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """A16: by default a lost store refuses each message; it is an event when it is lost, and when it is found."""
    async with guarded(table("shared", server, "skew = 0.5")) as rig:
        assert await called(rig, sealed(now, "aa")) == "passed"
        server.kill()
        for _ in range(3):
            assert await called(rig, sealed(now, "bb")) == "replay.store_down"
        server.start()
        await until(lambda: "replay.store_found" in codes(rig))
        assert codes(rig).count("replay.store_lost") == codes(rig).count("replay.store_found") == 1
        (lost,) = [event for event in rig.recorder.events if event.code == "replay.store_lost"]
        assert (lost.severity, lost.details["meanwhile"]) == ("critical", "refuse")
        assert await called(rig, sealed(now, "bb")) in ("replay.not_remembered", "passed")
        now.ahead += 1
        assert await called(rig, sealed(now, "dd", ago=0.3)) == "passed"


async def test_a_store_has_as_long_as_is_said(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """``timeout`` is what a shared store may take for one message, and no less."""
    async with guarded(table("shared", server, "timeout = 1.2")) as rig:
        server.pause()
        try:
            started = time.monotonic()
            assert await called(rig, sealed(now, "aa")) == "replay.store_down"
            assert time.monotonic() - started >= 1.2
        finally:
            server.resume()


async def test_a_local_bound_is_by_choice_and_reported(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """A16: on_store_failure = "local" lets a message pass once in each process, says so, and says how many."""
    async with guarded(table("shared", server, 'on_store_failure = "local"')) as rig:
        server.kill()
        assert [await called(rig, sealed(now, "aa")) for _ in range(2)] == ["passed", "replay.detected"]
        server.start()
        await until(lambda: "replay.store_found" in codes(rig))
        lost, found = [event for event in rig.recorder.events if event.code.startswith("replay.store_")]
        assert lost.details["meanwhile"] == "local"
        assert found.details["judged_alone"] == 1


async def test_a_restart_while_the_store_is_lost(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """A11, A16: what a process accepted alone, the next one does not, though the store never heard of it."""
    toml = table("shared", server, 'on_store_failure = "local"')
    async with guarded(toml) as rig:
        server.kill()
        proof, ahead = sealed(now, "aa"), sealed(now, "bb", ago=-30)
        assert [await called(rig, one) for one in (proof, ahead)] == ["passed", "passed"]
    server.start()
    async with guarded(toml) as rig:
        server.kill()
        assert [await called(rig, one) for one in (proof, ahead)] == ["replay.not_remembered"] * 2


async def test_a_restart_after_the_store_was_lost(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """A11, A16: what a process accepted alone, the next does not, also when the store is there again, and hung only."""
    toml = table("shared", server, 'on_store_failure = "local"', "timeout = 0.1")
    async with guarded(toml) as rig:
        server.pause()
        try:
            proof, ahead = sealed(now, "aa"), sealed(now, "bb", ago=-30)
            assert [await called(rig, one) for one in (proof, ahead)] == ["passed", "passed"]
        finally:
            server.resume()
        server.ask("DEL", *(f"hauberk:replay:default:n:a:{one}" for one in ("aa", "bb")))
    async with guarded(toml) as rig:
        assert [await called(rig, one) for one in (proof, ahead)] == ["replay.not_remembered"] * 2
        now.ahead += 40
        assert await called(rig, sealed(now, "cc")) == "passed"


async def test_no_message_hangs_on_a_store_that_does(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """A16: a store that is paused costs one deadline, not one a message; calls of others pass the while."""
    async with guarded(table("shared", server, "timeout = 0.1")) as rig:
        assert await called(rig, sealed(now, "aa")) == "passed"
        server.pause()
        try:
            started = time.monotonic()
            for number in range(20):
                assert await called(rig, sealed(now, f"{number:04x}")) == "replay.store_down"
                assert await called(rig, sealed(now, number, key_id="session")) == "passed"
            assert time.monotonic() - started < 5
        finally:
            server.resume()


# --- reload ---


@pytest.mark.parametrize("memory", list(MEMORIES))
async def test_a_reload_forgets_nothing(memory: str, guarded: Guarded, now: Now, server: RedisServer) -> None:
    """Over a reload the memory stays, whether its options are as they were or not; sessions stay in any case."""
    async with guarded(table(memory, server)) as rig:
        proof, counter = sealed(now, "aa"), sealed(now, 7, key_id="s")
        assert [await called(rig, one) for one in (proof, counter)] == ["passed", "passed"]
        for text in ("skew = 50", "skew = 50", "rate = 10"):
            toml = f'core.state_dir = "{rig.guard.config.state_dir}"\n' + table(memory, server, text)
            await rig.guard.reload(Config.from_toml(toml, base=rig.guard.config.base))
            assert await called(rig, proof) in ("replay.detected", "replay.not_remembered")
            assert await called(rig, counter) == "replay.detected"
        now.ahead += 2
        assert await called(rig, sealed(now, "bb")) == "passed"


@pytest.mark.parametrize(("before", "after"), [("memory", "memory"), ("memory", "sqlite"), ("sqlite", "memory")])
async def test_a_reload_to_another_memory_accepts_a_message_once(
    before: str, after: str, guarded: Guarded, now: Now, tmp_path: Path
) -> None:
    """A15, S0.34: what either policy accepts while both are open, the other and those after it refuse."""
    async with guarded(table(before)) as rig:
        await made(rig.guard.config.state_dir / "replay" / "nonces.sqlite")
        old = rig.guard.loaded["replay"].plugin

        async def judged(plugin: Any, nonce: bytes, issued: float) -> str:
            try:
                if (waiting := plugin._checker.check(Proof(key_id="a", nonce=nonce, issued=issued), now())) is not None:
                    await waiting
            except Refused as error:
                return error.code
            return "taken"

        async def next_one(old: Any, memory: str, rate: int) -> Any:
            toml = f'core.state_dir = "{rig.guard.config.state_dir}"\n{table(memory, None, f"rate = {rate}")}'
            config = Config.from_toml(toml, base=tmp_path)
            found = Replay(config.options("replay", Replay.Options), SimpleNamespace(config=config, now=now))
            found.adopt(old)
            await found.open()
            return found

        new = await next_one(old, after, 300)
        for probe in new.probes():
            assert await probe.check(()) is None
        ahead = now() + 2
        assert await judged(old, b"n", ahead) == "taken", "also after the new one was tried"
        assert await judged(new, b"n", ahead) == "replay.not_remembered"
        assert await judged(new, b"m", ahead + 1) == "taken"
        assert await judged(old, b"m", ahead + 1) == "replay.not_remembered"
        third = await next_one(new, "memory", 400)
        await old.close()
        await new.close()
        for nonce, issued in ((b"n", ahead), (b"m", ahead + 1)):
            assert await judged(third, nonce, issued) == "replay.not_remembered"
        assert set(third._memory._latest) == {None}, "of those that are closed one time is kept"
        await third.close()


async def test_a_reload_that_fails_leaves_the_memory_open(guarded: Guarded, now: Now) -> None:
    """A reload that another plugin stops leaves what runs as it was, with its memory."""
    async with guarded(table("sqlite")) as rig:
        proof = sealed(now, "aa")
        assert await called(rig, proof) == "passed"
        plugin = rig.guard.loaded["replay"].plugin
        made = type(plugin)(rig.guard.options_for(plugin), rig.guard.policy.view)
        made.adopt(plugin)
        await made.open()
        await made.close()
        assert await called(rig, proof) == "replay.detected"
        assert await called(rig, sealed(now, "bb")) == "passed"


# --- load errors ---


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ('memory = "disk"', "there is no memory 'disk'"),
        ('memory = "http://:canary@x"', "there is no memory 'http'"),
        ('memory = "redis://:canary@"', "names no host"),
        ('memory = "redis://:canary@h/0?x=1"', "does not know 'x'"),
        ('memory = "sqlite://relative"', "is not absolute"),
        ('on_store_failure = "local"', "no shared store"),
        ("max_age = 0", "max_age"),
        ("skew = -1", "skew"),
        ('group = "a b"', "group"),
        ("nonces = 1", "nonces"),
        ('mode = "audit"\nmemory = ""', "there is no memory ''"),
    ],
)
def test_what_is_wrong_is_said_at_load(toml: str, text: str, only_replay: None) -> None:
    """What the table cannot mean stops the start, with the place and without a password."""
    with pytest.raises(ConfigError, match="replay") as caught:
        Guard.load(Config.from_toml(f"[replay]\n{toml}\n"), objects=[Seal()])
    assert text in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ['memory = "sqlite://"', 'group = "a"', "rate = 1", 'on_store_failure = "local"', "timeout = 1"]
)
def test_a_server_has_no_memory_of_its_own(line: str, only_replay: None) -> None:
    """A host has one memory: a server's table that says another thing of it is an error, not silence."""
    toml = f"[replay]\n[server.files.replay]\n{line}\n"
    with pytest.raises(ConfigError, match=rf"server\.files\.replay\] {line.partition(' ')[0]}"):
        Guard.load(Config.from_toml(toml), objects=[Seal()])


def test_replay_without_a_seal_is_an_error(only_replay: None) -> None:
    """There is no proof to check where nothing seals."""
    with pytest.raises(PluginError, match="SEAL"):
        Guard.load(Config.from_toml("[replay]\n"))


@pytest.mark.parametrize(("uri", "loads"), [("redis://10.0.0.1", False), ("redis://127.0.0.1", True)])
def test_production_reaches_no_store_in_clear(uri: str, loads: bool, only_replay: None, tmp_path: Path) -> None:
    """In production a store is reached by TLS, a Unix socket, or on this machine."""
    toml = f'profile = "production"\ncore.state_dir = "{tmp_path}"\n[replay]\nmemory = "{uri}"\n'
    config = Config.from_toml(toml, base=tmp_path)
    options = config.options("replay", Replay.Options)
    with nullcontext() if loads else pytest.raises(ConfigError, match="in clear"):
        check_memory(options, config)


async def test_a_store_that_is_not_there_stops_the_start(only_replay: None, tmp_path: Path) -> None:
    """A host does not start without the store that it shares."""
    toml = f'core.state_dir = "{tmp_path}"\n[replay]\nmemory = "unix://{tmp_path}/none"\n'
    guard = Guard.load(Config.from_toml(toml, base=tmp_path), objects=[Seal(), Recorder()])
    with pytest.raises(PluginError, match="is down"):
        await guard.open()


def test_heavy_imports_are_late() -> None:
    """S0.42: a host whose memory is its own imports neither SQLite nor the client of the store."""
    code = (
        "import sys; from types import SimpleNamespace as N; from hauberk_replay import Replay; "
        "config = N(servers={}, production=False, state_dir=__import__('pathlib').Path('/x'), name='x'); "
        "Replay(Replay.Options(), N(config=config, now=lambda: 0.0, options_for=None)); "
        "assert not {'redis', 'sqlite3', 'hauberk_replay._script'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_tasks_race_for_one_message(guarded: Guarded, now: Now, server: RedisServer) -> None:
    """A15: of one call that comes a hundred times at once, one passes."""
    async with guarded(table("shared", server, "timeout = 1.5")) as rig:
        proof = sealed(now, "aa")
        for number in range(100):
            rig.post(
                rig.from_client,
                {"jsonrpc": "2.0", "id": f"r{number}", "method": "tools/call"}
                | {"params": {"name": "ls", "arguments": proof}},
            )
        await rig.settle()
        await asyncio.sleep(0)
        assert len(rig.reached) == 1
        assert codes(rig).count("replay.detected") == 99


def codes(rig: Rig) -> list[str]:
    return [event.code for event in rig.recorder.events]
