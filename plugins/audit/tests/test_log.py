"""The writer: what happens to the log when the disk, the last run or another process is in its way."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins.audit.tests.logs import KEY, OTHER_KEY, breaks, chain, event, file_breaks

from hauberk.refusals import ConfigError, PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import render
from hauberk_audit._paths import state_path
from hauberk_audit.writing._chain import FORMAT, Chain
from hauberk_audit.writing._log import Disk, Log


def body(number: int) -> bytes:
    return render(event(number))


def open_log(path: Path, key: bytes = KEY, *, sync: bool = False, disk: Disk | None = None) -> Log:
    return Log.open(path, Chain(key), sync=sync, disk=disk or Disk())


def append(path: Path, count: int = 1, key: bytes = KEY) -> None:
    """Open a log, write entries, and close it."""
    with closing(open_log(path, key)) as log:
        for number in range(count):
            log.append(body(number))


def sequences(path: Path) -> list[int]:
    return [orjson.loads(line)["integrity"]["sequence"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "audit.jsonl"


# --- files ---


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Let a mode be what the program asks for."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_log_is_private_from_the_start(path: Path) -> None:
    """The log has mode 0600 and its new directory 0700, whatever the umask is (X.12)."""
    with closing(open_log(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_log_that_others_can_read_is_refused(path: Path) -> None:
    """A log that was made readable is not written to."""
    append(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="0644 lets others in"):
        open_log(path)


def test_link_in_place_of_the_log_is_refused(path: Path, tmp_path: Path) -> None:
    """A symbolic link at the log's path is not followed."""
    path.parent.mkdir(0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        open_log(path)
    assert not (tmp_path / "elsewhere").exists()


# --- the next run ---


def test_chain_goes_on_after_restarts(path: Path) -> None:
    """A restart neither restarts nor breaks the chain (S3.2)."""
    for _ in range(4):
        append(path, 3)
    assert sequences(path) == list(range(1, 13))
    assert file_breaks(path) == []


def test_only_the_end_is_read(path: Path) -> None:
    """Opening a large log reads a bounded part of it: what stands at its beginning does not matter then."""
    append(path, 3)
    old = path.read_bytes()
    size = 64 * 1024 * 1024
    with path.open("r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(b"\n" + old)
    append(path)
    assert path.read_bytes()[-len(old) - 2000 :].count(b'"sequence":4') == 1


def test_torn_line_is_set_aside_at_every_byte(path: Path) -> None:
    """Wherever a crash cut the last line, it is moved to a file beside, whole, and the chain goes on (S3.3, A20)."""
    append(path, 2)
    whole, state = path.read_bytes(), state_path(path).read_bytes()
    last = chain(1, after=whole.splitlines()[-1])[0]
    for size in range(1, len(last) + 1):
        path.write_bytes(whole + last[:size])
        state_path(path).write_bytes(state)
        with closing(open_log(path)) as log:
            assert log.torn is not None
            assert log.torn.size == size
            assert log.torn.path.read_bytes() == last[:size]
            assert stat.S_IMODE(log.torn.path.stat().st_mode) == 0o600
            log.append(body(9))
        assert sequences(path) == [1, 2, 3]
        assert file_breaks(path) == []
    assert len(list(path.parent.glob("audit.jsonl.torn-*"))) == len(last)


def test_torn_first_line_begins_the_chain(path: Path) -> None:
    """A crash in the first line of all leaves a log that begins at number 1."""
    path.parent.mkdir(0o700)
    path.write_bytes(chain(1)[0][:40])
    path.chmod(0o600)
    append(path)
    assert sequences(path) == [1]


def test_nothing_is_torn_after_a_clean_stop(path: Path) -> None:
    """A log that ends with a whole line gives no quarantine file."""
    append(path)
    with closing(open_log(path)) as log:
        assert log.torn is None
    assert sorted(name.name for name in path.parent.iterdir()) == ["audit.jsonl", "audit.jsonl.chain"]


def test_crash_between_quarantine_and_cut_loses_nothing(path: Path) -> None:
    """If the log cannot be cut after the torn line was copied, the next start copies it again."""
    append(path)
    with path.open("ab") as file:
        file.write(b'{"half')

    def fail(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    with pytest.raises(OSError, match="input/output"):
        open_log(path, disk=Disk(truncate=fail))
    append(path)
    assert [name.read_bytes() for name in sorted(path.parent.glob("*.torn-*"))] == [b'{"half', b'{"half']
    assert file_breaks(path) == []


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (chain(3)[-1].replace(b"files", b"filez"), "its last entry was changed"),
        (chain(3, OTHER_KEY)[-1], "it was written with key"),
        (b'{"code":"a.b"}', "its last line is no entry"),
        (b"", "its last line is no entry"),
        (b"\0" * (BOUNDS.line * 3), "its last line is longer than"),
    ],
    ids=["changed", "other key", "unsigned", "blank", "too long"],
)
def test_log_that_cannot_go_on_is_refused_and_left(path: Path, tail: bytes, reason: str) -> None:
    """A last line that is not ours stops the start, with a way out; the log is left as it is (S3.3)."""
    append(path, 2)
    content = path.read_bytes() + tail + b"\n"
    path.write_bytes(content)
    with pytest.raises(PluginError, match=reason) as caught:
        open_log(path)
    assert caught.value.hint is not None
    assert "hauberk audit verify" in caught.value.hint
    assert f"hauberk audit chain reset {path}" in caught.value.hint
    assert path.read_bytes() == content
    assert sorted(name.name for name in path.parent.iterdir()) == ["audit.jsonl", "audit.jsonl.chain"]


@pytest.mark.parametrize("size", [BOUNDS.line, BOUNDS.line + 1, 5 * BOUNDS.line])
def test_torn_bytes_of_any_length_are_set_aside(path: Path, size: int) -> None:
    """A power failure can leave more zeros than a line has bytes; nothing of them was acknowledged (S3.3)."""
    append(path)
    with path.open("ab") as file:
        file.write(bytes(size))
    with closing(open_log(path)) as log:
        assert log.torn is not None
        assert log.torn.size == size
        assert log.torn.path.read_bytes() == bytes(size)
    append(path)
    assert sequences(path) == [1, 2]


def test_refused_log_is_not_held(path: Path) -> None:
    """A log that was refused can be opened once it is put right."""
    append(path)
    good = path.read_bytes()
    path.write_bytes(good + b"x\n")
    with pytest.raises(PluginError):
        open_log(path)
    path.write_bytes(good)
    append(path)
    assert sequences(path) == [1, 2]


# --- the disk ---


class Faulty:
    """A disk that fails when it is told to."""

    def __init__(self) -> None:
        self.room: int | None = None
        """Bytes that it still takes."""
        self.at_once = 1 << 20
        """Bytes that it takes in one call."""
        self.broken = False
        """Whether nothing can be cut off."""
        self.sync_error: int | None = None
        self.syncs = 0

    def write(self, fd: int, data: bytes) -> int:
        take = min(len(data), self.at_once)
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            take = min(take, self.room)
            self.room -= take
        return os.write(fd, data[:take])

    def truncate(self, fd: int, size: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        self.syncs += 1
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))

    @property
    def disk(self) -> Disk:
        return Disk(self.write, self.truncate, self.sync)


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


def test_disk_that_is_full_at_any_byte_leaves_no_part(path: Path, faulty: Faulty) -> None:
    """Wherever in a line the disk is full, the entry is refused, nothing of it stays, the next goes on (A19)."""
    with closing(open_log(path, disk=faulty.disk)) as log:
        log.append(body(1))
        before = path.read_bytes()
        for room in range(len(before)):
            faulty.room = room
            with pytest.raises(PluginError, match="no space left on device"):
                log.append(body(2))
            assert path.read_bytes() == before
        faulty.room = None
        log.append(body(3))
    assert sequences(path) == [1, 2]
    assert file_breaks(path) == []


def test_short_writes_are_finished(path: Path, faulty: Faulty) -> None:
    """A system that takes a few bytes at a time gets the whole line (A23)."""
    with closing(open_log(path, disk=faulty.disk)) as log:
        for faulty.at_once in range(1, 60):
            log.append(body(1))
    assert sequences(path) == list(range(1, 60))
    assert file_breaks(path) == []


def test_write_of_nothing_is_an_error(path: Path) -> None:
    """A system that takes no byte and reports no error does not hang the writer."""
    with closing(open_log(path, disk=Disk(write=lambda fd, data: 0))) as log, pytest.raises(PluginError):
        log.append(body(1))


def test_failure_to_sync_refuses_the_entry(path: Path, faulty: Faulty) -> None:
    """An entry that may not have reached the disk is not acknowledged and not kept; the next one goes on (A19)."""
    with closing(open_log(path, sync=True, disk=faulty.disk)) as log:
        log.append(body(1))
        assert faulty.syncs == 1
        faulty.sync_error = errno.EIO
        with pytest.raises(PluginError, match="input/output error"):
            log.append(body(2))
        faulty.sync_error = None
        log.append(body(3))
    assert [orjson.loads(line)["id"][-1] for line in path.read_bytes().splitlines()] == ["1", "3"]
    assert file_breaks(path) == []


def test_line_that_cannot_be_cut_off_ends_the_writing(path: Path, faulty: Faulty) -> None:
    """If part of a line stays, nothing more is written until the next start, which sets it aside (S3.9)."""
    with closing(open_log(path, disk=faulty.disk)) as log:
        log.append(body(1))
        faulty.room, faulty.broken = 10, True
        with pytest.raises(PluginError, match=r"no space left.*nothing more is written"):
            log.append(body(2))
        faulty.room, faulty.broken = None, False
        with pytest.raises(PluginError, match="nothing more is written"):
            log.append(body(3))
    with closing(open_log(path)) as log:
        assert log.torn is not None
        assert log.torn.size == 10
        log.append(body(4))
    assert file_breaks(path) == []


def test_interrupt_leaves_no_part(path: Path) -> None:
    """An interrupt in the middle of a line leaves the log as it was."""
    calls = 0

    def write(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return os.write(fd, data[:50])

    with closing(open_log(path, disk=Disk(write=write))) as log:
        with pytest.raises(KeyboardInterrupt):
            log.append(body(1))
        assert path.read_bytes() == b""
        log.append(body(2))
    assert sequences(path) == [1]


def test_entry_over_the_bound_is_refused(path: Path) -> None:
    """An entry that verify would not read is not written."""
    with closing(open_log(path)) as log, pytest.raises(PluginError, match="at most"):
        log.append(FORMAT + b'"a":"' + b"x" * BOUNDS.line + b'"')
    assert path.read_bytes() == b""


def test_closed_log_takes_nothing(path: Path) -> None:
    """What comes after the end is an error, not silence, and closing twice is none."""
    log = open_log(path)
    log.close()
    log.close()
    with pytest.raises(PluginError, match="it is closed"):
        log.append(body(1))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 900), st.booleans(), st.booleans(), st.booleans()), max_size=8))
def test_what_was_acknowledged_is_there(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool, bool, bool]]
) -> None:
    """Whatever fails in whatever order, the log has what was acknowledged and verifies (A20)."""
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    faulty = Faulty()
    log = open_log(path, sync=True, disk=faulty.disk)
    acknowledged: list[int] = []
    for number, (room, no_sync, broken, restart) in enumerate(steps):
        faulty.room, faulty.broken = room or None, broken
        faulty.sync_error = errno.EIO if no_sync else None
        try:
            log.append(body(number))
            acknowledged.append(number)
        except PluginError:
            pass
        faulty.room = faulty.sync_error = None
        faulty.broken = False
        if restart:
            log.close()
            log = open_log(path, sync=True, disk=faulty.disk)
    log.close()
    append(path, 0)
    assert file_breaks(path) == []
    written = [int(orjson.loads(line)["id"][-12:], 16) for line in path.read_bytes().splitlines()]
    assert set(acknowledged) <= set(written)
    assert written == sorted(written)


# --- other writers ---

HOLDER = """
import sys
from pathlib import Path
from hauberk_audit.writing._chain import Chain
from hauberk_audit._entry import render
from hauberk_audit.writing._log import Log
from hauberk.event import Event
log = Log.open(Path(sys.argv[1]), Chain(bytes.fromhex(sys.argv[2])), sync=False)
print(log.path.name, flush=True)
for number, _ in enumerate(sys.stdin):
    log.append(render(Event(code="a.b", time=float(number))))
    print(number, flush=True)
log.close()
"""


class Holder:
    """Another process that holds a log."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), KEY.hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.name = self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def append(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        assert self.line().isdigit()

    def stop(self, *, kill: bool = False) -> None:
        if kill:
            self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def hold(path: Path) -> Iterator[Callable[[], Holder]]:
    """Return a function that starts another process, which opens the log of the test."""
    with ExitStack() as stack:

        def start() -> Holder:
            holder = Holder(path)
            stack.callback(holder.stop, kill=True)
            return holder

        yield start


def test_log_held_by_another_process_gives_a_sibling(path: Path, hold: Callable[[], Holder]) -> None:
    """While a process holds the log, others take the next numbers; each is a chain of its own (S3.9, A24)."""
    first, second = hold(), hold()
    assert (first.name, second.name) == ("audit.jsonl", "audit.1.jsonl")
    with closing(open_log(path)) as log:
        assert log.path.name == "audit.2.jsonl"
        for _ in range(3):
            first.append()
            second.append()
            log.append(body(1))
    for name in ("audit.jsonl", "audit.1.jsonl", "audit.2.jsonl"):
        assert sequences(path.with_name(name)) == [1, 2, 3]
        assert file_breaks(path.with_name(name)) == []


def test_log_of_a_killed_process_is_free(path: Path, hold: Callable[[], Holder]) -> None:
    """A writer that was killed holds nothing, and what it wrote is gone on from."""
    holder = hold()
    for _ in range(5):
        holder.append()
    holder.stop(kill=True)
    append(path)
    assert sequences(path) == [1, 2, 3, 4, 5, 6]
    assert not path.with_name("audit.1.jsonl").exists()


def test_lowest_free_sibling_is_taken(path: Path) -> None:
    """A log that is let go is the next one to be taken, and its chain goes on."""
    with ExitStack() as stack:
        logs = [stack.enter_context(closing(open_log(path))) for _ in range(3)]
        for log in logs:
            log.append(body(1))
        logs[1].close()
        again = stack.enter_context(closing(open_log(path)))
        assert again.path.name == "audit.1.jsonl"
        assert again.sequence == 1


def test_number_of_siblings_is_bounded(path: Path) -> None:
    """When all numbers are held the log does not open."""
    with ExitStack() as stack:
        for _ in range(BOUNDS.siblings + 1):
            stack.enter_context(closing(open_log(path)))
        with pytest.raises(PluginError, match="63 siblings are held"):
            open_log(path)


def test_two_chains_in_one_file_are_not_written(path: Path) -> None:
    """Two writers of one process do not share a file either."""
    with closing(open_log(path)) as one, closing(open_log(path)) as two:
        one.append(body(1))
        two.append(body(2))
    assert breaks(path.read_bytes().splitlines()) == []
    assert one.path != two.path
