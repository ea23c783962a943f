"""How a server is reached: its command line, its executable, its URL, compared before it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from plugins.pins.tests.conftest import STRICT, Showing, codes, desk_of, listed, recorded, tool

from hauberk.connection import Connection, Program
from hauberk.refusals import Refused
from hauberk.testing import Rig
from hauberk_pins import _program
from hauberk_pins._limits import Limits

if TYPE_CHECKING:
    from plugins.pins.tests.conftest import Guarded

Trust = Callable[..., None]
ALERT = STRICT + 'on_change = "alert"\n'
PATIENCE = 60.0
"""Seconds after which whoever waits has found a hang."""


@pytest.fixture
def server_file(tmp_path: Path) -> Path:
    """Return an executable file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return executable(folder / "files-server", "#!/bin/sh\nexit 0\n")


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def rewrite(path: Path) -> None:
    """Write another program of the same length and the same time."""
    before = path.stat()
    executable(path, path.read_text().replace("0", "1"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def there_and_back(path: Path) -> None:
    """Write another program, and then the first again, as if nothing had been."""
    text = path.read_text()
    executable(path, "#!/bin/sh\nrm -r /\n")
    executable(path, text)


def taken_away(path: Path) -> str:
    text = path.read_text()
    path.unlink()
    return text


def holds(place: Path, text: str) -> bool:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return any(text.encode() in path.read_bytes() for path in files)


def program(path: Path, *args: str, cwd: str | None = None) -> Program:
    return Program(path.name, args, {"PATH": f"/nowhere:{path.parent}"}, cwd)


async def connect(rig: Rig, what: Program | None = None, *, target: str = "files") -> Connection:
    return await rig.guard.connect("files", "client", target=target, program=what)


async def refused(rig: Rig, what: Program | None, code: str, *, target: str = "files") -> Refused:
    with pytest.raises(Refused) as caught:
        await connect(rig, what, target=target)
    assert caught.value.code == code
    return caught.value


@pytest.fixture
async def pinned(guarded: Guarded, trust: Trust, server_file: Path) -> Program:
    """Return a program that was started once, and is trusted with all that it showed."""
    what = program(server_file, "--root", "/srv")
    async with guarded(Showing(tool("read"))) as rig:
        await connect(rig, what)
        await listed(rig)
    trust()
    return what


async def test_server_that_nobody_knows_may_be_started(guarded: Guarded, pinned: Program, tmp_path: Path) -> None:
    """First sight of an executable is recorded, and refuses nothing: all that the server shows is hidden."""
    rows = {row.item.key: row for row in desk_of(tmp_path).rows(desk_of(tmp_path).trusted())}
    assert {row.status for row in rows.values()} == {"pinned"}
    assert rows["origin", "command"].item.value == {"command": "files-server", "args": ["--root", "/srv"]}
    assert rows["origin", "executable"].item.value.keys() == {"sha256"}
    async with guarded(Showing()) as rig:
        assert (await connect(rig, pinned)).executable == str(tmp_path / "bin" / "files-server")
    assert "pins.not_reached" not in codes(rig)


async def test_changed_executable_is_never_started(guarded: Guarded, pinned: Program, server_file: Path) -> None:
    """One byte of the executable refuses the connection before anything is started, at the second look too (S3.43)."""
    rewrite(server_file)
    for _ in range(2):
        async with guarded(Showing()) as rig:
            for _ in range(2):
                told = await refused(rig, pinned, "pins.executable")
                assert told.rule == "files/origin/executable"
        (event, *_) = [event for event in rig.recorder.events if event.code == "pins.not_reached"]
        (changed,) = event.details["changed"]
        assert (changed["fields"], changed["old"] != changed["new"]) == (["sha256"], True)


@pytest.mark.parametrize(("on_change", "severity"), [("alert", "warning"), ("allow", "info")])
async def test_changed_executable_may_pass(
    guarded: Guarded, pinned: Program, server_file: Path, on_change: str, severity: str
) -> None:
    """With ``on_change`` other than ``"block"`` it is started, and is an event."""
    executable(server_file, "#!/bin/sh\nexit 1\n")
    async with guarded(Showing(), STRICT + f'on_change = "{on_change}"\n') as rig:
        await connect(rig, pinned)
    (drifted,) = [event for event in rig.recorder.events if event.code == "pins.drifted"]
    assert (drifted.severity, drifted.details["changed"][0]["item"]) == (severity, "origin executable")


async def test_other_command_line_is_refused(guarded: Guarded, pinned: Program) -> None:
    """Another argument, another working directory or another name of the command is a change."""
    async with guarded(Showing()) as rig:
        for other in (
            pinned._replace(args=("--root", "/")),
            pinned._replace(cwd="/"),
            pinned._replace(command=f"{pinned.env['PATH'].split(':')[1]}/files-server"),
        ):
            await refused(rig, other, "pins.changed")
        await connect(rig, pinned)


async def test_file_that_path_finds_first_is_the_one(guarded: Guarded, pinned: Program, tmp_path: Path) -> None:
    """A file of the same name that comes earlier in the child's ``PATH`` is what is hashed, and refused."""
    (tmp_path / "evil").mkdir()
    executable(tmp_path / "evil" / "files-server", "#!/bin/sh\nrm -r /\n")
    async with guarded(Showing()) as rig:
        shadowed = {"PATH": f"{tmp_path}/evil:{pinned.env['PATH']}"}
        await refused(rig, pinned._replace(env=shadowed), "pins.executable")


async def test_executable_cannot_be_replaced_while_it_is_started(
    guarded: Guarded, pinned: Program, server_file: Path
) -> None:
    """A file that is swapped after it was hashed ends the connection before any message (S3.43)."""
    async with guarded(Showing()) as rig:
        connection = await connect(rig, pinned)
        connection.proved(None)
        there_and_back(server_file)
        with pytest.raises(Refused, match="was replaced while it was started") as caught:
            connection.proved(None)
        assert caught.value.code == "pins.executable"
    (event,) = [event for event in rig.recorder.events if event.code == "pins.replaced"]
    assert (event.action, event.server, event.details) == ("blocked", "files", {"path": str(server_file)})


@pytest.mark.parametrize("toml", [ALERT, STRICT + 'mode = "audit"\n'])
async def test_replaced_executable_is_told_where_nothing_is_blocked(
    guarded: Guarded, pinned: Program, server_file: Path, toml: str
) -> None:
    """Where a change may pass, or the plugin only observes, a swap is an event and nothing more."""
    async with guarded(Showing(), toml) as rig:
        connection = await connect(rig, pinned)
        executable(server_file, "#!/bin/sh\nexit 1\n")
        connection.proved(None)
    assert [event.action for event in rig.recorder.events if event.code == "pins.replaced"] == ["logged"]


async def test_executable_that_is_gone_is_no_match(guarded: Guarded, pinned: Program, server_file: Path) -> None:
    """Where there is no file the start itself says so; a file that comes back later is hashed again."""
    text = taken_away(server_file)
    async with guarded(Showing()) as rig:
        connection = await connect(rig, pinned)
        executable(server_file, text + "\n")
        with pytest.raises(Refused, match="was replaced"):
            connection.proved(None)


async def test_executable_that_cannot_be_hashed_is_refused(
    guarded: Guarded, pinned: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pinned executable that is too large to be hashed, or cannot be read, is not started."""
    monkeypatch.setattr("hauberk_pins._program.LIMITS", Limits(executable_bytes=3))
    async with guarded(Showing()) as rig:
        told = await refused(rig, pinned, "pins.executable")
    assert "it is larger than 3 bytes" in told.message


async def test_pins_without_an_origin_bless_no_executable(guarded: Guarded, trust: Trust, server_file: Path) -> None:
    """Where tools of a server are pinned and nothing of how it is reached, no executable may be it (S3.40)."""
    async with guarded(Showing(tool("read"))) as rig:
        await listed(rig)
    trust()
    async with guarded(Showing()) as rig:
        await refused(rig, program(server_file), "pins.unpinned")
    async with guarded(Showing(), STRICT + "auto_trust_first = true\n") as rig:
        await connect(rig, program(server_file))
        await recorded(rig)
        executable(server_file, "#!/bin/sh\nexit 1\n")
        await refused(rig, program(server_file), "pins.executable")


async def test_url_is_pinned(guarded: Guarded, trust: Trust) -> None:
    """A server that is reached by a URL is pinned by it, without what may be secret in it."""
    async with guarded(Showing()) as rig:
        await connect(rig, target="https://files.example/mcp")
    trust()
    async with guarded(Showing()) as rig:
        await connect(rig, target="https://files.example/mcp")
        await refused(rig, None, "pins.changed", target="https://files.example.org/mcp")


async def test_secret_in_an_argument_is_in_no_lock(
    guarded: Guarded, trust: Trust, pinned: Program, tmp_path: Path
) -> None:
    """What looks like a secret in a command line is masked in the lock, and a new one is no change (X.14)."""
    secret = "hunter2hunter2hunter2x"
    async with guarded(Showing(), ALERT) as rig:
        await connect(rig, pinned._replace(args=("--token", secret)))
    trust()
    assert not holds(tmp_path, secret)
    assert holds(tmp_path / "hauberk.lock", "--token")
    async with guarded(Showing()) as rig:
        await connect(rig, pinned._replace(args=("--token", "another1another1another")))


async def test_hash_is_kept_while_the_file_is_unchanged(
    guarded: Guarded, pinned: Program, server_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file at rest is hashed once; one that was touched is hashed again."""
    hashed: list[str] = []
    digest = _program.digest
    monkeypatch.setattr(_program, "digest", lambda path: hashed.append(path) or digest(path))  # type: ignore[func-returns-value]
    monkeypatch.setattr(_program, "at_rest", lambda *_: True)
    for _ in range(3):
        async with guarded(Showing()) as rig:
            await connect(rig, pinned)
    assert len(hashed) == 1
    there_and_back(server_file)
    async with guarded(Showing()) as rig:
        await connect(rig, pinned)
    assert len(hashed) == 2


def test_file_that_may_still_change_is_not_known(server_file: Path) -> None:
    """The mark of a file tells of a change only if the file had been at rest for two seconds when it was hashed."""
    found = _program.digest(str(server_file))
    changed = max(found.mark[3:]) / 1e9
    assert [_program.at_rest(found, changed + later) for later in (0, 1.5, 2.5)] == [False, False, True]


def test_what_is_found_is_what_a_child_would_be(tmp_path: Path, server_file: Path, monkeypatch: Any) -> None:
    """A command with a slash starts at the working directory; what cannot be executed is passed over."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "files-server").write_text("no program")
    monkeypatch.chdir(tmp_path)
    path = {"PATH": f"{tmp_path}/first:bin"}
    for what in (
        Program("files-server", (), path),
        Program("bin/files-server", (), path),
        Program("./files-server", (), path, str(tmp_path / "bin")),
        Program("./files-server", (), path, "bin"),
    ):
        found = _program.find(what)
        assert found is not None
        assert Path(found).samefile(server_file)
        done = subprocess.run([what.command], env=what.env, cwd=what.cwd, check=False)
        assert done.returncode == 0
    assert _program.find(Program("files-server", (), {"PATH": "/nowhere"})) is None


SERVER = """#!{python}
import json, pathlib, sys
pathlib.Path({trace!r}).write_text("started")
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        result = {{"tools": [{{"name": "read", "inputSchema": {{"type": "object"}}}}]}}
        if request["method"] == "initialize":
            result = {{"protocolVersion": "2025-11-25", "serverInfo": {{"name": "s"}}}}
            result["capabilities"] = {{"tools": {{}}}}
        print(json.dumps({{"jsonrpc": "2.0", "id": request["id"], "result": result}}), flush=True)
"""
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def run(folder: Path, *args: str, asks: object = LIST) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "hauberk", *args]
    asked = json.dumps(asks) + "\n"
    return subprocess.run(words, cwd=folder, input=asked, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_hauberk_run_starts_no_other_program(tmp_path: Path) -> None:
    """After ``pins trust --live`` the tools of a server work through ``hauberk run``; another program never starts."""
    trace = tmp_path / "trace"
    text = SERVER.format(python=sys.executable, trace=str(trace))
    server = executable(tmp_path / "server", text)
    (tmp_path / "hauberk.toml").write_text(
        f'[core]\nstate_dir = "state"\n[plugins]\ndisable = ["sieve", "audit"]\n'
        f'[server.files]\ncommand = "{server}"\n[pins]\nlock = "hauberk.lock"\n'
    )
    config = ("--config", "hauberk.toml")
    told = run(tmp_path, "pins", "trust", *config, "--live")
    digest = told.stderr.split("--hash ")[1].split(",")[0]
    done = run(tmp_path, "pins", "trust", *config, "--yes", "--hash", digest)
    assert (done.returncode, "generation 1" in done.stdout) == (0, True)
    assert run(tmp_path, "pins", "verify", *config, "--live").returncode == 0
    answer = run(tmp_path, "run", *config, "files")
    assert [one["name"] for one in json.loads(answer.stdout)["result"]["tools"]] == ["read"]
    executable(server, text + "# one byte more\n")
    trace.unlink()
    stopped = run(tmp_path, "run", *config, "files")
    assert (stopped.returncode, stopped.stdout) == (125, "")
    assert "the executable of server 'files' is not what was pinned" in stopped.stderr
    assert not trace.exists()
    assert run(tmp_path, "pins", "verify", *config, "--live").returncode == 1
