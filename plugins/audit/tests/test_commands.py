"""``hauberk audit``: what it prints, and its exit status."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from plugins.audit.tests.conftest import Load
from plugins.audit.tests.logs import KEY, chain

from hauberk import keys
from hauberk.cli import main
from hauberk_audit import Audit
from hauberk_audit._bounds import BOUNDS

pytestmark = pytest.mark.usefixtures("only_audit")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Return a key file that holds the key of the tests."""
    keys.create_key(tmp_path / "audit.key", random=lambda count: KEY[:count])
    return tmp_path / "audit.key"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of five entries."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in chain(5)))
    return path


class Said:
    """The exit status of a command, and what it printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


def audit(capsys: pytest.CaptureFixture[str], *args: object) -> Said:
    """Run ``hauberk audit …``."""
    status = main(["audit", *map(str, args)])
    out, err = capsys.readouterr()
    return Said(status, out, err)


def tamper(log: Path) -> None:
    """Flip one bit in the third entry."""
    lines = log.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"read_file", b"read_fily")
    log.write_bytes(b"".join(lines))


def test_whole_log_is_0(capsys: pytest.CaptureFixture[str], log: Path, key_file: Path) -> None:
    """A whole log is exit status 0, with its entries, its key, and what verify cannot find (S3.5)."""
    said = audit(capsys, "verify", log, "--key-file", key_file)
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"whole: 5 entries in 1 log, each in its place and signed with key {keys.key_id(KEY)}",
        "note: nothing outside anchors the log: what was cut off its end together with its state is not missed",
    ]


def test_changed_log_is_1(capsys: pytest.CaptureFixture[str], log: Path, key_file: Path) -> None:
    """One changed byte is exit status 1, with the file, the line, the kind and the number of the entry (S3.5)."""
    tamper(log)
    said = audit(capsys, "verify", log, "--key-file", key_file)
    assert (said.status, said.err) == (1, "")
    assert said.out.splitlines() == [
        f"{log}:3: edited: entry 3: it is not what was signed",
        f"broken: 1 break; 4 entries in 1 log signed with key {keys.key_id(KEY)}",
    ]


def test_runs_of_lines_and_whole_logs_are_named(capsys: pytest.CaptureFixture[str], log: Path, key_file: Path) -> None:
    """Lines in a row are named by their first and last, a log that is gone by its name."""
    log.write_bytes(b'{"a":1}\n' * 3)
    log.with_name("audit.2.jsonl").write_bytes(chain(1)[0] + b"\n")
    said = audit(capsys, "verify", log, "--key-file", key_file)
    assert said.out.splitlines()[:2] == [
        f"{log}:1-3: unsigned: it has no integrity",
        f"{log.with_name('audit.1.jsonl')}: missing: it is gone, and a log with a higher number is there",
    ]


def test_wrong_key_is_told_with_a_hint(capsys: pytest.CaptureFixture[str], log: Path, tmp_path: Path) -> None:
    """The key of another log is exit status 1, and the hint says what to look at."""
    keys.create_key(tmp_path / "other.key", random=os.urandom)
    said = audit(capsys, "verify", log, "--key-file", tmp_path / "other.key")
    assert said.status == 1
    assert "wrong_key: entry 1: it names key" in said.out
    assert said.out.splitlines()[-1] == "hint: name the key of this log with --key-file"


def test_json_says_the_same(capsys: pytest.CaptureFixture[str], log: Path, key_file: Path) -> None:
    """``--json`` prints one object with the logs, the breaks, their count and the status."""
    tamper(log)
    said = audit(capsys, "verify", log, "--key-file", key_file, "--json")
    assert said.status == 1
    assert orjson.loads(said.out) == {
        "key_id": keys.key_id(KEY),
        "logs": [{"file": str(log), "entries": 4, "lines": 5, "last": 5, "breaks": 1}],
        "breaks": [
            {
                "kind": "edited",
                "line": 3,
                "detail": "it is not what was signed",
                "sequence": 3,
                "lines": 1,
                "file": str(log),
            }
        ],
        "broken": 1,
        "anchored": False,
        "checkpoints": 0,
        "covered": 0,
        "newest": "",
        "uncovered": [],
        "let_go": [],
        "unheard": [],
        "entries": 4,
        "status": 1,
    }


def test_more_breaks_than_are_listed_are_counted(capsys: pytest.CaptureFixture[str], log: Path, key_file: Path) -> None:
    """A log with very many breaks prints a bounded list and the count of the rest."""
    log.write_bytes(b"{}\nx\n" * BOUNDS.breaks)
    said = audit(capsys, "verify", log, "--key-file", key_file)
    assert said.out.splitlines()[-2] == f"… and {BOUNDS.breaks} more"


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_nothing_to_verify_is_2(capsys: pytest.CaptureFixture[str], log: Path, key_file: Path, json: list[str]) -> None:
    """A log that was cut to nothing is exit status 2 and not 0 (S3.5, V1)."""
    log.write_bytes(b"")
    said = audit(capsys, "verify", log, "--key-file", key_file, *json)
    assert said.status == 2
    assert "whole" not in said.out
    assert json or said.out.splitlines() == [f"{log}: nothing to verify: it has no entries"]


def test_missing_log_is_2(capsys: pytest.CaptureFixture[str], tmp_path: Path, key_file: Path) -> None:
    """A log that is not there is exit status 2, with a hint."""
    said = audit(capsys, "verify", tmp_path / "none.jsonl", "--key-file", key_file)
    assert (said.status, said.out) == (2, "")
    assert "nothing to verify" in said.err
    assert "hint:" in said.err


def test_unusable_key_is_2(capsys: pytest.CaptureFixture[str], log: Path, key_file: Path) -> None:
    """A key file that is missing or not private is exit status 2."""
    assert audit(capsys, "verify", log, "--key-file", key_file.with_name("none.key")).status == 2
    key_file.chmod(0o644)
    said = audit(capsys, "verify", log, "--key-file", key_file)
    assert said.status == 2
    assert "lets others in" in said.err


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown option or command is exit status 2."""
    assert audit(capsys, "verify", "--keyfile", "x").status == 2
    assert audit(capsys, "check").status == 2


@pytest.mark.parametrize("args", [["verify"], ["verify", "--host", "desk"]])
def test_log_and_key_come_from_the_configuration(
    capsys: pytest.CaptureFixture[str], log: Path, key_file: Path, tmp_path: Path, args: list[str]
) -> None:
    """Without PATH and ``--key-file`` log and key are those of the configuration, for the host that is named."""
    config = tmp_path / "hauberk.toml"
    config.write_text('[audit]\npath = "none.jsonl"\nkey_file = "audit.key"\n[host.desk.audit]\npath = "audit.jsonl"\n')
    said = audit(capsys, *args, "--config", config)
    assert said.status == (0 if "--host" in args else 2)


def test_wrong_configuration_is_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A configuration that cannot be read is exit status 2; where both places are given it is not read."""
    config = tmp_path / "hauberk.toml"
    config.write_text("[audit]\npat = 'x'\n")
    said = audit(capsys, "verify", "--config", config)
    assert said.status == 2
    assert "did you mean 'path'?" in said.err


async def test_log_of_a_running_host_verifies(capsys: pytest.CaptureFixture[str], load: Load, state: Path) -> None:
    """The log of a host that runs, which it holds and appends to, can be verified beside it."""
    async with load():
        said = audit(capsys, "verify", state / "audit", "--key-file", state / "audit.key")
        assert said.status == 0
        assert said.out.startswith("whole: 1 entry in 1 log")


def test_init_makes_a_key_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """``init`` makes a private key, says its id and never the key, and does not overwrite one."""
    path = tmp_path / "keys" / "audit.key"
    said = audit(capsys, "init", "--key-file", path)
    key = keys.load_key(path)
    assert said.status == 0
    assert keys.key_id(key) in said.out
    assert path.read_text().strip() not in said.out
    again = audit(capsys, "init", "--key-file", path)
    assert (again.status, keys.load_key(path)) == (2, key)


def test_colour_is_for_a_terminal(log: Path, key_file: Path) -> None:
    """Output is plain in a pipe and coloured where a terminal is."""
    args: Any = ["verify", str(log), "--key-file", str(key_file)]
    group = Audit.commands()[0]
    assert "\x1b[" not in CliRunner().invoke(group, args).output
    assert "\x1b[32m" in CliRunner().invoke(group, args, color=True).output


def test_names_of_files_are_made_visible(capsys: pytest.CaptureFixture[str], tmp_path: Path, key_file: Path) -> None:
    """A log whose name holds a control character does not get it to the terminal."""
    path = tmp_path / "a\x1b[2Jb.jsonl"
    path.write_bytes(b"x\n")
    said = audit(capsys, "verify", path, "--key-file", key_file)
    assert "\x1b" not in said.out
    assert "a\\x1b[2Jb.jsonl:1: not_json" in said.out
