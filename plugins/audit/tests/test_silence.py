"""A host that runs says so now and then, and verify finds where it did not (S3.6)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from plugins.audit.tests.conftest import Load
from plugins.audit.tests.logs import KEY, NOW

from hauberk import keys
from hauberk.event import Event
from hauberk_audit._entry import render, rfc3339
from hauberk_audit.verifying._verify import Terms, verify
from hauberk_audit.writing._chain import GENESIS, Chain
from hauberk_audit.writing._heartbeat import Heartbeat

Found = tuple[str, int]


def log(path: Path, *entries: tuple[float, str], sealed: tuple[int, ...] = ()) -> Path:
    """Write a log of entries, each with its time in seconds and its code."""
    signer, digest = Chain(KEY), GENESIS
    lines = []
    for number, (time, code) in enumerate(entries, 1):
        body = render(Event(code=code, id=f"{number}", time=NOW + time))
        if number in sealed:
            body = b'{"format":"hauberk-audit/1","file":"0123456789abcdef","line":1,"sealed":"AAAA"'
        line, digest = signer.seal(body, number, digest)
        lines.append(line)
    path.write_bytes(b"".join(lines))
    return path


def silent(path: Path, limit: float = 400, until: float = 0) -> list[Found]:
    report = verify([path], KEY, Terms(silence=limit, now=NOW + until))
    assert {found.kind for found in report.breaks} <= {"silent"}
    return [(found.detail, found.line) for found in report.breaks]


def test_silence_of_a_host_that_runs_is_found(tmp_path: Path) -> None:
    """Two entries that are further apart than the limit are a break at the second one."""
    path = log(tmp_path / "a.jsonl", (0, "core.started"), (300, "audit.heartbeat"), (1000, "core.allowed"))
    (found,) = silent(path, until=1100)
    assert found == (f"nothing before it for 700 s, from {rfc3339(NOW + 300)} on", 3)
    assert silent(path, limit=700, until=1100) == []


def test_host_that_was_stopped_may_be_silent(tmp_path: Path) -> None:
    """Between a host that was stopped and its next start there may be any time; a host that was killed is silent."""
    stopped = log(tmp_path / "a.jsonl", (0, "core.started"), (1, "core.stopped"), (9000, "core.started"))
    killed = log(tmp_path / "b.jsonl", (0, "core.started"), (1, "core.allowed"), (9000, "audit.recovered"))
    assert silent(stopped, until=9000) == []
    assert [line for _, line in silent(killed, until=9000)] == [3]


def test_end_of_a_log_counts_too(tmp_path: Path) -> None:
    """A log that ends without a stop, longer ago than the limit, is silent at its end; one that was stopped is not."""
    running = log(tmp_path / "a.jsonl", (0, "core.started"), (10, "core.allowed"))
    stopped = log(tmp_path / "b.jsonl", (0, "core.started"), (10, "core.stopped"))
    assert silent(running, until=300) == []
    ((detail, line),) = silent(running, until=500)
    assert (detail.startswith(f"nothing after {rfc3339(NOW + 10)}, which is 490 s"), line) == (True, 0)
    assert silent(stopped, until=500) == []


def test_commands_do_not_make_a_host_run(tmp_path: Path) -> None:
    """What a command adds to the log of a host that does not run is no sign of life."""
    path = log(tmp_path / "a.jsonl", (0, "audit.chain_reset"), (9000, "core.started"), (9001, "core.stopped"))
    assert silent(path, until=9001) == []
    path = log(tmp_path / "b.jsonl", (0, "core.started"), (1, "core.stopped"), (5000, "audit.pruned"))
    assert silent(path, until=90_000) == []


def test_clock_that_goes_back_is_no_silence(tmp_path: Path) -> None:
    """An entry before the one before it is none."""
    assert silent(log(tmp_path / "a.jsonl", (1000, "core.started"), (0, "core.stopped")), until=1000) == []


def test_sealed_entries_cannot_be_heard(tmp_path: Path) -> None:
    """Of a log that is sealed nothing can be told: the report says so, and is not whole (X.1)."""
    path = log(tmp_path / "a.jsonl", (0, "core.started"), (1, "x"), (9000, "audit.rotation"), sealed=(2,))
    report = verify([path], KEY, Terms(silence=400, now=NOW + 9000))
    assert (report.breaks, report.unheard, report.status) == ([], [str(path)], 2)
    assert verify([path], KEY).status == 0


# --- heartbeats ---


class Loop:
    """Stands for the event loop's timers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def call_later(self, seconds: float, function: Any) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    found = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: found)
    return found


def test_heart_beats_where_nothing_else_is_written(loop: Loop) -> None:
    """An entry is written when there was none for so long, and not while there are others."""
    now, wrote, beats = [0.0], [0.0], []
    heart = Heartbeat(300, lambda: wrote[0], lambda: now[0], lambda: beats.append(now[0]))
    heart.start()
    assert loop.seconds == [300]
    now[0], wrote[0] = 300.0, 120.0
    heart.look()
    assert (beats, loop.seconds[-1]) == ([], 120)
    now[0] = 420.0
    heart.look()
    assert (beats, loop.seconds[-1]) == ([420.0], 300)


async def test_heart_of_a_host_beats(load: Load, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is asked to writes heartbeats into its log, and they are entries like any other."""
    async with load("---[audit]\nheartbeat = 20") as guard:
        care = guard.loaded["audit"].plugin._care
        heart = care._heartbeat
        heart.look()
        monkeypatch.setattr(heart, "_wrote", lambda: -1e9)
        heart.look()
    assert care._heartbeat is None
    path = state / "audit" / "audit.jsonl"
    assert verify([path], keys.load_key(state / "audit.key")).status == 0
    entries = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    (beat,) = [entry for entry in entries if entry["code"] == "audit.heartbeat"]
    assert (beat["category"], beat["severity"], beat["host"]) == ("system", "info", "default")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("---[audit]\nrequired = true", 300.0),
        ("---[audit]\nrequired = true\nheartbeat = 0", None),
        ("---[audit]\nheartbeat = 20", 20.0),
    ],
)
async def test_heart_beats_where_the_log_is_required(load: Load, text: str, seconds: float | None) -> None:
    """Without a word of it a heart beats every 300 seconds where the log is required, and nowhere else."""
    async with load(text) as guard:
        heart = guard.loaded["audit"].plugin._care._heartbeat
        assert (heart and heart._seconds) == seconds
