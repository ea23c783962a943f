"""``hauberk wrap``, ``unwrap`` and ``config init`` on files: what a user does, and what can go wrong on a disk."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # comes with the SDK
from tests.prose import DOCS, EXAMPLES, README, ROOT, Done, Place, blocks, call
from tests.running import Running
from tests.running import server as program

from hauberk import _first, files
from hauberk._entries import server_name
from hauberk.cli import _clients, _program, _rewriting, main
from hauberk.config import Config, Options
from hauberk.plugins import installed, load_class, policy_source
from hauberk.refusals import ConfigError
from hauberk.schema import schema

SECRET = "hunter2-0123456789"
HAUBERK = str(Path(sys.executable).with_name("hauberk"))
CLIENT = f"""\
{{
\t// my servers, TOKEN={SECRET}
\t"mcpServers": {{
\t\t"files": {{"command": "npx", "args": ["-y", "pkg", "--api-key={SECRET}"], "env": {{"TOKEN": "{SECRET}"}}}},
\t\t"web": {{"url": "https://example.org/?k={SECRET}", "headers": {{"Authorization": "{SECRET}"}}}},
\t}}
}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a user who has neither configuration nor clients, and be there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def client(home: Path) -> Path:
    path = home / "mcp.json"
    path.write_text(CLIENT)
    path.chmod(0o600)
    return path


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return a function that runs a command line."""

    def run(*words: str | Path) -> Done:
        status = main([str(word) for word in words])
        return Done(status, *capsys.readouterr())

    return run


def backups(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("*.bak"))}


def entry(path: Path, key: str, table: str = "mcpServers") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())[table][key]
    return found


# --- wrap and unwrap ---


def test_there_and_back(client: Path, line: Any) -> None:
    """Wrapping changes the file and keeps a backup, twice is once, and unwrapping gives the bytes back."""
    done = line("wrap", client)
    assert (done.status, done.err) == (0, "")
    wrapped = client.read_text()
    assert (
        f'"command": "{HAUBERK}", "args": ["run", "--server", "files", "--env", "TOKEN", "--", "npx", "-y"' in wrapped
    )
    assert backups(client.parent) == {"mcp.json.hauberk-1.bak": CLIENT}
    assert "nothing to do" in line("wrap", client).out
    assert client.read_text() == wrapped
    assert backups(client.parent) == {"mcp.json.hauberk-1.bak": CLIENT}
    assert line("unwrap", client).status == 0
    assert client.read_text() == CLIENT


def test_way_back_needs_no_backup(client: Path, line: Any) -> None:
    """Unwrapping gives the bytes back where nobody kept a backup."""
    line("wrap", client)
    for path in client.parent.glob("*.bak"):
        path.unlink()
    line("unwrap", client)
    assert client.read_text() == CLIENT


@pytest.mark.parametrize("options", [[], ["--json"], ["--dry-run"], ["--dry-run", "--json"]])
@pytest.mark.parametrize("word", ["wrap", "unwrap"])
def test_no_secret_is_printed(client: Path, line: Any, word: str, options: list[str]) -> None:
    """No value of ``env``, header, URL, secret argument or comment is printed, and none names a backup (X.14)."""
    if word == "unwrap":
        line("wrap", client)
    done = line(word, client, *options)
    assert done.status == 0
    assert "files" in done.out
    assert SECRET not in done.out + done.err
    assert not [path for path in client.parent.iterdir() if SECRET in path.name]


@pytest.mark.parametrize("text", [CLIENT + "x", CLIENT[:-5], CLIENT.replace('"web"', '"files"')])
def test_no_secret_is_in_an_error(client: Path, line: Any, text: str) -> None:
    """A file that is no JSON is refused with its place and nothing of what it holds, and is left (X.14)."""
    client.write_text(text)
    done = line("wrap", client)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"hauberk: {client}: line ")
    assert SECRET not in done.err
    assert client.read_text() == text
    assert backups(client.parent) == {}


def test_trial_writes_nothing(client: Path, line: Any) -> None:
    """``--dry-run`` prints the lines that would change, and neither file nor backup is written."""
    before = client.stat()
    done = line("wrap", client, "--dry-run")
    assert '-\t\t"files": {"command": "npx", "args": ["-y", "pkg", "***"], "env": {"TOKEN": "***"}},' in done.out
    assert '"--", "npx", "-y", "pkg", "***"], "env": {"TOKEN": "***"}},' in done.out
    assert "nothing was written" in done.out
    assert (client.read_text(), client.stat().st_mtime_ns) == (CLIENT, before.st_mtime_ns)
    assert backups(client.parent) == {}


def test_terminal_gets_no_control_characters(client: Path, line: Any) -> None:
    """What a key or an argument would do to a terminal is shown as an escape."""
    client.write_text(
        '{"mcpServers": {"a\u202e\\u001b[2J": {"command": "x\u009b2J"}, "b": {"command": "hauberk\u202e"}}}'
    )
    for options in (["--dry-run"], ["--json"], []):
        done = line("wrap", client, *options)
        assert done.status == 0
        assert [char for char in done.out + done.err if not char.isprintable() and char != "\n"] == []


def test_facts_for_programs(client: Path, line: Any) -> None:
    """``--json`` says what became of each entry, and where the backup is."""
    done = json.loads(line("wrap", client, "--json").out)
    assert (done["file"], done["changed"], done["dry_run"]) == (str(client), True, False)
    assert done["backup"] == f"{client}.hauberk-1.bak"
    assert [(one["key"], one["name"], one["state"]) for one in done["servers"]] == [
        ("files", "files", "wrapped"),
        ("web", "web", "url"),
    ]
    again = json.loads(line("wrap", client, "--json").out)
    assert (again["changed"], again["backup"], again["servers"][0]["state"]) == (False, None, "guarded")


def test_url_is_told(client: Path, line: Any) -> None:
    """An entry with a URL is left, and the user is told that it is not guarded."""
    assert "not guarded: hauberk does not dial URLs from wrap yet" in line("wrap", client).out


def test_options_become_arguments(client: Path, line: Any) -> None:
    """``--config``, ``--host`` and ``--env`` reach ``hauberk run``, the file by its absolute path."""
    rules = client.parent / "hauberk.toml"
    rules.write_text("[host.desktop]\n")
    client.write_text('{"servers": {"a": {"command": "a", "args": []}}}')
    line("wrap", client, "--config", "hauberk.toml", "--host", "desktop", "--env", "MORE", "--bare-command")
    words = ["--server", "a", "--config", str(rules), "--host", "desktop", "--env", "MORE", "--", "a"]
    assert entry(client, "a", "servers") == {"command": "hauberk", "args": ["run", *words]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--config", "none.toml"], "no such file"),
        (["--config", "broken.toml"], "unknown key"),
        (["--config", "option.toml"], "[sieve] colour: unknown key"),
        (["--config", "plugin.toml"], "plugin 'none' is not installed"),
        (["--env", f"TOKEN={SECRET}"], "--env takes a name, not a value: 'TOKEN'"),
        (["--only", "none"], "there is no server 'none'"),
    ],
)
def test_what_would_not_start_is_not_written(client: Path, line: Any, options: list[str], said: str) -> None:
    """Where ``hauberk run`` would fail, the file is left: every server of the client would fail with it."""
    (client.parent / "broken.toml").write_text("[core]\ncolour = 3\n")
    (client.parent / "option.toml").write_text("[sieve]\ncolour = 3\n")
    (client.parent / "plugin.toml").write_text('[plugins]\nrequire = ["none"]\n')
    done = line("wrap", client, *options)
    assert (done.status, client.read_text(), backups(client.parent)) == (2, CLIENT, {})
    assert said in done.err
    assert SECRET not in done.err


def test_users_own_configuration_is_named_where_home_moves(client: Path, line: Any) -> None:
    """An entry whose ``env`` moves the home is started with the configuration of the user all the same."""
    own = client.parent / "config" / "hauberk" / "hauberk.toml"
    files.private_dir(own.parent)
    own.write_text("")
    client.write_text('{"mcpServers": {"a": {"command": "a", "args": [], "env": {"HOME": "/x"}}}}')
    line("wrap", client)
    assert entry(client, "a")["args"][3:5] == ["--config", str(own)]


# --- the file ---


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_mode_stays(client: Path, line: Any, mode: int) -> None:
    """The file keeps its mode; the backup is for its owner alone."""
    client.chmod(mode)
    line("wrap", client)
    assert stat.S_IMODE(client.stat().st_mode) == mode
    (backup,) = client.parent.glob("*.bak")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_no_backup_is_overwritten(client: Path, line: Any) -> None:
    """Each content has its own backup, and one that is there is neither overwritten nor made again."""
    line("wrap", client)
    line("unwrap", client)
    line("wrap", client)
    kept = backups(client.parent)
    assert kept["mcp.json.hauberk-1.bak"] == CLIENT
    assert len(kept) == len(set(kept.values())) == 2
    client.write_text(CLIENT.replace("pkg", "other"))
    line("wrap", client)
    assert backups(client.parent) == kept | {"mcp.json.hauberk-3.bak": CLIENT.replace("pkg", "other")}


def test_file_in_the_way_of_a_backup_stays(client: Path, line: Any) -> None:
    """What stands under the name of a backup, a link to somewhere else too, is not written to."""
    (client.parent / "elsewhere").write_text("mine")
    (client.parent / "mcp.json.hauberk-1.bak").symlink_to("elsewhere")
    (client.parent / "mcp.json.hauberk-2.bak").mkdir()
    line("wrap", client)
    assert (client.parent / "elsewhere").read_text() == "mine"
    assert (client.parent / "mcp.json.hauberk-3.bak").read_text() == CLIENT


def test_link_is_followed(client: Path, line: Any) -> None:
    """A link stays a link: the file that it leads to is replaced, and its backup lies beside that."""
    link = client.parent / "dot" / "link.json"
    link.parent.mkdir()
    link.symlink_to(client)
    done = line("wrap", link)
    assert link.is_symlink()
    assert client.read_text() != CLIENT
    assert backups(client.parent) == {"mcp.json.hauberk-1.bak": CLIENT}
    assert f"written: {client}" in done.out


def test_second_name_is_refused(client: Path, line: Any) -> None:
    """A file with two names on the disk would be replaced under one of them: it is left."""
    os.link(client, client.parent / "other.json")
    done = line("wrap", client)
    assert (done.status, client.read_text()) == (2, CLIENT)
    assert "2 names on the disk" in done.err


def test_another_owner_is_refused(client: Path, line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of somebody else's would change its owner: it is left."""
    monkeypatch.setattr(os, "geteuid", lambda: client.stat().st_uid + 1)
    done = line("wrap", client)
    assert (done.status, client.read_text()) == (2, CLIENT)
    assert "its owner is user" in done.err


@pytest.mark.parametrize("allowed", [True, False])
def test_group_stays_or_loses(client: Path, line: Any, monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    """A new file that would belong to another group gets the old one's group before it is opened to any."""
    client.chmod(0o640)
    modes = []

    def chown(path: Path, user: int, group: int) -> None:
        modes.append((stat.S_IMODE(os.stat(path).st_mode), user, group))  # noqa: PTH116 - as the code under test
        if not allowed:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(_rewriting, "_new_group", lambda _: client.stat().st_gid + 1)
    monkeypatch.setattr(os, "chown", chown)
    group = client.stat().st_gid
    done = line("wrap", client)
    assert modes == [(0o600, -1, group)]
    assert stat.S_IMODE(client.stat().st_mode) == (0o640 if allowed else 0o600)
    assert ("could not keep its group" in done.err) is not allowed


def test_change_meanwhile_is_not_lost(client: Path) -> None:
    """A file that its client writes between reading and replacing is left with what the client wrote."""
    source = _rewriting.load(client)
    client.write_text("{}")
    with pytest.raises(ConfigError, match="was changed while it was read"):
        _rewriting.replace(source, "other")
    assert (client.read_text(), backups(client.parent)) == ("{}", {})


@pytest.mark.parametrize("step", ["write_new", "write_atomic"])
def test_full_disk_leaves_the_file(client: Path, line: Any, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """On a full disk the file is as before, nothing half-written lies beside it, and the user is told."""
    real, calls = os.fsync, [0]

    def full(fd: int) -> None:
        calls[0] += stat.S_ISREG(os.fstat(fd).st_mode)
        if calls[0] == (1 if step == "write_new" else 2):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    done = line("wrap", client)
    assert (done.status, client.read_text()) == (2, CLIENT)
    assert done.err == f"hauberk: cannot rewrite {str(client)!r}: no space left on device; it is as before\n"
    assert {path.name for path in client.parent.iterdir()} - {"state"} <= {"mcp.json", "mcp.json.hauberk-1.bak"}


@pytest.mark.parametrize("call_number", [1, 2])
def test_interrupt_leaves_the_file(client: Path, line: Any, monkeypatch: pytest.MonkeyPatch, call_number: int) -> None:
    """After Ctrl-C the file is as before, whole, and nothing half-written lies beside it."""
    calls = [0]

    def interrupted(_fd: int) -> None:
        calls[0] += 1
        if calls[0] == call_number:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    assert line("wrap", client).status == 130
    assert client.read_text() == CLIENT
    assert [path.name for path in client.parent.iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"mcpServers": {}}'.encode("utf-16"), "not UTF-8"),
        (b'{"mcpServers": {"\xff": {}}}', "byte 17: not UTF-8"),
        (b"", "expected a value, got the end of the file"),
        (b"{}", "there is no table of MCP servers"),
    ],
)
def test_what_is_no_client_file_is_left(client: Path, line: Any, data: bytes, said: str) -> None:
    """A file in another encoding, an empty one, and one without servers are refused and left."""
    client.write_bytes(data)
    done = line("wrap", client)
    assert (done.status, client.read_bytes()) == (2, data)
    assert said in done.err


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "dangling"])
def test_what_is_no_file_is_told(home: Path, line: Any, kind: str) -> None:
    """What is no file that can be read is told in one line."""
    path = home / "x.json"
    make: dict[str, Callable[[], object]] = {
        "missing": lambda: None,
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "dangling": lambda: path.symlink_to("none"),
    }
    make[kind]()
    done = line("wrap", path)
    assert done.status == 2
    assert "internal error" not in done.err
    assert str(path) in done.err or str(home / "none") in done.err


# --- the program ---


def test_program_is_an_absolute_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program that was called is written, by the link that it was called by, else the one beside Python."""
    link = tmp_path / "hauberk"
    link.symlink_to(HAUBERK)
    monkeypatch.setattr(sys, "argv", [str(link)])
    assert _program.path() == str(link)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["./hauberk"])
    assert _program.path() == str(link)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    assert _program.path() == HAUBERK
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _program.path() == str(link)
    link.unlink()
    with pytest.raises(ConfigError, match="not on the PATH"):
        _program.path()


def test_path_that_json_cannot_write_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program in a folder whose name is no text is refused, not written in another spelling."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "hauberk").symlink_to(HAUBERK)
    monkeypatch.setattr(sys, "argv", [str(folder / "hauberk")])
    with pytest.raises(ConfigError, match="cannot be written into JSON"):
        _program.path()


# --- without a file ---


def test_known_clients_are_shown(client: Path, line: Any) -> None:
    """Without a file, those of known clients are shown with what is in them, and nothing is changed."""
    cursor = client.parent / ".cursor" / "mcp.json"
    cursor.parent.mkdir()
    cursor.write_text(CLIENT)
    (client.parent / ".claude.json").write_text("{")
    (client.parent / ".lmstudio").mkdir()
    (client.parent / ".lmstudio" / "mcp.json").write_text("{}")
    done = line("wrap")
    assert done.status == 0
    rows = {row.split("  ")[0]: row for row in done.out.splitlines()}
    assert "servers: 2, guarded: 0" in rows["Cursor"]
    assert str(cursor) in rows["Cursor"]
    assert "cannot be read" in rows["Claude Code"]
    assert "servers: 0" in rows["LM Studio"]
    assert "not there" in rows["Claude Desktop"]
    assert cursor.read_text() == CLIENT
    line("wrap", cursor)
    facts = {one["client"]: one for one in json.loads(line("wrap", "--json").out)}
    assert facts["Cursor"] | {"file": ""} == {
        "client": "Cursor",
        "file": "",
        "exists": True,
        "servers": 2,
        "guarded": 1,
        "fault": None,
    }


def test_known_clients_are_the_users(home: Path) -> None:
    """Each known file lies in the home of the user, never in the working directory."""
    assert all(one.path.is_relative_to(home) and one.path.parent != home / "x" for one in _clients.known())


# --- config init ---


def test_first_configuration_is_sound(client: Path, line: Any) -> None:
    """``config init`` writes what ``config check`` takes, names the servers, and says what comes next."""
    done = line("config", "init", "--from", client)
    path = client.parent / "config" / "hauberk" / "hauberk.toml"
    assert (done.status, done.err) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"written: {path}\nservers: files, web\n" in done.out
    assert f"next: hauberk wrap {client}" in done.out
    text = path.read_text()
    assert text.startswith("#:schema ./hauberk.schema.json\n")
    assert SECRET not in text
    assert tomllib.loads(text)["server"] == {"files": {"env": {"TOKEN": True}}, "web": {}}
    checked = line("config", "check")
    assert checked.status == 0
    assert "audit, sieve" in checked.out


def test_first_configuration_is_never_overwritten(client: Path, line: Any) -> None:
    """A file that is there stays, a link to nowhere too, whoever wrote it."""
    path = client.parent / "hauberk.toml"
    path.write_text("mine")
    for one in (path, client.parent / "link.toml"):
        if one != path:
            one.symlink_to("none.toml")
        done = line("config", "init", one)
        assert done.status == 2
        assert "is left as it is" in done.err
    assert path.read_text() == "mine"
    assert not (client.parent / "none.toml").exists()


def test_first_configuration_is_from_known_clients(home: Path, line: Any) -> None:
    """Without ``--from`` the servers of known clients are taken, those that are wrapped by their own command."""
    cursor = home / ".cursor" / "mcp.json"
    cursor.parent.mkdir()
    cursor.write_text('{"mcpServers": {"a/b": {"command": "npx", "args": ["x"], "env": {"T": "y"}}}}')
    (home / ".gemini").mkdir()
    (home / ".gemini" / "settings.json").write_text("{")
    line("wrap", cursor)
    done = line("config", "init", "rules.toml", "--json")
    assert json.loads(done.out)["servers"] == ["a-b"]
    assert json.loads(done.out)["next"] == [f"hauberk config check --config {home / 'rules.toml'}"]
    assert "warning:" in done.err
    (table,) = tomllib.loads((home / "rules.toml").read_text())["server"].values()
    assert table == {"command": "npx", "args": ["x"], "env": {"T": True}}


def test_named_client_must_be_there(home: Path, line: Any) -> None:
    """A file that ``--from`` names and that cannot be read is an error, and nothing is written."""
    (home / "bad.json").write_text("{")
    for name in ("none.json", "bad.json"):
        done = line("config", "init", "x.toml", "--from", name)
        assert done.status == 2
        assert name in done.err
    assert not (home / "x.toml").exists()


def test_full_disk_writes_no_configuration(home: Path, line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk there is no first configuration, not half of one."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = line("config", "init", "x.toml")
    assert (done.status, list(home.glob("*x.toml*"))) == (2, [])
    assert "no space left" in done.err


@pytest.mark.parametrize(
    "words",
    [("./run",), ("~/run",), ("a", "${workspaceFolder}"), ("a", "--token", "x"), ("a", "x\u202e"), ("a", "\ud800")],
)
def test_command_that_is_not_copied(words: tuple[str, ...]) -> None:
    """A command line that only its client understands, or that holds what looks like a secret, is not copied."""
    text = _first.text([("f", _first.Start("s", words))], ["sieve"])
    assert tomllib.loads(text)["server"] == {"s": {}}
    assert "its command line is not copied" in text


@given(
    st.lists(st.tuples(st.text(max_size=8).map(server_name), st.lists(st.text(max_size=8), min_size=1, max_size=3))),
    st.sets(st.sampled_from(["sieve", "audit"])),
)
def test_any_server_makes_a_sound_text(found: list[tuple[str, list[str]]], present: set[str]) -> None:
    """Whatever the servers are, the text is TOML that says just that, and the core takes its tables."""
    text = _first.text([("f", _first.Start(name, tuple(words), ("T", "A B"))) for name, words in found], present)
    read = tomllib.loads(text)
    assert {word for word in read if word not in {"profile", "plugins", "server"}} == present
    assert list(read.get("server", {})) == list(dict.fromkeys(name for name, _ in found))
    first = dict(reversed(found))
    for name, table in read.get("server", {}).items():
        assert table["env"] == {"T": True, "A B": True}
        assert [table["command"], *table["args"]] == first[name] if "command" in table else True
    if all(words[0] for _, words in found):
        Config.from_toml(text, base=Path("/"))


# --- config schema ---

KINDS: dict[str, type[Options]] = {name: load_class(source).Options for name, source in installed().items()}
POLICY = policy_source(EXAMPLES / "business_hours.py")
PAGES = [README, *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "plugins").glob("*/README.md"))]
TEXTS = [
    *(path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.rglob("*.toml"))),
    *(text for page in PAGES for text in blocks(page, "toml")),
    _first.text([("f", _first.Start("files", ("npx",)))], ["audit", "sieve"]),
]


def test_schema_takes_every_configuration_of_the_pages(line: Any) -> None:
    """Each configuration in the examples and on the pages that the loader takes is taken by the schema."""
    printed = json.loads(line("config", "schema").out)
    assert printed == json.loads(json.dumps(schema(KINDS)))
    validator = Draft202012Validator(printed)
    taken = 0
    for text in TEXTS:
        try:
            Config.from_toml(text, base=EXAMPLES).check(KINDS | {"policy": load_class(POLICY).Options})
        except ConfigError:
            continue
        taken += 1
        value = json.loads(json.dumps(tomllib.loads(text), default=str))  # an editor knows a date as text
        assert [error.message for error in validator.iter_errors(value)] == [], text
    assert taken >= 5


# --- completion ---


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("wrap mcp.json --only ", {"files", "web"}),
        ("unwrap mcp.json --only f", {"files"}),
        ("wrap none.json --only ", set()),
        ("run --config hauberk.toml --server ", {"notes", "mail"}),
        ("run --config hauberk.toml n", {"notes"}),
        ("run --config broken.toml --server ", set()),
        ("wr", {"wrap"}),
        ("config ", {"check", "init", "schema", "show"}),
    ],
)
def test_shell_completes_names(
    client: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    found: set[str],
) -> None:
    """A shell completes commands, the servers of a client's file, and those of the configuration; quietly."""
    (client.parent / "hauberk.toml").write_text("[server.notes]\n[server.mail]\n")
    (client.parent / "broken.toml").write_text("[")
    monkeypatch.setenv("_HAUBERK_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"hauberk {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert {row.partition(",")[2] for row in out.split()} == found
    assert err == ""


# --- from end to end ---


@contextlib.contextmanager
def started(place: Place, command: Sequence[str], **env: str) -> Iterator[Callable[..., Any]]:
    """Start a command as a client does, shake hands, and give what sends a request and returns its answer."""
    with (place.home / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command, env=place.env | env, cwd=place.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
    with process:
        guarded = Running(place.home, process)
        numbers = itertools.count(1)

        def ask(message: dict[str, Any]) -> Any:
            number = next(numbers)
            guarded.send({"jsonrpc": "2.0", "id": number, **message})
            return next(one for one in iter(guarded.receive, None) if one.get("id") == number)

        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        ask({"method": "initialize", "params": hello})
        guarded.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield ask
        assert guarded.end() == 0, guarded.stderr()


def from_file(path: Path, key: str) -> tuple[list[str], dict[str, str]]:
    """Return the command of an entry, and its environment."""
    one = entry(path, key)
    return [one["command"], *one.get("args", [])], one.get("env", {})


def test_two_servers_of_a_client(tmp_path: Path) -> None:
    """Two servers, wrapped and started as a client does: a call works, a denied one does not, and the way back."""
    place = Place(tmp_path)
    telling = program(tmp_path, TELLING)
    notes = [sys.executable, str(EXAMPLES / "notes_server.py"), str(tmp_path / "notes")]
    teller = {"command": telling[0], "args": telling[1:], "env": {"TOKEN": SECRET, "PYTHONPATH": "/x"}}
    servers = {"notes": {"command": notes[0], "args": notes[1:]}, "my/teller": teller}
    text = json.dumps({"mcpServers": servers}, indent=4)
    path = place.write("mcp.json", text)
    assert place.run(["hauberk", "config", "init", "hauberk.toml", "--from", "mcp.json"]).status == 0
    rules = tmp_path / "hauberk.toml"
    rules.write_text(rules.read_text().replace("deny = []", 'deny = ["notes/delete_*", "my-teller/shout"]'))
    done = place.run(["hauberk", "wrap", "mcp.json", "--config", "hauberk.toml"])
    assert (done.status, done.err) == (0, "")
    assert "rules call it 'my-teller'" in done.out

    command, env = from_file(path, "notes")
    for words in (command, ["hauberk", "run", "--config", "hauberk.toml", "notes"]):
        with started(place, words, **env) as ask:
            assert ask(call("read_note", name="milk"))["result"]["content"][0]["text"] == "buy milk"
            assert ask(call("delete_all"))["error"]["data"]["code"] == "sieve.denied"
    assert (tmp_path / "notes" / "milk.txt").exists()

    command, env = from_file(path, "my/teller")
    with started(place, command, **env) as ask:
        assert ask(call("tell"))["result"]["told"] == [SECRET, "/x"]
        assert ask(call("shout"))["error"]["data"]["code"] == "sieve.denied"

    assert place.run(["hauberk", "unwrap", "mcp.json"]).status == 0
    assert path.read_text() == text
    command, env = from_file(path, "my/teller")
    with started(place, command, **env) as ask:
        assert "result" in ask(call("shout"))


TELLING = """
import json, os, sys
for line in sys.stdin.buffer:
    request = json.loads(line)
    if "id" in request:
        told = [os.environ.get("TOKEN"), os.environ.get("PYTHONPATH")]
        result = {"told": told, "content": [], "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        result["serverInfo"] = {"name": "t", "version": "1"}
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}, separators=(",", ":")), flush=True)
"""
"""A server that tells what it was given in its environment."""
