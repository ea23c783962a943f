"""The checkpoints of a log that is written: what is in them, whatever happens to the log, the sinks and the process."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins.audit.tests.kept import OTHER_SIGNER, SIGNER, Box, Told, Written, checkpointer, said
from plugins.audit.tests.logs import NOW

from hauberk_audit._entry import rfc3339
from hauberk_audit._paths import closed, closed_files, tree_path
from hauberk_audit.checkpoints import _follow
from hauberk_audit.checkpoints._checkpoint import Checkpoint, chain_of
from hauberk_audit.checkpoints._checkpoints import Checkpointer
from hauberk_audit.checkpoints._note import Signer, check_signed, parse
from hauberk_audit.checkpoints._pruned import Keep, cut_note, execute, plan
from hauberk_audit.checkpoints._sinks import Prove, SinkError
from hauberk_audit.checkpoints._tree import Tree, consistent, leaf_hash
from hauberk_audit.writing._reached import Reached


def lines_of(path: Path) -> list[bytes]:
    """Return all lines of a log without their LF."""
    files = [*closed_files(path).values(), path]
    data = [gzip.decompress(name.read_bytes()) if name.suffix == ".gz" else name.read_bytes() for name in files]
    return b"".join(data).split(b"\n")[:-1]


def root_at(path: Path, size: int) -> bytes:
    """Return the root of the first lines of a log."""
    tree = Tree()
    for line in lines_of(path)[:size]:
        tree.push(leaf_hash(line))
    return tree.root()


def made(box: Box) -> list[Checkpoint]:
    """Return what a sink has, each signed by the key."""
    notes = [parse(note) for note in box.notes]
    for note in notes:
        assert check_signed(note, [SIGNER.verifier])
    return [Checkpoint.parse(note.text) for note in notes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "audit.jsonl"


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def written(path: Path) -> Iterator[Written]:
    with closing(Written(path, 4)) as log:
        yield log


# --- what is in one ---


def test_checkpoint_is_of_the_lines(written: Written, path: Path, box: Box) -> None:
    """A checkpoint names the log and its chain, how many entries there are, and the root of their lines (S3.6)."""
    maker = checkpointer(written, box)
    written.add(3)
    maker.round()
    first = lines_of(path)[0]
    assert made(box) == [
        Checkpoint("example.com/host1", 3, root_at(path, 3), chain_of(first), rfc3339(NOW)),
    ]


def test_nothing_new_makes_no_checkpoint(written: Written, box: Box) -> None:
    """An empty log has none, and one to which nothing was added gets no other."""
    maker = checkpointer(written, box)
    maker.round()
    assert box.notes == []
    written.add()
    for _ in range(3):
        maker.round()
    assert [one.size for one in made(box)] == [1]


def test_checkpoints_go_through_all_files(written: Written, path: Path, box: Box) -> None:
    """A log that is closed and begun anew, and compressed meanwhile, has one tree."""
    maker = checkpointer(written, box)
    for number in range(20):
        written.add()
        if number % 3 == 0:
            written.pack()
        if number % 5 == 0:
            maker.round()
    maker.round()
    assert len(closed_files(path)) > 5
    assert [one.root for one in made(box)] == [root_at(path, one.size) for one in made(box)]
    assert made(box)[-1].size == written.log.sequence


def test_what_is_not_on_the_disk_is_not_signed(written: Written, path: Path, box: Box) -> None:
    """What stands behind the place that the writer names is not read: it may be cut off again."""
    written.add(2)
    reached = written.reached()
    with path.open("ab") as file:
        file.write(b"half of a li")
    maker = checkpointer(written, box, reached=lambda: reached)
    maker.round()
    assert [one.size for one in made(box)] == [2]
    assert maker.faults == []


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from("aaapcknd"), max_size=40))
def test_checkpoint_is_right_whatever_happened(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """In any order of entries, compression, checkpoints, restarts and lost caches, each checkpoint is of the lines."""
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    box = Box()
    with closing(Written(path, 3)) as log:
        maker = checkpointer(log, box)
        for step in [*steps, "c"]:
            match step:
                case "a":
                    log.add()
                case "p":
                    log.pack()
                case "c":
                    maker.round()
                    assert maker.faults == []
                case "n":  # the process was killed and started again
                    maker = checkpointer(log, box)
                case "k":  # as was its cache, in the midst of a write
                    maker = checkpointer(log, box)
                    if tree_path(path).exists():
                        tree_path(path).write_bytes(tree_path(path).read_bytes()[:-40])
                case "d":
                    maker = checkpointer(log, box)
                    tree_path(path).unlink(missing_ok=True)
        found = made(box)
        assert [one.root for one in found] == [root_at(path, one.size) for one in found]
        assert max((one.size for one in found), default=0) == log.log.sequence


# --- a process that ends, and the next ---


def test_next_run_reads_only_what_is_new(written: Written, path: Path, box: Box) -> None:
    """The next run goes on from the cache: what was read before is not read again."""
    written.add(6)
    checkpointer(written, box).round()
    written.add()
    first = next(iter(closed_files(path).values()))
    data = first.read_bytes()
    first.write_bytes(b"x" * len(data))
    checkpointer(written, box).round()
    first.write_bytes(data)
    assert made(box)[-1].root == root_at(path, written.log.sequence)


@pytest.mark.parametrize("harm", ["peaks", "offset", "file", "note"])
def test_damaged_cache_is_not_believed(written: Written, path: Path, box: Box, harm: str) -> None:
    """A cache that does not agree with itself is made anew from the log; one that says another place signs nothing."""
    written.add(7)
    checkpointer(written, box).round()
    text = tree_path(path).read_text()
    first = text[text.index('"peaks":["') + 10]
    wrong = {
        "peaks": (f'"peaks":["{first}', f'"peaks":["{"B" if first == "A" else "A"}'),
        "offset": ('"offset":', '"offset":1'),
        "file": ('"file":', '"file":9'),
        "note": ("chain ", "chain 0"),
    }[harm]
    assert wrong[0] in text
    tree_path(path).write_text(text.replace(*wrong, 1))
    written.add()
    maker = checkpointer(written, box)
    maker.round()
    found = made(box)
    assert [one.root for one in found] == [root_at(path, one.size) for one in found]
    if harm in {"peaks", "note"}:
        assert found[-1].size == written.log.sequence
    else:
        assert maker.faults


def test_cache_of_another_key_is_not_believed(written: Written, path: Path, box: Box) -> None:
    """With a new key for checkpoints the log is read from its beginning."""
    written.add(3)
    checkpointer(written, Box(), signer=OTHER_SIGNER).round()
    written.add()
    checkpointer(written, box).round()
    assert [one.root for one in made(box)] == [root_at(path, 4)]


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.parametrize("point", range(1, 12))
def test_killed_at_any_point_it_goes_on(
    written: Written, path: Path, box: Box, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    """Wherever the process ends in a round, the next one makes a right checkpoint, and no wrong one was signed."""
    from hauberk import files

    written.add(5)
    checkpointer(written, box).round()
    written.add(5)
    count = itertools.count(1)

    def dies(function: object) -> object:
        def call(*args: object, **more: object) -> object:
            if next(count) == point:
                raise Killed
            return function(*args, **more)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr("hauberk_audit.checkpoints._follow.leaf_hash", dies(leaf_hash))
        patch.setattr(files, "write_atomic", dies(files.write_atomic))
        patch.setattr(box, "send", dies(box.send))
        patch.setattr(Signer, "sign", dies(Signer.sign))
        try:
            checkpointer(written, box).round()
        except Killed:
            killed = True
        else:
            killed = False
    assert killed == (point <= 10)
    checkpointer(written, box).round()
    found = made(box)
    assert [one.root for one in found] == [root_at(path, one.size) for one in found]
    assert found[-1].size == written.log.sequence


# --- a log that is not what it was ---


def restarted(path: Path, *boxes: Box, told: Told | None = None) -> Checkpointer:
    return checkpointer(Written(path, 4), *boxes, told=told)


def test_log_that_was_put_back_gets_no_checkpoint(path: Path, box: Box) -> None:
    """Log and state put back to what they were are not signed over what was signed since, and it is said (A18)."""
    with closing(Written(path)) as log:
        log.add(3)
    before = {name: name.read_bytes() for name in path.parent.iterdir()}
    with closing(Written(path)) as log:
        log.add(3)
        checkpointer(log, box).round()
    for name, data in before.items():
        name.write_bytes(data)
    told = Told()
    with closing(Written(path)) as log:
        maker = checkpointer(log, box, told=told)
        for _ in range(5):
            maker.round()
            log.add()
    assert [one.size for one in made(box)] == [6, 6]
    assert told.codes == ["audit.checkpoint_failed"]
    assert "has 3 entries, and its last checkpoint has 6" in told.events[0][3]["reason"]
    assert told.events[0][1] == "critical"


def test_log_that_was_written_anew_gets_no_checkpoint(written: Written, path: Path, box: Box) -> None:
    """A log of which the signed part was changed is noticed when it is read again from its beginning."""
    written.add(3)
    checkpointer(written, box).round()
    path.write_bytes(path.read_bytes().replace(b"files", b"filez", 1))
    tree_path(path).write_text(tree_path(path).read_text().replace('"peaks":["', '"peaks":["AAAA', 1))
    written.add()
    told = Told()
    checkpointer(written, box, told=told).round()
    assert told.codes == ["audit.checkpoint_failed"]
    assert "not what its last checkpoint says" in told.events[0][3]["reason"]
    assert {one.size for one in made(box)} == {3}


def test_line_that_nobody_wrote_is_noticed(written: Written, path: Path, box: Box) -> None:
    """A line more than the writer counted is not signed."""
    written.add(2)
    reached = written.reached()
    with path.open("ab") as file:
        file.write(b"forged\n")
    told = Told()
    longer = reached._replace(size=reached.size + 7)
    checkpointer(written, box, told=told, reached=lambda: longer).round()
    assert box.notes == []
    assert "has 3 lines, and 2 were written" in told.events[0][3]["reason"]


def test_file_that_is_gone_is_said(written: Written, path: Path, box: Box) -> None:
    """A closed file that was not read yet and is gone is said, and another try is made later."""
    written.add(9)
    first = next(iter(closed_files(path).values()))
    away = first.rename(first.with_name("away"))
    told = Told()
    maker = checkpointer(written, box, told=told)
    maker.round()
    maker.round()
    assert told.codes == ["audit.checkpoint_failed"]
    assert box.notes == []
    away.rename(first)
    maker.round()
    assert [one.root for one in made(box)] == [root_at(path, written.log.sequence)]
    assert maker.faults == []


# --- files that were let go ---


def let_go(written: Written, signer: Signer | None) -> None:
    found = plan(written.path, Keep(None, 1))
    assert found is not None
    note = cut_note(found.cut, "example.com/host1", rfc3339(NOW), signer)
    execute(written.path, found, lambda: written.log.append(said("audit.pruned", {})), note)


@pytest.mark.parametrize("signer", [SIGNER, None])
def test_rest_of_a_log_goes_on_from_its_cut(written: Written, path: Path, box: Box, signer: Signer | None) -> None:
    """With neither cache nor the first files, a tree goes on from what is kept of them, to the same root."""
    written.add(20)
    reference = lines_of(path)
    let_go(written, signer)
    written.add()
    checkpointer(written, box).round()
    tree = Tree()
    for line in [*reference, *lines_of(path)[-2:]]:
        tree.push(leaf_hash(line))
    assert [one.root for one in made(box)] == [tree.root()]


@pytest.mark.parametrize("signer", [SIGNER, OTHER_SIGNER, None])
def test_cut_after_the_last_checkpoint_must_be_signed(written: Written, box: Box, signer: Signer | None) -> None:
    """Files that went after they were signed went by the key, or no checkpoint is made any more."""
    written.add(2)
    checkpointer(written, box).round()
    written.add(20)
    let_go(written, signer)
    told = Told()
    checkpointer(written, box, told=told).round()
    assert told.codes == ([] if signer is SIGNER else ["audit.checkpoint_failed"])
    assert made(box)[-1].size == (written.log.sequence if signer is SIGNER else 2)


# --- sinks ---


def test_failing_sink_is_said_once_and_gets_the_newest(written: Written, box: Box) -> None:
    """A sink that fails is said once, then that it works again; it gets the newest checkpoint, others each (X.16)."""
    other, told = Box(), Told()
    maker = checkpointer(written, box, other, told=told)
    box.broken = "it is full"
    for _ in range(3):
        written.add()
        maker.round()
    assert told.events == [
        ("audit.checkpoint_failed", "warning", 1, {"sink": "box:0", "reason": "it is full", "size": 1})
    ]
    assert maker.faults == ["box:0: it is full"]
    assert maker.anchored == 3
    box.broken = ""
    maker.round()
    assert told.events[1:] == [("audit.checkpoint_resumed", "info", 3, {"sink": "box:0", "size": 3})]
    assert maker.faults == []
    assert ([one.size for one in made(box)], [one.size for one in made(other)]) == ([3], [1, 2, 3])


def test_sink_that_raises_anything_is_a_sink_that_fails(
    written: Written, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink of others that breaks, or answers nonsense, ends neither the round nor the other sinks."""
    other, told = Box(), Told()
    maker = checkpointer(written, other, box, told=told)
    written.add()
    monkeypatch.setattr(other, "send", lambda note: 1 / 0)
    maker.round()
    monkeypatch.undo()
    other.adds = b"no signature\n"
    written.add()
    maker.round()
    assert told.codes == ["audit.checkpoint_failed"]
    assert [one.size for one in made(box)] == [1, 2]


def test_cosignatures_go_on_with_the_note(written: Written, box: Box) -> None:
    """What one sink signs, those after it get with the note, and what was signed stays signed."""
    witness, last = Box(), Box()
    maker = checkpointer(written, witness, box, last)
    written.add()
    cosigner = Signer("witness.example/w", bytes(range(5, 37)))
    maker._begun()
    text = Checkpoint(
        "example.com/host1", 1, root_at(written.path, 1), chain_of(lines_of(written.path)[0]), rfc3339(NOW)
    )
    witness.adds = cosigner.sign(text.text).signatures[0].line
    maker.round()
    assert box.notes == last.notes
    assert box.notes[0] == witness.notes[0] + witness.adds
    assert len(check_signed(parse(box.notes[0]), [SIGNER.verifier, cosigner.verifier])) == 2


class Cosigner(Box):
    """A sink that wants a proof, and checks it."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.root = 0, b""
        self.reads = 0

    def cosign(self, note: bytes, prove: Prove) -> bytes:
        """Keep a checkpoint that begins with the one before it."""
        if self.broken:
            raise SinkError(self.broken)
        found = Checkpoint.parse(parse(note).text)
        if self.size:
            assert consistent(self.size, found.size, (self.root, found.root), prove(self.size))
        self.size, self.root = found.size, found.root
        self.notes.append(note)
        return b""


@pytest.mark.parametrize("restart", [False, True])
def test_sink_that_wants_proofs_gets_them(written: Written, restart: bool) -> None:
    """A witness gets the proof from what it has, over files, failures and restarts of the host."""
    witness = Cosigner()
    maker = checkpointer(written, witness)
    for number in range(12):
        written.add(number % 3)
        written.pack()
        witness.broken = "away" if number in {4, 5} else ""
        if restart:
            maker = checkpointer(written, witness)
        maker.round()
        assert maker.faults == ([] if not witness.broken else ["box:0: away"])
    assert made(witness)[-1].size == written.log.sequence


def test_proof_is_not_read_again_while_the_host_runs(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was added since the last checkpoint is at hand: the log is read from its beginning after a start only."""
    witness = Cosigner()
    written.add(5)
    maker = checkpointer(written, witness)
    maker.round()
    monkeypatch.setattr(Checkpointer, "_grown", lambda *_: pytest.fail("it is read again"))
    for _ in range(5):
        written.add(2)
        maker.round()
    assert [one.size for one in made(witness)][-1] == written.log.sequence


def test_what_was_let_go_cannot_be_proven(written: Written) -> None:
    """A witness that is behind the files that were let go is a sink that fails, with a reason."""
    witness = Cosigner()
    written.add(2)
    checkpointer(written, witness).round()
    written.add(20)
    let_go(written, SIGNER)
    maker = checkpointer(written, witness)
    maker.round()
    assert maker.faults == ["box:0: that the log only grew since entry 2 cannot be shown"]


def test_proof_of_a_log_that_was_changed_is_not_made(written: Written, path: Path) -> None:
    """A log that is not what was signed before gives no proof, whoever asks: the witness need not find out."""
    witness = Cosigner()
    written.add(6)
    checkpointer(written, witness).round()
    first = next(iter(closed_files(path).values()))
    first.write_bytes(first.read_bytes().replace(b"files", b"filez", 1))
    written.add()
    maker = checkpointer(written, witness)
    maker.round()
    assert maker.faults == [f"box:0: that the log only grew since entry {witness.size} cannot be shown"]


def test_file_that_is_closed_meanwhile_is_still_that_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that gets its number between two looks is not mistaken for the one that takes its name."""
    path.parent.mkdir(0o700)
    path.write_bytes(b"old\n")
    real = _follow._open

    def rotated(name: Path) -> object:
        if name == path and not closed(path, 1).exists():
            path.rename(closed(path, 1))
            path.write_bytes(b"new\n")
        return real(name)

    monkeypatch.setattr(_follow, "_open", rotated)
    with _follow.opened(path, 1, written=True) as file:
        assert file.read() == b"old\n"
    with _follow.opened(path, 2, written=True) as file:
        assert file.read() == b"new\n"
    with pytest.raises(FileNotFoundError):
        _follow.opened(path, 2, written=False)


# --- late ---


def test_what_nobody_keeps_is_overdue(written: Written, box: Box) -> None:
    """Entries that are in no checkpoint that anybody took for longer than they may be are one critical event."""
    clock, told = [0.0], Told()
    other = Box()
    maker = checkpointer(written, box, other, told=told, clock=lambda: clock[0], max_age=600)
    box.broken = other.broken = "no"
    written.add()
    for now, late in ((0.0, False), (600.0, False), (601.0, True), (900.0, True)):
        clock[0] = now
        maker.round()
        assert maker.overdue == late
    assert told.codes == ["audit.checkpoint_failed"] * 2 + ["audit.unanchored"]
    assert told.events[2][1:] == ("critical", 1, {"seconds": 601, "anchored": 0})
    other.broken = ""
    maker.round()
    assert not maker.overdue
    written.add()
    clock[0] = 1200.0
    maker.round()
    assert not maker.overdue


def test_log_that_cannot_be_read_is_overdue(written: Written, box: Box) -> None:
    """A log of which no checkpoint can be made is overdue as well, whatever the sinks have."""
    clock = [0.0]

    def fails() -> Reached:
        raise OSError(5, "input/output error")

    told = Told()
    maker = checkpointer(written, box, told=told, clock=lambda: clock[0], max_age=600, reached=fails)
    maker.round()
    clock[0] = 601.0
    maker.round()
    assert maker.overdue
    assert told.events[0][3] == {"reason": "input/output error"}
