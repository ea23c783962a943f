"""The shared store: addresses, one connection, deadlines, and what happens when it is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.secured import CA, CLIENT, SERVER
from tests.redis_server import RedisServer, redis_server
from tests.serving import until

from hauberk import _store_address, _store_line, shared
from hauberk.refusals import ConfigError, PluginError
from hauberk.shared import Line, Script, SharedStore, StoreDown, StoreRefused, check_uri

__all__ = ["redis_server"]

COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@asynccontextmanager
async def opened(uri: str, **more: Any) -> AsyncIterator[SharedStore]:
    """Open a store, and close it."""
    store = SharedStore(uri, **more)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


# --- addresses ---


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("valkey://10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"),
        ("rediss://u:p@redis.example/1?ca=/etc/ca.pem", "rediss://redis.example:6379/1"),
        ("redis://[::1]:6380", "redis://[::1]:6380/0"),
        ("unix:///run/redis/redis.sock", "unix:///run/redis/redis.sock"),
        ("unix://:secret@/run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, shown: str) -> None:
    """Each kind of address is read, and what is shown of it names no user and no password."""
    check_uri(uri, production=False)
    assert shared.is_uri(uri)
    assert SharedStore(uri).where == shown
    assert shown in repr(SharedStore(uri))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "localhost:6379",
        "http://:canary@localhost",
        "redis://:canary@",
        "redis://:canary@localhost/x",
        "redis://:canary@localhost:99999",
        "redis://:canary@localhost/0?ssl_cert_reqs=none",
        "redis://:canary@localhost/0?ca=/etc/ca.pem",
        "redis://:canary@localhost/0?password_file=/etc/p",
        "rediss://:canary@localhost?ca=/a&ca=/b",
        "rediss://:canary@localhost?cert=/a",
        "redis://:canary@localhost/0#f",
        "redis://:canary@local\nhost",
        "unix://:canary@",
        "unix://canary/run/redis.sock",
        "unix:///",
        "redis://[::canary",
        "redis://:canary@localhost/99999999999999999999",
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(uri: str) -> None:
    """A URI that names no store, or would weaken its TLS, is an error of the configuration that shows no password."""
    with pytest.raises(ConfigError) as caught:
        check_uri(uri, production=False)
    assert "canary" not in str(caught.value)


@given(st.text() | st.builds("{}://:canary{}@h/0".format, st.sampled_from(["redis", "rediss", "unix"]), st.text()))
def test_any_text_is_an_address_or_an_error_of_the_configuration(text: str) -> None:
    """Whatever stands where an address should, it is read, or refused with words that hold no password."""
    with suppress(ConfigError):
        assert "canary" not in SharedStore(text).where.partition("@")[0] or "@" not in text
        return
    with pytest.raises(ConfigError) as caught:
        check_uri(text, production=False)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("redis://127.0.0.1", True),
        ("redis://[::1]", True),
        ("redis://localhost", True),
        ("rediss://store.example", True),
        ("unix:///run/redis.sock", True),
        ("redis://10.0.0.1", False),
        ("valkey://store.example", False),
    ],
)
def test_production_crosses_no_network_in_clear(uri: str, allowed: bool) -> None:
    """In production a store is reached by TLS, by a Unix socket, or on this machine."""
    check_uri(uri, production=False)
    with nullcontext() if allowed else pytest.raises(ConfigError, match="in clear"):
        check_uri(uri, production=True)


def test_the_client_is_imported_when_a_store_is_opened() -> None:
    """Neither the module nor an address imports the client (S0.42)."""
    code = (
        "import sys; from hauberk.shared import SharedStore; SharedStore('redis://localhost'); "
        "assert 'redis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- calls ---


@pytest.mark.parametrize("way", ["uri", "tcp_uri"])
async def test_calls_on_one_connection_get_their_own_answers(redis_server: RedisServer, way: str) -> None:
    """A thousand calls in flight share one connection, and each gets the answer to itself."""
    async with opened(getattr(redis_server, way)) as store:
        answers = await asyncio.gather(*(store.command("ECHO", str(number)) for number in range(1000)))
        assert answers == [str(number).encode() for number in range(1000)]
        clients = await store.command("CLIENT", "LIST")
        assert clients.count(b"name=hauberk") == 1


async def test_a_script_is_loaded_where_the_store_does_not_know_it(redis_server: RedisServer) -> None:
    """A script runs by its hash, is loaded when the store has never seen it, and again when the store forgot it."""
    async with opened(redis_server.uri) as store:
        assert await store.run(COUNT, ("k",), (2,)) == 2
        assert await store.run(COUNT, ("k",), (2,)) == 4
        redis_server.ask("SCRIPT", "FLUSH")
        assert await store.run(COUNT, ("k",), (2,)) == 6


async def test_an_answer_that_is_an_error_is_its_callers_own(redis_server: RedisServer) -> None:
    """An error of one call is raised there, with its code, and the others go on."""
    async with opened(redis_server.uri) as store:
        answers: Any = await asyncio.gather(
            store.command("SET", "k", "v"),
            store.command("INCR", "k"),
            store.command("GET", "k"),
            return_exceptions=True,
        )
        assert answers[::2] == [b"OK", b"v"]
        assert isinstance(answers[1], StoreRefused)
        assert answers[1].code == "value"
        with pytest.raises(StoreRefused):
            await store.command("NOSUCH")
        assert store.up


async def test_a_cancelled_caller_leaves_the_others_their_answers(redis_server: RedisServer) -> None:
    """Who is cancelled in flight takes nobody's answer with it, and does not lose the connection."""
    async with opened(redis_server.uri) as store:
        tasks = [asyncio.create_task(store.command("ECHO", str(number))) for number in range(100)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[1::2] == [str(number).encode() for number in range(1, 100, 2)]
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
        assert store.up


@pytest.mark.parametrize("known", [False, True])
async def test_an_answer_that_nobody_waits_for_is_told(redis_server: RedisServer, *, known: bool) -> None:
    """What a script did for a caller who was cancelled, before or after its answer came, is told to whom he named."""
    told: list[Any] = []
    async with opened(redis_server.uri) as store:
        if known:
            assert await store.run(COUNT, ("other",), (0,), told.append) == 0
        line: Any = store._line
        send = line._sent

        def sent(*words: Any) -> Any:
            future = send(*words)
            future.add_done_callback(lambda _: after.cancel())  # before the one that wakes him up
            return future

        before = asyncio.create_task(store.run(COUNT, ("k",), (2,), told.append))
        await asyncio.sleep(0)
        before.cancel()
        line._sent = sent
        after = asyncio.create_task(store.run(COUNT, ("k",), (3,), told.append))
        for task in (before, after):
            with pytest.raises(asyncio.CancelledError):
                await task
        line._sent = send
        answer = await store.command("GET", "k")
        assert told == ([2, 5] if known else [])
        assert answer == (b"5" if known else None)


async def test_a_burst_beyond_what_may_wait_is_refused(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may be in flight is bounded; a call beyond it fails at once (design §9.8)."""
    monkeypatch.setattr("hauberk._store_line.IN_FLIGHT_MAX", 10)
    async with opened(redis_server.uri) as store:
        answers = await asyncio.gather(*(store.command("PING") for _ in range(15)), return_exceptions=True)
        assert [isinstance(answer, StoreDown) for answer in answers] == [False] * 10 + [True] * 5


# --- lost and found ---


async def test_a_store_that_cannot_be_reached_stops_the_start(tmp_path: Any) -> None:
    """Opening fails where nothing listens; the error tells the address, a hint, and no password."""
    with pytest.raises(PluginError, match="is down") as caught:
        await SharedStore(f"unix://:canary@{tmp_path}/none").open()
    assert "canary" not in str(caught.value)
    with pytest.raises(PluginError, match=r"127\.0\.0\.1:1/0"):
        await SharedStore("redis://127.0.0.1:1").open()


async def test_a_wrong_password_stops_the_start_and_the_right_one_opens(tmp_path: Any) -> None:
    """A store that does not let us in is no store; a password is taken from the URI, or from a file."""
    with RedisServer("requirepass canary-right") as server:
        for wrong in ("", ":canary-wrong@"):
            with pytest.raises(PluginError) as caught:
                await SharedStore(f"unix://{wrong}{server.path}").open()
            assert "canary" not in str(caught.value)
        async with opened(f"redis://:canary-right@127.0.0.1:{server.port}") as store:
            assert await store.command("PING") == b"PONG"
        (tmp_path / "password").write_text("canary-right\n")
        async with opened(f"unix://{server.path}?password_file={tmp_path}/password") as store:
            assert await store.command("PING") == b"PONG"
        with pytest.raises(ConfigError, match="cannot read the password"):
            await SharedStore(f"unix://{server.path}?password_file={tmp_path}/none").open()


@pytest.mark.parametrize(
    ("held", "password"), [(" a b \n", " a b "), ("a\r\n", "a"), ("a", "a"), ("a" * 10_000, "a" * 4096)]
)
def test_a_password_is_the_line_in_its_file(tmp_path: Path, held: str, password: str) -> None:
    """What stands in a password file is the password, but for the end of the line; no more of it is read."""
    (tmp_path / "password").write_text(held, newline="")
    assert _store_address.parse(f"redis://localhost?password_file={tmp_path}/password").secret() == password


async def test_a_killed_store_fails_calls_at_once_and_is_found_again(redis_server: RedisServer) -> None:
    """A63: what is in flight fails, calls fail at once while it is down, it is told once, and found by itself."""
    told: list[tuple[bool, str]] = []
    async with opened(redis_server.uri, on_change=lambda found, why: told.append((found, why))) as store:
        redis_server.kill()
        started = time.monotonic()
        answers = await asyncio.gather(*(store.command("PING") for _ in range(1000)), return_exceptions=True)
        assert all(isinstance(answer, StoreDown) for answer in answers)
        assert time.monotonic() - started < 2
        assert [found for found, _ in told] == [False]
        redis_server.start()
        await until(lambda: store.up)
        assert [found for found, _ in told] == [False, True]
        assert await store.command("PING") == b"PONG"


async def test_a_store_that_hangs_is_overdue_and_its_late_answers_reach_nobody(redis_server: RedisServer) -> None:
    """A16: a store that is stopped in mid-call fails each call by its deadline; no answer goes to a later call."""
    async with opened(redis_server.uri, timeout=0.1) as store:
        assert await store.command("SET", "k", "1") == b"OK"
        redis_server.pause()
        try:
            started = time.monotonic()
            answers = await asyncio.gather(*(store.command("INCR", "k") for _ in range(50)), return_exceptions=True)
            assert all(isinstance(answer, StoreDown) for answer in answers)
            assert 0.09 < time.monotonic() - started < 5
            with pytest.raises(StoreDown, match="no answer within"):
                await store.command("PING")
        finally:
            redis_server.resume()
        await until(lambda: store.up)
        assert await store.command("ECHO", "mine") == b"mine"


@pytest.mark.parametrize("chance", [1.0, 0.0])
async def test_one_task_looks_for_a_lost_store_and_waits_longer_each_time(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, chance: float
) -> None:
    """However many call, one task alone dials a store that is down, after waits that double up to a bound.

    Chance cuts each to between a half and the whole, so that many hosts do not come at once.
    """
    waits: list[float] = []
    dials: list[float] = []

    async def slept(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 9:
            await asyncio.Event().wait()

    async with opened(redis_server.uri, chance=lambda: chance) as store:
        redis_server.kill()

        async def refused(*_: object) -> Line:
            dials.append(1)
            raise StoreDown("no")

        monkeypatch.setattr(shared, "reach", refused)
        monkeypatch.setattr(asyncio, "sleep", slept)
        await asyncio.gather(*(store.command("PING") for _ in range(100)), return_exceptions=True)
        ticks = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, ticks.set)
        await ticks.wait()
    whole = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert waits[:8] == pytest.approx([wait * (1 + chance) / 2 for wait in whole])
    assert len(dials) == 9


async def test_what_must_be_so_on_a_connection_is_seen_before_any_call(redis_server: RedisServer) -> None:
    """`on_reached` runs first on each connection; a store that it finds unfit is not opened, and stays down."""
    fit = True

    async def seen(line: Line) -> None:
        await line.command("INCR", "seen")
        if not fit:
            raise StoreDown("unfit")

    async with opened(redis_server.uri, on_reached=seen) as store:
        assert await store.command("GET", "seen") == b"1"
        fit = False
        redis_server.restart()
        await until(lambda: not store.up and store.why == "unfit")
        with pytest.raises(PluginError, match="unfit"):
            await SharedStore(redis_server.uri, on_reached=seen).open()
        fit = True
        await until(lambda: store.up)


async def test_a_replica_serves_nobody(redis_server: RedisServer) -> None:
    """A store that became a replica refuses the write, and is looked for anew: another may be the primary now."""
    async with opened(redis_server.uri) as store:
        redis_server.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreRefused) as caught:
            await store.command("SET", "k", "v")
        assert caught.value.code == "READONLY"
        assert not store.up


@pytest.mark.parametrize(
    "said",
    [
        b"+OK\r\n+OK\r\n",
        b"junk\r\n",
        b"$-5\r\n",
        b"*99999999\r\n",
        b"$5\r\nab",
        b"\x00" * 4096,
        b"-ERR no\r\n+x\r\n",
        b"",
    ],
)
async def test_a_store_that_talks_nonsense_is_lost_and_nothing_hangs(said: bytes, tmp_path: Path) -> None:
    """Whatever answers in a store's place: each call ends, with an error, within its deadline."""
    talking: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await command(reader) != b"PING\r\n":
                writer.write(b"+OK\r\n")
            writer.write(b"+PONG\r\n")
            await command(reader)
            writer.write(said)
            await writer.drain()
            if said:
                await reader.read()
            writer.close()

    async def command(reader: asyncio.StreamReader) -> bytes:
        words = []
        for _ in range(int((await reader.readline())[1:] or 0)):
            await reader.readline()
            words.append(await reader.readline())
        return words[0] if words else b"PING\r\n"

    listening = await asyncio.start_unix_server(talk, tmp_path / "s")
    try:
        async with opened(f"unix://{tmp_path}/s", timeout=0.2) as store:
            async with asyncio.timeout(10):
                answers = await asyncio.gather(*(store.command("GET", "k") for _ in range(5)), return_exceptions=True)
            assert all(isinstance(answer, StoreDown) for answer in answers[2:])
    finally:
        listening.close()
        for writer in talking:
            writer.transport.abort()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_store_is_reached_by_tls_and_its_certificate_is_checked(tmp_path: Path, trusted: bool) -> None:
    """Over rediss:// the store's certificate is checked by the file that is named, and by its name; else no start."""
    ca, pair = tmp_path / "ca.pem", tmp_path / "pair.pem"
    ca.write_text(CA)
    pair.write_text(SERVER)
    with RedisServer(tls=(ca, pair)) as server:
        uri = f"rediss://localhost:{server.port}" + (f"?ca={ca}" if trusted else "")
        if trusted:
            async with opened(uri) as store:
                assert await store.command("PING") == b"PONG"
        else:
            with pytest.raises(PluginError, match="is down"):
                await SharedStore(uri).open()
            with pytest.raises(ConfigError, match="cannot be used"):
                await SharedStore(f"{uri}?ca={tmp_path}/none").open()


async def test_the_name_of_a_store_is_that_of_its_certificate(tmp_path: Path) -> None:
    """Over rediss:// a trusted certificate with another name is none; neither is TLS 1.2, whatever it shows."""
    ca, pair = pem(tmp_path, "ca", CA), pem(tmp_path, "pair", SERVER)
    with RedisServer(tls=(ca, pair)) as server:
        async with opened(f"rediss://127.0.0.1:{server.port}?ca={ca}") as store:
            assert await store.command("PING") == b"PONG"
        with pytest.raises(PluginError, match="is down"):
            await SharedStore(f"rediss://127.1:{server.port}?ca={ca}").open()  # the same place
    with RedisServer('tls-protocols "TLSv1.2"', tls=(ca, pair)) as server, pytest.raises(PluginError, match="is down"):
        await SharedStore(f"rediss://localhost:{server.port}?ca={ca}").open()


async def test_a_store_may_want_a_certificate_of_ours(tmp_path: Path) -> None:
    """``cert=`` and ``key=`` show a store who we are, where it lets nobody in without."""
    ca, pair = pem(tmp_path, "ca", CA), pem(tmp_path, "pair", SERVER)
    client = pem(tmp_path, "client", CLIENT)
    with RedisServer("tls-auth-clients yes", tls=(ca, pair)) as server:
        uri = f"rediss://localhost:{server.port}?ca={ca}"
        with pytest.raises(PluginError, match="is down"):
            await SharedStore(uri).open()
        async with opened(f"{uri}&cert={client}&key={client}") as store:
            assert await store.command("PING") == b"PONG"


def pem(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.pem"
    path.write_text(text)
    return path


async def test_what_is_no_store_stops_the_start(tmp_path: Path) -> None:
    """Who answers anything but what a store answers to a PING is none."""

    async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    async with await asyncio.start_unix_server(agree, tmp_path / "s"):
        with pytest.raises(PluginError, match="is no store"):
            await SharedStore(f"unix://{tmp_path}/s").open()
    await asyncio.sleep(0.01)


async def test_what_accepts_and_says_nothing_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reaching a store has its own bound: who takes the connection and is silent does not hold up a start for ever."""
    monkeypatch.setattr(_store_line, "CONNECT_SECONDS", 0.2)
    ends = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ends.wait()
        writer.close()

    async with await asyncio.start_unix_server(silent, tmp_path / "s"):
        async with asyncio.timeout(20):
            with pytest.raises(PluginError, match="is down"):
                await SharedStore(f"unix://{tmp_path}/s").open()
        ends.set()
    await asyncio.sleep(0.01)


async def test_closing_while_it_is_looked_for_leaves_nothing(tmp_path: Path) -> None:
    """A search that is cancelled in the middle of a connection lets go of it; unclosed sockets fail this test."""
    with RedisServer() as server:
        store = SharedStore(server.uri)
        await store.open()
        server.restart()
        await until(lambda: not store.up)
        server.pause()
        try:
            dialling = asyncio.get_running_loop().time() + 0.4
            await until(lambda: asyncio.get_running_loop().time() > dialling)
            await store.close()
        finally:
            server.resume()


async def test_a_closed_store_fails_calls_and_looks_for_nothing(redis_server: RedisServer) -> None:
    """Closing ends the search, and the calls."""
    store = SharedStore(redis_server.uri)
    await store.open()
    redis_server.kill()
    with pytest.raises(StoreDown):
        await store.command("PING")
    await store.close()
    await store.close()
    with pytest.raises(StoreDown, match="closed"):
        await store.command("PING")
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("hauberk-shared")]
