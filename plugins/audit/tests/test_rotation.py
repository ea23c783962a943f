"""Files that are full, and the state beside a log: one chain through all files, and nothing is lost between two."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plugins.audit.tests.logs import KEY, OTHER_KEY, event

from hauberk.refusals import PluginError
from hauberk_audit._entry import render
from hauberk_audit._paths import closed, closed_files, state_path
from hauberk_audit.verifying._verify import verify
from hauberk_audit.verifying._walk import Break
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._log import Disk, Log
from hauberk_audit.writing._packing import Packer, compress
from hauberk_audit.writing._ratchet import Rung
from hauberk_audit.writing._rotation import Rotation, Rotator
from hauberk_audit.writing._state import PAGE, SLOT, Position, State, decode, encode, seen

NEVER = Rotation(bytes=None)


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def say(code: str, details: dict[str, Any]) -> bytes:
    return render(event(code=code).__class__(code=code, id="x", time=1.0, details=details))


def open_log(path: Path, rotation: Rotation = NEVER, *, now: Time | None = None, disk: Disk | None = None) -> Log:
    return Log.open(path, Chain(KEY), sync=True, disk=disk or Disk(), rotator=Rotator(rotation, now or Time(), say))


def append(path: Path, count: int, rotation: Rotation = NEVER) -> None:
    with closing(open_log(path, rotation)) as log:
        for number in range(count):
            log.append(render(event(number)))


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries of all files of a log."""
    data = b""
    for file in [*closed_files(path).values(), path]:
        data += gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [orjson.loads(line) for line in data.splitlines()]


def codes(path: Path) -> list[str]:
    return [entry["code"] for entry in entries(path) if entry["code"] != "core.allowed"]


def found(path: Path) -> list[tuple[str, str, int]]:
    """Return file, kind and number of each break."""
    return [(Path(one.file).name, one.kind, one.sequence) for one in verify([path], KEY).breaks]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "audit.jsonl"


# --- when ---


@pytest.mark.parametrize("rotation", [Rotation(bytes=1500), Rotation(bytes=None, entries=3)])
def test_full_file_is_closed_and_the_next_goes_on(path: Path, rotation: Rotation) -> None:
    """A file that is full ends with a rotation entry; the next begins with a reference to it (S3.4)."""
    append(path, 12, rotation)
    assert list(closed_files(path)) == list(range(1, len(closed_files(path)) + 1))
    assert len(closed_files(path)) >= 3
    assert codes(path) == ["audit.rotation", "audit.continued"] * len(closed_files(path))
    assert [entry["integrity"]["sequence"] for entry in entries(path)] == list(range(1, len(entries(path)) + 1))
    assert verify([path], KEY).status == 0


def test_references_name_the_files_and_the_hash(path: Path) -> None:
    """The entry that begins a file names the one before it, its last number and its last hash (S3.4)."""
    append(path, 4, Rotation(bytes=None, entries=3))
    rotation, continued = [entry for entry in entries(path) if entry["code"] != "core.allowed"]
    assert rotation["details"] == {"file": "audit.jsonl.1", "entries": 4, "reason": "entries"}
    assert continued["details"] == {
        "file": "audit.jsonl.1",
        "sequence": rotation["integrity"]["sequence"],
        "hash": rotation["integrity"]["entry_hash"].rpartition(":")[2],
    }


def test_old_file_is_closed(path: Path) -> None:
    """A file that was begun too long ago is closed before the next entry, over restarts too."""
    now = Time()
    for _ in range(2):
        with closing(open_log(path, Rotation(hours=2), now=now)) as log:
            log.append(render(event()))
        now.now += 3700
    assert closed_files(path) == {}
    with closing(open_log(path, Rotation(hours=2), now=now)) as log:
        log.append(render(event()))
    assert list(closed_files(path)) == [1]


@pytest.mark.parametrize("name", ["bytes", "hours", "entries"])
def test_file_of_nothing_is_an_error(name: str) -> None:
    """A bound of zero or less is refused when the configuration is read."""
    with pytest.raises(ValueError, match=name):
        Rotation(**{name: 0})  # type: ignore[arg-type]  # a number for each


# --- restarts and crashes ---


def test_chain_goes_on_over_files_and_restarts(path: Path) -> None:
    """However often it is opened, a log is one chain through all its files (S3.2, S3.4)."""
    for _ in range(6):
        append(path, 4, Rotation(bytes=None, entries=3))
    assert verify([path], KEY).status == 0
    assert len(entries(path)) == 24 + 2 * len(closed_files(path))


class Stopped(BaseException):
    """The process ends here."""


STEPS = ("before rename", "after rename", "before sync of the directory", "before the next file")


@pytest.mark.parametrize("step", STEPS)
def test_crash_in_a_rotation_is_gone_on_from(path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a run is stopped between two files, the next goes on with one chain, and nothing is lost (A20, A22)."""
    append(path, 3)
    stop = _stops(step)
    log = open_log(path, Rotation(bytes=None, entries=3))
    with monkeypatch.context() as patch:
        stop(patch)
        with pytest.raises(Stopped):
            log.append(render(event(4)))
    os.close(log._fd)
    log._state.close()
    append(path, 2, Rotation(bytes=None, entries=3))
    assert verify([path], KEY).status == 0
    assert [entry["id"][-1] for entry in entries(path) if entry["code"] == "core.allowed"] == list("01201")


def _stops(step: str) -> Callable[[pytest.MonkeyPatch], None]:
    rename, opened = Path.rename, "hauberk_audit.writing._log.files.append_private"

    def never(*_: Any) -> None:
        raise Stopped

    def late(self: Path, to: Path) -> Path:
        rename(self, to)
        raise Stopped

    def patch(context: pytest.MonkeyPatch) -> None:
        match step:
            case "before rename":
                context.setattr(Path, "rename", never)
            case "after rename":
                context.setattr(Path, "rename", late)
            case "before sync of the directory":
                context.setattr("hauberk_audit.writing._log.files.sync_directory", never)
            case _:
                context.setattr(opened, never)

    return patch


def test_rotation_that_fails_is_taken_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a file cannot be renamed nothing is recorded, and what was is kept; afterwards the log goes on (A19)."""
    append(path, 3)

    def fail(*_: Any) -> None:
        raise OSError(errno.EACCES, "permission denied")

    with closing(open_log(path, Rotation(bytes=None, entries=3))) as log:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", fail)
            for _ in range(3):
                with pytest.raises(PluginError, match="permission denied"):
                    log.append(render(event(4)))
        log.append(render(event(5)))
    assert verify([path], KEY).status == 0
    assert codes(path) == ["audit.rotation", "audit.continued"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 900), st.booleans()), max_size=6))
def test_every_acknowledged_entry_is_in_some_file(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, int, bool]]
) -> None:
    """Over random runs, full disks and crashes: what was acknowledged is there once, in order, in one chain (A20)."""
    path = tmp_path_factory.mktemp("log") / "sub" / "audit.jsonl"
    acknowledged: list[str] = []
    for turn, (count, room, clean) in enumerate(runs):
        left = [room or 1 << 30]

        def write(fd: int, data: bytes, left: list[int] = left) -> int:
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, "no space left on device")
            done = os.write(fd, data[: left[0]])
            left[0] -= done
            return done

        log = open_log(path, Rotation(bytes=None, entries=3), disk=Disk(write=write))
        for number in range(count):
            try:
                log.append(render(event(turn * 10 + number)))
                acknowledged.append(f"{turn * 10 + number:012x}")
            except PluginError:
                left[0] = 1 << 30
        if clean:
            log.close()
        else:
            os.close(log._fd)
            log._state.close()
    append(path, 0)
    assert [entry["id"][-12:] for entry in entries(path) if entry["code"] == "core.allowed"] == acknowledged
    assert verify([path], KEY).broken == 0


# --- what is missing: more of that is in `test_tamper` ---


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_cut_tail_is_found_by_the_state(path: Path, cut: int) -> None:
    """Entries that were cut off from the end are missed, by verify and by the next start (A17)."""
    append(path, 5)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-cut]))
    assert ("audit.jsonl", "truncated", 5) in found(path)
    with pytest.raises(PluginError, match="gone") as caught:
        open_log(path)
    assert "audit chain reset" in str(caught.value.hint)


def test_deleted_log_is_found_by_the_state(path: Path) -> None:
    """A log that is gone while its state is there is not begun anew in silence (A17)."""
    append(path, 5)
    path.unlink()
    with pytest.raises(PluginError, match="it is gone or empty"):
        open_log(path)


def test_replaced_last_entry_is_found_by_the_state(path: Path) -> None:
    """A log with another entry in the last place, signed with the key, is not gone on from."""
    append(path, 5)
    state = state_path(path).read_bytes()
    path.unlink()
    state_path(path).unlink()
    with closing(open_log(path)) as log:
        for number in range(5):
            log.append(render(event(number + 50)))
    state_path(path).write_bytes(state)
    with pytest.raises(PluginError, match="another one than was written"):
        open_log(path)


def test_current_file_that_is_gone_between_two_is_begun(path: Path) -> None:
    """Where the last file was closed and the next one not begun, nothing is missing."""
    append(path, 3)
    with closing(open_log(path, Rotation(bytes=None, entries=3))) as log:
        log._turn()
    path.unlink()
    assert verify([path], KEY).status == 0
    append(path, 1)
    assert verify([path], KEY).status == 0


# --- the state ---


def test_lost_state_is_told(path: Path) -> None:
    """A state that is gone or damaged is no reason not to start, and is said (S3.3)."""
    append(path, 2)
    state_path(path).unlink()
    with closing(open_log(path)) as log:
        assert log.fault == "missing"
    state_path(path).write_bytes(b"x" * 2 * SLOT)
    with closing(open_log(path)) as log:
        assert log.fault == "corrupt"
    with closing(open_log(path)) as log:
        assert log.fault == ""


def test_run_that_was_killed_is_known(path: Path) -> None:
    """A log that its last writer did not close says so at the next start."""
    log = open_log(path)
    log.append(render(event()))
    os.close(log._fd)
    log._state.close()
    with closing(open_log(path)) as log:
        assert log.crashed
    with closing(open_log(path)) as log:
        assert not log.crashed


def test_state_of_another_key_is_not_believed(tmp_path: Path) -> None:
    """A state that another key signed says nothing."""
    file = tmp_path / "a.chain"
    with closing(state_of(file, Chain(OTHER_KEY).state_key)) as state:
        state.write(Position(sequence=7))
    assert seen(file, Chain(KEY).state_key) == (Position(), "corrupt", None)


def state_of(file: Path, key: bytes) -> State:
    file.parent.chmod(0o700)
    state = State.take(file, key)
    assert state is not None
    return state


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, SLOT), st.binary(max_size=SLOT))
def test_torn_state_is_the_one_before(
    tmp_path_factory: pytest.TempPathFactory, count: int, kept: int, noise: bytes
) -> None:
    """Wherever a crash stops the writing of a state, the one before it holds, or the new one; never a mix."""
    file = tmp_path_factory.mktemp("state") / "sub" / "a.chain"
    file.parent.mkdir(0o700)
    key = Chain(KEY).state_key
    with closing(state_of(file, key)) as state:
        for number in range(1, count + 1):
            state.write(Position(sequence=number, hash="5" * 64))
    data = bytearray(file.read_bytes().ljust(PAGE + SLOT, b"\0"))
    new = encode(count + 1, Position(sequence=count + 1), key)
    start = ((count + 1) % 2) * PAGE
    data[start : start + SLOT] = (new[:kept] + noise + bytes(data[start : start + SLOT])[kept + len(noise) :])[:SLOT]
    file.write_bytes(data)
    at, fault, _ = seen(file, key)
    assert (at.sequence, fault) in {(count, ""), (count + 1, "")}


def test_slot_is_of_one_size() -> None:
    """The largest position fits into a slot, and is read back."""
    at = Position(sequence=10**18 - 1, hash="f" * 64, file=10**9, began=1e12 + 0.123456, first=10**18 - 1, running=True)
    data = encode(2**63, at, bytes(32))
    assert len(data) == SLOT
    slot = decode(data, bytes(32))
    assert slot is not None
    assert (slot.count, slot.at) == (2**63, at)
    rung = Rung("f" * 16, 99_999, 10**18 - 1, b"\xff" * 32)
    data = encode(2**63, replace(at, check="f" * 64), None, rung)
    assert len(data) == SLOT
    slot = decode(data, None)
    assert slot is not None
    assert slot.rung == rung
    assert decode(data, bytes(32)) is None


# --- compression ---


def test_compressed_files_verify(path: Path) -> None:
    """Compression never breaks verify, whichever files are compressed (S4.23)."""
    append(path, 12, Rotation(bytes=None, entries=3))
    for number in (1, 3):
        packed = compress(closed_files(path)[number])
        assert packed.stat().st_mode & 0o777 == 0o600
    assert [name.suffix for name in closed_files(path).values()][:3] == [".gz", ".2", ".gz"]
    assert verify([path], KEY).status == 0
    append(path, 1)
    assert verify([path], KEY).status == 0


def test_chain_goes_on_after_a_compressed_file(path: Path) -> None:
    """Where the last file was compressed before the next one was begun, the chain goes on from it."""
    append(path, 3)
    with closing(open_log(path, Rotation(bytes=None, entries=3))) as log:
        log._turn()
    compress(closed_files(path)[1])
    path.unlink()
    append(path, 1)
    assert verify([path], KEY).status == 0


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-20], lambda data: data[:40] + b"\0" * 9 + data[49:], lambda _: b"x"]
)
def test_damaged_compressed_file_is_found(path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """A compressed file that was cut or changed is a break, not an error."""
    append(path, 12, Rotation(bytes=None, entries=3))
    packed = compress(closed_files(path)[1])
    packed.write_bytes(spoil(packed.read_bytes()))
    report = verify([path], KEY)
    assert report.status == 1
    assert isinstance(report.breaks[0], Break)


def test_crash_while_compressing_leaves_a_whole_file(path: Path) -> None:
    """A part of a compressed file is taken for nothing, and the plain one counts while it is there."""
    append(path, 4, Rotation(bytes=None, entries=3))
    first = closed_files(path)[1]
    first.with_name(f"{first.name}.gz.part").write_bytes(b"half")
    first.with_name(f"{first.name}.gz").write_bytes(b"not read")
    assert closed_files(path)[1] == first
    assert verify([path], KEY).status == 0


def test_files_are_compressed_beside_the_writer(path: Path) -> None:
    """What is closed is compressed by the time that the log is closed; where it is switched off it is not."""
    append(path, 12, Rotation(bytes=None, entries=3))
    for wanted in (False, True):
        packer = Packer(compress=wanted)
        for file in closed_files(path).values():
            packer.pack(file)
        packer.close()
        assert {file.suffix == ".gz" for file in closed_files(path).values()} == {wanted}
    assert verify([path], KEY).status == 0


def test_file_that_cannot_be_compressed_stays(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be compressed is as it was, and that is said."""
    append(path, 4, Rotation(bytes=None, entries=3))
    packer = Packer(compress=True)
    packer.pack(path.with_name("audit.jsonl.7"))
    packer.pack(closed_files(path)[1])
    packer.close()
    assert "cannot compress" in caplog.text
    assert list(closed_files(path)) == [1]


def test_empty_file_between_others_is_found(path: Path) -> None:
    """A closed file without any line is not closed, although the one before it is (A22)."""
    with closing(open_log(path, Rotation(entries=3))) as log:
        for count in range(8):
            log.append(render(event(count)))
    files = closed_files(path)
    last = max(files)
    files[last].rename(closed(path, last + 1))
    closed(path, last).touch(0o600)
    assert [kind for _, kind, _ in found(path)] == ["unclosed"]
