"""A disk that fails: nothing that was acknowledged is lost, the chain verifies, and a required log lets nothing pass.

The faults are those of `tests/crash`: each call of a log in turn, in stand-ins; and a few of the real thing.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from plugins.audit.tests.conftest import Load
from tests.crash import points, syscalls
from tests.crash.lives import Ways, drop, entries_of, make_key, open_log, said
from tests.crash.taps import ALL, Tap, fails

from hauberk import keys
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.refusals import PluginError, Refused
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._log import Disk, Log
from hauberk_audit.writing._rotation import Rotation

pytestmark = pytest.mark.campaign

ROOT = Path(__file__).resolve().parents[3]
LINUX = pytest.mark.skipif(not points.PLACES.exists(), reason="looks at files through /proc")
STRACE = pytest.mark.skipif(not syscalls.is_there(), reason="needs strace, which may trace")


# --- each call in turn ---


@LINUX
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("ways", "every"),
    [(Ways(), 3), (Ways(sync=False), 11), (Ways(ratchet=True), 7)],
    ids=["sync", "interval", "forward"],
)
def test_each_call_may_fail(tmp_path: Path, ways: Ways, every: int) -> None:
    """Whichever call fails, in whichever way, once or from then on: nothing that was acknowledged is lost, the chain
    verifies, nothing is held, and each file is closed once (A19, A23).
    """
    first = random.randrange(every)  # another part each time; the campaign takes them all
    for number, point in enumerate(points.faults(tmp_path, ways)):
        if number % every == first:
            assert points.faulted(tmp_path, point).wrong == [], str(point)


def log_in(folder: Path, entries: int = 3) -> Log:
    if not folder.exists():
        make_key(folder, ratchet=False)
    return open_log(folder / "log" / "audit.jsonl", Rotation(bytes=None, entries=entries))


SYNCS = frozenset({"fsync", "fdatasync"}) & ALL


def test_file_is_closed_once(tmp_path: Path) -> None:
    """If the disk fails after the entry that closes a file, it is not closed a second time (S3.4)."""
    tap = Tap()
    with tap.installed(), closing(log_in(tmp_path / "a")) as log:
        for _ in range(2):
            log.append(said("a.b", {}))
        tap.arm(3, fails(errno.EIO, SYNCS))
        with pytest.raises(PluginError):
            log.append(said("a.b", {}))
        log.append(said("a.b", {}))
    codes = [entry["code"] for _, entry in entries_of(log.path)]
    assert codes.count("audit.rotation") == codes.count("audit.continued") == 1


def test_complaint_about_a_full_file_does_not_end_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system complains as a file that is closed is let go, the log goes on in the next one."""
    log, close = log_in(tmp_path / "a"), os.close
    for _ in range(2):
        log.append(said("a.b", {}))
    full = log._fd

    def complain(fd: int) -> None:
        close(fd)
        if fd == full:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", complain)
        with pytest.raises(PluginError, match="input/output error"):
            log.append(said("a.b", {}))
    log.append(said("a.b", {}))
    log.close()
    assert verify([log.path], keys.load_key(tmp_path / "a" / "log.key")).status == 0
    assert log.path.stat().st_size > 0


# --- a required log ---

ERRORS = {
    "write": frozenset({"write"}),
    "sync": SYNCS,
    "write and truncate": frozenset({"write", "ftruncate"}),
    "sync and truncate": SYNCS | {"ftruncate"},
    "rename": frozenset({"rename"}),
    "open": frozenset({"open"}),
    "everything": ALL - {"close"},
}


async def recorded(guard: Guard, number: int) -> bool:
    """Record an event; return whether its message may go on."""
    try:
        if (waiting := guard.recorder.barrier([Event(code="crash.event", id=f"{number}")])) is not None:
            await waiting
    except Refused as refused:
        return refused.code != "core.unrecorded"
    return True


@pytest.mark.parametrize("durability", ["group", "event"])
@pytest.mark.parametrize("what", ERRORS)
async def test_required_log_lets_nothing_pass(
    load: Load, state: Path, monkeypatch: pytest.MonkeyPatch, what: str, durability: str
) -> None:
    """Whatever of a required log fails, what it should have recorded is refused; when the disk is well again, at the
    latest after a restart, it goes on, and all that it let pass is in it (S2.40, A19).
    """
    opened = Log.open
    text = f"---[audit]\nrequired = true\ndurability = '{durability}'\n[audit.rotation]\nentries = 4\n"
    tap, passed = Tap(lasting=True), list[int]()
    with tap.installed():
        disk = Disk(os.write, os.ftruncate, os.fsync)
        monkeypatch.setattr(Log, "open", lambda *args, **more: opened(*args, **more, disk=disk))
        async with load(text) as guard:
            passed += [number for number in range(3) if await recorded(guard, number)]
            tap.arm(1, fails(errno.EIO, ERRORS[what]))
            later = [number for number in range(3, 15) if await recorded(guard, number)]
            tap.heal()
            assert len(later) < 4, "a file of four entries was not turned"
            recovered = [number for number in range(15, 18) if await recorded(guard, number)]
            assert recovered == ([] if "truncate" in what or what == "everything" else [15, 16, 17])
        async with load(text) as guard:
            assert await recorded(guard, 18)
    log = state / "audit" / "audit.jsonl"
    there = [int(entry["id"]) for _, entry in entries_of(log) if entry["code"] == "crash.event"]
    assert [number for number in there if number in {0, 1, 2, *later, *recovered, 18}] == [
        0,
        1,
        2,
        *later,
        *recovered,
        18,
    ]
    assert passed == [0, 1, 2]
    assert verify([log], keys.load_key(state / "audit.key")).status == 0
    assert not list(log.parent.glob("audit.1.*"))


async def test_start_that_fails_holds_nothing(load: Load, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that cannot say that its last run was killed does not start and does not hold the log; the next start
    takes the same log, and says it (S3.3, S3.9).
    """
    log = state / "audit" / "audit.jsonl"
    async with load():
        pass
    key = keys.load_key(state / "audit.key")
    drop(Log.open(log, Chain(key), sync=True))  # killed
    opened = Log.open
    with monkeypatch.context() as patch:

        def full(_fd: int, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(Log, "open", lambda *args, **more: opened(*args, **more, disk=Disk(write=full)))
        with pytest.raises(PluginError, match="no space left"):
            await load().open()
    async with load() as guard:
        assert guard.loaded["audit"].plugin.log_path() == log
    assert [entry["code"] for _, entry in entries_of(log)].count("audit.recovered") == 1


# --- the real thing ---


def full(how: str, folder: Path, *before: str) -> Any:
    """Fill a disk, make room, and return what came of it."""
    command = [*before, sys.executable, "-m", "tests.crash.full", how, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    """Under a limit on the size of files what does not fit is refused, and nothing of it stays (S2.40, A19)."""
    came = full("limit", tmp_path)
    assert came["before"] > 10
    assert all("file too large" in told for told in came["told"])
    assert (len(came["told"]), came["after"], came["refused"], came["wrong"]) == (3, 10, [], [])


def mounted(folder: Path) -> list[str] | None:
    """Return what runs a program with a small disk of its own at a folder, if that is allowed."""
    mount = f'mount -t tmpfs -o size=64k,mode=700 none "{folder}" && exec "$@"'
    for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        command = [*unshare, "sh", "-c", mount, "sh"]
        if (
            shutil.which("unshare")
            and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
        ):
            return command
    return None


def test_disk_that_is_really_full_refuses(tmp_path: Path) -> None:
    """On a disk of 64 KiB that is full, what cannot be written is refused; when there is room again, the log goes on
    and its chain is whole (S2.40, A19).
    """
    command = mounted(tmp_path)
    if command is None:
        pytest.skip("may not mount a disk")
    came = full("disk", tmp_path, *command)
    assert came["before"] > 10
    assert all("no space left on device" in told for told in came["told"])
    assert (len(came["told"]), came["after"], came["refused"], came["wrong"]) == (3, 10, [], [])


@pytest.fixture(scope="module")
def touched(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the files that a host touches."""
    return syscalls.points(tmp_path_factory.mktemp("strace"), ratchet=False)[0]


@STRACE
@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        ("write,fdatasync,fsync,ftruncate:error=EINTR:when=2+3", range(1)),
        ("write:error=ENOSPC:when=5", range(1, 5)),
        ("write:error=EIO:when=5+", range(1, 9)),
        ("fdatasync:error=EIO:when=4", range(1, 5)),
        ("fdatasync:error=EIO:when=4+", range(1, 9)),
        ("rename:error=EIO:when=1", range(5)),
        ("fsync:error=EIO:when=3+", range(9)),
    ],
)
def test_system_calls_may_fail(tmp_path: Path, touched: list[str], fault: str, refused: range) -> None:
    """A host whose system calls fail, or are interrupted, refuses what it cannot record, and has the rest (A19)."""
    said, wrong = syscalls.faulted(tmp_path, touched, fault)
    assert wrong == []
    assert said.refused in refused
