"""Verify with checkpoints: what is cut off, put back, replaced or deleted is found (S3.6, S2.38, A17, A18, A22, V1)."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins.audit.tests.kept import OTHER_SIGNER, SIGNER, Box, Written, checkpointer
from plugins.audit.tests.logs import KEY, NOW, chain, stream

from hauberk.refusals import ConfigError
from hauberk_audit._entry import rfc3339
from hauberk_audit._paths import closed_files, packed, state_path
from hauberk_audit.checkpoints._checkpoint import Checkpoint, chain_of
from hauberk_audit.checkpoints._note import Signer, Verifier
from hauberk_audit.checkpoints._tree import Tree, leaf_hash
from hauberk_audit.verifying._anchor import Anchor
from hauberk_audit.verifying._verify import Report, Terms, load_checkpoints, verify
from hauberk_audit.verifying._walk import Break

Kinds = set[str]
both = pytest.mark.parametrize("key", [None, KEY], ids=["public key alone", "with the key of the log"])


class Case(NamedTuple):
    """A log with its checkpoints."""

    path: Path
    kept: Path
    """The checkpoints."""

    def verify(self, *more: Path, key: bytes | None = None, trusted: Iterable[Verifier] = (SIGNER.verifier,)) -> Report:
        """Verify the log, and others, with the checkpoints; without a key, with them alone."""
        anchor = Anchor(tuple(trusted))
        bad: list[tuple[Break, Path]] = []
        load_checkpoints(anchor, self.kept, lambda found, path: bad.append((found, path)))
        return verify([self.path, *more], key, Terms(anchor, bad=tuple(bad)))

    def kinds(self, *more: Path, key: bytes | None = None) -> Kinds:
        """Return what is wrong."""
        report = self.verify(*more, key=key)
        assert report.status == (1 if report.breaks else 0)
        return {found.kind for found in report.breaks}


class Maker:
    """Makes a log of three files, with a checkpoint for each seven entries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str = "audit.jsonl", *, count: int = 42, text: str = "x", signer: Signer = SIGNER) -> Case:
        case = Case(self.folder / name / "audit.jsonl", self.folder / f"{name}.checkpoints")
        box = Box()
        with closing(Written(case.path, 16, text=text)) as log:
            maker = checkpointer(log, box, signer=signer)
            for number in range(1, count + 1):
                log.add()
                if number % 7 == 0 or number == count:
                    maker.round()
            log.pack()
        case.kept.write_bytes(box.data)
        return case


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def case(make: Maker) -> Case:
    return make()


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of the file that is written."""
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))


def without_state(case: Case) -> None:
    """Take away what would tell without checkpoints."""
    state_path(case.path).unlink()


# --- whole ---


@both
def test_whole_log_is_anchored(case: Case, key: bytes | None) -> None:
    """A log that nobody changed is what its checkpoints say, with the key of the log and without it."""
    report = case.verify(key=key)
    assert (report.status, report.broken, report.anchored) == (0, 0, True)
    assert report.covered == report.entries == 46
    assert report.checkpoints == 6
    assert report.newest.startswith("2025-")
    assert report.uncovered == []


@both
def test_what_is_behind_the_last_checkpoint_is_counted(case: Case, key: bytes | None) -> None:
    """Entries after the last checkpoint are said to be in none, and are no break."""
    with closing(Written(case.path)) as log:
        log.add(3)
    report = case.verify(key=key)
    assert (report.status, report.entries, report.covered) == (0, 49, 46)


def test_without_checkpoint_there_is_nothing_to_verify(case: Case, make: Maker) -> None:
    """With the public key alone, a log of which there is no checkpoint is status 2, never whole."""
    case.kept.write_bytes(b"")
    report = case.verify()
    assert (report.status, report.uncovered) == (2, [str(case.path)])
    assert case.verify(key=KEY).status == 0
    with pytest.raises(ConfigError, match="nothing to verify"):
        Case(case.path.with_name("other.jsonl"), case.kept).verify()


# --- cut off ---


@both
def test_last_line_that_is_deleted_is_missed(case: Case, key: bytes | None) -> None:
    """A log without its last line, and without a state that would tell, is shorter than its checkpoint (V1)."""
    without_state(case)
    rewrite(case.path, lambda lines: lines[:-1])
    report = case.verify(key=key)
    (found,) = report.breaks
    assert (found.kind, found.sequence, found.line) == ("truncated", 46, 0)
    assert found.detail.startswith("it has 45 entries, and a checkpoint of 2025-")
    assert found.detail.endswith("has 46")


@both
def test_tail_that_is_cut_is_missed_at_each_length(case: Case, tmp_path: Path, key: bytes | None) -> None:
    """Whatever number of entries is cut from the end, files with them, it is missed (A17)."""
    files = {number: name.read_bytes() for number, name in closed_files(case.path).items()}
    assert len(files) == 2
    last = case.path.read_bytes().splitlines(keepends=True)
    without_state(case)
    for count in range(1, len(last)):
        case.path.write_bytes(b"".join(last[:-count]))
        assert case.kinds(key=key) == {"truncated"}, count
    case.path.unlink()
    assert "truncated" in case.kinds(key=key)
    packed(case.path, 2).rename(tmp_path / "second")
    assert "truncated" in case.kinds(key=key)
    packed(case.path, 1).unlink()
    assert case.kinds(key=key) == {"missing"}


@both
@pytest.mark.parametrize("number", [1, 2])
def test_closed_file_that_is_deleted_is_missed(case: Case, number: int, key: bytes | None) -> None:
    """A closed file that is gone is missed, the oldest too: nothing says that it was to go (A22)."""
    packed(case.path, number).unlink()
    assert "missing" in case.kinds(key=key) or "rewritten" in case.kinds(key=key)


@both
def test_log_that_is_deleted_is_missed(case: Case, make: Maker, key: bytes | None) -> None:
    """A log that is gone with its state and all its files is named with its size, beside others and alone."""
    shutil.rmtree(case.path.parent)
    other = make("other", text="y")
    case.kept.write_bytes(case.kept.read_bytes() + b"\n" + other.kept.read_bytes())
    for paths in ([], [other.path]):
        report = case.verify(*paths, key=key)
        missing = next(found for found in report.breaks if "46" in found.detail)
        assert (missing.kind, missing.file, report.status) == ("missing", str(case.kept), 1)
        assert missing.detail.startswith("'example.com/host1' (chain ")


# --- put back, replaced ---


@both
def test_log_and_state_that_were_put_back_are_missed(make: Maker, key: bytes | None) -> None:
    """Yesterday's log with yesterday's state is shorter than the checkpoints of today (A18)."""
    case = make(count=20)
    yesterday = case.path.parent.with_name("yesterday")
    shutil.copytree(case.path.parent, yesterday)
    box = Box()
    with closing(Written(case.path, 16)) as log:
        log.add(30)
        checkpointer(log, box).round()
    case.kept.write_bytes(case.kept.read_bytes() + b"\n" + box.data)
    assert case.kinds(key=key) == set()
    shutil.rmtree(case.path.parent)
    yesterday.rename(case.path.parent)
    assert case.kinds(key=key) == {"truncated"}
    assert verify([case.path], KEY).status == 0  # without checkpoints nobody could tell


@both
def test_log_that_was_put_back_and_gone_on_with_is_missed(make: Maker, key: bytes | None) -> None:
    """Who puts the log back, and has its key, and lets it grow past where it was, cannot undo what was signed."""
    case = make(count=20)
    yesterday = case.path.parent.with_name("yesterday")
    shutil.copytree(case.path.parent, yesterday)
    today, tomorrow = Box(), Box()
    with closing(Written(case.path, 16)) as log:
        log.add(10)
        checkpointer(log, today).round()
    shutil.rmtree(case.path.parent)
    yesterday.rename(case.path.parent)
    with closing(Written(case.path, 16, text="y")) as log:
        log.add(20)
        checkpointer(log, tomorrow).round()
    case.kept.write_bytes(b"\n".join((case.kept.read_bytes(), today.data, tomorrow.data)))
    report = case.verify(key=key)
    (found,) = report.breaks
    assert (found.kind, found.sequence) == ("rewritten", 32)
    assert found.detail.startswith("entries 23 to 32 are not what a checkpoint of 2025-")
    assert verify([case.path], KEY).status == 0


@both
def test_log_that_was_forked_at_one_size_is_missed(case: Case, key: bytes | None) -> None:
    """Two logs of one size, both signed: whichever is shown, the checkpoint of the other one tells."""
    tree = Tree()
    lines = chain(46)
    for line in lines:
        tree.push(leaf_hash(line))
    first = next(iter(_lines(case)))
    other = Checkpoint("example.com/host1", 46, tree.root(), chain_of(first), rfc3339(NOW))
    case.kept.write_bytes(case.kept.read_bytes() + b"\n" + SIGNER.sign(other.text).data)
    (found,) = case.verify(key=key).breaks
    assert (found.kind, found.sequence) == ("rewritten", 46)
    assert "forked" in found.detail


@both
def test_chain_that_was_replaced_is_missed(case: Case, make: Maker, key: bytes | None) -> None:
    """A fresh chain in the place of the one that was signed, by who has all keys, is not that one."""
    fresh = make("fresh", text="y")
    shutil.rmtree(case.path.parent)
    fresh.path.parent.rename(case.path.parent)
    assert case.kinds(key=key) == {"missing"}
    case.kept.write_bytes(case.kept.read_bytes() + b"\n" + fresh.kept.read_bytes())
    assert case.kinds(key=key) == {"missing"}
    assert verify([case.path], KEY).status == 0


def test_change_by_who_has_the_key_is_found_between_two_checkpoints(case: Case) -> None:
    """Who has the key of the log writes it anew: the checkpoints before the change hold, those after it do not."""
    lines = list(_lines(case))
    forged = [*lines[:10], *chain(36, after=lines[9], text="forged")]
    _replace(case, forged)
    assert verify([case.path], KEY).status == 0
    (found,) = case.verify(key=KEY).breaks
    assert (found.kind, found.sequence) == ("rewritten", 14)
    assert found.detail.startswith("entries 8 to 14 are not what a checkpoint of 2025-")
    assert found.detail.endswith("says (and 4 more)")


def test_each_line_that_a_checkpoint_covers_counts(case: Case) -> None:
    """A change of any byte in any entry up to the last checkpoint is found with the public key alone (S2.38)."""
    lines = list(_lines(case))
    for number in range(46):
        changed = list(lines)
        changed[number] = changed[number].replace(b'"time":"2', b'"time":"1')
        _replace(case, changed)
        assert case.kinds() == ({"missing"} if number == 0 else {"rewritten"}), number


# --- checkpoints that are none ---


@both
def test_checkpoint_that_was_edited_is_found(case: Case, key: bytes | None) -> None:
    """A checkpoint of which any line was changed is a break of its file, with its line; the others hold."""
    data = case.kept.read_bytes()
    lines = data.split(b"\n")
    for number in range(6):
        changed = list(lines)
        changed[8 + number] = changed[8 + number].replace(b"a", b"b", 1).replace(b"1", b"2", 1)
        if changed == lines:
            continue
        case.kept.write_bytes(b"\n".join(changed))
        report = case.verify(key=key)
        assert {(found.kind, found.line) for found in report.breaks} == {("unsigned_checkpoint", 9)}
        assert report.breaks[0].file == str(case.kept)
        assert report.checkpoints == 5


def test_checkpoint_of_another_key_is_found(make: Maker) -> None:
    """A checkpoint that somebody else signed, with the same name, counts for nothing."""
    case = make(signer=OTHER_SIGNER)
    report = case.verify()
    assert {found.kind for found in report.breaks} == {"unsigned_checkpoint"}
    assert (report.broken, report.checkpoints, report.uncovered) == (6, 0, [str(case.path)])
    assert case.verify(trusted=[SIGNER.verifier, OTHER_SIGNER.verifier]).status == 0


def test_checkpoint_of_another_log_is_found(case: Case, make: Maker) -> None:
    """A checkpoint of another log that was spliced in is none of this key, or of a log that is missing."""
    strange, sibling = make("strange", text="z", signer=OTHER_SIGNER), make("sibling", text="y")
    mine = case.kept.read_bytes()
    case.kept.write_bytes(mine + b"\n" + strange.kept.read_bytes())
    assert case.kinds() == {"unsigned_checkpoint"}
    case.kept.write_bytes(mine + b"\n" + sibling.kept.read_bytes())
    assert case.kinds() == {"missing"}
    assert case.kinds(sibling.path) == set()


def test_what_is_no_checkpoint_is_found(case: Case) -> None:
    """A text that is signed and is no checkpoint, and one that is no note at all, are breaks."""
    signed = SIGNER.sign(b"example.com/host1\nmany\nentries\n").data
    case.kept.write_bytes(b"\n".join((case.kept.read_bytes(), signed, b"hello\n")))
    report = case.verify()
    assert [found.kind for found in report.breaks] == ["unsigned_checkpoint"] * 2


def test_witness_can_be_trusted_instead(case: Case) -> None:
    """A checkpoint counts if a witness that is trusted signed it, whoever has the key of the log."""
    witness = Signer("witness.example/w", bytes(range(7, 39)))
    lines = list(_lines(case))
    tree = Tree()
    for line in lines[:30]:
        tree.push(leaf_hash(line))
    one = Checkpoint("example.com/host1", 30, tree.root(), chain_of(lines[0]), rfc3339(NOW))
    case.kept.write_bytes(SIGNER.sign(one.text).data + witness.sign(one.text).signatures[0].line)
    report = case.verify(trusted=[witness.verifier])
    assert (report.status, report.covered) == (0, 30)


# --- any ---


changes = st.lists(
    st.tuples(st.sampled_from(["delete", "copy", "move", "flip", "cut"]), st.integers(0, 45), st.integers(0, 45)),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(changes=changes, count=st.integers(1, 46))
def test_only_what_was_signed_is_whole(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]], count: int
) -> None:
    """After any changes there is a break, unless all that the last checkpoint covers is there as it was."""
    folder = tmp_path_factory.mktemp("log")
    lines = chain(46)
    tree = Tree()
    for line in lines[:count]:
        tree.push(leaf_hash(line))
    case = Case(folder / "audit.jsonl", folder / "kept")
    one = Checkpoint("example.com/host1", count, tree.root(), chain_of(lines[0]), rfc3339(NOW))
    case.kept.write_bytes(SIGNER.sign(one.text).data)
    changed = list(lines)
    for kind, at, other in changes:
        _change(changed, kind, at, other)
    case.path.write_bytes(b"".join(line + b"\n" for line in changed))
    assert (case.kinds() == set()) == (changed[:count] == lines[:count])


def _change(lines: list[bytes], kind: str, at: int, other: int) -> None:
    if not lines:
        return
    at %= len(lines)
    match kind:
        case "delete":
            del lines[at]
        case "copy":
            lines.insert(other % (len(lines) + 1), lines[at])
        case "move":
            lines.insert(other % len(lines), lines.pop(at))
        case "flip":
            lines[at] = lines[at].replace(b"files", b"filed", 1)
        case "cut":
            del lines[at:]


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Comparing a log with its checkpoints takes the same memory for 300 lines and for 6,000 (A27)."""

    def peak(count: int) -> int:
        anchor = Anchor((SIGNER.verifier,))
        tracemalloc.start()
        try:
            for _ in anchor.of(tmp_path / "none").through(stream(count)):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(6000) < peak(300) + 16_384


def _lines(case: Case) -> Iterable[bytes]:
    import gzip

    for name in (*closed_files(case.path).values(), case.path):
        data = name.read_bytes()
        yield from (gzip.decompress(data) if name.suffix == ".gz" else data).splitlines()


def _replace(case: Case, lines: list[bytes]) -> None:
    """Write all lines of a log into the one file that is left of it."""
    for name in closed_files(case.path).values():
        name.unlink()
    state_path(case.path).unlink(missing_ok=True)
    case.path.write_bytes(b"".join(line + b"\n" for line in lines))
