"""``hauberk run`` reads its configuration again at SIGHUP, and is ended by none (A72)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.running import PATIENCE, Fifo, Running, configure, running, server

from hauberk.hosts import _hangup

if TYPE_CHECKING:
    from hauberk.guard import Guard

SERVING = """
import json, sys
for line in sys.stdin.buffer:
    request = json.loads(line)
    if request.get("method") == "initialize":
        info = {"name": "s", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    elif request.get("params", {}).get("name") == "slow":
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}))
        sys.stdout.flush()
        open(GATE).readline()
        result = {"content": []}
    else:
        result = {"content": []}
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"""
POLICY = """
from hauberk import Deny, Options, hookimpl

class Policy:
    name = "policy"
    Options = Options

    def __init__(self, options, guard):
        pass

    @hookimpl
    def on_tool_call(self, call):
        return Deny("policy.no", "no", rule="deny DENIED") if call.name == "DENIED" else None

    @hookimpl
    def on_audit(self, event):
        if event.code in ("policy.changed", "policy.rejected"):
            with open(SAID, "w") as file:
                file.write(event.code)
"""


class Case:
    """A running guard in front of a server, whose policy a test changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = Fifo(folder / "said")
        self.gate = Fifo(folder / "gate")
        self.guarded: Running
        self._count = 0

    def write(self, denied: str) -> list[str]:
        """Put in place a policy that denies one tool, and the configuration, each in one step."""
        beside = self.folder / "beside"
        beside.mkdir(exist_ok=True)
        configure(beside, policy=POLICY.replace("DENIED", denied).replace("SAID", repr(self.said.path)))
        for name in ("policy.py", "hauberk.toml"):
            (beside / name).replace(self.folder / name)
        return ["--config", str(self.folder / "hauberk.toml")]

    def hang_up(self) -> str:
        """Send SIGHUP; return the event that comes of it."""
        self.guarded.signal(signal.SIGHUP)
        return self.said.read()

    def call(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.guarded.ask(self.asked(name))
        return answer

    def asked(self, name: str) -> dict[str, Any]:
        self._count += 1
        return {"jsonrpc": "2.0", "id": self._count, "method": "tools/call", "params": {"name": name}}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """Return a guard that denies "one", in front of a server that was initialised."""
    made = Case(tmp_path)
    options = made.write("one")
    with running(tmp_path, server(tmp_path, SERVING.replace("GATE", repr(made.gate.path))), options=options) as guarded:
        made.guarded = guarded
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        guarded.ask({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params})
        yield made
    made.said.close()
    made.gate.close()


def test_hang_up_reloads(case: Case) -> None:
    """SIGHUP puts what the files say now in force, tells the client, and says so on standard error."""
    assert case.call("one")["error"]["data"]["code"] == "policy.no"
    case.write("two")
    assert case.hang_up() == "policy.changed"
    assert case.guarded.receive()["method"] == "notifications/tools/list_changed"
    assert "result" in case.call("one")
    assert "error" in case.call("two")
    assert case.guarded.end() == 0
    assert "the policy is now sha256:" in case.guarded.stderr()
    assert "(+0 rules, -0 rules, ~1 modified)" in case.guarded.stderr()


def test_hang_up_during_a_call(case: Case) -> None:
    """A call that is on its way at SIGHUP gets its answer."""
    case.guarded.send(case.asked("slow"))
    assert case.guarded.receive()["method"] == "notifications/message"
    case.write("two")
    assert case.hang_up() == "policy.changed"
    assert case.guarded.receive()["method"] == "notifications/tools/list_changed"
    case.gate.write("go\n")
    assert case.guarded.receive() == {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
    assert case.guarded.end() == 0


@pytest.mark.parametrize("broken", ["[nothing]\n", "[core", None])
def test_hang_up_with_a_broken_file_changes_nothing(case: Case, broken: str | None) -> None:
    """With a file that is wrong, half written or not there SIGHUP ends nothing and the old policy holds (S3.21)."""
    path = case.folder / "hauberk.toml"
    path.unlink() if broken is None else path.write_text(broken)
    assert case.hang_up() == "policy.rejected"
    assert "error" in case.call("one")
    assert "result" in case.call("two")
    case.write("two")
    assert case.hang_up() == "policy.changed"
    assert case.guarded.receive()["method"] == "notifications/tools/list_changed"
    assert "error" in case.call("two")
    assert case.guarded.end() == 0
    assert "the policy was not reloaded, the old one is in force: " in case.guarded.stderr()


def test_hang_ups_in_a_row(case: Case) -> None:
    """However many times SIGHUP comes, nothing ends, and what the last one saw is in force."""
    for denied in ("two", "three", "four"):
        case.write(denied)
        for _ in range(5):
            case.guarded.signal(signal.SIGHUP)
        assert case.said.read() == "policy.changed"
        assert case.guarded.receive()["method"] == "notifications/tools/list_changed"
        assert "error" in case.call(denied)
    assert case.guarded.end() == 0


class _Waiting:
    """A guard whose reloads take as long as a test wants."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = asyncio.Semaphore(0)

    async def reload(self) -> str:
        self.begun += 1
        await self.gate.acquire()
        return "done"

    async def until(self, begun: int) -> None:
        """Wait until so many reloads have begun."""
        async with asyncio.timeout(PATIENCE):
            while self.begun < begun:  # noqa: ASYNC110 - a signal comes when it comes
                await asyncio.sleep(0)


async def test_hang_up_during_a_reload() -> None:
    """SIGHUP during a reload, once or more, is one more reload after it: the first may have read an older file."""
    guard = _Waiting()
    with _hangup.reloads(cast("Guard", guard)):
        os.kill(os.getpid(), signal.SIGHUP)
        await guard.until(1)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
            for _ in range(20):
                await asyncio.sleep(0)
        assert guard.begun == 1
        guard.gate.release()
        await guard.until(2)
        guard.gate.release()
        for _ in range(20):
            await asyncio.sleep(0)
        assert guard.begun == 2
