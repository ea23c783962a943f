"""What the log shows of itself."""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from plugins.audit.tests.conftest import Load

from hauberk import doctor
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk_audit import Audit, _probes
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._probes import exposed
from hauberk_audit.writing import _custody
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._ratchet import Rung

SOUND = {"records_calls": "ok", "keeps_key_private": "ok", "keeps_log_private": "ok", "keeps_policies": "ok"}
MANNERS = ["", "---\n[audit]\nrequired = true", '---\n[audit]\ndurability = "group"']


async def states(guard: Guard) -> dict[str, str]:
    report = await doctor.run(guard)
    return {one.name.removeprefix("audit."): one.state for one in report.findings if one.plugin == "audit"}


@pytest.mark.parametrize("text", MANNERS)
async def test_sound_log_is_live(load: Load, text: str) -> None:
    """What just happened is found in the log in every manner of writing, and so a second time."""
    assert await states(load(text)) == SOUND
    assert await states(load(text)) == SOUND


@pytest.mark.parametrize("text", MANNERS)
async def test_log_that_writes_nothing_is_found(load: Load, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A log that takes what it is given and drops it is not live (X.1)."""
    monkeypatch.setattr(Audit, "on_audit", hookimpl(lambda self, event: None))
    assert await states(load(text)) == SOUND | {"records_calls": "faulty"}


async def test_log_that_loses_one_kind_is_found(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one that leaves out decisions alone."""
    record = Audit.on_audit

    def but_decisions(self: Audit, event: Event) -> None:
        if event.category not in {"decision", "refusal"}:
            record(self, event)

    monkeypatch.setattr(Audit, "on_audit", hookimpl(but_decisions))
    assert (await states(load()))["records_calls"] == "faulty"


def unchained(monkeypatch: pytest.MonkeyPatch) -> None:
    seal_all = Chain.seal_all

    def alone(self: Chain, bodies: Iterable[bytes], sequence: int, _: bytes) -> tuple[list[bytes], bytes]:
        made = [seal_all(self, (body,), number, b"1" * 64) for number, body in enumerate(bodies, sequence)]
        return [line for (line,), _ in made], made[-1][1]

    monkeypatch.setattr(Chain, "seal_all", alone)


def other_key(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(bytes(range(3, 250, 8)) + b"\xfd")
    opened = Log.open
    monkeypatch.setattr(Log, "open", lambda path, _, **more: opened(path, chain, **more))


@pytest.mark.parametrize("spoil", [unchained, other_key])
async def test_log_that_does_not_verify_is_found(
    load: Load, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Entries that do not follow one another, or are signed with another key than the file's, are found."""
    spoil(monkeypatch)
    assert (await states(load()))["records_calls"] == "faulty"


async def test_long_log_is_read_from_its_end(load: Load, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """Of a log that is longer than what is read the first line that is read is a part, and no fault."""
    async with load() as guard:
        for _ in range(5 * BOUNDS.line // 10_000):
            guard.emit(Event(code="a.b", details={str(n): "x" * 900 for n in range(16)}))
    assert (state / "audit" / "audit.jsonl").stat().st_size > 4 * BOUNDS.line
    assert await states(load()) == SOUND


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o606])
@pytest.mark.parametrize(
    ("name", "where"), [("keeps_key_private", "audit.key"), ("keeps_log_private", "audit/audit.jsonl")]
)
async def test_file_that_was_laid_open_is_found(load: Load, state: Path, mode: int, name: str, where: str) -> None:
    """A mode that lets others in, given while the host runs, is found for the key and the log (X.12)."""
    async with load() as guard:
        (state / where).chmod(mode)
        report = await doctor.examine(guard, guard.policy)
    found = {one.name: one.state for one in report.findings if one.plugin == "audit"}
    assert found[f"audit.{name}"] == "faulty"


async def test_log_that_was_moved_away_is_found(load: Load, state: Path) -> None:
    """A log whose file was moved away is written to where nobody looks for it: both probes say so."""
    async with load() as guard:
        (state / "audit" / "audit.jsonl").rename(state / "audit" / "away")
        report = await doctor.examine(guard, guard.policy)
    found = {one.name: one.state for one in report.findings if one.plugin == "audit"}
    assert (found["audit.records_calls"], found["audit.keeps_log_private"]) == ("faulty", "faulty")


async def test_link_in_place_of_the_log_is_found(load: Load, state: Path) -> None:
    """A link may lead anywhere, and somebody else may turn it."""
    log = state / "audit" / "audit.jsonl"
    async with load() as guard:
        log.rename(state / "audit" / "away")
        log.symlink_to("away")
        report = await doctor.examine(guard, guard.policy)
    (detail,) = [one.detail for one in report.findings if one.name == "audit.keeps_log_private"]
    assert "no regular file" in detail


def test_log_of_another_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns the log can change it, whatever its mode."""
    of_another = os.stat_result((stat.S_IFREG | 0o600, 0, 0, 1, os.geteuid() + 4242, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "lstat", lambda self: of_another)
    assert "belongs to user" in (exposed(tmp_path / "audit.jsonl") or "")


async def test_log_that_turns_a_file_while_it_is_probed_is_live(load: Load, state: Path) -> None:
    """Where a file is full in the middle of a probe, what was recorded is found in the one before it, too."""
    for entries in (2, 3, 5):
        assert await states(load(f"---\n[audit.rotation]\nentries = {entries}\n")) == SOUND
    assert (state / "audit" / "audit.jsonl.1.gz").exists()


def test_file_that_is_compressed_while_it_is_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before the last has another name once it is compressed; one that is gone is a fault."""
    log, plain = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    log.write_bytes(b"")
    plain.write_bytes(b"first\n")
    tail = _probes._tail

    def compressed(path: Path) -> tuple[list[bytes], bool]:
        if path == plain:
            (tmp_path / "audit.jsonl.1.gz").write_bytes(gzip.compress(plain.read_bytes()))
            plain.unlink()
        return tail(path)

    monkeypatch.setattr(_probes, "_tail", compressed)
    assert _probes._last_lines(log) == [b"first"]
    monkeypatch.setattr(_probes, "_before", lambda _: tmp_path / "audit.jsonl.2")
    with pytest.raises(FileNotFoundError):
        _probes._last_lines(log)


# --- a key that goes forward ---


@pytest.fixture
def forward(state: Path) -> str:
    """Make a key that only goes forward, and return a configuration that wants it."""
    state.mkdir(0o700)
    _custody.make(state / "audit.key", state / "escrow.key")
    return "---[audit]\nratchet = true"


async def test_log_of_such_a_key_is_live(load: Load, forward: str) -> None:
    """Although what signed is gone, the probe sees that an entry was signed with the key that was next (S3.7)."""
    assert await states(load(forward)) == SOUND
    assert await states(load(forward)) == SOUND


async def test_log_signed_with_another_key_is_found(load: Load, forward: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log whose entries are signed with something else than they name is not live."""
    monkeypatch.setattr(Rung, "signer", lambda self: Chain(bytes(32), key_id=b"%b.1.1" % self.key_id.encode()))
    probed = load(forward)
    assert (await states(probed))["records_calls"] == "faulty"
