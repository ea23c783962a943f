"""A log that cannot go on: how it stands, and that nothing of it is lost when another one is begun."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from plugins.audit.tests.logs import KEY, OTHER_KEY
from plugins.audit.tests.test_commands import audit
from plugins.audit.tests.test_rotation import append, entries, open_log

from hauberk import keys
from hauberk_audit._paths import state_path
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing._rotation import Rotation

pytestmark = pytest.mark.usefixtures("only_audit")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return keys_file(tmp_path, KEY)


def keys_file(folder: Path, key: bytes) -> Path:
    path = folder / f"{key[0]}.key"
    keys.create_key(path, random=lambda count: key[:count])
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a log of three files."""
    path = tmp_path / "log" / "audit.jsonl"
    append(path, 7, Rotation(bytes=None, entries=3))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {name.name: name.read_bytes() for name in folder.iterdir() if name.is_file()}


def test_sound_log_can_go_on(capsys: Capture, path: Path, key: Path) -> None:
    """A log that nobody writes is status 0, with the number of its last entry; looking changes nothing (S3.12)."""
    before = content(path.parent)
    said = audit(capsys, "chain", "status", path, "--key-file", key)
    assert (said.status, said.out) == (0, f"{path}: can be gone on with, entry 11, 2 files before it\n")
    (found,) = orjson.loads(audit(capsys, "chain", "status", path, "--key-file", key, "--json").out)
    assert (found["sequence"], found["files"], found["held"]) == (11, ["audit.jsonl.1", "audit.jsonl.2"], False)
    assert content(path.parent) == before


def test_log_that_is_written_is_said(capsys: Capture, path: Path, key: Path) -> None:
    """A log that a process writes is named so, and is not put away (S3.9)."""
    with closing(open_log(path)):
        assert "written by a process" in audit(capsys, "chain", "status", path, "--key-file", key).out
        said = audit(capsys, "chain", "reset", path, "--key-file", key, "--reason", "x", "--yes")
        assert (said.status, "is being written" in said.err) == (2, True)


def test_log_that_cannot_go_on_is_1(capsys: Capture, path: Path, key: Path) -> None:
    """A log that lost its end cannot go on, and it is said why; so is one whose files are all gone (A17)."""
    path.write_bytes(b"")
    said = audit(capsys, "chain", "status", path, "--key-file", key)
    assert (said.status, "entries 9 to 11 are gone" in said.out) == (1, True)
    for name in path.parent.glob("audit.jsonl*"):
        if name != state_path(path):
            name.unlink()
    said = audit(capsys, "chain", "status", path, "--key-file", key)
    assert (said.status, "it is gone or empty" in said.out) == (1, True)
    assert not path.exists()


def test_lost_state_is_named(capsys: Capture, path: Path, key: Path) -> None:
    """A log whose state is gone can go on, and it is said."""
    state_path(path).unlink()
    assert "its state is missing" in audit(capsys, "chain", "status", path, "--key-file", key).out
    assert not state_path(path).exists()


def test_reset_puts_away_and_records(capsys: Capture, path: Path, key: Path) -> None:
    """A reset moves every file as it is; the new chain says who, why, and what came before (S3.12)."""
    path.with_name("audit.jsonl.torn-1").write_bytes(b"half")
    before = content(path.parent)
    said = audit(capsys, "chain", "reset", path, "--key-file", key, "--reason", "to begin anew", "--yes")
    away = path.with_name("audit.jsonl.archived-1")
    assert (said.status, content(away)) == (0, before)
    assert str(away) in said.out
    (entry,) = entries(path)
    assert entry["code"] == "audit.chain_reset"
    details = entry["details"]
    assert (details["reason"], details["reason_code"]) == ("to begin anew", "manual_reset")
    assert details["changed_by"] == f"uid:{os.getuid()}"
    assert (details["prior"]["sequence"], details["prior"]["archived"]) == (11, "audit.jsonl.archived-1")
    assert verify([path], KEY).status == 0
    assert verify([away / "audit.jsonl"], KEY).status == 0
    append(path, 2)
    assert verify([path], KEY).status == 0


def test_reset_of_a_log_of_another_key(capsys: Capture, path: Path, tmp_path: Path) -> None:
    """A log whose key was lost is put away, and the new chain is signed with the key at hand."""
    other = keys_file(tmp_path, OTHER_KEY)
    said = audit(
        capsys, "chain", "reset", path, "--key-file", other, "--reason", "lost", "--reason-code", "key_changed", "--yes"
    )
    assert said.status == 0
    assert verify([path], OTHER_KEY).status == 0


def test_reset_asks(capsys: Capture, path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``--yes`` it asks, and a no changes nothing."""
    before = content(path.parent)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    assert audit(capsys, "chain", "reset", path, "--key-file", key, "--reason", "x").status != 0
    assert content(path.parent) == before


def test_reset_of_nothing_is_an_error(capsys: Capture, tmp_path: Path, key: Path) -> None:
    """Where there is no log there is nothing to put away."""
    said = audit(capsys, "chain", "reset", tmp_path / "none.jsonl", "--key-file", key, "--reason", "x", "--yes")
    assert (said.status, "there is no audit log" in said.err) == (2, True)
    assert not (tmp_path / "none.jsonl.chain").exists()
