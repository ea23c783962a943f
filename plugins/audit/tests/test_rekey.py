"""Another key for a log that is encrypted: whole, or gone on with, and the old key opens nothing (S3.15)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from plugins.audit.tests.logs import KEY, OTHER_KEY, event
from plugins.audit.tests.test_commands import audit

from hauberk import advisory, files, keys
from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit._entry import render
from hauberk_audit._paths import closed_files, log_set, sibling, state_path
from hauberk_audit.queries import _index_files
from hauberk_audit.sealing import _recipients, _rekey
from hauberk_audit.sealing._opening import Opener
from hauberk_audit.sealing._providers import KeyProvider, LocalKey
from hauberk_audit.sealing._recipients import keys_path
from hauberk_audit.sealing._rekey import Change, Done, rekey
from hauberk_audit.sealing._sealer import sealing
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._reset import reset
from hauberk_audit.writing._rotation import Rotation, Rotator

CHAIN_KEY = keys.derive(KEY, "test")
OLD, NEW, THIRD = LocalKey(KEY), LocalKey(OTHER_KEY), LocalKey(KEY[::-1])
SIGNING = Chain(CHAIN_KEY)


def say(code: str, details: dict[str, Any]) -> bytes:
    return render(event().__class__(code=code, id="x", time=1.0, details=details))


def write(log: Path, count: int = 8, *recipients: KeyProvider) -> None:
    """Write a log of some files, sealed."""
    rotator = Rotator(Rotation(bytes=None, entries=4), lambda: 1.0, say)
    how = sealing(recipients or (OLD,))
    with closing(Log.open(log, SIGNING, sync=True, rotator=rotator, sealing=how)) as found:
        for number in range(count):
            found.append(render(event(number, rule=f"canary {number}")))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the first of two logs of several files each, and one that was put away."""
    path = tmp_path / "log" / "audit.jsonl"
    write(path)
    reset(path, SIGNING, say, {"reason": "test"}, sealing=sealing((OLD,)))
    write(path)
    with closing(Log.open(path, SIGNING, sync=True, sealing=sealing((OLD,)))):
        write(path)
    return path


def sidecars(log: Path) -> list[Path]:
    found = sorted([*log.parent.glob("*.keys"), *log.parent.glob("*/*.keys")])
    assert [path.parent.name for path in found] == ["log", "audit.jsonl.archived-1", "log"] or len(found) < 3
    return found


def change(log: Path, new: KeyProvider = NEW, *, old: KeyProvider = OLD, more: tuple[KeyProvider, ...] = ()) -> Done:
    return rekey(log_set(log), Change((old,), (new, *more)), SIGNING, say, {"changed_by": "uid:0"})


def entries(log: Path, *keys: KeyProvider) -> list[dict[str, Any]]:
    """Return all entries of a log, opened."""
    import gzip

    opener, data = Opener(keys), b""
    for file in [*closed_files(log).values(), log]:
        data += gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [opener(orjson.loads(line), log) for line in data.splitlines()]


def logs_of(log: Path) -> list[Path]:
    return [log, sibling(log, 1), log.with_name("audit.jsonl.archived-1") / log.name]


def check_done(log: Path) -> None:
    """Check that the new key opens everything, the old one nothing, and that nothing is pending."""
    for one in logs_of(log):
        rules = [entry["rule"] for entry in entries(one, NEW) if entry["code"] == "core.allowed"]
        assert rules == [f"canary {number}" for number in range(8)]
        with pytest.raises(ConfigError, match="wrapped for key"):
            entries(one, OLD)
        stored = _recipients.read(keys_path(one))
        assert stored is not None
        assert stored.rekeying is None
        assert {copy.key_id for file in stored.files for copy in file.keys} == {NEW.key_id}
    for one in logs_of(log)[:2]:
        said = [entry["details"] for entry in entries(one, NEW) if entry["code"] == "audit.rekeyed"]
        assert said
        assert {(each["old_key"], each["new_key"]) for each in said} == {(OLD.key_id, NEW.key_id)}
    assert verify([log.parent, log.parent / "audit.jsonl.archived-1"], CHAIN_KEY).status == 0


def test_new_key_opens_all_and_the_old_one_nothing(log: Path) -> None:
    """After a rekey the new key opens every file of every log, those put away too, and the old one none (S3.15)."""
    before = {path: path.read_bytes() for path in log.parent.rglob("*") if path.is_file() and path.name[-2:].isdigit()}
    done = change(log)
    assert sorted(done.files) == sidecars(log)
    assert done.logs == (log, sibling(log, 1))
    check_done(log)
    assert before == {path: path.read_bytes() for path in before}  # files that were closed are what they were


def test_what_follows_is_sealed_with_a_new_data_key(log: Path) -> None:
    """Who kept the old data keys and the old key reads nothing of what is written after the rekey (S3.15)."""
    kept = keys_path(log).read_bytes()
    change(log)
    after = log.read_bytes().splitlines()[-1]
    assert Opener([NEW])(orjson.loads(after), log)["code"] == "audit.rekeyed"
    keys_path(log).write_bytes(kept)
    with pytest.raises(HauberkError, match="holds no data key"):
        Opener([OLD])(orjson.loads(after), log)


def test_host_goes_on_with_the_new_key_only(log: Path) -> None:
    """A host with the new key goes on with the log; one with the old key does not start."""
    change(log)
    before = log.read_bytes()
    with pytest.raises(ConfigError, match="wrapped for key"):
        write(log, 1)
    assert log.read_bytes() == before
    write(log, 1, NEW)
    assert verify([log], CHAIN_KEY).status == 0


def test_recipients_are_replaced(log: Path) -> None:
    """The data keys are wrapped for the new key and the recipients that are named, and for nobody else."""
    change(log, more=(THIRD,))
    for one in logs_of(log):
        assert entries(one, THIRD) == entries(one, NEW)
    change(log, old=OLD, new=NEW)  # the third one goes; the configuration still names the old key
    with pytest.raises(ConfigError, match="wrapped for key"):
        entries(log, THIRD)


def test_same_again_does_nothing(log: Path) -> None:
    """A rekey that is done is not done again: nothing is written."""
    change(log)
    before = {path: path.read_bytes() for path in log.parent.rglob("*") if path.is_file()}
    assert change(log) == Done((), 0, ())
    assert before == {path: path.read_bytes() for path in log.parent.rglob("*") if path.is_file()}


# --- what stops it ---


def unchanged(log: Path, match: str, **how: Any) -> None:
    before = [path.read_bytes() for path in sidecars(log)]
    with pytest.raises(HauberkError, match=match):
        change(log, **how)
    assert before == [path.read_bytes() for path in sidecars(log)]


def test_log_that_is_written_is_left_alone(log: Path) -> None:
    """While any log of the set is held by a host nothing is changed, also not the others (S3.15)."""
    with closing(Log.open(sibling(log, 1), SIGNING, sync=True, sealing=sealing((OLD,)))):
        unchanged(log, "is being written")
    change(log)


def test_wrong_key_changes_nothing(log: Path) -> None:
    """With a key that does not open all of the data keys nothing is changed."""
    unchanged(log, "wrapped for key", old=THIRD)
    stored = orjson.loads(sidecars(log)[-1].read_bytes())
    stored["files"][0]["keys"][0]["wrapped"] = "A" * 64
    sidecars(log)[-1].write_bytes(orjson.dumps(stored))
    unchanged(log, "does not open")


def test_index_goes_or_the_rekey_waits(log: Path) -> None:
    """The index is removed before the key is changed; while a query uses it nothing is changed."""
    fd = _index_files.take(log)
    assert fd is not None
    unchanged(log, "index of audit log .* is in use")
    os.close(fd)
    assert _index_files.index_path(log).exists()
    change(log)
    assert not _index_files.index_path(log).exists()


def test_key_that_opens_nothing_changes_nothing(log: Path) -> None:
    """A new key that does not give back what it wrapped changes nothing."""

    class Broken:
        key_id = "broken"

        def wrap(self, data_key: bytes, /) -> bytes:
            return NEW.wrap(data_key)

        def unwrap(self, wrapped: bytes, /) -> bytes:
            return b"x" * 40

    unchanged(log, "key of something else", new=Broken())


def test_log_in_clear_is_left_alone(tmp_path: Path) -> None:
    """A log without data keys is left as it is."""
    log = tmp_path / "audit.jsonl"
    with closing(Log.open(log, SIGNING, sync=True)) as found:
        found.append(render(event()))
    before = log.read_bytes()
    assert change(log) == Done((), 0, ())
    assert log.read_bytes() == before
    assert not keys_path(log).exists()


# --- crashes ---


class Stopped(BaseException):
    """The process ends here."""


def _steps(monkeypatch: pytest.MonkeyPatch, stop_at: int, *, after: bool) -> list[str]:
    """Count what changes the disk or a lock, and stop at one of these steps, before or after it is done."""
    done: list[str] = []

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def step(*args: Any, **more: Any) -> Any:
            done.append(name)
            if len(done) == stop_at and not after:
                raise Stopped
            result = real(*args, **more)
            if len(done) == stop_at and after:
                raise Stopped
            return result

        monkeypatch.setattr(owner, name, step)

    for owner, name in (
        (files, "_write_beside"),
        (files, "sync_directory"),
        (Path, "replace"),
        (advisory, "take"),
        (os, "ftruncate"),
        (_index_files, "drop"),
        (Log, "append"),
    ):
        watch(owner, name)
    return done


def _all_steps() -> Iterator[Any]:
    for after in (False, True):
        for step in range(1, 36):
            yield pytest.param(step, after, id=f"{'after' if after else 'before'} {step}")


@pytest.mark.parametrize(("step", "after"), [*_all_steps()])
def test_interrupted_rekey_is_gone_on_with(
    log: Path, step: int, *, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a rekey is stopped, no log is lost, and the same asked for again ends it (S3.15)."""
    with monkeypatch.context() as patch:
        steps = _steps(patch, step, after=after)
        try:
            change(log)
        except Stopped:
            pass
        else:
            assert len(steps) < step  # there are no so many
    for one in logs_of(log):  # in between, the two keys together open everything
        rules = [entry["rule"] for entry in entries(one, OLD, NEW) if entry["code"] == "core.allowed"]
        assert rules == [f"canary {number}" for number in range(8)]
    assert verify([log.parent], CHAIN_KEY).status == 0
    change(log)
    check_done(log)


def test_interrupted_rekey_can_be_taken_back(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rekey that was stopped half way is undone by asking for the old key."""
    with monkeypatch.context() as patch:
        _steps(patch, 12, after=True)
        with pytest.raises(Stopped):
            change(log)
    change(log, new=OLD, old=NEW)
    for one in logs_of(log):
        assert entries(one, OLD)


def test_interrupted_rekey_can_go_on_to_a_third_key(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a rekey was stopped before the log knew of it, the next one records the key that the log knows of."""
    with monkeypatch.context() as patch:
        patch.setattr(_rekey, "_record", _stop)
        with pytest.raises(Stopped):
            change(log)
    change(log, old=NEW, new=THIRD)
    said = [entry["details"] for entry in entries(log, THIRD) if entry["code"] == "audit.rekeyed"]
    assert [(each["old_key"], each["new_key"]) for each in said] == [(OLD.key_id, THIRD.key_id)]


def _stop(*_: object) -> None:
    raise Stopped


def test_host_that_comes_between_is_not_written_beside(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that takes a log before the change is recorded has it; the entry is written when it is asked for again."""
    held: list[int] = []
    real = _rekey._pending

    def pending(path: Path) -> Any:
        if not held:
            held.append(os.open(state_path(log), os.O_RDWR))
            assert advisory.take(held[0])
        return real(path)

    monkeypatch.setattr(_rekey, "_pending", pending)
    with pytest.raises(HauberkError, match="is being written"):
        change(log)
    os.close(held[0])
    assert not sibling(log, 2).exists()
    change(log)
    check_done(log)


# --- the command ---


Write = Callable[[str], list[str]]


@pytest.fixture
def configured(tmp_path: Path, log: Path, only_audit: None) -> Write:
    """Return a function that writes a configuration, and returns the options that name it."""
    for name, key in (("chain", CHAIN_KEY), ("old", KEY), ("new", OTHER_KEY), ("third", KEY[::-1])):
        keys.create_key(tmp_path / f"{name}.key", random=lambda count, key=key: key[:count])  # type: ignore[misc]

    def configuration(text: str = "") -> list[str]:
        path = tmp_path / "hauberk.toml"
        path.write_text(
            f'[core]\nstate_dir = "{tmp_path}/state"\n[audit]\npath = "{log}"\nkey_file = "chain.key"\n'
            f'[audit.encryption]\nenabled = true\nkey = "file:old.key"\n{text}'
        )
        return ["--config", str(path)]

    return configuration


def test_command_changes_the_key(
    capsys: pytest.CaptureFixture[str], configured: Write, log: Path, tmp_path: Path
) -> None:
    """``hauberk audit rekey --new-key PATH`` changes the key, and says what to write into the configuration (S3.15)."""
    said = audit(capsys, "rekey", "--new-key", tmp_path / "new.key", "--yes", *configured(""))
    assert (said.status, said.err) == (0, "")
    assert f"are wrapped for key {NEW.key_id}" in said.out
    assert f"file:{tmp_path}/new.key" in said.out
    check_done(log)
    assert {entry["details"]["changed_by"] for entry in entries(log, NEW) if entry["code"] == "audit.rekeyed"} == {
        f"uid:{os.getuid()}"
    }
    again = audit(capsys, "rekey", "--new-key", tmp_path / "new.key", "--yes", *configured(""))
    assert (again.status, again.out.partition(":")[0]) == (0, "nothing to do")


def test_command_keeps_the_recipients(
    capsys: pytest.CaptureFixture[str], configured: Write, log: Path, tmp_path: Path
) -> None:
    """The recipients of the configuration keep a copy of each data key (S3.16)."""
    options = configured('recipients = ["file:third.key"]')
    said = audit(capsys, "rekey", "--new-key", f"file:{tmp_path}/new.key", "--yes", "--json", *options)
    assert said.status == 0
    assert orjson.loads(said.out)["recipients"] == [NEW.key_id, THIRD.key_id]
    assert entries(log, THIRD) == entries(log, NEW)


def test_command_asks(
    capsys: pytest.CaptureFixture[str], configured: Write, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``--yes`` it asks, and changes nothing where nobody answers."""
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    before = keys_path(log).read_bytes()
    said = audit(capsys, "rekey", "--new-key", tmp_path / "new.key", *configured(""))
    assert said.status != 0
    assert keys_path(log).read_bytes() == before


def test_command_goes_on_where_the_old_key_is_lost(
    capsys: pytest.CaptureFixture[str], configured: Write, log: Path, tmp_path: Path
) -> None:
    """With the key in escrow a log whose own key was lost gets another one (S3.16); without it nothing is possible."""
    options = configured("")
    (tmp_path / "old.key").rename(tmp_path / "escrow.key")
    said = audit(capsys, "rekey", "--new-key", tmp_path / "new.key", "--yes", *options)
    assert (said.status, "--key KEY" in said.err) == (2, True)
    said = audit(
        capsys, "rekey", "--new-key", tmp_path / "new.key", "--key", tmp_path / "escrow.key", "--yes", *options
    )
    assert said.status == 0
    check_done(log)


@pytest.mark.parametrize(("new", "said"), [("chain.key", "signs the log"), ("none.key", "no such file")])
def test_command_refuses_a_key_that_will_not_do(
    capsys: pytest.CaptureFixture[str], configured: Write, log: Path, tmp_path: Path, new: str, said: str
) -> None:
    """The key that signs the log, and one that is not there, are refused; nothing is changed (X.10)."""
    before = keys_path(log).read_bytes()
    found = audit(capsys, "rekey", "--new-key", tmp_path / new, "--yes", *configured(""))
    assert found.status == 2
    assert said in found.err
    assert keys_path(log).read_bytes() == before


def test_command_leaves_a_log_that_is_written(
    capsys: pytest.CaptureFixture[str], configured: Write, log: Path, tmp_path: Path
) -> None:
    """A log that a host writes is not touched."""
    fd = os.open(state_path(log), os.O_RDWR)
    try:
        assert advisory.take(fd)
        found = audit(capsys, "rekey", "--new-key", tmp_path / "new.key", "--yes", *configured(""))
    finally:
        os.close(fd)
    assert (found.status, "is being written" in found.err) == (2, True)
