"""``hauberk policy``: what it prints, what it changes, and its exit status."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from plugins.audit.tests.policies.conftest import Host
from plugins.audit.tests.policies.test_history import record

from hauberk import files
from hauberk.cli import main
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.refusals import ConfigError
from hauberk_audit import Audit
from hauberk_audit.policies import _signing
from hauberk_audit.policies._rows import version_of
from hauberk_audit.policies._site import short


class Said:
    """The exit status of a command, and what it printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def policy(host: Host, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs ``hauberk policy …``."""

    def run(*args: object) -> Said:
        capsys.readouterr()
        status = main(["policy", *map(str, args)])
        return Said(status, *capsys.readouterr())

    return run


A = "---[audit]\nrequired = false\n"
B = "---[audit]\nrequired = true\n"


@pytest.fixture
async def two(host: Host) -> tuple[str, str]:
    """Let a host have had two policies; return their versions. The second is in force."""
    versions = []
    for text in (A, B):
        versions.append(host.write(text))
        await host.run()
    return versions[0], versions[1]


# --- history ---


def test_history_lists_what_was_in_force(host: Host, two: tuple[str, str], policy: Run) -> None:
    """The newest first, with a star at what is in force, version, time, who, and what differs (S3.19)."""
    said = policy("history")
    head, newest, oldest = said.out.splitlines()
    assert said.status == 0
    assert head.split()[:3] == ["row", "version", "serial"]
    assert newest.startswith(f"*  2    {short(two[1])}  ")
    assert "+0 rules, -0 rules, ~1 modified" in newest
    assert f"file:{os.getuid()}" in newest
    assert newest.endswith(str(host.path))
    assert oldest.startswith(f"   1    {short(two[0])}  ")


def test_history_as_json(host: Host, two: tuple[str, str], policy: Run) -> None:
    """For programs each row is whole."""
    found = policy("history", "--json").json
    assert [(one["version"], one["in_force"]) for one in found] == [(two[1], True), (two[0], False)]
    assert found[0]["diff"] == ["~ audit.required: false → true"]
    assert found[0]["prev_hash"] == found[1]["hash"]


def test_history_says_where_the_file_is_another(host: Host, two: tuple[str, str], policy: Run) -> None:
    """An edit that nobody has loaded is told."""
    assert "note" not in policy("history").out
    host.write("# edited\n")
    assert "has changed since; hosts that run enforce what they loaded" in policy("history").out


def test_no_history_is_2(host: Host, policy: Run) -> None:
    """Where nothing was kept, that is said."""
    host.write()
    said = policy("history")
    assert (said.status, said.out) == (2, "")
    assert "there is no history of policies in" in said.err
    assert "hint: " in said.err


async def test_names_are_made_visible(host: Host, policy: Run) -> None:
    """What a file is called does not get to the terminal as it is."""
    config = Config.from_toml(f'[core]\nstate_dir = "{host.state}"\n', name="a\x1b[2Jb")
    async with Guard.load(config):
        pass
    host.write()
    out = policy("history").out
    assert "\x1b" not in out
    assert r"a\x1b[2Jb" in out


# --- show ---


def test_show_prints_the_bytes(host: Host, two: tuple[str, str], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What a version said comes out to the byte; a few digits of its hash are enough (S3.19)."""
    for name in (two[1], two[1][:13], two[1].removeprefix("sha256:")[:4]):
        assert main(["policy", "show", name]) == 0
        assert capfdbinary.readouterr().out == host.path.read_bytes()


async def test_show_does_not_show_secrets_unasked(host: Host, policy: Run) -> None:
    """What may hold a secret is printed as it was or not at all, and only when that is asked for (X.14)."""
    host.write('---[server.x]\ncommand = "y"\nenv = { TOKEN = "swordfish" }\n')
    await host.run()
    version = host.history.rows()[0].version
    for args in ([], ["--json"]):
        said = policy("show", version, *args)
        assert (said.status, said.out) == (2, "")
        assert "may hold secrets, and is not shown: server.x" in said.err
        assert "swordfish" not in said.err
    assert "swordfish" in policy("show", version, "--raw").out


def test_show_of_what_is_not_there(host: Host, two: tuple[str, str], policy: Run) -> None:
    """An unknown, ambiguous or short version is an error with a hint."""
    for name in ("ffff", "abc", "sha256:"):
        said = policy("show", name)
        assert said.status == 2
        assert "hint: " in said.err


# --- diff ---


def test_diff_is_rule_by_rule(host: Host, two: tuple[str, str], policy: Run) -> None:
    """Two versions are compared as a reload compares them; they differ is 1, they do not is 0 (S3.18, S3.19)."""
    said = policy("diff", two[0], two[1])
    assert said.status == 1
    assert said.out.splitlines() == [
        f"{short(two[0])} → {short(two[1])}: +0 rules, -0 rules, ~1 modified",
        "  ~ audit.required: false → true",
    ]
    back = policy("diff", two[1], two[0], "--json").json
    assert back["lines"] == ["~ audit.required: true → false"]
    assert policy("diff", two[0], two[0]).status == 0


def test_diff_with_the_file(host: Host, two: tuple[str, str], policy: Run) -> None:
    """Without a second version it is the file as it is."""
    assert policy("diff", two[1]).status == 0
    host.write('[plugins]\ndisable = ["x"]\n' + B)
    assert "+ plugins.disable: x" in policy("diff", two[1]).out


def test_diff_shows_a_swap(host: Host, policy: Run, tmp_path: Path) -> None:
    """An allow that became a deny is one rule less and one more, not nothing (S3.18)."""
    texts = ('---[sieve]\nallow = ["a/*"]\n', '---[sieve]\ndeny = ["a/*"]\n')
    rows = []
    for text in texts:
        host.write(text)
        content = host.path.read_bytes()
        rows.append(record(host.history, content, place=str(host.path))[0])
    said = policy("diff", rows[0].version, rows[1].version)
    assert said.status == 1
    assert "+1 rule, -1 rule, ~0 modified" in said.out


# --- rollback ---


def test_rollback_puts_it_back(host: Host, two: tuple[str, str], policy: Run) -> None:
    """The file is what it was, whole and with its mode; what to do next is said (S3.19)."""
    host.path.chmod(0o640)
    said = policy("rollback", two[0][:15], "--yes")
    assert (said.status, version_of(host.path.read_bytes())) == (0, two[0])
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o640
    assert "~ audit.required: true → false" in said.err
    assert f"put back: {host.path} is {short(two[0])}" in said.out
    assert "SIGHUP" in said.out
    assert sorted(path.name for path in host.path.parent.iterdir()) == ["hauberk.toml"]


def test_rollback_keeps_what_was_there(host: Host, two: tuple[str, str], policy: Run) -> None:
    """A file that was never in force is not lost either, and can be put back."""
    edited = host.write("# precious\n" + B)
    policy("rollback", two[0], "--yes")
    assert edited in host.history.contents()
    assert [row.how for row in host.history.rows()] == ["startup", "startup", "kept"]
    assert policy("rollback", edited, "--yes").status == 0
    assert version_of(host.path.read_bytes()) == edited
    assert policy("verify").status == 0


async def test_rollback_is_a_change_like_any_other(host: Host, two: tuple[str, str], policy: Run) -> None:
    """What was put back comes into force by a reload or a start, with a row of its own."""
    policy("rollback", two[0], "--yes")
    await host.run()
    assert [row.version for row in host.history.rows()] == [two[0], two[1], two[0]]


def test_rollback_asks(host: Host, two: tuple[str, str]) -> None:
    """Without --yes nothing happens unless somebody says yes."""
    group = Audit.commands()[1]
    before = host.path.read_bytes()
    for answer in ("n\n", ""):
        assert CliRunner().invoke(group, ["rollback", two[0]], input=answer).exit_code != 0
        assert host.path.read_bytes() == before
    assert CliRunner().invoke(group, ["rollback", two[0]], input="y\n").exit_code == 0
    assert version_of(host.path.read_bytes()) == two[0]


def test_rollback_to_what_is_there(host: Host, two: tuple[str, str], policy: Run) -> None:
    """What is there already is not put back."""
    assert "already" in policy("rollback", two[1]).out
    assert len(host.history.rows()) == 2


async def test_rollback_to_what_would_not_load_is_refused(host: Host, policy: Run) -> None:
    """A policy that no host could load now does not take the place of one that it can."""
    folder = host.home / "folder"
    folder.mkdir(mode=0o700)
    old = host.write(f'[plugins]\nrequire = ["audit"]\n---[audit]\npath = "{folder}/a.jsonl"\n')
    await host.run()
    host.write(A)
    await host.run()
    before = host.path.read_bytes()
    row = host.history.rows()[0]
    assert row.version == old
    broken = b'[plugins]\nrequire = ["gone"]\n[core]\nstate_dir = "%s"\n' % str(host.state).encode()
    record(host.history, broken, place="/elsewhere")
    said = policy("rollback", version_of(broken), "--yes")
    assert said.status == 2
    assert "cannot put" in said.err
    assert "'gone' is not installed" in said.err
    assert host.path.read_bytes() == before


def test_rollback_from_what_does_not_load(host: Host, two: tuple[str, str], policy: Run) -> None:
    """It is there for the day on which the file cannot be loaded, and for the one on which it is gone."""
    host.path.write_text("[core\n")
    said = policy("rollback", two[0], "--yes", "--state-dir", host.state)
    assert said.status == 0, said.err
    assert version_of(host.path.read_bytes()) == two[0]
    host.path.unlink()
    assert policy("rollback", two[1], "--yes").status == 0
    assert version_of(host.path.read_bytes()) == two[1]
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o600


def test_rollback_that_finds_another_file_leaves_it(
    host: Host, two: tuple[str, str], policy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that somebody writes meanwhile is left."""
    confirm = click.confirm

    def slow(*args: Any, **more: Any) -> bool:
        host.write("# somebody else\n")
        return True

    monkeypatch.setattr(click, "confirm", slow)
    said = policy("rollback", two[0])
    assert said.status == 2
    assert "was changed meanwhile" in said.err
    assert host.path.read_bytes().startswith(b"# somebody else")
    monkeypatch.setattr(click, "confirm", confirm)


def test_rollback_that_fails_leaves_the_file(
    host: Host, two: tuple[str, str], policy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails leaves the file as it is."""
    before = host.path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    said = policy("rollback", two[0], "--yes")
    assert (said.status, host.path.read_bytes()) == (2, before)
    assert "no space left on device; it is as before" in said.err


def test_rollback_does_not_follow_a_link(host: Host, two: tuple[str, str], policy: Run) -> None:
    """A link in the place of the file is not followed, and what it leads to is not replaced."""
    target = host.home / "target.toml"
    target.write_text("# target\n")
    host.path.unlink()
    host.path.symlink_to(target)
    assert policy("rollback", two[0], "--yes", "--state-dir", host.state).status == 2
    assert target.read_text() == "# target\n"


async def test_rollback_says_what_it_does_not_put_back(host: Host, policy: Run) -> None:
    """A ``policy.py`` is not put back; that it is another one is said."""
    program = host.path.with_name("policy.py")
    text = (
        "import hauberk\nclass Policy:\n    name = 'policy'\n    Options = hauberk.Options\n"
        "    def __init__(self, options, guard): pass\n"
        "    @hauberk.hookimpl\n    def on_connect(self, connection): pass\n"
    )
    program.write_text(text)
    program.chmod(0o600)
    old = host.write('[plugins]\npolicy = "policy.py"\n' + A)
    await host.run()
    program.write_text(text + "# 2\n")
    host.write('[plugins]\npolicy = "policy.py"\n' + B)
    await host.run()
    said = policy("rollback", old, "--yes")
    assert f"policy.py is not put back: with this version it was {short(version_of(text.encode()))}" in said.err
    assert policy("show", version_of(text.encode())).out == text
    assert policy("rollback", version_of(text.encode()), "--yes").status == 2


def test_rollback_where_signatures_are_enforced(host: Host, two: tuple[str, str], policy: Run) -> None:
    """An older policy has to be signed anew; that is said, and nothing is replaced (S3.20)."""
    host.enforce()
    host.sign(3)
    before = host.path.read_bytes()
    said = policy("rollback", two[0], "--yes")
    assert (said.status, host.path.read_bytes()) == (2, before)
    assert "it is the signature of another policy" in said.err
    assert "sign FILE with a higher serial" in said.err


# --- verify ---


def test_whole_history_is_0(host: Host, two: tuple[str, str], policy: Run) -> None:
    """A whole history, anchored in the log, and no trust store: 0."""
    said = policy("verify")
    assert said.status == 0
    assert said.out.splitlines() == [
        "history: whole: 2 rows",
        "signature: none is asked for: there is no trust store, or each is off",
    ]
    found = policy("verify", "--json").json
    assert (found["status"], found["rows"], found["anchors"], found["faults"]) == (0, 2, 1, [])


def test_changed_history_is_1(host: Host, two: tuple[str, str], policy: Run) -> None:
    """A row that was changed is named (S3.19)."""
    db = sqlite3.connect(host.history.path)
    with db:
        db.execute("UPDATE policy_loads SET changed_by = 'x' WHERE number = 1")
    db.close()
    said = policy("verify")
    assert said.status == 1
    assert "row 1: it is not what was written" in said.out
    assert "history: broken: 1 faults in 2 rows" in said.out


def test_cut_history_is_1(host: Host, two: tuple[str, str], policy: Run) -> None:
    """Rows that were cut off the end are missed by the log."""
    db = sqlite3.connect(host.history.path)
    with db:
        db.execute("DELETE FROM policy_loads WHERE number = 2")
        db.execute("DELETE FROM policy_versions WHERE version = ?", (two[1],))
    db.close()
    said = policy("verify")
    assert said.status == 1
    assert "names row 2, and the last one is 1: rows were cut off" in said.out


def test_nothing_to_verify_is_2(host: Host, policy: Run) -> None:
    """Where there is neither a history nor a trust store there is nothing to say."""
    host.write()
    assert policy("verify").status == 2


def test_verify_says_who_signed(host: Host, two: tuple[str, str], policy: Run) -> None:
    """A signature that is accepted is named, one that is not is 1 (S3.20)."""
    host.enforce()
    host.sign(3)
    assert "signature: valid: ops, serial 3" in policy("verify").out
    host.write("# edited\n" + B)
    for mode in ("enforce", "warn"):
        host.settings(f'mode = "{mode}"\n')
        said = policy("verify")
        assert said.status == 1
        assert "it is the signature of another policy" in said.out


def test_colour_is_for_a_terminal(host: Host, two: tuple[str, str]) -> None:
    """Output is plain in a pipe and coloured where a terminal is."""
    group = Audit.commands()[1]
    assert "\x1b[" not in CliRunner().invoke(group, ["verify"]).output
    assert "\x1b[32m" in CliRunner().invoke(group, ["verify"], color=True).output


# --- keygen, sign, serial ---


def test_key_is_made_for_a_store(host: Host, policy: Run, tmp_path: Path) -> None:
    """``keygen`` makes a private key and a file that a trust store takes as it is, and overwrites nothing (X.9)."""
    key = tmp_path / "ops.key"
    said = policy("keygen", key, "--signer", "ops", "--days", 90)
    assert said.status == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().strip() not in said.out
    host.store.mkdir(mode=0o700)
    (host.store / "ops.toml").write_bytes((tmp_path / "ops.key.toml").read_bytes())
    host.write()
    host.history.at_least(str(host.path), 1)
    assert policy("sign", host.path, "--key", key, "--serial", 1, "--signer", "ops").status == 0
    assert "signature: valid: ops, serial 1" in policy("verify").out
    before = key.read_bytes(), (tmp_path / "ops.key.toml").read_bytes()
    assert policy("keygen", key, "--signer", "ops").status == 2
    (tmp_path / "ops.key.toml").unlink()
    assert policy("keygen", key, "--signer", "ops").status == 2
    assert key.read_bytes() == before[0]


@pytest.mark.parametrize("signer", ["", "x" * 129])
def test_name_that_no_store_takes_is_refused(host: Host, policy: Run, tmp_path: Path, signer: str) -> None:
    """A key is not made under a name that could not be used."""
    assert policy("keygen", tmp_path / "a.key", "--signer", signer).status == 2
    assert list(tmp_path.glob("a.key*")) == []


async def test_signed_policy_starts(host: Host, policy: Run) -> None:
    """What ``sign`` makes is what a host accepts, with its ``policy.py`` and for its audience (S3.20)."""
    program = host.path.with_name("policy.py")
    program.write_text(
        "import hauberk\nclass Policy:\n    name = 'policy'\n    Options = hauberk.Options\n"
        "    def __init__(self, options, guard): pass\n"
        "    @hauberk.hookimpl\n    def on_connect(self, connection): pass\n"
    )
    program.chmod(0o600)
    host.write('[plugins]\npolicy = "policy.py"\n' + A)
    host.enforce()
    host.settings('audience = "desktop"\n')
    key = host.key_file()
    said = policy("sign", host.path, "--key", key, "--serial", 5, "--signer", "ops", "--audience", "desktop")
    assert said.status == 0, said.err
    await host.run()
    assert host.history.rows()[0].serial == 5
    program.write_text(program.read_text() + "# edited\n")
    with pytest.raises(Exception, match=r"not the signature of this policy\.py"):
        host.load()


def test_sign_takes_a_higher_serial(host: Host, policy: Run) -> None:
    """A serial that hosts would refuse is refused before: lower than before, or the same for another policy."""
    host.write()
    key = host.key_file()

    def sign(serial: int) -> Said:
        return policy("sign", host.path, "--key", key, "--serial", serial, "--signer", "ops")

    beside = host.path.with_name("hauberk.toml.sig")
    assert sign(3).status == 0
    assert sign(3).status == 0
    before = beside.read_bytes()
    said = sign(2)
    assert (said.status, beside.read_bytes()) == (2, before)
    assert "--serial 4" in said.err
    host.write("# edited\n")
    assert sign(3).status == 2
    assert sign(4).status == 0
    assert _signing.parse(beside.read_bytes(), "x").policy_version == Config.read(host.path).version


@pytest.mark.parametrize("serial", ["0", "-1", str(2**53), "x"])
def test_serial_that_is_none_is_refused(host: Host, policy: Run, serial: str) -> None:
    """A serial is a number from 1."""
    host.write()
    assert policy("sign", host.path, "--key", host.key_file(), "--serial", serial, "--signer", "ops").status == 2
    assert not host.path.with_name("hauberk.toml.sig").exists()


def test_serial_is_told_and_raised(host: Host, policy: Run) -> None:
    """What is remembered is printed, can be raised, and never lowered (S3.20)."""
    host.write()
    assert policy("serial").status == 1
    assert not host.state.exists()
    assert policy("serial", "--json").json is None
    assert policy("serial", "--at-least", 5).out == f"serial 5: {host.path}\n"
    assert policy("serial", "--at-least", 3).out == f"serial 5: {host.path}\n"
    assert policy("serial", "--json").json == {"serial": 5, "content": ""}


def test_serial_of_a_policy_that_is_refused(host: Host, policy: Run) -> None:
    """The hint of the refusal is one that can be followed: it needs no accepted policy."""
    host.write()
    host.trust(host.signer)
    host.sign(4)
    assert "hauberk policy serial --at-least 4" in _hint(host)
    assert policy("serial", "--at-least", 4, "--config", host.path).status == 0
    host.load()


def _hint(host: Host) -> str:
    with pytest.raises(ConfigError) as caught:
        host.load()
    return str(caught.value.hint)
