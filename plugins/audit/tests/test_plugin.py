"""The plugin in a guard: where log and key are, what is recorded, and what does not pass when it cannot be."""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from plugins.audit.tests.conftest import Load

from hauberk import keys
from hauberk.config import Config
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.refusals import ConfigError, PluginError, Refused
from hauberk_audit import Audit
from hauberk_audit._bounds import Bounds
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing._log import Disk, Log

PRODUCTION = 'profile = "production"\nplugins.require = ["audit"]\n'


def plugin_of(guard: Guard) -> Audit:
    plugin: Audit = guard.loaded["audit"].plugin
    return plugin


def entries(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def there(path: Path) -> bool:
    return path.exists()


def codes(path: Path) -> list[str]:
    return [entry["code"] for entry in entries(path)]


# --- where ---


async def test_log_and_key_are_in_the_state_directory(load: Load, state: Path) -> None:
    """Without a table the log runs, private, in the state directory; it names the beginning of its chain."""
    async with load() as guard:
        guard.emit(Event(code="a.b", server="files"))
    log = state / "audit" / "audit.jsonl"
    assert codes(log) == ["audit.chain_started", "core.started", "policy.loaded", "a.b", "core.stopped"]
    assert entries(log)[0]["details"] == {"file": "audit.jsonl"}
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "audit.key").stat().st_mode) == 0o600
    assert verify([log], keys.load_key(state / "audit.key")).status == 0


async def test_paths_start_at_the_configuration_file(load: Load, tmp_path: Path) -> None:
    """``path`` and ``key_file`` are taken from the directory of the configuration file."""
    async with load('---[audit]\npath = "logs/mine.jsonl"\nkey_file = "mine.key"'):
        pass
    assert verify([tmp_path / "logs" / "mine.jsonl"], keys.load_key(tmp_path / "mine.key")).status == 0


def test_nothing_is_made_before_open(load: Load, tmp_path: Path) -> None:
    """Loading a configuration, as ``config check`` does, makes neither a log nor a key."""
    load()
    assert list(tmp_path.iterdir()) == []


async def test_chain_goes_on_over_runs_of_the_host(load: Load, state: Path) -> None:
    """Two runs of a host are one chain (S3.2)."""
    for _ in range(2):
        async with load():
            pass
    log = state / "audit" / "audit.jsonl"
    run = ["core.started", "policy.loaded", "core.stopped"]
    assert codes(log) == ["audit.chain_started", *run, *run]
    assert [entry["integrity"]["sequence"] for entry in entries(log)] == [1, 2, 3, 4, 5, 6, 7]
    assert verify([log], keys.load_key(state / "audit.key")).status == 0


async def test_torn_line_is_recorded(load: Load, state: Path) -> None:
    """After a crash in the middle of a line the log says that it was recovered, and where the line is (S3.3)."""
    async with load():
        pass
    log = state / "audit" / "audit.jsonl"
    with log.open("ab") as file:
        file.write(b'{"format":"haub')
    async with load():
        pass
    recovered = entries(log)[4]
    assert recovered["code"] == "audit.recovered"
    assert recovered["severity"] == "warning"
    assert recovered["details"] == {"bytes": 15, "file": "audit.jsonl.torn-1"}
    assert verify([log], keys.load_key(state / "audit.key")).status == 0


# --- keys ---


async def test_production_makes_no_key(load: Load, state: Path) -> None:
    """In production a missing key stops the start, with the command that makes one."""
    guard = load(PRODUCTION)
    with pytest.raises(ConfigError, match=r"key file.*is missing") as caught:
        await guard.open()
    assert "hauberk audit init" in str(caught.value.hint)
    assert not there(state)


@pytest.mark.parametrize("profile", ["", PRODUCTION])
async def test_lost_key_is_not_replaced(load: Load, state: Path, profile: str) -> None:
    """A log that was signed with a key that is gone does not get another one."""
    async with load():
        pass
    (state / "audit.key").unlink()
    with pytest.raises(ConfigError, match="was signed with it") as caught:
        await load(profile).open()
    assert "bring it back" in str(caught.value.hint)
    assert not (state / "audit.key").exists()


async def test_other_key_stops_the_start(load: Load, state: Path) -> None:
    """A log of another key does not open, and nothing is written to it."""
    async with load():
        pass
    log = state / "audit" / "audit.jsonl"
    before = log.read_bytes()
    (state / "audit.key").unlink()
    keys.create_key(state / "audit.key", random=os.urandom)
    with pytest.raises(PluginError, match="it was written with key"):
        await load().open()
    assert log.read_bytes() == before


async def test_key_that_others_can_read_is_refused(load: Load, state: Path) -> None:
    """A key file that is not private stops the start (X.9)."""
    async with load():
        pass
    (state / "audit.key").chmod(0o640)
    with pytest.raises(ConfigError, match="0640 lets others in"):
        await load().open()


# --- options ---


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ("", False),
        ("---[audit]\nrequired = true", True),
        ('---[audit]\nrequired = "both"', "both"),
        (PRODUCTION, True),
        (PRODUCTION + "---[audit]\nrequired = false", False),
        ('---[audit]\nrequired = "both"\n[host.default.audit]\nrequired = true', "both"),
        ("---[audit]\nrequired = false\n[host.default.audit]\nrequired = true", True),
        ('---[audit]\nrequired = "both"\n[host.default.audit]\noverride = true\nrequired = false', False),
    ],
)
def test_log_is_required_by_profile_or_option(load: Load, text: str, required: object) -> None:
    """The log is required in production, and where the configuration says so; a host's table only makes it stricter."""
    assert plugin_of(load(text)).required == required


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---[audit]\nrequired = 1", "required"),
        ('---[audit]\nrequired = "yes"', "required"),
        ("---[audit]\nkeyfile = 'x'", "key_file"),
        ("---[audit]\npath = 5", "path"),
    ],
)
def test_wrong_option_is_an_error(load: Load, text: str, expected: str) -> None:
    """An unknown option or a wrong value stops the load, and the error names what was meant."""
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert expected in str(caught.value)


def test_log_of_one_server_is_an_error(load: Load) -> None:
    """A table for one server, which nothing would read, stops the load."""
    with pytest.raises(ConfigError, match=r"\[server\.files\.audit\]: a host has one log"):
        load('---[server.files.audit]\npath = "files.jsonl"')
    assert plugin_of(load('---[server.files]\ncommand = "x"')).name == "audit"


@pytest.mark.parametrize(
    ("text", "syncs"),
    [
        ("", 0),
        ("---[audit]\nrequired = true", 1),
        ("---[audit]\nrequired = true\ndurability = 'event'", 2),
        ("---[audit]\nrequired = true\ndurability = 'interval'", 0),
    ],
)
async def test_required_entries_are_on_the_disk(
    load: Load, monkeypatch: pytest.MonkeyPatch, text: str, syncs: int
) -> None:
    """Where the log is required, or ``durability`` says so, entries are synced before their message goes on; those that
    come together with one sync, unless each is to have its own (S3.10).
    """
    synced: list[int] = []
    on_disk(monkeypatch, Disk(sync=synced.append))
    monkeypatch.setattr("hauberk_audit.writing._writer.BOUNDS", Bounds(interval=3600))
    async with load(text) as guard:
        plugin_of(guard).flush()
        synced.clear()
        waiting = guard.recorder.barrier([Event(code="a.b"), Event(code="a.c")])
        if waiting is not None:
            await waiting
        assert len(synced) == syncs


# --- what does not pass ---


def on_disk(monkeypatch: pytest.MonkeyPatch, disk: Disk) -> None:
    """Let logs be opened on this disk."""
    opened = Log.open
    monkeypatch.setattr(Log, "open", lambda *args, **more: opened(*args, **more, disk=disk))


async def recorded(guard: Guard, code: str) -> None:
    """Record an event, and wait for it."""
    if (waiting := guard.recorder.barrier([Event(code=code)])) is not None:
        await waiting


class Full:
    """A disk that is full when it is told to."""

    full = False

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)


async def test_what_cannot_be_recorded_does_not_pass(
    load: Load, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk refuses what a required log must record (A19), says why once, passes it when there is room."""
    full = Full()
    on_disk(monkeypatch, Disk(write=full.write))
    async with load("---[audit]\nrequired = true") as guard:
        await recorded(guard, "a.one")
        full.full = True
        for _ in range(3):
            with pytest.raises(Refused) as caught:
                await recorded(guard, "a.lost")
            assert caught.value.code == "core.unrecorded"
        full.full = False
        await recorded(guard, "a.two")
    said = [record.getMessage() for record in caplog.records if record.name == "hauberk.audit"]
    assert len(said) == 1
    assert "no space left on device" in said[0]
    log = state / "audit" / "audit.jsonl"
    assert [code for code in codes(log) if code.startswith("a.")] == ["a.one", "a.two"]
    assert verify([log], keys.load_key(state / "audit.key")).status == 0


@pytest.mark.parametrize("durability", ["group", "interval", "event"])
async def test_policy_that_is_not_kept_refuses_from_then_on(
    load: Load, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    """Once a policy came in force that a required history does not keep, nothing passes until the host starts anew:
    not after entries were written either (S3.18).
    """
    async with load(f"---[audit]\nrequired = true\ndurability = '{durability}'") as guard:
        await recorded(guard, "a.before")

        def full(*_: Any, **__: Any) -> Any:
            raise PluginError("no space left on device")

        monkeypatch.setattr(plugin_of(guard)._keeper.history, "record", full)
        loaded = Event(code="policy.loaded", details={"policy_version": guard.config.version, "loaded_by": "reload"})
        for event in (loaded, Event(code="a.after"), Event(code="a.later")):
            with pytest.raises(Refused, match="could not be recorded"):
                guard.recorder.barrier([event])
            if (waiting := plugin_of(guard).settled()) is not None:
                await waiting


async def test_flood_does_not_linger(load: Load, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that are many are written at once, however long a single one may wait for company."""
    bounds = Bounds(linger=3600, interval=3600, batch=4)
    monkeypatch.setattr("hauberk_audit.writing._writer.BOUNDS", bounds)
    monkeypatch.setattr("hauberk_audit._plugin.BOUNDS", bounds)
    async with load() as guard:
        plugin, writer = plugin_of(guard), plugin_of(guard)._writer
        assert writer is not None
        plugin.flush()
        before = writer._settled
        for number in range(8):
            plugin.on_audit(Event(code=f"a.n{number}"))
        with writer._state:
            assert writer._state.wait_for(lambda: writer._settled == before + 8, 20)
        assert codes(state / "audit" / "audit.jsonl")[-2:] == ["a.n6", "a.n7"]


async def test_loss_is_told_to_the_very_next(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a log that is not required has lost is said to whoever gives the next event, though others wait already."""
    monkeypatch.setattr("hauberk_audit.writing._writer.BOUNDS", Bounds(linger=3600, interval=3600))
    busy, free, full = threading.Event(), threading.Event(), Full()
    free.set()

    def write(fd: int, data: bytes) -> int:
        busy.set()
        assert free.wait(20)
        return full.write(fd, data)

    on_disk(monkeypatch, Disk(write=write))
    async with load() as guard:
        plugin, writer = plugin_of(guard), plugin_of(guard)._writer
        assert writer is not None
        plugin.flush()
        busy.clear()
        free.clear()
        plugin.on_audit(Event(code="a.lost"))
        writer._wake()
        assert busy.wait(20)
        plugin.on_audit(Event(code="a.waits"))
        full.full = True
        free.set()
        with writer._state:
            assert writer._state.wait_for(lambda: writer.error is not None, 20)
        with pytest.raises(PluginError, match="no space left on device"):
            plugin.on_audit(Event(code="a.next"))
        full.full = False
        plugin.on_audit(Event(code="a.fine"))
        plugin.flush()
        assert codes(plugin.log_path())[-3:] == ["a.waits", "a.next", "a.fine"]


async def test_log_that_is_not_required_holds_nothing_up(
    load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a log that is not required a full disk is reported and refuses nothing."""
    full = Full()
    on_disk(monkeypatch, Disk(write=full.write))
    with caplog.at_level(logging.ERROR):
        async with load() as guard:
            full.full = True
            assert guard.recorder.barrier([Event(code="a.one")]) is None
    assert any("no space left on device" in record.getMessage() for record in caplog.records)


async def test_log_that_is_not_open_refuses(load: Load) -> None:
    """Before it is open and after it is closed the plugin raises, so a required log lets nothing pass unrecorded."""
    guard = load("---[audit]\nrequired = true")
    with pytest.raises(Refused):
        guard.recorder.barrier([Event(code="a.b")])
    async with guard:
        pass
    with pytest.raises(PluginError, match="is not open"):
        plugin_of(guard).on_audit(Event(code="a.b"))


# --- what is in it ---

CANARY = "hunter2-canary"


class Memory:
    """A port that takes what is written to it."""

    bytes_only = False

    def deliver(self, data: object, ticket: object) -> None:
        """Let it go."""

    def unanswered(self, ticket: object) -> None:
        """Nothing waits here."""


def call(id: int, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


async def test_no_value_of_a_call_is_in_the_log(load: Load, state: Path) -> None:
    """Arguments, results, errors and what was refused leave digests and sizes in the log, and no value (A26, X.14)."""
    refused = f'{{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{{"name":"ls","x":"{CANARY}","x":1}}}}'
    sent = [
        call(1, name="ls", arguments={CANARY: CANARY}),
        call(2, name="ls", arguments={"path": [{"deep": CANARY}]}, _meta={"x": CANARY}),
        call(3, name=7, arguments={"path": CANARY}),
        {"jsonrpc": "2.0", "id": 4, "method": "nobody/knows", "params": {"path": CANARY}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 8, "reason": CANARY}},
    ]
    answers = [
        {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": CANARY}], "isError": True}},
        {"jsonrpc": "2.0", "id": 2, "error": {"code": -32000, "message": CANARY, "data": CANARY}},
        {"jsonrpc": "2.0", "id": 77, "result": {"content": [CANARY]}},
    ]
    async with load('---[audit]\nrequired = "both"') as guard:
        session = guard.session(await guard.connect("files", "client"), Memory(), Memory())
        for message in sent:
            session.receive_object(session.out, message, headers={"Mcp-Param-Path": CANARY})
            await session.quiet()
        session.receive(session.out, refused.encode())
        for message in answers:
            session.receive_object(session.inn, message)
            await session.quiet()
        await session.close()
    log = state / "audit" / "audit.jsonl"
    tools = [entry for entry in entries(log) if entry.get("tool") == "ls"]
    assert any(entry.get("digest", "").startswith("sha256:") for entry in tools)
    assert len(entries(log)) > len(sent) + len(answers)
    for file in files_under(state):
        assert CANARY.encode() not in file.read_bytes(), file


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# --- several hosts, and imports ---

HOST = """
import asyncio, sys
from pathlib import Path
from hauberk import plugins
from hauberk.config import Config
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk_audit import Audit
from hauberk_audit._bounds import Bounds

plugins.installed = lambda: {"audit": plugins.Source("audit", "hauberk-audit", "0", lambda: Audit)}

async def main():
    async with Guard.load(Config.from_toml(f'[core]\\nstate_dir = "{sys.argv[1]}"')) as guard:
        for number in range(20):
            guard.emit(Event(code="a.b", server=sys.argv[2]))
        print("open", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


def test_five_hosts_share_a_state_directory(state: Path) -> None:
    """Five processes that start at once, on a machine that has no key yet, have five whole chains of one key."""
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, str(state), f"server{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(5)
    ]
    for host in hosts:
        assert host.stdout is not None
        host.stdout.readline()
    for host in hosts:
        _, errors = host.communicate()
        assert (host.returncode, errors) == (0, "")
    report = verify([state / "audit"], keys.load_key(state / "audit.key"))
    assert report.status == 0
    assert [Path(log.file).name for log in report.logs] == [
        "audit.jsonl",
        *(f"audit.{number}.jsonl" for number in range(1, 5)),
    ]
    assert [log.entries for log in report.logs] == [24] * 5


def test_import_brings_no_command_line() -> None:
    """The plugin imports neither click nor the verifier: ``hauberk run`` does not pay for them."""
    heavy = ("click", "hauberk_audit.verifying._verify", "mcp")
    program = f"import sys, hauberk_audit; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plugin_keeps_the_contract(load: Load) -> None:
    """The plugin loads by its name, with the hook on_audit and no other, and is on without a table."""
    guard = load()
    (standing,) = guard.roster
    assert (standing.name, standing.active) == ("audit", True)
    assert list(standing.layers) == ["on_audit"]
    assert Audit.safe_default == Audit.Options()
    assert Config.default().has_table("audit") is False
