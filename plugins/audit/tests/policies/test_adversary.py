"""Somebody who can write the history, or the policy, and wants that nobody sees it."""

from __future__ import annotations

import sqlite3
import sys
import zlib
from contextlib import closing

import pytest
from plugins.audit.tests.policies.conftest import Host
from plugins.audit.tests.policies.test_commands import A, B, Run, policy, two

from hauberk.cli import main
from hauberk.refusals import HauberkError
from hauberk_audit.policies._site import when

__all__ = ["policy", "two"]

_SEALED = "[audit.encryption]\nenabled = true\n"
_LOCAL = """import hauberk
class P:
    name = "policy"
    class Options(hauberk.Options):
        pass
    def __init__(self, options, guard): pass
    @hauberk.hookimpl
    def on_audit(self, event): pass
"""


def change(host: Host, *statements: tuple[str, tuple[object, ...]]) -> None:
    """Change the history as somebody would who has it."""
    with closing(sqlite3.connect(host.history.path)) as db:
        for statement, values in statements:
            db.execute(statement, values)
        db.commit()


def cut(host: Host, number: int, version: str = "") -> None:
    """Cut a row off, and what it said."""
    change(
        host,
        ("DELETE FROM policy_loads WHERE number = ?", (number,)),
        ("DELETE FROM policy_versions WHERE version = ?", (version,)),
    )


# --- a policy that nobody can read ---


async def test_verify_does_not_pass_a_policy_that_cannot_be_read(host: Host, policy: Run) -> None:
    """A file that is no policy, or is not there, is not one of which no signature is asked (S3.20)."""
    host.write()
    host.enforce()
    host.sign(3)
    await host.run()
    assert policy("verify").status == 0
    with host.path.open("ab") as file:
        file.write(b"\n]broken[\n")
    said = policy("verify")
    assert said.status == 1
    assert "none is asked for" not in said.out
    gone = policy("verify", "--config", host.path.with_name("gone.toml"))
    assert gone.status == 1
    assert "gone.toml" in gone.out
    assert policy("verify", "--json", "--config", host.path.with_name("gone.toml")).json["enforced"] is True


# --- a history that says something else ---


async def test_rollback_puts_back_what_the_version_says(host: Host, two: tuple[str, str], policy: Run) -> None:
    """What was changed in the history is neither put back nor shown under a version that it does not have (S3.19)."""
    before = host.path.read_bytes()
    evil = zlib.compress(before + b"# evil\n")
    change(host, ("UPDATE policy_versions SET content = ? WHERE version = ?", (evil, two[0])))
    for args in (["rollback", two[0], "--yes"], ["show", two[0]], ["show", two[0], "--raw"], ["diff", two[0]]):
        said = policy(*args)
        assert (said.status, said.out) == (2, "")
        assert "is not what was kept" in said.err
    assert host.path.read_bytes() == before


async def test_rollback_keeps_what_was_there_though_the_history_was_changed(
    host: Host, two: tuple[str, str], policy: Run
) -> None:
    """What is replaced is kept as it was, also where somebody has put another content in its place (S3.19)."""
    before = host.path.read_bytes()
    change(host, ("UPDATE policy_versions SET content = ? WHERE version = ?", (zlib.compress(b"# evil\n"), two[1])))
    assert policy("rollback", two[0], "--yes").status == 0
    assert host.history.contents()[two[1]] == before


async def test_changed_content_is_not_compared(host: Host, two: tuple[str, str]) -> None:
    """The event of a change does not tell a difference from what nobody had (S3.18)."""
    change(host, ("UPDATE policy_versions SET content = ? WHERE version = ?", (zlib.compress(b"# evil\n"), two[1])))
    host.write(A)
    await host.run()
    row = host.history.rows()[-1]
    assert (row.prev_version, row.summary, row.diff) == (two[1], "cannot be compared", ())


# --- rows that are gone ---


async def test_rows_that_were_cut_off_the_beginning_are_missed(host: Host, two: tuple[str, str], policy: Run) -> None:
    """Of fewer rows than are kept none can be gone (S3.19)."""
    cut(host, 1, two[0])
    said = policy("verify")
    assert said.status == 1
    assert "rows 1 to 1 are missing: the newest 200 are kept" in said.out


@pytest.mark.parametrize("after", [A, "---[audit]\nrequired = true\ndurability = 'event'\n"])
async def test_row_that_was_cut_off_is_missed_after_a_restart(
    host: Host, two: tuple[str, str], policy: Run, after: str
) -> None:
    """The log named it once, whatever it named since (S3.19)."""
    cut(host, 2, two[1])
    assert policy("verify").status == 1
    host.write(after)
    await host.run()
    assert policy("verify").status == 1


async def test_rows_that_were_cut_off_are_missed_where_the_log_is_sealed(host: Host, policy: Run) -> None:
    """The key of the host opens what the log says of the history (S3.13, S3.19)."""
    for text in (A, B):
        host.write(text + _SEALED)
        await host.run()
    said = policy("verify")
    assert said.status == 0, said.out
    assert "note" not in said.out
    cut(host, 2, host.history.rows()[1].version)
    said = policy("verify")
    assert said.status == 1
    assert "names row 2, and the last one is 1: rows were cut off" in said.out


async def test_sealed_log_without_a_key_is_told(host: Host, policy: Run) -> None:
    """A log that nobody here can open does not say that all rows are there (S3.19)."""
    host.write(A + _SEALED)
    await host.run()
    for key in host.state.rglob("*.key"):
        key.unlink()
    said = policy("verify")
    assert said.status == 2
    assert "no key at hand opens" in said.out
    assert policy("verify", "--json").json["closed"] != []


# --- what gets to a terminal ---


async def test_history_prints_nothing_that_acts_on_a_terminal(host: Host, two: tuple[str, str], policy: Run) -> None:
    """Whatever stands in a row, a terminal sees text (X.14)."""
    change(
        host,
        (
            "UPDATE policy_loads SET summary = ?, version = ?, loaded_at = 1e300 WHERE number = 1",
            ("\x1b]0;x\x07", "\x9b2J"),
        ),
    )
    said = policy("history")
    assert said.status == 0
    assert "\x1b" not in said.out
    assert "\x9b" not in said.out
    assert r"\x1b]0;x\x07" in said.out


@pytest.mark.parametrize("seconds", [1e300, float("inf"), float("nan")])
def test_time_that_is_none(seconds: float) -> None:
    """A row that was changed does not end the command."""
    assert when(seconds) == "?"


@pytest.mark.parametrize("hidden", ["\x9b2J", "\u202e", "\u2028", "\u200b"])
async def test_show_prints_nothing_that_acts_on_a_terminal(host: Host, policy: Run, hidden: str) -> None:
    """What would act there, or cannot be seen, is printed only when that is asked for (X.14)."""
    version = host.write(f"# é\u3000{hidden}\n" + A)
    await host.run()
    for args in ([], ["--json"]):
        said = policy("show", version, *args)
        assert (said.status, said.out) == (2, "")
        assert "act on a terminal" in said.err
    assert hidden in policy("show", version, "--raw").out


async def test_show_escapes_where_somebody_looks(
    host: Host, policy: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal nothing acts, whatever was asked for; lines and letters stay as they are (X.14)."""
    version = host.write("# é\u3000\x9b2J \u202e\n" + A)
    await host.run()
    capsys.readouterr()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["policy", "show", version, "--raw"]) == 0
    assert capsys.readouterr().out.startswith("# é\u3000\\x9b2J \\u202e\n\n[core]\n")


async def test_show_of_lines_of_windows(host: Host, policy: Run) -> None:
    """CR LF ends a line, and is nothing that acts."""
    version = host.write("# a\r\n" + A)
    await host.run()
    assert policy("show", version).status == 0


# --- what is left out ---


async def test_signed_rules_cannot_be_left_out_at_the_command_line(host: Host) -> None:
    """What was signed is what runs: no flag leaves a ``policy.py`` out, unless the store only warns (S3.20)."""
    local = host.path.with_name("policy.py")
    local.write_text(_LOCAL)
    local.chmod(0o600)
    host.write("[plugins]\npolicy = 'policy.py'\n---")
    host.enforce()
    host.sign(3)
    host.load()
    with pytest.raises(HauberkError, match="cannot be turned off by a flag: the policy has to be a signed one"):
        host.load(disable=("policy",))
    host.settings('mode = "warn"\n')
    host.load(disable=("policy",))


async def test_what_the_signed_policy_turns_off_may_be_named(host: Host) -> None:
    """A flag that says what the policy says changes nothing."""
    host.write('[plugins]\ndisable = ["policy"]\n')
    host.enforce()
    host.sign(3)
    host.load(disable=("policy",))
