"""``hauberk rejudge`` over a log that the audit plugin wrote: what it prints, and what it leaves alone."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.prose import DOCS, Place, block, like, steps

from hauberk.cli import main
from hauberk.testing import HostileServer, guard_from

OLD = '[sieve]\ndefault = "deny"\nallow = ["files/read_*", "files/write_*"]\n'
NEW = '[sieve]\ndefault = "deny"\nallow = ["files/read_*", "files/delete_all"]\n'
LOOKS = """
import hauberk
class Policy:
    name, layer, Options = "policy", hauberk.Layer.POLICY, hauberk.Options
    def __init__(self, options, guard): pass
    @hauberk.hookimpl
    def on_tool_call(self, call):
        return hauberk.Deny("policy.no", "no") if call.arguments else None
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the log of a host that made five calls, two of which were refused."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "audit.jsonl"
    text = f'{OLD}[audit]\npath = "{path}"\nkey_file = "{tmp_path / "audit.key"}"\nrequired = true\n'
    asyncio.run(play(text))
    return path


async def play(text: str) -> None:
    async with guard_from(text, server=HostileServer("read_a", "write_a", "delete_all")) as rig:
        for tool in ("read_a", "read_a", "write_a", "delete_all", "unheard_of"):
            await rig.call(tool)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Return the new policy."""
    path = tmp_path / "new.toml"
    path.write_text(NEW)
    return path


def test_difference_is_printed(log: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of difference has a line with number, tool, the old code and the new rule; the last is the sum."""
    assert main(["rejudge", str(log), "--config", str(new)]) == 1
    out, err = capsys.readouterr()
    first, second, last = sorted(out.splitlines()[:-1]) + out.splitlines()[-1:]
    assert first.split()[:3] == ["allow", "1x", "files/delete_all"]
    assert " ".join(second.split()) == "refuse 1x files/write_a was core.allowed sieve.denied (default = deny)"
    assert last.startswith("would have refused 1, allowed 1, asked for 0, cannot tell 0; the same 3 of 5; ")
    assert err == ""


def test_same_policy_changes_nothing(log: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under the policy of the log every call is treated as it was."""
    new.write_text(OLD)
    assert main(["rejudge", str(log), "--config", str(new)]) == 0
    assert capsys.readouterr().out.startswith("would have refused 0, allowed 0, asked for 0, cannot tell 0; the same 5")


def test_rule_about_arguments_cannot_be_told(log: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log holds no arguments: calls that a judge would have to look into are counted apart, with status 2."""
    policy = new.parent / "policy.py"
    policy.write_text(LOOKS)
    policy.chmod(0o600)
    new.write_text(f'[plugins]\npolicy = "policy.py"\n[policy]\n{OLD}')
    assert main(["rejudge", str(log), "--config", str(new), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["unknown"], found["same"], found["status"]) == (3, 2, 2)
    assert {change["plugin"] for change in found["changes"]} == {"policy"}


def test_standard_input_is_a_log(
    log: Path, new: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``-`` the log is read from standard input, after other logs that are named."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.read_bytes())))
    assert main(["rejudge", str(log), "-", "--config", str(new), "--json"]) == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["calls"], found["refused"], found["allowed"]) == (10, 2, 2)


def test_nothing_is_written(log: Path, new: Path) -> None:
    """The log, its key and the directory of states stay as they were."""
    before = {path: path.read_bytes() for path in log.parent.rglob("*") if path.is_file()}
    main(["rejudge", str(log), "--config", str(new)])
    after = {path: path.read_bytes() for path in log.parent.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_log_that_cannot_be_used_is_said(
    log: Path, new: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that is missing, or has a line that is no entry, is an error with a hint and status 2."""
    log.write_bytes(log.read_bytes() + b"what?\n")
    for path, said in ((log, "is no entry"), (log.parent / "none.jsonl", "cannot read the log")):
        assert main(["rejudge", str(path), "--config", str(new), *words]) == 2
        out, err = capsys.readouterr()
        assert said in (out if words else err)
        assert "hint" in (out if words else err)


def test_page_shows_what_rejudge_prints(log: Path, tmp_path: Path) -> None:
    """With the configuration and the log of its page the command prints, and ends, as the page shows."""
    place = Place(tmp_path)
    place.write("new.toml", block(DOCS / "rejudge.md", "toml", "sieve"))
    place.write("audit.jsonl", log.read_text())
    (step,) = (step for step in steps(DOCS / "rejudge.md") if step.shown)
    done = place.run(step.text)
    assert done.status == 1
    assert like(step.shown, done.out), done.out
