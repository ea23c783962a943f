"""The examples and what stands in README.md, run as they are by a user who has nothing but what they say."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.prose import EXAMPLES, README, ROOT, Place, block, blocks, call

PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def ruled(place: Place) -> Place:
    """Return a place with the rules of the README."""
    place.write("hauberk.toml", block(README, "toml", "[sieve]"))
    return place


def settings(place: Place) -> list[str]:
    """Return the command of the README's client settings, for a user whose home this is."""
    server = json.loads(block(README, "json", "mcpServers"))["mcpServers"]["files"]
    return [server["command"], *(word.replace("/home/you", str(place.home)) for word in server["args"])]


# --- the README ---


def test_readme_begins_with_what_is_stopped() -> None:
    """The first words say what hauberk stops, and within ten lines a command's output shows what was refused."""
    lines = README.read_text(encoding="utf-8").splitlines()
    assert lines[2].startswith("Stops ")
    assert "$ make demo" in lines[:10]
    assert any("hidden:" in line for line in lines[:12])


def test_readme_names_commands_that_are_there(place: Place) -> None:
    """Each ``make`` target and each ``hauberk`` command of the README exists."""
    text = README.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"(?m)^\.PHONY: (.*)$", makefile) for name in line.split()}
    assert {"demo", "test"} <= set(re.findall(r"[`$] ?make ([\w-]+)", text)) <= targets
    named = set(re.findall(r"[`$] ?hauberk ([a-z]+)", text))
    assert {"run", "audit", "plugins", "config"} <= named
    for word in named:
        assert place.run(["hauberk", word, "--help"]).status == 0


def test_first_command_guards_and_says_with_what(place: Place) -> None:
    """Without a configuration the README's command runs the server, and says in one line what holds."""
    line, said = block(README, "console", "npx").splitlines()
    done = place.run(line.removeprefix("$ "), {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert done.status == 0
    assert done.err.splitlines() == [said]
    assert json.loads(done.out)["id"] == 1


def test_rules_of_the_readme_let_a_host_start(ruled: Place) -> None:
    """The README's rules are a configuration without a fault."""
    assert ruled.run(["hauberk", "config", "check", "--config", "hauberk.toml"]).status == 0


def test_settings_of_a_client_guard_its_server(ruled: Place) -> None:
    """With the README's rules and client settings a model sees what is allowed, and can call it."""
    answers = ruled.answers(settings(ruled), {"method": "tools/list"}, call("read_note", name="milk"))
    assert [tool["name"] for tool in answers[1]["result"]["tools"]] == ["list_notes", "read_note"]
    assert answers[2]["result"]["content"][0]["text"] == "buy milk"


def test_refused_call_reads_as_the_readme_says(ruled: Place) -> None:
    """A call that no rule allows gets, to the letter, the error that the README shows."""
    answers = ruled.answers(settings(ruled), {"method": "ping"}, {"method": "ping"}, call("write_file"))
    assert answers[3] == json.loads(block(README, "json", "error"))


def test_agent_of_the_readme_sees_what_is_allowed(ruled: Place) -> None:
    """The README's agent runs as it stands and prints the tools that the rules allow."""
    program = block(README, "python", "asyncio.run")
    done = ruled.run([sys.executable, ruled.write("agent.py", program)])
    assert done.out == "['list_notes', 'read_note']\n", done.err


def test_log_verifies_as_the_readme_says(ruled: Place) -> None:
    """After a guarded session ``hauberk audit verify`` says what the README shows, but for the numbers."""
    ruled.answers(settings(ruled), call("read_note", name="milk"))
    line, said = block(README, "console", "audit verify").splitlines()
    done = ruled.run(line.removeprefix("$ "))
    assert done.status == 0, done.err
    assert without_numbers(done.out.splitlines()[0]) == without_numbers(said)


def without_numbers(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{16}\b|\d+", "#", text)


def test_plugin_of_the_readme_denies(place: Place) -> None:
    """The README's plugin has twenty lines at most, loads with its table, and denies what the table names."""
    program = block(README, "python", "hookimpl")
    assert len(program.splitlines()) <= 20
    place.write("policy.py", program)
    place.write("hauberk.toml", block(README, "toml", "policy.py"))
    command = "hauberk run --config hauberk.toml -- npx"
    answers = place.answers(command, call("read_note", name=".aws/key"), call("read_note", name="milk"))
    assert answers[1]["error"]["data"] == {"code": "policy.private", "plugin": "policy", "rule": ".aws"}
    assert "result" in answers[2]


def test_every_block_of_the_readme_is_run() -> None:
    """The README has no block but those that are run: here, by the demonstration, with `test_config_secure`."""
    counts = {language: len(blocks(README, language)) for language in ("console", "toml", "json", "python", "sh")}
    assert counts == {"console": 4, "toml": 3, "json": 2, "python": 2, "sh": 1}


def test_readme_installs_what_is_here() -> None:
    """What the README has pip install is an extra of the core, and each plugin of this repository."""
    _, _, core, plugins = block(README, "sh", "pip install").split()
    assert core == "'.[sdk]'"
    assert all((folder / "pyproject.toml").is_file() for folder in ROOT.glob(plugins))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the repository leads to a file or a folder."""
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


# --- the examples ---


def test_agent_runs_as_it_stands(place: Place) -> None:
    """The example of an agent shows two tools, calls one, and is refused the third."""
    done = place.run([sys.executable, EXAMPLES / "agent.py", place.home / "notes"])
    assert done.status == 0, done.err
    assert done.out.splitlines() == [
        "tools: list_notes read_note",
        "notes: {'result': ['milk']}",
        "refused: sieve.denied: tool 'delete_all' of server 'notes' is not allowed",
    ]
    assert (place.home / "notes" / "milk.txt").exists()


def loaded(name: str) -> Any:
    """Import an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("hour", "denied"), [(8, True), (9, False), (16, False), (17, True)])
def test_business_hours_deny_by_the_clock(hour: int, denied: bool) -> None:
    """The example of a policy denies calls out of hours, and has no opinion within them."""
    policy = loaded("business_hours").BusinessHours
    moment = time.mktime((2026, 11, 20, hour, 30, 0, 0, 0, -1))
    made = policy(policy.Options(), SimpleNamespace(now=lambda: moment))
    verdict = made.on_tool_call(SimpleNamespace(name="read_note"), SimpleNamespace(server="notes"))
    assert (verdict is not None) == denied
    assert not denied or verdict.code == "policy.closed"


def test_business_hours_load_with_their_configuration(place: Place) -> None:
    """The example of a policy is active under its own configuration, with the hours that this sets."""
    for name in ("business_hours.py", "business_hours.toml"):
        place.write(name, (EXAMPLES / name).read_text(encoding="utf-8"))
    shown = place.run(["hauberk", "config", "show", "--config", "business_hours.toml", "--json"])
    assert json.loads(shown.out)["policy"] == {"opens": 8, "closes": 18, "mode": "enforce"}
    listed = json.loads(place.run(["hauberk", "plugins", "--config", "business_hours.toml", "--json"]).out)
    assert {plugin["name"] for plugin in listed if plugin["active"]} == {"sieve", "pins", "audit", "policy"}


@pytest.fixture
def provided(place: Place) -> Place:
    """Return a place where the example of a key provider is installed, as its docstring says, and its KMS is there."""
    text = (EXAMPLES / "key_provider.py").read_text(encoding="utf-8")
    group, entry = re.findall(r'(?m)^    \[project\.entry-points\."([\w.]+)"\]\n    (.*)$', text)[0]
    site = place.home / "site"
    (site / "example-1.0.dist-info").mkdir(parents=True)
    (site / "key_provider.py").write_text(text, encoding="utf-8")
    (site / "example-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    (site / "example-1.0.dist-info" / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
    place.env["PYTHONPATH"] = str(site)
    assert place.run([sys.executable, site / "key_provider.py", place.home / "kms.json"]).status == 0
    table = "\n".join(re.findall(r"(?m)^    (\[audit\.encryption\]|enabled = .*|key = .*)$", text))
    place.write("hauberk.toml", table.replace("/srv/kms.json", str(place.home / "kms.json")))
    return place


def test_key_provider_keeps_the_key_of_the_log(provided: Place) -> None:
    """With the example of a key provider a KMS keeps the key of the log; without the KMS no host starts (S3.8)."""
    command = "hauberk run --config hauberk.toml -- npx"
    assert "result" in provided.answers(command, call("read_note", name="milk"))[1]
    log = provided.home / "state" / "hauberk" / "audit" / "audit.jsonl"
    assert b"read_note" not in log.read_bytes()
    assert b'"sealed":"' in log.read_bytes()
    assert "read_note" in provided.run("hauberk audit list --config hauberk.toml").out
    assert provided.run("hauberk audit verify --config hauberk.toml").status == 0
    (provided.home / "kms.json").rename(provided.home / "elsewhere.json")
    done = provided.run(command, {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert (done.status, done.out) == (125, "")
    assert "key provider 'example-kms' failed to start (FileNotFoundError)" in done.err
    listed = provided.run("hauberk audit list --config hauberk.toml")
    assert "is sealed, and what is in it cannot be shown" in listed.err
    assert "read_note" not in listed.out


def test_checkpoint_sink_keeps_checkpoints(place: Place) -> None:
    """With the example of a sink a program gets the checkpoints of a host, and the log verifies with them (S3.6)."""
    text = (EXAMPLES / "checkpoint_sink.py").read_text(encoding="utf-8")
    group, entry = re.findall(r'(?m)^    \[project\.entry-points\."([\w.]+)"\]\n    (.*)$', text)[0]
    site, kept = place.home / "site", place.home / "kept"
    (site / "example-1.0.dist-info").mkdir(parents=True)
    (site / "checkpoint_sink.py").write_text(text, encoding="utf-8")
    (site / "example-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    (site / "example-1.0.dist-info" / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
    place.env["PYTHONPATH"] = str(site)
    program = place.home / "keep-checkpoint"
    program.write_text(f"#!/bin/sh\nprintf '\\n\\n' >> '{kept}'\ncat >> '{kept}'\n", encoding="ascii")
    program.chmod(0o755)
    table = "\n".join(re.findall(r"(?m)^    (\[audit\.checkpoints\]|sinks = .*)$", text))
    place.write("hauberk.toml", table.replace("/usr/local/bin/keep-checkpoint", str(program)))
    assert "result" in place.answers("hauberk run --config hauberk.toml -- npx", call("read_note", name="milk"))[1]
    public = place.home / "state" / "hauberk" / "checkpoint.key.pub"
    done = place.run(f"hauberk audit verify --config hauberk.toml --checkpoints {kept} --public-key {public}")
    assert (done.status, done.out.split(":")[0]) == (0, "whole")
    log = place.home / "state" / "hauberk" / "audit" / "audit.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    done = place.run(f"hauberk audit verify --config hauberk.toml --checkpoints {kept} --public-key {public}")
    assert done.status == 1
    assert ": truncated: " in done.out


def test_agents_talk_by_way_of_others(place: Place) -> None:
    """Of what a hostile network brings, an agent reads what the other one sent to it, once (S0.29)."""
    done = place.run([sys.executable, EXAMPLES / "agents.py"])
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "the text is on the wire: False",
        "coder reads of planner: write the tests first",
        "coder refused: replay.detected",
        "coder refused: envelope.forged",
        "coder refused: envelope.plain",
        "coder refused: envelope.untrusted",
        "coder reads of planner: then make them pass",
    ]
