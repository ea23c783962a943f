"""What who can write beside a log, or has one key too many, tries on verify (S2.38, S2.39, S3.4, S3.6, A17, A22)."""

from __future__ import annotations

import os
import shutil
from collections import deque
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plugins.audit.tests.kept import SIGNER, Box, Written, checkpointer, said
from plugins.audit.tests.logs import KEY, NOW

from hauberk_audit._entry import rfc3339
from hauberk_audit._paths import closed, closed_files, pruned_path
from hauberk_audit.checkpoints._checkpoint import Cut, chain_of
from hauberk_audit.checkpoints._note import WITNESS, Note, Signature, Signer, Verifier, parse
from hauberk_audit.checkpoints._pruned import Keep, Plan, cut_note, details, execute, plan
from hauberk_audit.checkpoints._tree import Tree, leaf_hash
from hauberk_audit.verifying import _verify
from hauberk_audit.verifying._anchor import Anchor
from hauberk_audit.verifying._files import File
from hauberk_audit.verifying._verify import Report, Terms, load_checkpoints, verify
from hauberk_audit.writing._chain import read

ORIGIN = "example.com/host1"
OTHER = Signer("example.com/host2", bytes(range(9, 41)))
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
SEEN_BY = Verifier("witness.example/w", SECRET.public_key().public_bytes_raw(), WITNESS)
both = pytest.mark.parametrize("key", [None, KEY], ids=["public key alone", "with the key of the log"])


class House:
    """A log with its checkpoints, in one file of 20 entries or in many."""

    def __init__(self, folder: Path, entries: int | None = None) -> None:
        self.path = folder / "log" / "audit.jsonl"
        self.kept = folder / "kept"
        self.box = Box()
        with closing(Written(self.path, entries)) as log:
            maker = checkpointer(log, self.box)
            for _ in range(5):
                log.add(4)
                maker.round()
        self.lines = [line for name in self.files() for line in lines_of(name)]

    def files(self) -> list[Path]:
        """Return its files, the oldest first."""
        return [*closed_files(self.path).values(), self.path]

    def verify(self, key: bytes | None, *more: Signer, witness: bool = False) -> Report:
        """Verify it with its checkpoints."""
        self.kept.write_bytes(self.box.data)
        trusted = [SIGNER.verifier, *(one.verifier for one in more), *([SEEN_BY] if witness else [])]
        anchor = Anchor(trusted)
        load_checkpoints(anchor, self.kept, lambda found, path: pytest.fail(found.detail))
        return verify([self.path], key, Terms(anchor))

    def cut(self, size: int, file: int = 1, origin: str = ORIGIN, signer: Signer = SIGNER) -> None:
        """Put a cut of what the log was beside it, as who has the key of its checkpoints can."""
        tree = Tree()
        for line in self.lines[:size]:
            tree.push(leaf_hash(line))
        last = read(self.lines[size - 1])
        assert last is not None
        cut = Cut(file, size, last.hash.decode(), chain_of(self.lines[0]), tree.peaks)
        pruned_path(self.path).write_bytes(cut_note(cut, origin, rfc3339(NOW), signer))

    def anew(self, count: int) -> None:
        """Replace the log by another one."""
        shutil.rmtree(self.path.parent)
        with closing(Written(self.path, text="other")) as log:
            log.add(count)

    def prune(self) -> Plan:
        """Let files go by right."""
        found = plan(self.path, Keep(most=1))
        assert found is not None
        note = cut_note(found.cut, ORIGIN, rfc3339(NOW), SIGNER)

        def record() -> None:
            with closing(Written(self.path)) as log:
                log.log.append(said("audit.pruned", details(found, "too old", "uid:0")))

        execute(self.path, found, record, note)
        return found


def cosigned(data: bytes) -> bytes:
    """Return a note with the signature of a witness as well."""
    note = parse(data)
    value = bytes(8) + SECRET.sign(b"cosignature/v1\ntime 0\n" + note.text)
    return Note(note.text, (*note.signatures, Signature(SEEN_BY.name, SEEN_BY.number, value))).data


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def write(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def kinds(report: Report) -> set[str]:
    return {found.kind for found in report.breaks}


# --- a cut beside what is there ---


@both
@pytest.mark.parametrize("count", [15, 20, 30])
def test_log_begun_anew_behind_a_cut_of_the_old_one_is_found(tmp_path: Path, key: bytes | None, count: int) -> None:
    """What begins with entry 1 is compared from there, and the cut does not stand for the old chain (S3.6, A17)."""
    house = House(tmp_path)
    house.anew(count)
    house.cut(20)
    assert "missing" in kinds(house.verify(key))


def test_entries_that_are_there_are_compared_whatever_a_cut_says(tmp_path: Path) -> None:
    """Without the key of the log, too: entries before a cut of the same log do not go unread."""
    house = House(tmp_path)
    house.cut(10)
    assert house.verify(None).status == 0
    write(house.path, [*(line.replace(b"read_file", b"rm_files_") for line in house.lines[:10]), *house.lines[10:]])
    assert house.verify(None).status == 1


@both
def test_cut_that_nobody_vouches_for_beside_a_whole_log_is_no_break(tmp_path: Path, key: bytes | None) -> None:
    """It says nothing that is asked for: all entries are there, and are as they were signed."""
    house = House(tmp_path)
    house.cut(10, signer=OTHER)
    report = house.verify(key)
    assert (report.status, report.covered, report.let_go) == (0, 20, [])


def test_files_with_other_numbers_do_not_hide_that_some_are_gone(tmp_path: Path) -> None:
    """After a cut the first entry stands in the file after those that went (A22)."""
    house = House(tmp_path)
    write(house.path, house.lines[10:])
    house.cut(10)
    assert "missing" in kinds(house.verify(None))


@pytest.mark.parametrize("made", ["garbage", "first", "second", "linked"])
def test_nobody_without_any_key_can_put_a_past_before_a_cut(tmp_path: Path, made: str) -> None:
    """Files that are put where others went by right are no part of the log (S3.4)."""
    house = House(tmp_path, 5)
    first = house.lines
    cut = house.prune().cut
    good = house.verify(None)
    assert (good.status, [one.entries for one in good.let_go]) == (0, [cut.size])
    junk = [b'{"never":"written"}'] * (cut.size - 1)
    for number in range(1, cut.file + 1):
        closed(house.path, number).write_bytes(b"")
    match made:
        case "garbage":
            write(closed(house.path, 1), [b"{}", *junk])
        case "first":
            write(closed(house.path, 1), [first[0].replace(b"read_file", b"rm_files_"), *junk])
        case _:
            closed(house.path, 1).unlink()
            write(closed(house.path, 2), first[1 : cut.size] if made == "linked" else [first[1], *junk[1:]])
    report = house.verify(None)
    assert report.status == 1
    assert made != "second" or any("not entry 3" in found.detail for found in report.breaks)


def test_what_a_crash_left_before_a_cut_leads_to_it(tmp_path: Path) -> None:
    """Files that were to go and are there are read, if their entries follow one another up to the cut (S2.39)."""
    house = House(tmp_path, 5)
    names = [(name, name.read_bytes()) for name in house.files()]
    cut = house.prune().cut
    name, data = names[cut.file - 1]
    name.write_bytes(data)
    report = house.verify(None)
    assert (report.status, [one.entries for one in report.let_go]) == (0, [cut.size])
    assert report.covered < report.entries
    lines = lines_of(name)
    last = read(lines[-1])
    assert last is not None
    write(name, [*lines[:-1], lines[-1].replace(last.hash, b"f" * 64)])
    bad = house.verify(None)
    assert any("than the last one of its cut" in found.detail for found in bad.breaks)
    assert bad.let_go == []


def test_entry_after_a_cut_follows_the_last_one_that_went(tmp_path: Path) -> None:
    """A cut with another hash than that to which the log goes on is not of this log."""
    house = House(tmp_path, 5)
    house.prune()
    first = house.files()[0]
    lines = lines_of(first)
    begun = read(lines[0])
    assert begun is not None
    write(first, [lines[0].replace(begun.prev_hash, b"f" * 64), *lines[1:]])
    assert any("follows another entry" in found.detail for found in house.verify(None).breaks)


@pytest.mark.parametrize(("origin", "signer"), [("example.com/host2", OTHER), (ORIGIN, OTHER)])
def test_key_of_another_host_cannot_vouch_for_a_cut(tmp_path: Path, origin: str, signer: Signer) -> None:
    """Logs of two hosts are verified at once: each cut is signed as the checkpoints of its own chain are (A22)."""
    house = House(tmp_path)
    write(closed(house.path, 2), house.lines[10:])
    house.path.write_bytes(b"")
    house.cut(10, origin=origin, signer=signer)
    report = house.verify(None, OTHER)
    assert any("not signed with the key of its checkpoints" in found.detail for found in report.breaks)


@pytest.mark.parametrize(("origin", "status"), [("example.com/host2", 1), (ORIGIN, 0)])
def test_witness_vouches_for_the_cut_of_its_own_origin_alone(tmp_path: Path, origin: str, status: int) -> None:
    """A witness signs for many hosts, so its signature counts for the origin that the checkpoints of the log have."""
    house = House(tmp_path, 5)
    found = plan(house.path, Keep(most=1))
    assert found is not None
    for name in found.files:
        name.unlink()
    house.cut(found.cut.size, found.cut.file, origin, OTHER)
    note = pruned_path(house.path).read_bytes()
    pruned_path(house.path).write_bytes(cosigned(note))
    house.box.notes = [cosigned(one) for one in house.box.notes]
    assert house.verify(None, witness=True).status == status


def test_log_that_ends_before_its_cut_is_broken(tmp_path: Path) -> None:
    """What a crash left before a cut is not all that is left of a log."""
    house = House(tmp_path, 5)
    names = [(name, name.read_bytes()) for name in house.files()]
    cut = house.prune().cut
    for name in house.files():
        name.unlink()
    names[1][0].write_bytes(names[1][1])
    house.box.notes = house.box.notes[: 2 * cut.file // 3]
    assert any("it ends before its cut" in found.detail for found in house.verify(None).breaks)


# --- names that are put beside a log ---


@both
def test_file_with_a_high_number_is_one_break(tmp_path: Path, key: bytes | None) -> None:
    """Nobody counts up to a name (S2.38)."""
    house = House(tmp_path)
    house.path.rename(closed(house.path, 1))
    closed(house.path, 999_999_999).touch()
    report = house.verify(key)
    assert report.status == 1
    assert report.broken < 10
    assert any("and so are the 999999996 after it" in found.detail for found in report.breaks)


@both
def test_pipe_for_a_cut_does_not_stop_verify(tmp_path: Path, key: bytes | None) -> None:
    """It is no cut, and the log is there."""
    house = House(tmp_path)
    os.mkfifo(pruned_path(house.path))
    assert house.verify(key).status == 0


def test_file_without_a_line_is_a_break_without_the_key_too(tmp_path: Path) -> None:
    """Each file but the last ends with the entry that closes it."""
    house = House(tmp_path, 5)
    last = len(closed_files(house.path)) + 1
    closed(house.path, last).touch()
    assert kinds(house.verify(None)) == {"unclosed"}


# --- a log that is written ---


def test_last_file_that_was_not_begun_is_not_missing(tmp_path: Path) -> None:
    """A rotation that was stopped between its two steps; a file that is gone and was not last is missing (S2.39)."""
    house = House(tmp_path, 5)
    for name in house.files()[2:]:
        name.unlink()
    report = house.verify(None)
    assert kinds(report) == {"truncated"}
    house.box.notes = house.box.notes[:2]
    assert house.verify(None).status == 0
    write(house.files()[1], lines_of(house.files()[1])[:-1])
    assert "missing" in kinds(house.verify(None))


@pytest.mark.parametrize("count", [6, 20, 0])
def test_log_may_be_closed_and_compressed_while_it_is_verified(tmp_path: Path, count: int) -> None:
    """What a writer does meanwhile is no break, and what it wrote until then is read."""
    path = tmp_path / "log" / "audit.jsonl"
    with closing(Written(path, 5)) as log:
        log.add(7)
        before = log.log.sequence
        steps = iter(range(1))

        def progress(_: int) -> None:
            for _step in steps:
                log.add(count)
                log.pack()

        report = verify([path], KEY, progress=progress)
        after = log.log.sequence
    assert (report.status, report.breaks) == (0, [])
    assert before <= after == report.entries


def test_log_that_is_closed_after_its_end_was_read_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last file gets more, and is closed, between its end and the look whether it still is the last."""
    path = tmp_path / "log" / "audit.jsonl"
    real, calls = _verify._Log._was_closed, []
    with closing(Written(path, 5)) as log:
        log.add(3)

        def was_closed(self: _verify._Log, file: File, rest: deque[File]) -> bool:
            calls.append(file.number)
            if calls == [1, 1]:  # the first one is when it is opened
                log.add(4)
            return real(self, file, rest)

        monkeypatch.setattr(_verify._Log, "_was_closed", was_closed)
        report = verify([path], KEY)
        after = log.log.sequence
    assert (report.status, report.breaks, report.entries) == (0, [], after)
    assert [Path(one.file).name for one in report.logs] == ["audit.jsonl", "audit.jsonl"]
