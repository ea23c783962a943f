"""A host that makes checkpoints of its log, and lets the oldest files of it go."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from plugins.audit.tests.conftest import Load

from hauberk import keys
from hauberk.doctor import run as doctor
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.refusals import ConfigError, PluginError, Refused
from hauberk_audit._paths import closed_files
from hauberk_audit.checkpoints._caretaker import Caretaker
from hauberk_audit.checkpoints._checkpoint_keys import load_signer, origin_of, public_path, verifier_of
from hauberk_audit.checkpoints._checkpoint_options import Checkpoints
from hauberk_audit.checkpoints._note import Verifier
from hauberk_audit.checkpoints._sinks import SinkError
from hauberk_audit.verifying._anchor import Anchor
from hauberk_audit.verifying._verify import Report, Terms, load_checkpoints, verify

PRODUCTION = 'profile = "production"\nplugins.require = ["audit"]\n'
AUDIT_KEYS = '[audit]\nkey_file = "audit.key"\nratchet = false\n'


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def checkpoints(kept: Path) -> str:
    """Return a table for checkpoints that are made when they are asked for, and at the end."""
    return f'[audit.checkpoints]\nsinks = ["file:{kept}"]\ninterval = 3600\n'


def care_of(guard: Guard) -> Any:
    return guard.loaded["audit"].plugin._care


def there(path: Path) -> bool:
    return path.exists()


def names(path: Path) -> list[str]:
    return sorted(name.name for name in path.iterdir())


def make(path: Path) -> None:
    """Make a directory: in the place of a file it takes no checkpoint."""
    path.mkdir(0o700)


def touch(path: Path) -> None:
    path.touch()


def remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()


def anchor(guard: Guard) -> str | None:
    """Write what waits, and make a checkpoint of it."""
    guard.loaded["audit"].plugin.flush()
    return care_of(guard).anchor()  # type: ignore[no-any-return]


def write(guard: Guard, count: int) -> None:
    """Write so many entries, each for itself, so that files are closed between them."""
    for _ in range(count):
        guard.emit(Event(code="a.b"))
        guard.loaded["audit"].plugin.flush()


async def decide(guard: Guard) -> None:
    """Record what a message waits for."""
    waiting = guard.recorder.barrier([guard.complete(Event(code="a.b"))])
    if waiting is not None:
        await waiting


def checked(state: Path, kept: Path, *more: Path) -> Report:
    """Verify the log of a host with its checkpoints, by the public key and by both."""
    found = []
    for key in (None, keys.load_key(state / "audit.key")):
        anchor = Anchor([verifier_of(str(state / "checkpoint.key.pub"))])
        load_checkpoints(anchor, kept, lambda one, path: pytest.fail(one.detail))
        found.append(verify([state / "audit", *more], key, Terms(anchor)))
    assert found[0].breaks == found[1].breaks == []
    return found[1]


async def test_last_checkpoint_covers_the_whole_log(load: Load, state: Path, kept: Path, checkpoints: str) -> None:
    """When a host has ended, all that it recorded is in a checkpoint that is elsewhere (S3.6)."""
    async with load(f"---{checkpoints}") as guard:
        guard.emit(Event(code="a.b"))
    report = checked(state, kept)
    assert (report.status, report.covered) == (0, report.entries)
    last = (state / "audit" / "audit.jsonl").read_bytes().splitlines()[-1]
    assert orjson.loads(last)["code"] == "core.stopped"


async def test_runs_of_a_host_are_one_log(load: Load, state: Path, kept: Path, checkpoints: str) -> None:
    """Checkpoints go on over runs and reloads, and each of them is borne out by the log."""
    for _ in range(3):
        async with load(f"---{checkpoints}") as guard:
            guard.emit(Event(code="a.b"))
            assert anchor(guard) is None
            guard.emit(Event(code="a.c"))
    report = checked(state, kept)
    assert report.checkpoints == 6
    assert report.covered == report.entries


async def test_checkpoints_go_on_over_a_reload(
    load: Load, state: Path, kept: Path, checkpoints: str, tmp_path: Path
) -> None:
    """A reload that changes what is made of the log neither stops its checkpoints nor breaks them."""
    path = tmp_path / "hauberk.toml"
    text = f'[core]\nstate_dir = "{state}"\n{checkpoints}'
    path.write_text(text)
    path.chmod(0o600)
    async with Guard.load(path) as guard:
        first = care_of(guard)
        path.write_text(text.replace("3600", "1800"))
        await guard.reload()
        assert care_of(guard) is not first
        guard.emit(Event(code="a.b"))
        assert anchor(guard) is None
    assert first._caretaker is None
    report = checked(state, kept)
    assert report.covered == report.entries


async def test_nothing_is_made_without_a_sink(load: Load, state: Path) -> None:
    """Without a sink there is no key for checkpoints, no thread and no file of them."""
    async with load() as guard:
        assert care_of(guard)._caretaker is None
        assert care_of(guard).anchor() == "nobody gets a checkpoint"
    assert names(state / "audit") == ["audit.jsonl", "audit.jsonl.chain"]
    assert not there(state / "checkpoint.key")


# --- keys and names ---


async def test_key_is_private_and_its_public_half_beside_it(load: Load, state: Path, checkpoints: str) -> None:
    """In development the key is made at the first start, private; the public one may be read by all (X.9)."""
    async with load(f"---{checkpoints}"):
        pass
    path = state / "checkpoint.key"
    signer = load_signer(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_path(path).stat().st_mode) == 0o644
    assert Verifier.parse(public_path(path).read_text().strip()).public == signer.verifier.public
    assert signer.verifier.name.startswith("hauberk/")
    assert signer.verifier.name.endswith("/default/audit.jsonl")


async def test_production_makes_no_key_for_checkpoints(
    load: Load, state: Path, tmp_path: Path, checkpoints: str
) -> None:
    """In production a missing key stops the start, before the log is touched, with the command that makes one."""
    keys.create_key(tmp_path / "audit.key", random=os.urandom)
    with pytest.raises(ConfigError, match=r"checkpoint\.key.* is missing") as caught:
        await load(f"{PRODUCTION}---{AUDIT_KEYS}{checkpoints}").open()
    assert "hauberk audit init --checkpoints" in str(caught.value.hint)
    assert not (state / "audit").exists()


@pytest.mark.parametrize("text", ["", "hauberk-key-v1:abc\n", "PRIVATE+KEY+a+00000000+AAAA\n"])
async def test_file_that_is_no_key_stops_the_start(load: Load, state: Path, checkpoints: str, text: str) -> None:
    """A key file that holds something else is an error, and not made anew."""
    make(state)
    path = state / "checkpoint.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="cannot use key file"):
        await load(f"---{checkpoints}").open()
    assert path.read_text() == text


def test_origin_names_machine_host_and_log(tmp_path: Path) -> None:
    """The name of a log in its checkpoints is a word without blanks; a sibling has one of its own."""
    log = tmp_path / "my audit+.jsonl"
    plain = origin_of(Checkpoints(), log, "desk", log)
    assert plain.split("/")[0] == "hauberk"
    assert plain.split("/")[2:] == ["desk", "my-audit-.jsonl"]
    named = Checkpoints(sinks=("file:/a",), origin="example.com/host1")
    assert origin_of(named, log, "desk", log) == "example.com/host1"
    assert origin_of(named, log, "desk", tmp_path / "audit.1.jsonl") == "example.com/host1/audit.1.jsonl"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('sinks = ["kept"]', "is no URL"),
        ('sinks = ["http://collector.example/"]', "http is not encrypted"),
        ('sinks = ["file:/a b"]', "is no URL"),
        ('sinks = ["file:/a"]\norigin = "a b"', "neither blanks"),
        ('origin = "a"', "name a sink"),
        ("required = true", "name a sink"),
        ('sinks = ["file:/a"]\ninterval = 0', "interval"),
        ('sinks = ["file:/a"]\nmax_age = -1', "max_age"),
    ],
)
def test_wrong_options_are_errors(load: Load, text: str, said: str) -> None:
    """What cannot work is an error of the configuration (X.2)."""
    with pytest.raises(ConfigError, match=said):
        load(f"---[audit.checkpoints]\n{text}")


async def test_unknown_sink_stops_the_start(load: Load, state: Path) -> None:
    """A sink that nobody brings stops the start, and nothing is made."""
    with pytest.raises(ConfigError, match="no sink for checkpoints takes 'kms'"):
        await load('---[audit.checkpoints]\nsinks = ["kms:key"]\n').open()
    assert not there(state)


# --- what goes wrong ---


async def test_failing_sink_is_recorded(
    load: Load, state: Path, kept: Path, checkpoints: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A sink that fails is an event in the log, a word on standard error, and stops nothing (X.16)."""
    make(kept)
    async with load(f"---{checkpoints}") as guard:
        assert "cannot append" in care_of(guard).anchor()
        guard.emit(Event(code="a.b"))
    entries = [orjson.loads(line) for line in (state / "audit" / "audit.jsonl").read_bytes().splitlines()]
    (failed,) = [entry for entry in entries if entry["code"] == "audit.checkpoint_failed"]
    assert failed["severity"] == "warning"
    assert failed["details"]["sink"] == f"file:{kept}"
    assert "audit.checkpoint_failed: sink file:" in caplog.text


async def test_nothing_passes_that_is_in_no_checkpoint_for_too_long(load: Load, kept: Path, checkpoints: str) -> None:
    """Where checkpoints are required, a log that nobody anchors for too long refuses decisions; then it goes on."""
    make(kept)
    text = f"---[audit]\nrequired = true\n{checkpoints}max_age = 1e-9\nrequired = true\n"
    async with load(text) as guard:
        care = care_of(guard)
        await decide(guard)
        for _ in range(2):
            care.anchor()
        with pytest.raises(Refused) as caught:
            await decide(guard)
        assert caught.value.code == "core.unrecorded"
        remove(kept)
        assert care.anchor() is None
        await decide(guard)


async def test_without_required_a_late_checkpoint_refuses_nothing(load: Load, kept: Path, checkpoints: str) -> None:
    """Otherwise it is an event, and no more."""
    make(kept)
    async with load(f"---[audit]\nrequired = true\n{checkpoints}max_age = 1e-9\n") as guard:
        care = care_of(guard)
        for _ in range(2):
            care.anchor()
        assert care._checkpointer.overdue
        care.check()


async def test_sink_within_reach_is_said(
    load: Load, kept: Path, checkpoints: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that the host could change is no anchor, and that is said once, at the start."""
    touch(kept)
    async with load(f"---{checkpoints}") as guard:
        for _ in range(2):
            anchor(guard)
    assert caplog.text.count("are no anchor") == 1


# --- probes ---


async def faults(guard: Guard) -> dict[str, str]:
    report = await doctor(guard)
    return {one.name: one.detail for one in report.findings if one.state != "ok" and "anchor" in one.name + one.control}


async def test_doctor_tries_the_sinks(load: Load, kept: Path, checkpoints: str) -> None:
    """The doctor has a checkpoint made and kept, and says which sink does not keep it (X.1)."""
    assert await faults(load(f"---{checkpoints}")) == {}
    remove(kept)
    make(kept)
    found = await faults(load(f"---{checkpoints}"))
    assert list(found) == ["audit.anchors_log"]
    assert "cannot append" in found["audit.anchors_log"]


def test_one_sink_out_of_reach_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """In production all places being within reach is a fault that names each; one that is not is enough."""
    from hauberk_audit.checkpoints._anchor_probes import within_reach

    class Near:
        def within_reach(self) -> str:
            return "it is mine"

    class Far:
        def within_reach(self) -> str:
            return ""

    class Gone:
        def within_reach(self) -> str:
            raise SinkError("cannot open it")

    care: Any = SimpleNamespace(sinks=[("a", Near()), ("b", Gone())])
    assert within_reach(care) == "a: it is mine; b: cannot open it"
    care.sinks.append(("c", Far()))
    assert within_reach(care) is None


async def test_production_wants_an_anchor_out_of_reach(
    load: Load, state: Path, kept: Path, tmp_path: Path, checkpoints: str
) -> None:
    """A host in production does not start if it could change all its checkpoints itself (S3.6)."""
    keys.create_key(tmp_path / "audit.key", random=os.urandom)
    async with load(f"---[audit]\npath = 'other.jsonl'\n{checkpoints}"):
        pass
    guard = load(f"{PRODUCTION}---{AUDIT_KEYS}{checkpoints}")
    with pytest.raises(PluginError, match=r"audit\.keeps_checkpoints_out_of_reach"):
        await guard.open()


# --- files that go ---


async def test_oldest_files_go_by_themselves(load: Load, state: Path, kept: Path, checkpoints: str) -> None:
    """With ``keep`` the oldest files go while the host runs, and what is left verifies (S2.39)."""
    text = f"---[audit.rotation]\nentries = 4\nkeep = 2\n{checkpoints}"
    path = state / "audit" / "audit.jsonl"
    async with load(text) as guard:
        for _ in range(12):
            write(guard, 4)
            assert anchor(guard) is None
        assert 2 <= len(closed_files(path)) <= 4
        assert min(closed_files(path)) > 5
    report = checked(state, kept)
    assert report.status == 0
    (gone,) = report.let_go
    assert gone.entries > 20
    said = [entry for entry in _entries(path) if entry["code"] == "audit.pruned"]
    assert said[-1]["details"]["changed_by"] == "host:default"
    assert said[-1]["details"]["reason"] == "[audit.rotation] keep = 2"


async def test_nothing_goes_that_no_sink_has(load: Load, state: Path, kept: Path, checkpoints: str) -> None:
    """A file does not go before a checkpoint of it is kept elsewhere."""
    make(kept)
    async with load(f"---[audit.rotation]\nentries = 4\nkeep = 1\n{checkpoints}") as guard:
        write(guard, 20)
        care_of(guard).anchor()
        path = state / "audit" / "audit.jsonl"
        assert min(closed_files(path)) == 1
        remove(kept)
        care_of(guard).anchor()
        assert min(closed_files(path)) > 1


async def test_files_go_without_checkpoints_too(load: Load, state: Path) -> None:
    """Without checkpoints the entry in the log is what says so."""
    text = "---[audit.rotation]\nentries = 4\nkeep = 1\n"
    path = state / "audit" / "audit.jsonl"
    async with load(text) as guard:
        write(guard, 20)
        care_of(guard)._caretaker.now(20)
    report = verify([path], keys.load_key(state / "audit.key"))
    assert (report.status, len(report.let_go)) == (0, 1)


async def test_files_of_a_sealed_log_go_too(load: Load, state: Path, kept: Path, checkpoints: str) -> None:
    """Of a log that is encrypted files go as of any, and it verifies without the key that opens it (S3.14)."""
    text = f"---[audit.encryption]\nenabled = true\n[audit.rotation]\nentries = 4\nkeep = 1\n{checkpoints}"
    async with load(text) as guard:
        for _ in range(4):
            write(guard, 6)
            assert anchor(guard) is None
    report = checked(state, kept)
    assert (report.status, len(report.let_go)) == (0, 1)
    assert b"a.b" not in (state / "audit" / "audit.jsonl").read_bytes()


@pytest.mark.parametrize("text", ["keep = 0", "keep_days = 0", "keep = -1"])
def test_last_closed_file_always_stays(load: Load, text: str) -> None:
    """To keep nothing is an error of the configuration."""
    with pytest.raises(ConfigError, match="always stays"):
        load(f"---[audit.rotation]\n{text}\n")


# --- the thread ---


def test_job_that_breaks_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """A job that raises is said, and the others are done, then and later."""
    done: list[int] = []
    caretaker = Caretaker(3600)

    def fails() -> None:
        raise ZeroDivisionError

    caretaker.start([fails, lambda: done.append(1)])
    assert caretaker.now(20)
    assert caretaker.now(20)
    assert caretaker.close()
    assert len(done) >= 3
    assert "ZeroDivisionError" in caplog.text


def test_round_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end a round that does not end is left alone after a while; so is one that was asked for."""
    import threading

    from hauberk_audit._bounds import Bounds
    from hauberk_audit.checkpoints import _caretaker

    monkeypatch.setattr(_caretaker, "BOUNDS", Bounds(farewell=0.01))
    hangs = threading.Event()
    caretaker = Caretaker(3600)

    def wait() -> None:
        hangs.wait(60)

    caretaker.start([wait])
    assert not caretaker.now(0.01)
    assert not caretaker.close()
    hangs.set()
    assert caretaker._thread is not None
    caretaker._thread.join()


def _entries(path: Path) -> list[dict[str, Any]]:
    import gzip

    files = [*closed_files(path).values(), path]
    data = [gzip.decompress(name.read_bytes()) if name.suffix == ".gz" else name.read_bytes() for name in files]
    return [orjson.loads(line) for line in b"".join(data).splitlines()]
