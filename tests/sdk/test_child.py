"""``wrap(StdioServerParameters)``: a server as a child process, strict at the edge, and gone when its client is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import mcp_types as mt
import pytest
from mcp import Client, ClientSession, MCPError, StdioServerParameters
from tests.core.harness import ring
from tests.sdk.kit import Seen, client, guard, guarded, hurried, item, leaf, session_of, settled, until, within
from tests.sdk.raw_server import _BROKEN

from hauberk.carriers.child import Child
from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.hosts import _child, _tap
from hauberk.hosts._inbox import AHEAD
from hauberk.message import Message, ToolCall
from hauberk.refusals import ConfigError

_PROGRAM: Final = str(Path(__file__).with_name("raw_server.py"))
_LIMIT: Final = "[core.bounds]\nline_bytes = 1048576\n"
_CODES: Final = {
    "duplicate": "core.duplicate_key",
    "nan": "core.not_json",
    "infinity": "core.number",
    "2**64": "core.number",
    "surrogate": "core.not_json",
    "deep": "core.depth",
    "two kinds": "core.envelope",
    "result": "core.envelope",
    "long": "core.line_too_long",
    "long, id last": "core.line_too_long",
    "latin-1": "core.not_json",
    "bom": "core.not_json",
}
_AMBIGUOUS: Final = {"duplicate id": "core.duplicate_key", "trailing": "core.not_json"}
"""Lines of which nobody can tell whom they answer."""


def _params(**more: Any) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=["-S", _PROGRAM], **more)


@asynccontextmanager
async def _started(*plugins: Any, toml: str = "", **more: Any) -> AsyncIterator[Client]:
    async with guarded(_params(**more), *plugins, mode="legacy", toml=toml) as (c, _):
        await within(c.list_tools())
        yield c


async def _do(c: Client, how: str) -> Any:
    return (await within(c.call_tool("t", {"how": how}))).structured_content


def _runs(pid: int) -> bool:
    """Whether a process is there; one that has ended and waits to be collected is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def _gone(pid: int) -> None:
    """Wait until a process that was killed has gone."""
    await until(lambda: not _runs(pid), 200_000)


# --- the strict edge ---


def test_each_broken_answer_has_its_code() -> None:
    """What the server can do wrong and what is expected of it are one list."""
    assert set(_CODES) | set(_AMBIGUOUS) == set(_BROKEN)


@pytest.mark.parametrize("how", _CODES)
async def test_a_broken_answer(how: str) -> None:
    """A line that breaks a rule of the edge is refused by its code, whoever asked is told, and the next one passes."""
    seen = Seen()
    async with _started(seen, toml=_LIMIT) as c:
        with pytest.raises(MCPError) as caught:
            await _do(c, how)
        assert caught.value.error.data["code"] == _CODES[how]
        assert await _do(c, "well") == {"how": "well"}
    assert seen.codes.count(_CODES[how]) == 1
    assert "core.unmatched" not in seen.codes


@pytest.mark.parametrize("how", _AMBIGUOUS)
async def test_an_answer_to_nobody(how: str) -> None:
    """A line with two ids, or two messages, answers nobody: it is refused, as if the server had said nothing."""
    seen = Seen()
    toml = "[core]\nrequest_timeout = 60.0\n"
    async with guarded(_params(), seen, mode="legacy", toml=toml) as (c, made):
        await within(c.list_tools())
        with hurried(made), pytest.raises(MCPError) as caught:
            await _do(c, how)
        assert caught.value.error.data["code"] == "core.timed_out"
        assert await _do(c, "well") == {"how": "well"}
    assert seen.codes.count(_AMBIGUOUS[how]) == 1


async def test_noise_among_the_answers() -> None:
    """What a server prints beside its answers is dropped with an event each, and the stream stays in step (A56)."""
    seen = Seen()
    async with _started(seen, toml=_LIMIT) as c:
        assert await _do(c, "noise") == {"how": "noise"}
        assert await _do(c, "well") == {"how": "well"}
    noise = [event.code for event in seen.events if event.category == "refusal"]
    assert sorted(noise) == sorted(["core.not_json"] * 3 + ["core.not_an_object"] * 2 + ["core.line_too_long"])


async def test_only_a_line_feed_ends_a_line() -> None:
    """What Unicode or a terminal would end a line at is part of it (A56)."""
    async with _started() as c:
        assert await _do(c, "lines") == {"a": "1\u2028 2\u2029 3\x85 4\x0b 5\x0c 6"}


async def test_standard_error_is_left_alone() -> None:
    """A server that floods its standard error is not held up by it."""
    async with _started() as c:
        for _ in range(3):
            assert await _do(c, "flood") == {"how": "flood"}


# --- the end of a child ---


async def _pid(c: Client, how: str = "who") -> int:
    pid: int = (await _do(c, how))["pid"]
    assert _runs(pid)
    return pid


async def test_a_child_is_gone_after_its_client() -> None:
    """When the client closes the child has ended, and what it started too."""
    async with _started() as c:
        pids = [await _pid(c), await _pid(c, "spawn")]
    for pid in pids:
        await _gone(pid)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a child that does not end by itself be ended soon."""
    monkeypatch.setattr(_child, "GRACE", 0.1)
    end = Child.end
    monkeypatch.setattr(Child, "end", lambda child, **_: end(child, grace=0.1))


async def test_a_child_that_does_not_want_to_go(hasty: None) -> None:
    """A child that ignores the end of its input and SIGTERM is killed."""
    async with _started() as c:
        pid = await _pid(c, "deaf")
    assert not _runs(pid)


@pytest.mark.parametrize("how", ["scope", "task", "task, twice", "time"])
async def test_a_child_of_a_cancelled_client(how: str, hasty: None) -> None:
    """Whatever cancels a client, its child is gone when that client is, also one that ignores SIGTERM."""
    pids: list[int] = []
    scope = anyio.CancelScope()
    ready = asyncio.Event()

    async def run() -> None:
        async with _started() as c:
            pids.append(await _pid(c, "deaf"))
            ready.set()
            with anyio.move_on_after(0.05) if how == "time" else scope:
                await c.call_tool("t", {"how": "silent"})
            assert how == "time"

    async def scoped() -> None:
        with scope:
            await run()

    running = asyncio.create_task(scoped() if how == "scope" else run())
    await within(ready.wait())
    if how == "scope":
        scope.cancel()
    elif how != "time":
        running.cancel()
    if how == "task, twice":
        await settled(50)
        running.cancel()
    await within(asyncio.wait([running]))
    assert running.cancelled() is how.startswith("task")
    assert not _runs(pids[0])


async def test_a_child_of_a_client_that_fails() -> None:
    """A child is gone too when what its client did raised."""
    pids: list[int] = []

    async def run() -> None:
        async with _started() as c:
            pids.append(await _pid(c))
            raise KeyError

    with pytest.raises((KeyError, ExceptionGroup)) as caught:
        await within(run())
    assert isinstance(leaf(caught.value), KeyError)
    await _gone(pids[0])


@pytest.mark.parametrize("how", ["exit", "no output", "leave a child"])
async def test_a_child_that_dies(how: str, hasty: None) -> None:
    """Whoever waits for a child that has died, or says no more, gets CONNECTION_CLOSED, and so does who calls later."""
    async with _started() as c:
        others = [asyncio.create_task(_do(c, "silent")) for _ in range(3)]
        await settled()
        with pytest.raises(MCPError) as caught:
            await _do(c, how)
        for result in await within(asyncio.gather(*others, return_exceptions=True)):
            assert isinstance(result, MCPError)
            assert result.code == mt.CONNECTION_CLOSED
        with pytest.raises(MCPError) as later:
            await _do(c, "well")
    assert caught.value.code == later.value.code == mt.CONNECTION_CLOSED


@pytest.mark.parametrize("dies", [True, False])
async def test_whose_doing_an_end_was(dies: bool, hasty: None) -> None:
    """What a child leaves unanswered when it dies was lost; what its host leaves when it closes was not (S1.41)."""
    made: list[Exchange] = []

    async def ask(call: ToolCall, connection: Connection) -> None:
        made.append(call.exchange)

    async with _started(ring("there", on_tool_call=ask)) as c:
        silent = asyncio.create_task(_do(c, "silent"))
        await until(lambda: len(made) == 1 and made[0].sent)
        if dies:
            with pytest.raises(MCPError):
                await _do(c, "exit")
    silent.cancel()
    await asyncio.wait([silent])
    assert [one.lost for one in made] == [dies] * len(made)


async def test_a_child_that_reads_no_more(hasty: None) -> None:
    """Who calls a child that has closed its input is told so; nothing waits for an answer that cannot come."""
    made = guard(Seen())
    async with client(made.wrap(_params(), server="s"), "legacy") as c:
        await within(c.list_tools())
        assert await _do(c, "no input") == {"how": "no input"}
        for _ in range(2):
            with pytest.raises(MCPError) as caught:
                await _do(c, "well")
            assert caught.value.code == mt.CONNECTION_CLOSED
        assert not session_of(made).out.exchanges.flight


async def test_a_child_that_closes_its_input_late(hasty: None) -> None:
    """Who waits for an answer to what could only half be written is told that it cannot come."""
    made = guard(Seen())
    async with client(made.wrap(_params(), server="s"), "legacy") as c:
        await within(c.list_tools())
        pid = await _pid(c, "shut later")
        call = asyncio.create_task(c.call_tool("t", {"how": "x" * 1_500_000}))
        await until(lambda: session_of(made).out.exchanges.flight)
        await settled()
        os.kill(pid, signal.SIGUSR1)
        with pytest.raises(MCPError) as caught:
            await within(call)
        assert caught.value.code == mt.CONNECTION_CLOSED


async def test_the_last_words_of_a_child() -> None:
    """What a child says before it ends reaches whoever asked."""
    async with _started() as c:
        assert await _do(c, "last words") == {"how": "last words"}


async def test_last_words_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where a hook takes longer with it than the child lives."""
    over, end = asyncio.Event(), _tap.end

    async def ending(*args: Any) -> None:
        over.set()
        await end(*args)

    async def wait(message: Message, connection: Connection) -> None:
        if message.method == "tools/call":
            await over.wait()
            await settled()

    monkeypatch.setattr(_tap, "end", ending)
    async with _started(ring("later", on_receive=wait)) as c:
        assert await _do(c, "last words") == {"how": "last words"}


async def test_a_client_that_does_not_read() -> None:
    """A child that says more than its client reads is held up; nothing of what it says is lost."""
    async with guard(Seen()).wrap(_params(), server="s") as (read, write):
        params = {"name": "t", "arguments": {"how": "chatter"}}
        await write.send(item(id=1, method="tools/call", params=params))
        for n in range(20_000):
            received = await within(read.receive())
            assert received.message.params["data"] == n
            if n == 0:
                await settled(2000)
            assert len(read._inbox) <= AHEAD
        assert (await within(read.receive())).message.id == 1


async def test_a_child_that_never_reads(hasty: None) -> None:
    """Who writes more than a child takes waits, a bounded number of bytes is held, and closing lets it go."""
    made = guard(Seen())
    async with client(made.wrap(_params(), server="s"), "legacy") as c:
        await within(c.list_tools())
        stuck = asyncio.create_task(_do(c, "deaf"))
        await within(stuck)
        writes = [asyncio.create_task(c.call_tool("t", {"how": "x" * 1_000_000})) for _ in range(5)]
        await settled(500)
        assert not any(write.done() for write in writes)
    for result in await within(asyncio.gather(*writes, return_exceptions=True)):
        assert isinstance(result, MCPError)
        assert result.code == mt.CONNECTION_CLOSED


async def test_a_command_that_is_not_there() -> None:
    """A command that cannot be started is an OSError for whoever connects, and nothing is left open."""
    seen = Seen()
    made = guard(seen)
    wrapped = made.wrap(StdioServerParameters(command="/no/such/command"), server="s")
    with pytest.raises(FileNotFoundError):
        async with client(wrapped, "legacy"):
            raise AssertionError
    assert seen.codes[-1] == "core.stopped"
    assert not made._sessions


async def test_only_utf_8() -> None:
    """A server that is said to speak another encoding is refused before it is started."""
    with pytest.raises(ConfigError, match="latin-1"):
        async with client(guard().wrap(_params(encoding="latin-1"), server="s"), "legacy"):
            raise AssertionError


# --- what a child gets ---


async def test_environment_of_a_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A child gets a fixed few variables, what its parameters name, and what the configuration names for it."""
    monkeypatch.setenv("HAUBERK_TEST_SECRET", "s3cret")
    monkeypatch.setenv("HAUBERK_TEST_NAMED", "named")
    monkeypatch.setenv("TERM", "dumb")
    toml = '[server.s]\ncommand = "x"\n[server.s.env]\nHAUBERK_TEST_NAMED = true\nGIVEN = "given"\nBOTH = "file"\n'
    async with _started(toml=toml, env={"MINE": "mine", "BOTH": "params"}, cwd=tmp_path) as c:
        found = await _do(c, "who")
    env = found["env"]
    assert found["cwd"] == str(tmp_path)
    assert {name: env.get(name) for name in ("HAUBERK_TEST_NAMED", "GIVEN", "MINE", "BOTH", "TERM")} == {
        "HAUBERK_TEST_NAMED": "named",
        "GIVEN": "given",
        "MINE": "mine",
        "BOTH": "params",
        "TERM": "dumb",
    }
    inherited = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}
    set_by_python = {"LC_CTYPE"}
    assert set(env) <= inherited | set_by_python | {"HAUBERK_TEST_NAMED", "GIVEN", "MINE", "BOTH"}


async def test_the_command_is_what_is_shown() -> None:
    """What rules see of a child is its command; arguments and environment may hold secrets."""
    shown: list[str] = []
    look = ring("look", on_connect=lambda connection: shown.append(connection.target))
    async with _started(look, env={"KEY": "s3cret"}):
        pass
    assert shown == [sys.executable]


async def test_session_on_the_streams() -> None:
    """``ClientSession`` on the guarded streams works as ``Client`` does."""
    async with guard(Seen()).wrap(_params(), server="s") as (read, write), ClientSession(read, write) as session:
        await within(session.initialize())
        assert [tool.name for tool in (await within(session.list_tools())).tools] == ["t"]
