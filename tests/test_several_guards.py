"""Five wrapped servers are five processes: each has its own chain in one log, and each knows what the others show."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.running import PATIENCE, Running, environment, running, server

LISTING = """
import json, sys
for line in sys.stdin.buffer:
    request = json.loads(line)
    if "id" in request and "method" in request:
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in %r]
        result = {"tools": tools} if request["method"] == "tools/list" else {"content": []}
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": result}
        sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\\n")
        sys.stdout.flush()
"""
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def guarded(home: Path, name: str, *tools: str) -> contextlib.AbstractContextManager[Running]:
    """Run a server of this name and these tools, for a user without configuration."""
    folder = home / name
    folder.mkdir()
    return running(folder, server(folder, LISTING % (list(tools),)), options=["--server", name], env=environment(home))


def called(guard: Running, tool: str) -> Any:
    params = {"name": tool, "arguments": {}}
    return guard.ask({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})


def hauberk(home: Path, *words: str) -> tuple[int, Any]:
    """Run a command; return its status and the JSON that it printed."""
    command = [sys.executable, "-m", "hauberk", *words, "--json"]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False, timeout=PATIENCE)
    return done.returncode, json.loads(done.stdout)


def recorded(home: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what each log of the host holds."""
    logs = home.rglob("audit*.jsonl")
    return {path.name: [json.loads(line) for line in path.read_bytes().splitlines()] for path in logs}


def test_five_guards_at_once_leave_five_chains(tmp_path: Path) -> None:
    """Five guards that run at once write five chains that verify as one set, and lose no call (S3.2)."""
    names = [f"server{number}" for number in range(5)]
    with contextlib.ExitStack() as stack:
        guards = [stack.enter_context(guarded(tmp_path, name, f"{name}_read")) for name in names]
        for guard in guards:  # one answer of each: now all five have their log open
            assert len(guard.ask(LIST)["result"]["tools"]) == 1
        for guard, name in zip(guards, names, strict=True):
            assert called(guard, f"{name}_read")["result"] == {"content": []}
        assert [guard.end() for guard in guards] == [0] * 5
    logs = recorded(tmp_path)
    assert logs.keys() == {"audit.jsonl", *(f"audit.{number}.jsonl" for number in range(1, 5))}
    for entries in logs.values():
        assert [entry["integrity"]["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
    calls = [entry["server"] for entries in logs.values() for entry in entries if entry["code"] == "core.allowed"]
    assert sorted(calls) == names
    (log,) = tmp_path.rglob("audit.jsonl")
    for words in ([], [str(log)], [str(log.parent)]):
        key = ["--key-file", str(log.parents[1] / "audit.key")] if words else []
        status, report = hauberk(tmp_path, "audit", "verify", *words, *key)
        assert (status, len(report["logs"])) == (0, 5), report


def test_changed_sibling_is_found(tmp_path: Path) -> None:
    """A change in the log of any of the guards is found by verifying the one path."""
    with guarded(tmp_path, "one", "a") as one, guarded(tmp_path, "two", "b") as two:
        assert "result" in one.ask(LIST)
        assert "result" in two.ask(LIST)
        assert (one.end(), two.end()) == (0, 0)
    (sibling,) = tmp_path.rglob("audit.1.jsonl")
    sibling.write_bytes(sibling.read_bytes().replace(b"core.connected", b"core.cancelled", 1))
    assert hauberk(tmp_path, "audit", "verify")[0] == 1


def test_shadow_is_seen_across_processes(tmp_path: Path) -> None:
    """A tool of a name that a server in another process shows is noted in the log (A44)."""
    for name, tool in (("files", "read"), ("mail", "send")):
        with guarded(tmp_path, name, tool) as guard:
            guard.ask(LIST)
            assert guard.end() == 0
    assert all(entry["code"] != "sieve.shadowed" for entry in recorded(tmp_path)["audit.jsonl"])
    with guarded(tmp_path, "evil", "send", "other") as guard:
        assert len(guard.ask(LIST)["result"]["tools"]) == 2
        assert guard.end() == 0
    (event,) = [entry for entry in recorded(tmp_path)["audit.jsonl"] if entry["code"] == "sieve.shadowed"]
    assert (event["server"], event["severity"]) == ("evil", "warning")
    assert event["details"] == {"names": ["send"], "servers": ["mail"], "same_definition": 1}


def test_all_guards_tell_what_they_show(tmp_path: Path) -> None:
    """Guards that list at once lose nothing: all of their servers are in the shared file when they have ended."""
    config = tmp_path / ".config" / "hauberk"  # five that start at once may be late on a slow machine
    config.mkdir(parents=True)
    (config / "hauberk.toml").write_text("[core.bounds]\ndeadline = 60\n")
    names = [f"server{number}" for number in range(5)]
    with contextlib.ExitStack() as stack:
        guards = [stack.enter_context(guarded(tmp_path, name, "same", name)) for name in names]
        for guard in guards:
            guard.send(LIST)
        assert all("result" in guard.receive() for guard in guards)
        assert [guard.end() for guard in guards] == [0] * 5
    (path,) = tmp_path.rglob("names.json")
    told = json.loads(path.read_bytes())["hosts"]["default"]
    assert {name: set(one["items"]["tools"]) for name, one in told.items()} == {name: {"same", name} for name in names}
