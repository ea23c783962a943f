"""What is shipped, as it is shipped: the example configuration, the flags, the cost of the base install."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.core.harness import Port, Recorder, call_params, request, rig

from hauberk import Config, Guard, HauberkError
from hauberk.principal import Principal

ROOT = Path(__file__).resolve().parents[1]
FLAGS = {
    "mcp_tls_enabled": {"tls"},
    "agent_security_enabled": {"envelope", "replay"},
    "agent_rate_limit_enabled": {"ratelimit"},
}


def test_shipped_configuration_guards_the_shipped_host(tmp_path: Path) -> None:
    """The program that is shipped, started with the configuration that is shipped, refuses what that says (S4.28)."""
    config = tmp_path / "hauberk.toml"
    config.write_bytes((ROOT / "examples" / "hauberk.toml").read_bytes())
    config.chmod(0o600)
    tmp_path.chmod(0o700)
    child = [sys.executable, "-S", str(ROOT / "tests" / "bench" / "echo_child.py")]
    command = [sys.executable, "-m", "hauberk", "run", "--config", str(config), "--server", "notes", "--", *child]
    calls = [request("tools/call", call_params(name), id=id) for id, name in enumerate(("read_note", "delete_all"))]
    done = subprocess.run(
        command,
        input=b"".join(orjson.dumps(call) + b"\n" for call in calls),
        capture_output=True,
        check=True,
        timeout=30,
    )
    answers = {answer["id"]: answer for answer in map(orjson.loads, done.stdout.splitlines())}
    assert "result" in answers[0]
    assert answers[1]["error"]["data"]["code"] == "sieve.denied"


@pytest.mark.parametrize("table", ["approve", "auth"])
def test_no_table_does_nothing(table: str) -> None:
    """A table of a control that is not installed stops the start: no dark control (X.2, S4.1)."""
    with pytest.raises(HauberkError, match=table):
        Guard.load(Config.from_toml(f"[{table}]\n"))


@pytest.mark.parametrize("flag", FLAGS)
def test_no_flag_does_nothing(flag: str) -> None:
    """A flag that is on and has no plugin behind it stops the start: no dark control (X.1, S4.1)."""
    with pytest.raises(HauberkError, match=flag):
        Guard.load(Config.from_toml(f"[features]\n{flag} = true\n"), discover=False)


@pytest.mark.parametrize(("flag", "plugins"), FLAGS.items())
def test_flag_switches_its_plugins_on(flag: str, plugins: set[str]) -> None:
    """A flag is enough for its plugins to run, and it switches nothing else on (S0.1, S0.2)."""
    guard = Guard.load(Config.from_toml(f"[features]\n{flag} = true\n"))
    assert guard.loaded.keys() == {"audit", "pins", "sieve"} | plugins


@pytest.mark.parametrize("word", ["tls", "ratelimit", "bulkhead"])
def test_table_switches_its_plugin_on(word: str) -> None:
    """A table is enough for its plugin to run, and it switches nothing else on (S0.1, S0.2)."""
    guard = Guard.load(Config.from_toml(f"[{word}]\n"))
    assert guard.loaded.keys() == {"audit", "pins", "sieve", word}


async def test_flags_off_leave_nothing_behind() -> None:
    """With the flags off again a guard does what it did before there were any (S0.5)."""
    text = "[features]\n" + "".join(f"{flag} = false\n" for flag in FLAGS)
    for config in (Config.default(), Config.from_toml(text)):
        guard = Guard.load(config)
        assert sorted(guard.loaded) == ["audit", "pins", "sieve"]


def test_base_install_pays_for_no_cryptography() -> None:
    """Importing the guard imports no library for cryptography, schemas, Redis, HTTP, and not the SDK (S0.42)."""
    heavy = ("cryptography", "nacl", "jsonschema", "redis", "mcp", "pydantic", "httpx", "httpx2", "anyio", "limits")
    code = f"import sys, hauberk.cli.run, hauberk.guard; print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"


def names_compared(operand: ast.expr) -> set[str]:
    """Return the names in one side of a comparison: of ``a.b`` that of ``b``, and of a length none."""
    if isinstance(operand, ast.Attribute):
        return {operand.attr}
    if isinstance(operand, ast.Call) and isinstance(operand.func, ast.Name) and operand.func.id == "len":
        return set()
    parts = list(ast.walk(operand))
    return {part.attr for part in parts if isinstance(part, ast.Attribute)} | {
        part.id for part in parts if isinstance(part, ast.Name)
    }


def test_hashes_and_codes_are_compared_in_constant_time() -> None:
    """No module compares what a secret makes or is with ``==``; what anybody can read, and a length, may be (X.7)."""
    secret = {"mac", "entry_hash", "secret", "password", "tag", "signature", "derived", "hmac"}
    found = []
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                names = set().union(*map(names_compared, (node.left, *node.comparators)))
                if names & secret:
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []


async def test_wall_clock_decides_nothing() -> None:
    """A wall clock that jumps by years moves the times in events and no deadline, time-out or order (X.13)."""
    times = itertools.cycle([0.0, 4e9, 1.0, -5.0, 2e9])
    recorder, near, far = Recorder(), Port(), Port()
    async with Guard(Config.default(), [recorder], now=lambda: next(times)) as guard:
        session = guard.session(await guard.connect("files", "client"), near, far)
        session.receive(session.out, orjson.dumps(request("tools/call", call_params("ls"), id=1)))
        session.receive(session.inn, b'{"jsonrpc":"2.0","id":1,"result":{}}')
        await session.close()
    assert [message["id"] for message in (*far.got, *near.got)] == [1, 1]
    assert 0 <= recorder.of("core.answered")[0].details["seconds"] < 60


async def test_source_is_what_the_channel_proved() -> None:
    """Who and how in an event come from the channel; what a message says of itself does not get there (S2.6)."""
    claims: dict[str, Any] = {"_meta": {"principal": "root", "source": "ui"}, "principal": "root", "source": "ui"}
    async with rig() as r:
        await r.call(**claims)
        (decision,) = r.recorder.of("core.allowed")
        assert (decision.principal, decision.source) == (r.guard.principal.id, "local")
        assert r.guard.principal == Principal(id="host:default", kind="host", method="local")
