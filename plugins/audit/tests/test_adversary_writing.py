"""What somebody who has no key, but can put files beside a log, must not bring its writer or its verifier to do."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from plugins.audit.tests.kept import OTHER_SIGNER, SIGNER, Box, Told, Written, checkpointer, said
from plugins.audit.tests.logs import KEY, NOW
from plugins.audit.tests.test_commands import audit

from hauberk import keys
from hauberk.refusals import PluginError
from hauberk_audit._entry import rfc3339
from hauberk_audit._paths import closed, closed_files, log_set, pruned_path, state_path
from hauberk_audit.checkpoints import _retention
from hauberk_audit.checkpoints._checkpoint import Cut, chain_of
from hauberk_audit.checkpoints._follow import LogChanged
from hauberk_audit.checkpoints._note import Signer
from hauberk_audit.checkpoints._pruned import Keep, cut_data, cut_note, cut_of, details, own_cut, plan
from hauberk_audit.checkpoints._retention import Retention
from hauberk_audit.checkpoints._tree import Tree, leaf_hash
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing import _ratchet
from hauberk_audit.writing._chain import Chain, read
from hauberk_audit.writing._custody import Roots, make
from hauberk_audit.writing._ratchet import Ladder, Rung, first_root
from hauberk_audit.writing._reset import reset
from hauberk_audit.writing._rotation import Rotation
from hauberk_audit.writing._state import PAGE, Position, encode, seen

Capsys = pytest.CaptureFixture[str]
_VERIFY = """
import sys; from pathlib import Path
from plugins.audit.tests.logs import KEY
from hauberk_audit.verifying._verify import verify
print(verify([Path(sys.argv[1])], KEY).status)
"""


class House:
    """A log of eight files, and what lets the oldest of them go."""

    def __init__(self, folder: Path, signer: Signer | None) -> None:
        self.path = folder / "log" / "audit.jsonl"
        self.signer = signer
        self.told = Told()
        with closing(Written(self.path, 5)) as log:
            maker = checkpointer(log, Box())
            for _ in range(8):
                log.add(4)
                if signer is not None:
                    maker.round()

    def cut(self, number: int = 5) -> Cut:
        """Return what the log would begin with if its files up to one were gone."""
        lines = [line for file in range(1, number + 1) for line in closed(self.path, file).read_bytes().splitlines()]
        last, tree = read(lines[-1]), Tree()
        assert last is not None
        for line in lines:
            tree.push(leaf_hash(line))
        return Cut(number, last.sequence, last.hash.decode(), chain_of(lines[0]), tree.peaks)

    def put(self, cut: Cut, signer: Signer | None) -> None:
        """Put a cut beside the log."""
        pruned_path(self.path).write_bytes(cut_note(cut, "example.com/host1", rfc3339(NOW), signer))

    def record(self, code: str, more: dict[str, Any]) -> None:
        """Write an entry of the log's own."""
        with closing(Written(self.path)) as log:
            log.log.append(said(code, more))

    def retention(self, most: int) -> Retention:
        """Return what lets files go."""
        return Retention(
            self.path,
            Rotation(keep=most),
            signer=self.signer,
            origin="example.com/host1",
            who="host:default",
            now=lambda: NOW,
            record=self.record,
            anchored=None,
            tell=self.told,
            pause=lambda: None,
        )


@pytest.fixture(params=[SIGNER, None], ids=["checkpoints", "no checkpoints"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    return House(tmp_path, request.param)


# --- a cut that somebody else put there ---


@pytest.mark.parametrize("most", [1, 100])
@pytest.mark.parametrize("other", [OTHER_SIGNER, None], ids=["another key", "nobody"])
def test_a_cut_that_nobody_signed_lets_nothing_go(house: House, most: int, other: Signer | None) -> None:
    """Who has no key cannot have the host delete files, and sign later that it was right; it is said once (S2.39)."""
    house.put(house.cut(), other)
    keep = house.retention(most)
    keep.round()
    keep.round()
    assert list(closed_files(house.path)) == [1, 2, 3, 4, 5, 6, 7]
    assert b"audit.pruned" not in house.path.read_bytes()
    assert [(code, more["reason"].partition(" ")[0]) for code, _, _, more in house.told.events] == [
        ("audit.prune_failed", "nobody")
    ]
    with pytest.raises(LogChanged, match="nobody vouches"):
        plan(house.path, Keep(most=1), signer=house.signer)


def test_a_cut_of_the_host_is_gone_on_with(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host let go itself, and was stopped in, goes the next time; its cut is looked into once."""
    house.retention(2).round()
    assert list(closed_files(house.path)) == [6, 7]
    closed(house.path, 5).write_bytes(b"left by a crash")
    keep = house.retention(2)
    keep.round()
    assert list(closed_files(house.path)) == [6, 7]
    monkeypatch.setattr(_retention, "own_cut", lambda *_, **__: pytest.fail("it was read again"))
    keep.round()
    assert house.told.events == []
    assert verify([house.path], KEY).status == 0


def test_a_cut_of_another_chain_lets_nothing_go(house: House, tmp_path: Path) -> None:
    """A cut that is signed, or recorded, but is not what stands before the files that are left (S2.39)."""
    other = House(tmp_path / "other", SIGNER)
    with closing(Written(other.path, 5, text="other")) as log:
        log.add(20)
    cut = other.cut(9)
    house.put(cut, SIGNER)
    house.record("audit.pruned", {"sequence": cut.size, "hash": cut.hash})
    house.retention(1).round()
    assert len(closed_files(house.path)) == 7
    assert house.told.codes == ["audit.prune_failed"]
    for wrong in (house.cut()._replace(file=6), house.cut()._replace(hash="0" * 64)):
        house.put(wrong, SIGNER)
        house.record("audit.pruned", {"sequence": wrong.size, "hash": wrong.hash})
        with pytest.raises(LogChanged, match="does not follow its cut"):
            own_cut(house.path, house.signer)


def test_an_entry_counts_if_the_key_of_the_log_signed_it(tmp_path: Path) -> None:
    """Where the key of the log is at hand, an entry that it did not sign vouches for nothing (S2.39)."""
    house = House(tmp_path, None)
    found = plan(house.path, Keep(most=2))
    assert found is not None
    house.record("audit.pruned", details(found, "too old", "uid:0"))
    house.put(found.cut, None)
    signed: Callable[[bytes], bool] = Chain(KEY).signed
    assert own_cut(house.path, None, signed) == own_cut(house.path, SIGNER, signed) == found.cut
    with pytest.raises(LogChanged, match="nobody vouches"):
        own_cut(house.path, SIGNER)
    house.path.write_bytes(house.path.read_bytes().replace(b"too old", b"too new"))
    with pytest.raises(LogChanged, match="nobody vouches"):
        own_cut(house.path, None, signed)


@pytest.mark.parametrize("more", [(), ("--older-than", "100y")], ids=["some are old", "none is"])
def test_the_command_lets_nothing_go_either(
    capsys: Capsys, house: House, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """``hauberk audit prune`` refuses a cut that nobody signed, with status 2 (S2.39)."""
    tmp_path.chmod(0o700)
    keys.create_key(tmp_path / "audit.key", random=lambda count: KEY[:count])
    text = '[audit]\npath = "log/audit.jsonl"\nkey_file = "audit.key"\n'
    if house.signer is not None:
        (tmp_path / "checkpoint.key").write_text(SIGNER.line + "\n")
        (tmp_path / "checkpoint.key").chmod(0o600)
        text += f'[audit.checkpoints]\nkey_file = "checkpoint.key"\nsinks = ["file:{tmp_path / "kept"}"]\n'
    (tmp_path / "hauberk.toml").write_text(text)
    for name in closed_files(house.path).values():
        os.utime(name, (0, 0))
    house.put(house.cut(), None)
    said = audit(capsys, "prune", "--config", tmp_path / "hauberk.toml", "--yes", *more)
    assert said.status == 2
    assert "nobody vouches" in said.err
    assert len(closed_files(house.path)) == 7


def test_a_pipe_for_a_cut_keeps_nobody_waiting(house: House) -> None:
    """What is no regular file is no cut, and is not waited for."""
    os.mkfifo(pruned_path(house.path))
    for read_cut in (cut_data, cut_of):
        with pytest.raises(LogChanged, match="no regular file"):
            read_cut(house.path)
    house.retention(1).round()
    assert house.told.codes == ["audit.prune_failed"]


# --- a state that nobody's key wrote ---


def verified(path: Path) -> subprocess.CompletedProcess[str]:
    """Verify in a process of its own, which is ended if it does not end."""
    return subprocess.run(
        [sys.executable, "-c", _VERIFY, str(path)], timeout=60, capture_output=True, text=True, check=False
    )


def slots(rung: dict[str, Any]) -> bytes:
    """Return a state with a rung that no code here would write."""
    line = orjson.dumps({"format": 1, "count": 1, "at": {}, "rung": rung}) + b" " + b"0" * 64
    return line.ljust(511) + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log" / "audit.jsonl"
    with closing(Written(path)) as written:
        written.add(5)
    return path


@pytest.mark.parametrize(("chain", "step"), [(10**15, 1), (100_000, 1), (0, 1), (-1, 1), (1, 0), (1, -5)])
def test_a_state_with_a_rung_that_cannot_be_is_not_believed(log: Path, chain: int, step: int) -> None:
    """What a state claims neither keeps verify busy nor breaks it: it is damaged (S3.4)."""
    rung = Rung(first_root(KEY).key_id, chain, step, bytes(32))
    slot = encode(1, Position(5, "0" * 64), None, rung)
    state_path(log).write_bytes(slot.ljust(PAGE, b"\0") + slot)
    assert seen(state_path(log), None).fault == "corrupt"
    assert Ladder(KEY).rung(rung.name) is None
    done = verified(log)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize("key", [b"", b"short", bytes(31), bytes(33)])
def test_a_state_with_a_key_of_another_length_is_not_believed(tmp_path: Path, log: Path, key: bytes) -> None:
    """Neither verify nor the writer trips over it: the one says so, and the other refuses in words (S3.3, S3.4)."""
    rung = {"key_id": "x", "chain": 1, "step": 1, "key": base64.b64encode(key).decode()}
    state_path(log).write_bytes(slots(rung))
    assert [found.kind for found in verify([log], KEY).breaks] == ["unsigned_state"]
    make(tmp_path / "roots", tmp_path / "escrow")
    roots = Roots(tmp_path / "roots", "0" * 16)
    with pytest.raises(PluginError, match="cannot continue"):
        Written(log, signing=roots)


@pytest.mark.parametrize("what", ["pipe", "link", "directory"])
def test_a_state_that_is_no_file_is_not_believed(log: Path, what: str) -> None:
    """A pipe keeps nobody waiting, and a link is not followed."""
    state = state_path(log)
    whole = state.rename(state.with_name("elsewhere"))
    match what:
        case "pipe":
            os.mkfifo(state)
        case "link":
            state.symlink_to(whole)
        case _:
            state.mkdir()
    done = verified(log)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert seen(state, Chain(KEY).state_key).fault == "corrupt"


def test_a_state_that_a_crash_left_before_its_log_is_no_log(log: Path) -> None:
    """A writer that ends between its state and its log leaves an empty state: nothing is missing (S3.3)."""
    state_path(log.with_name("audit.1.jsonl")).touch(0o600)
    assert log_set(log) == [log]
    assert log_set(log.parent) == [log]
    assert verify([log], KEY).status == 0
    state_path(log.with_name("audit.1.jsonl")).write_bytes(state_path(log).read_bytes())
    assert verify([log], KEY).status == 1


# --- a reset that was stopped ---


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("starts", [False, True], ids=["at once", "after a start"])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_reset_that_was_stopped_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, starts: bool
) -> None:
    """No host goes on with half a log; the next reset puts the rest where the first one put its half (S3.3)."""
    path = tmp_path / "log" / "audit.jsonl"
    with closing(Written(path, 5)) as written:
        written.add(12)
    real, left = Path.rename, iter(range(after))

    def rename(name: Path, to: Path) -> Path:
        if next(left, None) is None:
            raise Killed
        return real(name, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(Killed):
            reset(path, Chain(KEY), said, {})
    if starts:
        with pytest.raises(PluginError, match="cannot continue"):
            Written(path, 5)
    away = reset(path, Chain(KEY), said, {})
    assert away.name == "audit.jsonl.archived-1"
    entry = orjson.loads(path.read_bytes())
    assert (entry["code"], entry["details"]["prior"]["sequence"]) == ("audit.chain_reset", 16)
    assert entry["details"]["files"] == ["audit.jsonl.1", "audit.jsonl.2", "audit.jsonl"]
    assert verify([path], KEY).status == verify([away / path.name], KEY).status == 0
    assert reset(path, Chain(KEY), said, {}).name == "audit.jsonl.archived-2"


# --- a log of which the first files are gone ---


def test_a_ladder_is_entered_far_above_its_first_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first entry that is left has a limit of its own; a rung higher than its number is none (S3.7)."""
    monkeypatch.setattr(_ratchet, "_LEAPS", 10)
    monkeypatch.setattr(_ratchet, "_ENTRIES", 60)
    rung = first_root(KEY).first()
    while rung.step < 40:
        rung = rung.next()
    name = rung.signer().key_id
    assert Ladder(KEY).signer(name) is None
    assert Ladder(KEY).enter(name, 39) is None
    ladder = Ladder(KEY)
    found = ladder.enter(name, 40)
    assert found is not None
    assert found.state_key == rung.signer().state_key
    assert ladder.signer(rung.next().signer().key_id) is not None
    assert ladder.enter(name.replace(b".1.", b".2."), 40) is None
