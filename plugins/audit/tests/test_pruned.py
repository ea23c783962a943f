"""Files of a log that were let go: the rest verifies, and nothing else may be missing (S2.39, S3.4)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from plugins.audit.tests.kept import OTHER_SIGNER, SIGNER, Box, Written, checkpointer
from plugins.audit.tests.logs import KEY, NOW

from hauberk import files
from hauberk.event import Event
from hauberk_audit._entry import render, rfc3339
from hauberk_audit._paths import closed, closed_files, packed, pruned_path, state_path, tree_path
from hauberk_audit.checkpoints import _pruned
from hauberk_audit.checkpoints._follow import LogChanged
from hauberk_audit.checkpoints._note import Signer, Verifier
from hauberk_audit.checkpoints._pruned import Keep, Plan, cut_note, cut_of, details, execute, plan, sweep
from hauberk_audit.verifying._anchor import Anchor
from hauberk_audit.verifying._verify import Report, Terms, load_checkpoints, verify
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._log import Log

AGES = 100.0
"""Seconds between two entries."""


class Killed(BaseException):
    """Stands for kill -9."""


class House:
    """A log of several files, with its checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log" / "audit.jsonl"
        self.kept = folder / "kept"
        self.box = Box()
        with closing(Written(self.path, 5)) as log:
            maker = checkpointer(log, self.box)
            for _ in range(8):
                log.add(4)
                maker.round()
            log.pack()

    def numbers(self) -> list[int]:
        """Return which closed files are there."""
        return list(closed_files(self.path))

    def prune(self, keep: Keep = Keep(most=2), signer: Signer | None = SIGNER) -> Plan:  # noqa: B008 - immutable
        """Let files go."""
        found = plan(self.path, keep)
        assert found is not None
        with closing(Written(self.path)) as log:
            note = cut_note(found.cut, "example.com/host1", rfc3339(NOW), signer)
            execute(self.path, found, lambda: self.say(log, details(found, "too old", "uid:0")), note)
        return found

    def say(self, log: Written, said: dict[str, object]) -> None:
        """Record that files go."""
        event = Event(code="audit.pruned", id="00000000-0000-8000-8000-00000000000b", time=NOW, details=said)
        log.log.append(render(event))

    def go_on(self) -> None:
        """Write some more, and make a checkpoint of it."""
        with closing(Written(self.path, 5)) as log:
            log.add(3)
            checkpointer(log, self.box).round()

    def keyed(self) -> Report:
        """Verify with the key of the log."""
        return verify([self.path], KEY)

    def public(self, *trusted: Verifier, key: bytes | None = None) -> Report:
        """Verify with checkpoints, and with the key if it is given."""
        self.kept.write_bytes(self.box.data)
        anchor = Anchor(trusted or (SIGNER.verifier,))
        load_checkpoints(anchor, self.kept, lambda found, path: pytest.fail(found.detail))
        return verify([self.path], key, Terms(anchor))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def kinds(report: Report) -> list[str]:
    return [found.kind for found in report.breaks]


# --- which go ---


def test_the_oldest_go_and_the_last_stays(house: House) -> None:
    """So many of the newest files stay; the last one that was closed always does."""
    assert house.numbers() == [1, 2, 3, 4, 5, 6, 7]
    assert plan(house.path, Keep(most=7)) is None
    found = plan(house.path, Keep(most=2))
    assert found is not None
    assert [name.name for name in found.files] == [f"audit.jsonl.{number}.gz" for number in range(1, 6)]
    assert (found.cut.file, found.cut.size) == (5, 30)
    assert found.bytes == sum(name.stat().st_size for name in found.files)
    everything = plan(house.path, Keep(before=4e9))
    assert everything is not None
    assert everything == plan(house.path, Keep(before=4e9, least=0))
    assert everything.cut.file == 6
    assert plan(house.path, Keep(before=4e9, least=7)) is None


def test_age_is_that_of_the_last_entry(tmp_path: Path) -> None:
    """A file goes if its last entry is old enough, whatever its file says of itself, if that is not newer."""
    house = House(tmp_path)
    ends = [orjson.loads(_last(house.path, number))["time"] for number in house.numbers()]
    assert ends == sorted(ends)
    for number in house.numbers():
        _touch(house.path, number, NOW - 1)
    assert plan(house.path, Keep(before=NOW)) is None
    found = plan(house.path, Keep(before=NOW + 12.5))
    assert found is not None
    assert found.newest < rfc3339(NOW + 12.5)
    _touch(house.path, 1, NOW + 1e6)
    assert plan(house.path, Keep(before=NOW + 12.5)) is None


def test_log_that_is_not_what_was_written_is_left(house: House) -> None:
    """A file that lost a line, or cannot be read, does not go: it is what would tell (S2.38)."""
    plain = closed(house.path, 1)
    import gzip

    lines = gzip.decompress(packed(house.path, 1).read_bytes()).splitlines(keepends=True)
    packed(house.path, 1).unlink()
    plain.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(LogChanged, match="does not end with entry 5"):
        plan(house.path, Keep(most=1))
    plain.write_bytes(b"".join(lines)[:-1])
    with pytest.raises(LogChanged, match="middle of a line"):
        plan(house.path, Keep(most=1))
    packed(house.path, 1).write_bytes(b"\x1f\x8b\x08\x00junk")
    plain.unlink()
    with pytest.raises(LogChanged, match="cannot be decompressed"):
        plan(house.path, Keep(most=1))


# --- what is left ---


def test_rest_verifies_from_its_first_entry(house: House) -> None:
    """What is left is whole with the key of the log, with the public key alone, and with both; it says what is gone."""
    found = house.prune()
    house.go_on()
    assert house.numbers() == [6, 7, 8]
    said = orjson.loads(_entry(house.path, "audit.pruned"))
    assert said["details"] == {
        "files": 5,
        "first": "audit.jsonl.1.gz",
        "last": "audit.jsonl.5.gz",
        "sequence": 30,
        "hash": found.cut.hash,
        "root": said["details"]["root"],
        "reason": "too old",
        "changed_by": "uid:0",
    }
    for report in (house.keyed(), house.public(), house.public(key=KEY)):
        assert (report.status, report.breaks) == (0, [])
        assert [(one.file, one.entries) for one in report.let_go] == [(str(house.path), 30)]
    assert house.keyed().let_go[0].said == said["integrity"]["sequence"]
    assert house.public().let_go[0].said == 0
    assert house.public().covered == house.public().entries


def test_files_go_again_and_again(house: House) -> None:
    """A log of which files went goes on to be pruned, and verifies each time."""
    for _ in range(4):
        house.prune()
        house.go_on()
        for report in (house.keyed(), house.public(), house.public(key=KEY)):
            assert (report.status, report.breaks) == (0, [])


def test_nobody_else_may_let_files_go(house: House) -> None:
    """Files that are gone without the entry, or without the signed cut, are missing."""
    shutil.copytree(house.path.parent, house.path.parent.with_name("before"))
    for number in range(1, 6):
        packed(house.path, number).unlink()
    assert kinds(house.keyed()) == ["missing"] * 5
    assert set(kinds(house.public())) == {"missing"}
    found = plan(house.path.parent.with_name("before") / "audit.jsonl", Keep(most=2))
    assert found is not None
    for signer in (OTHER_SIGNER, None):
        pruned_path(house.path).write_bytes(cut_note(found.cut, "example.com/host1", rfc3339(NOW), signer))
        assert set(kinds(house.public())) == {"missing"}
        assert kinds(house.keyed()) == ["missing"] * 5


def test_no_more_may_be_missing_than_was_to_go(house: House) -> None:
    """A file more that is gone is missing, also if the others are given lower numbers (A22)."""
    house.prune()
    house.go_on()
    packed(house.path, 6).unlink()
    for report in (house.keyed(), house.public(), house.public(key=KEY)):
        assert set(kinds(report)) == {"missing"}
    packed(house.path, 7).rename(packed(house.path, 6))
    closed_files(house.path)[8].rename(closed(house.path, 7))
    for report in (house.keyed(), house.public(), house.public(key=KEY)):
        assert "missing" in kinds(report)


def test_entry_that_is_forged_proves_nothing(house: House) -> None:
    """An entry that nobody signed, or of another log, or that is not in its place, lets nothing go."""
    lines = house.path.read_bytes().splitlines(keepends=True)
    for number in range(1, 6):
        packed(house.path, number).unlink()
    forged = b'{"format":"hauberk-audit/1","time":"2025-10-09T08:53:20.250000Z","code":"audit.pruned","id":"a"'
    forged += b',"details":{"sequence":30,"hash":"' + b"0" * 64 + b'"},"integrity":{}}\n'
    house.path.write_bytes(b"".join([*lines, forged]))
    assert "missing" in kinds(house.keyed())
    with closing(Log.open(house.path.with_name("other.jsonl"), Chain(KEY), sync=False)) as log:
        log.append(render(Event(code="audit.pruned", id="a", time=NOW, details={"sequence": 30, "hash": "0" * 64})))
    other = house.path.with_name("other.jsonl").read_bytes()
    house.path.write_bytes(b"".join([*lines, other]))
    assert "missing" in kinds(house.keyed())


@pytest.mark.parametrize("point", ["entry", "note", "sweep", "first", "second"])
def test_killed_at_any_step_what_is_left_verifies(house: House, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Wherever the process ends, the set verifies with each key; the next time the rest goes, and it does again."""
    with monkeypatch.context() as patch:
        _dies_at(patch, point)
        with pytest.raises(Killed):
            house.prune()
    for report in (house.keyed(), house.public(), house.public(key=KEY)):
        assert (report.status, report.breaks) == (0, []), point
    cut = cut_of(house.path)
    assert (cut is None) == (point in {"entry", "note"})
    if cut is not None:
        assert sweep(house.path, cut)
        assert sweep(house.path, cut) == []
    else:
        house.prune()
    house.go_on()
    assert house.numbers()[0] == 6
    for report in (house.keyed(), house.public(), house.public(key=KEY)):
        assert (report.status, report.breaks) == (0, []), point


def test_tail_after_a_cut_is_missed_too(house: House) -> None:
    """A log of which files went and that was cut off at its end is short of its checkpoints."""
    house.prune()
    house.go_on()
    state_path(house.path).unlink()
    tree_path(house.path).unlink()
    house.path.write_bytes(b"".join(house.path.read_bytes().splitlines(keepends=True)[:-1]))
    assert kinds(house.public()) == ["truncated"]


def test_damaged_cut_is_said(house: House) -> None:
    """A cut of which the peaks were changed is believed by nobody."""
    house.prune()
    data = pruned_path(house.path).read_bytes()
    at = data.index(b"peaks ") + len(b"peaks ")
    pruned_path(house.path).write_bytes(data[:at] + (b"B" if data[at : at + 1] == b"A" else b"A") + data[at + 1 :])
    with pytest.raises(LogChanged, match="is damaged"):
        cut_of(house.path)
    assert "missing" in kinds(house.public())


def _dies_at(patch: pytest.MonkeyPatch, point: str) -> None:
    """Let the process end before one of the steps."""

    def dies(*args: object, **more: object) -> None:
        raise Killed

    def after(count: int, function: Callable[..., None]) -> Callable[..., None]:
        left = iter(range(count))
        return lambda *args, **more: dies() if next(left, None) is None else function(*args, **more)

    match point:
        case "entry":
            patch.setattr(House, "say", dies)
        case "note":
            patch.setattr(files, "write_atomic", dies)
        case "sweep":
            patch.setattr(_pruned, "sweep", dies)
        case _:
            patch.setattr(Path, "unlink", after(1 if point == "first" else 2, Path.unlink))


def _entry(path: Path, code: str) -> bytes:
    for name in (path, *closed_files(path).values()):
        for line in (name.read_bytes() if name.suffix != ".gz" else b"").splitlines():
            if f'"code":"{code}"'.encode() in line:
                return line
    raise AssertionError(code)


def _last(path: Path, number: int) -> bytes:
    import gzip

    return gzip.decompress(packed(path, number).read_bytes()).splitlines()[-1]


def _touch(path: Path, number: int, time: float) -> None:
    import os

    os.utime(packed(path, number), (time, time))
