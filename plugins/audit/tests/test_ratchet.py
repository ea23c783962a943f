"""A key that only goes forward: what was committed cannot be written anew by who has the host (S3.7, X.11, A28)."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from plugins.audit.tests.logs import KEY, OTHER_KEY, event

from hauberk import keys
from hauberk.cli import main
from hauberk.guard import Guard
from hauberk.refusals import ConfigError, PluginError
from hauberk_audit import _options
from hauberk_audit._entry import render
from hauberk_audit._paths import sibling, state_path
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing import _custody, _ratchet
from hauberk_audit.writing._chain import FORMAT, GENESIS, Chain, read
from hauberk_audit.writing._custody import Roots
from hauberk_audit.writing._log import Disk, Log
from hauberk_audit.writing._ratchet import Ladder, Root, Rung, first_root, named
from hauberk_audit.writing._reset import reset, status
from hauberk_audit.writing._rotation import Rotation, Rotator
from hauberk_audit.writing._state import State

PRODUCTION = 'profile = "production"\nplugins.require = ["audit"]\n'
Load = Callable[..., Guard]


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roots:
    """Return the key file of a host whose initial key is `KEY`."""
    tmp_path.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", lambda count: KEY[:count])
        _custody.make(tmp_path / "audit.key", tmp_path / "escrow.key")
    found = _custody.load(tmp_path / "audit.key")
    assert isinstance(found, Roots)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a log; it is not there yet."""
    return tmp_path / "audit" / "audit.jsonl"


def opened(path: Path, roots: Roots, *, sync: bool = True, entries: int | None = None) -> Log:
    rotator = Rotator(Rotation(bytes=None, entries=entries), lambda: 1e9, _say) if entries else None
    return Log.open(path, roots, sync=sync, rotator=rotator)


def _say(code: str, details: dict[str, Any]) -> bytes:
    return render(event(code=code))


def written(path: Path, roots: Roots, *commits: int) -> list[bytes]:
    """Write entries, some in each commit, and return the lines of the log without their LF."""
    with closing(opened(path, roots)) as log:
        for count in commits:
            log.extend([render(event(number)) for number in range(count)])
    return path.read_bytes().split(b"\n")[:-1]


def found(path: Path, key: bytes = KEY) -> list[tuple[str, int]]:
    return [(one.kind, one.sequence) for one in verify([path], key).breaks]


def sealed(rung: Rung, sequence: int, prev: bytes, text: str = "forged") -> bytes:
    """Return a line that a rung signed."""
    return rung.signer().seal(render(event(sequence, rule=text)), sequence, prev)[0]


# --- keys ---


def test_each_step_is_one_way_and_named() -> None:
    """Rungs and roots are derived forward by HKDF, and each has a key of its own (S2.32, S3.7, X.10)."""
    root = first_root(KEY)
    rung = root.first()
    assert rung.key == keys.derive(root.key, "audit-rung")
    assert rung.next().key == keys.derive(rung.key, "audit-rung")
    assert root.next().key == keys.derive(root.key, "audit-root")
    assert root.key == keys.derive(KEY, "audit-root")
    all_keys = [KEY, root.key, rung.key, rung.next().key, root.next().key, root.next().first().key]
    assert len(set(all_keys)) == len(all_keys)
    key_id = rung.next().signer().key_id
    assert key_id == f"{keys.key_id(KEY)}.1.2".encode()
    assert named(key_id) == (keys.key_id(KEY), 1, 2)


@pytest.mark.parametrize(
    "name", ["{k}", "{k}.0.1", "{k}.1.0", "{k}.01.1", "{k}.1", "{o}.1.1", "{k}.1.1.1", "{k}.100000.1"]
)
def test_what_is_no_rung_is_none(name: str) -> None:
    """A ladder knows its own rungs and no other."""
    key_id = name.format(k=keys.key_id(KEY), o=keys.key_id(OTHER_KEY)).encode()
    ladder = Ladder(KEY)
    assert ladder.signer(key_id) is (ladder.plain if key_id == ladder.plain.key_id else None)


def test_ladder_finds_rungs_in_any_order() -> None:
    """A rung is the same, whichever was asked for before."""
    rung, wanted = first_root(KEY).next().first(), {}
    for step in range(1, 9001):
        if step in {1, 2, 4096, 4097, 4098, 8193, 9000}:
            wanted[step] = rung
        rung = rung.next()
    ladder = Ladder(KEY)
    for step in (9000, 4097, 8193, 1, 4098, 2, 4096, 9000):
        assert ladder.rung(wanted[step].name) == wanted[step]


def test_no_line_keeps_a_verifier_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """How far a ladder leaps because a line says so is bounded, in all."""
    monkeypatch.setattr(_ratchet, "_LEAPS", 100)
    ladder = Ladder(KEY)
    name = f"{keys.key_id(KEY)}.1."
    assert ladder.signer(f"{name}{10**17}".encode()) is None
    assert ladder.signer(f"{name}80".encode()) is not None
    assert ladder.signer(f"{name}102".encode()) is None
    assert ladder.signer(f"{name}81".encode()) is not None  # the next one is no leap


# --- the key file ---


def test_a_root_is_taken_once(roots: Roots) -> None:
    """Taking a root leaves the next one in its place, and nothing of it."""
    before = roots.path.read_bytes()
    first, second = roots.take(), roots.take()
    assert (first, second) == (first_root(KEY).first(), first_root(KEY).next().first())
    after = roots.path.read_bytes()
    assert len(after) == len(before)
    assert before[30:-20] not in after
    assert roots.path.stat().st_mode & 0o777 == 0o600


def test_roots_end(roots: Roots) -> None:
    """More chains than can be named are not begun."""
    root = Root(keys.key_id(KEY), 1, bytes(32))
    roots.path.write_bytes(_custody._line(root._replace(chain=_ratchet.MOST_CHAINS)))
    with pytest.raises(ConfigError, match="has begun 99998 chains"):
        roots.take()


@pytest.mark.parametrize("at", [3, 20, 35, 60, 98])
def test_damaged_root_is_refused(roots: Roots, at: int) -> None:
    """A key file with one changed character is not used, and a new key is never made instead (S3.8)."""
    data = bytearray(roots.path.read_bytes())
    data[at] = ord("A") if data[at] != ord("A") else ord("B")
    roots.path.write_bytes(data)
    with pytest.raises(ConfigError):
        _custody.load(roots.path)
    assert roots.path.read_bytes() == data


def test_making_overwrites_nothing(tmp_path: Path, roots: Roots) -> None:
    """Neither of the two files may be there before; directories that are missing are made."""
    before = roots.path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        _custody.make(roots.path, tmp_path / "other.key")
    with pytest.raises(ConfigError, match="exists"):
        _custody.make(tmp_path / "other.key", tmp_path / "escrow.key")
    assert roots.path.read_bytes() == before
    assert not (tmp_path / "other.key").exists()
    _custody.make(tmp_path / "a" / "b.key", tmp_path / "c" / "d.key")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


# --- writing ---


def test_each_commit_has_a_key(path: Path, roots: Roots) -> None:
    """Entries of one commit share a rung, the next commit has the next one, over restarts too (S3.2, S3.7)."""
    written(path, roots, 3, 1)
    lines = written(path, roots, 2)
    steps = [named(entry.key_id).step for line in lines if (entry := read(line))]  # type: ignore[union-attr]  # named
    assert steps == [1, 1, 1, 2, 3, 3]
    assert found(path) == []


def test_what_signed_is_gone(path: Path, roots: Roots, tmp_path: Path) -> None:
    """Of a key that signed a commit nothing is left in any file of the host (S3.7)."""
    rungs = [first_root(KEY).first()]
    with closing(opened(path, roots)) as log:
        for number in range(4):
            log.append(render(event(number)))
            rungs.append(rungs[-1].next())
            assert log.rung == rungs[-1]
            names = [name for name in tmp_path.rglob("*") if name.is_file() and name.name != "escrow.key"]
            files = b"".join(name.read_bytes() for name in names)
            assert [rung.step for rung in rungs if base64.b64encode(rung.key) in files] == [rungs[-1].step]
    assert base64.urlsafe_b64encode(first_root(KEY).key)[:40] not in roots.path.read_bytes()


def test_siblings_and_new_chains_have_roots_of_their_own(path: Path, roots: Roots) -> None:
    """A second writer, and a chain that was begun anew, take the next root; all are verified with one key."""
    with closing(opened(path, roots)) as log, closing(opened(path, roots)) as other:
        log.append(render(event()))
        other.append(render(event()))
    reset(path, roots, _say, {"reason": "test"})
    second, third = read(sibling(path, 1).read_bytes()[:-1]), read(path.read_bytes()[:-1])
    assert second is not None
    assert third is not None
    assert [named(entry.key_id).chain for entry in (second, third)] == [2, 3]  # type: ignore[union-attr]  # named
    assert found(path.parent) == []
    assert found(path.parent / "audit.jsonl.archived-1") == []


def test_rotation_goes_on_with_the_key(path: Path, roots: Roots) -> None:
    """The key goes forward through all files of a log, compressed or not (S3.4)."""
    for _ in range(3):
        with closing(opened(path, roots, entries=4)) as log:
            for number in range(5):
                log.append(render(event(number)))
    report = verify([path], KEY)
    assert (report.status, len(report.logs)) == (0, 5), report.breaks


def test_interval_shares_a_rung(path: Path, roots: Roots) -> None:
    """Where entries are not synced one by one, those up to the next sync share a rung."""
    with closing(opened(path, roots, sync=False)) as log:
        log.append(render(event()))
        log.append(render(event()))
        log.flush()
        log.append(render(event()))
    steps = [entry.key_id[-2:] for line in path.read_bytes().split(b"\n") if (entry := read(line))]
    assert steps == [b".1", b".1", b".2"]
    assert found(path) == []


# --- crashes ---


@pytest.mark.parametrize("behind", [0, 1, 2, 7])
def test_state_that_is_behind_catches_up(path: Path, roots: Roots, behind: int) -> None:
    """After a crash of the machine the state may be older than the log: the key goes forward to where that is (A20)."""
    state = state_path(path)
    with closing(opened(path, roots)) as log:
        log.append(render(event()))
        old = state.read_bytes()
        for number in range(behind):
            log.append(render(event(number)))
    state.write_bytes(old)
    written(path, roots, 1)
    assert found(path) == []


def test_torn_line_is_set_aside(path: Path, roots: Roots) -> None:
    """A line that a crash cut is set aside, and its rung signs the next one (S3.3)."""
    written(path, roots, 1)
    with path.open("ab") as file:
        file.write(FORMAT + b'"time":')
    with closing(opened(path, roots)) as log:
        assert log.torn is not None
        log.append(render(event()))
    assert found(path) == []


def test_failed_write_leaves_no_gap(path: Path, roots: Roots) -> None:
    """What could not be written took no rung (A19)."""
    calls = iter([False, True, False, False])

    def write(fd: int, data: bytes) -> int:
        if next(calls, False):
            raise OSError(28, "No space left on device")
        return os.write(fd, data)

    with closing(Log.open(path, roots, sync=True, disk=Disk(write=write))) as log:
        log.append(render(event(1)))
        with pytest.raises(PluginError):
            log.append(render(event(2)))
        log.append(render(event(3)))
    assert found(path) == []


@pytest.mark.parametrize("damage", [b"", b"x" * 512, None])
def test_lost_state_is_refused_with_a_way_out(path: Path, roots: Roots, damage: bytes | None) -> None:
    """Without its state such a log does not go on; a new chain can be begun (S3.3, S3.12)."""
    written(path, roots, 2)
    state_path(path).unlink()
    if damage is not None:
        state_path(path).write_bytes(damage)
        state_path(path).chmod(0o600)
    with pytest.raises(PluginError, match="its state is lost") as caught:
        opened(path, roots)
    assert "chain reset" in str(caught.value.hint)
    assert not status(path, roots).goes_on
    reset(path, roots, _say, {"reason": "test"})
    assert found(path) == []


def test_changed_last_line_is_refused(path: Path, roots: Roots) -> None:
    """A last entry that was changed since is found although the key that signed it is gone (S3.3)."""
    written(path, roots, 2)
    path.write_bytes(path.read_bytes().replace(b"read_file", b"kill_file"))
    with pytest.raises(PluginError, match="its last entry was changed"):
        opened(path, roots)


def test_line_after_the_state_must_be_signed(path: Path, roots: Roots) -> None:
    """What stands after the entries that the state knows is believed if it is signed, not otherwise."""
    lines = written(path, roots, 2)
    last = read(lines[-1])
    assert last is not None
    forged = Rung(keys.key_id(KEY), 1, 2, bytes(32))
    with path.open("ab") as file:
        file.write(sealed(forged, 3, last.hash))
    with pytest.raises(PluginError, match="its last entry was changed"):
        opened(path, roots)


def test_claim_of_a_far_rung_is_refused(path: Path, roots: Roots) -> None:
    """No line makes a host derive more rungs than there can be."""
    lines = written(path, roots, 2)
    last = read(lines[-1])
    assert last is not None
    with path.open("ab") as file:
        file.write(sealed(Rung(keys.key_id(KEY), 1, 10**17, bytes(32)), 3, last.hash))
    with pytest.raises(PluginError, match="its last entry was changed"):
        opened(path, roots)


def test_plain_log_does_not_go_on_with_roots(path: Path, roots: Roots) -> None:
    """A log of a plain key is not gone on with, even if it is the same initial key; a new chain is begun."""
    with closing(Log.open(path, Chain(KEY), sync=True)) as log:
        log.append(render(event()))
    with pytest.raises(PluginError, match="it was written with key"):
        opened(path, roots)


def test_log_with_roots_does_not_go_on_plain(path: Path, roots: Roots) -> None:
    """Nor the other way round: the chain would lose what it has."""
    written(path, roots, 1)
    with pytest.raises(PluginError, match="it was written with key"):
        Log.open(path, Chain(KEY), sync=True)


# --- attacks of who has the host, with all that is on it ---


def stolen(path: Path, roots: Roots) -> Rung:
    """Return the key that is left on the host."""
    state = State.take(state_path(path), None)
    assert state is not None
    with closing(state):
        assert state.rung is not None
        return state.rung


@pytest.mark.parametrize("cut", range(1, 6))
def test_past_cannot_be_written_anew(path: Path, roots: Roots, cut: int) -> None:
    """Who cuts entries off and writes others with the key that is left shows, without any anchor (S3.7, A28)."""
    lines = written(path, roots, 1, 1, 1, 1, 1)
    rung = stolen(path, roots)
    kept = lines[: 5 - cut]
    entry = read(kept[-1]) if kept else None
    forged = sealed(rung, 6 - cut, entry.hash if entry else GENESIS)
    path.write_bytes(b"".join(line + b"\n" for line in kept) + forged)
    state_path(path).unlink()
    assert found(path) == [("skipped", 6 - cut)]


def test_entry_cannot_be_edited(path: Path, roots: Roots) -> None:
    """Nor can an entry be signed anew in its place."""
    lines = written(path, roots, 1, 1, 1)
    rung = stolen(path, roots)
    entry = read(lines[0])
    assert entry is not None
    lines[1] = sealed(rung, 2, entry.hash)[:-1]
    path.write_bytes(b"\n".join([*lines, b""]))
    assert ("skipped", 2) in found(path)


def test_key_of_a_later_rung_signs_nothing_earlier(path: Path, roots: Roots) -> None:
    """An entry that names an earlier rung and is signed with a later one is edited."""
    lines = written(path, roots, 1, 1, 1)
    rung = stolen(path, roots)
    entry = read(lines[1])
    assert entry is not None
    lines[2] = sealed(Rung(rung.key_id, 1, 3, rung.key), 3, entry.hash)[:-1]
    path.write_bytes(b"\n".join([*lines, b""]))
    assert found(path) == [("edited", 3)] or found(path)[0][0] == "edited"


def test_root_begins_no_earlier_chain(path: Path, roots: Roots) -> None:
    """With the root that is left no chain of an earlier number can be written."""
    lines = written(path, roots, 1)
    root = _custody._parse(roots.path.read_bytes(), roots.path)
    assert root.chain == 2
    path.write_bytes(sealed(root.first(), 1, GENESIS))
    state_path(path).unlink()
    assert found(path) == []  # a chain of its own, which only a checkpoint tells from the one before
    line = sealed(Rung(root.key_id, 1, 1, root.first().key), 1, GENESIS)
    path.write_bytes(line + lines[0] + b"\n")
    assert found(path)[0][0] in {"edited", "inserted"}


def test_chain_begins_with_its_first_rung(path: Path, roots: Roots) -> None:
    """A log whose first entry is signed with a later rung lost what stood before."""
    written(path, roots, 1, 1)
    rung = stolen(path, roots)
    path.write_bytes(sealed(rung, 1, GENESIS))
    state_path(path).unlink()
    assert found(path) == [("skipped", 1)]


def test_state_that_was_put_together_is_not_believed(path: Path, roots: Roots) -> None:
    """A state with a rung that is none of the key is the host's word, not the key's, and that is said."""
    written(path, roots, 1)
    state_path(path).unlink()
    state = State.take(state_path(path), None)
    assert state is not None
    with closing(state):
        from hauberk_audit.writing._state import Position

        state.write(Position(sequence=99), Rung(keys.key_id(KEY), 1, 2, bytes(32)))
    assert found(path) == [("unsigned_state", 0)]


def test_lost_end_is_found_with_the_state(path: Path, roots: Roots) -> None:
    """What the state knows and the log has not is missed, as with a plain key (A17)."""
    lines = written(path, roots, 1, 1, 1)
    path.write_bytes(lines[0] + b"\n")
    assert found(path) == [("truncated", 3)]
    with pytest.raises(PluginError, match="entries 2 to 3 are gone"):
        opened(path, roots)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_gap_over_rungs_is_a_gap(path: Path, roots: Roots, gone: int) -> None:
    """Entries taken from the middle are a gap, and what follows is still known as signed (A21)."""
    lines = written(path, roots, *[1] * 6)
    path.write_bytes(b"\n".join([lines[0], *lines[1 + gone :], b""]))
    assert found(path) == [("gap", 2 + gone)]


def test_moved_entries_are_told(path: Path, roots: Roots) -> None:
    """Entries that changed places, or stand twice, are told as with a plain key."""
    lines = written(path, roots, *[1] * 4)
    path.write_bytes(b"\n".join([lines[0], lines[2], lines[1], lines[3], b""]))
    assert [kind for kind, _ in found(path)] == ["gap", "reordered"]
    path.write_bytes(b"\n".join([*lines[:2], lines[1], *lines[2:], b""]))
    assert [kind for kind, _ in found(path)] == ["duplicated"]


# --- commands and hosts ---


def run(*words: object) -> int:
    return main(["audit", *map(str, words)])


def test_init_makes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``audit init --escrow`` makes a key that verifies and one that only goes forward."""
    tmp_path.chmod(0o700)
    assert run("init", "--key-file", tmp_path / "k", "--escrow", tmp_path / "e") == 0
    said = capsys.readouterr().out
    assert keys.key_id(keys.load_key(tmp_path / "e")) in said
    assert f"move {tmp_path / 'e'} off this host" in said
    assert isinstance(_custody.load(tmp_path / "k"), Roots)


def test_host_cannot_verify_itself(
    path: Path, roots: Roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the host's key nothing can be verified, and that is said; with the initial key it can."""
    written(path, roots, 2)
    assert run("verify", path, "--key-file", roots.path) == 2
    assert "only goes forward" in capsys.readouterr().err
    assert run("verify", path, "--key-file", tmp_path / "escrow.key") == 0
    assert run("chain", "status", path, "--key-file", roots.path) == 0


@pytest.fixture
def secure(state: Path, tmp_path: Path) -> Path:
    """Make roots in a host's state directory, and return the escrow."""
    state.mkdir(0o700)
    tmp_path.chmod(0o700)
    _custody.make(state / "audit.key", tmp_path / "escrow.key")
    return tmp_path / "escrow.key"


async def test_production_wants_such_a_key(load: Load, state: Path) -> None:
    """In production a plain key is refused, unless the configuration says that it will do."""
    _options.make_key(state / "audit.key")
    with pytest.raises(ConfigError, match="is a plain one") as caught:
        await load(PRODUCTION).open()
    assert "audit init --escrow" in str(caught.value.hint)
    async with load(f"{PRODUCTION}---[audit]\nratchet = false"):
        pass


async def test_host_writes_with_roots(load: Load, state: Path, secure: Path) -> None:
    """A host in production goes on over restarts, and its log is whole for who has the initial key (S3.2, S3.7)."""
    for _ in range(2):
        async with load(PRODUCTION):
            pass
    report = verify([state / "audit"], keys.load_key(secure))
    assert (report.status, report.logs[0].last > 2) == (0, True)


def test_options_want_it_in_production_only(tmp_path: Path) -> None:
    """Without a word, development makes a plain key, and never one that goes forward by itself."""
    tmp_path.chmod(0o700)
    made = _options.key_for(tmp_path / "a.key", tmp_path / "a.jsonl", production=False, ratchet=False)
    assert isinstance(made, Chain)
    with pytest.raises(ConfigError, match="missing") as caught:
        _options.key_for(tmp_path / "b.key", tmp_path / "b.jsonl", production=False, ratchet=True)
    assert "--escrow" in str(caught.value.hint)
