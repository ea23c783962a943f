"""The listening end of a Unix socket: nobody else can put one there, and nobody else's is taken (S4.8, A80)."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hauberk.carriers import unix
from hauberk.carriers.unix import UnixListener
from hauberk.refusals import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "run" / "x.sock"


@contextlib.contextmanager
def listening(path: Path) -> Iterator[UnixListener]:
    listener = UnixListener(path)
    try:
        yield listener
    finally:
        listener.close()


def connected(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        UnixListener(path)
    return caught.value.message


def test_private_from_the_first_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is made with 0700, the socket is there with 0600 before it listens, whatever the umask (S4.8)."""
    seen = []
    bind = unix._bound

    def watched(sock: socket.socket, path: Path) -> None:
        bind(sock, path)
        seen.append(stat.S_IMODE(path.lstat().st_mode))

    monkeypatch.setattr(unix, "_bound", watched)
    before = os.umask(0)
    try:
        with listening(path):
            assert seen == [0o600]
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert connected(path)
        assert os.umask(0) == 0
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o702])
def test_directory_that_lets_others_in(path: Path, mode: int) -> None:
    """A directory that others may enter or write in is refused, not mended (S4.8)."""
    path.parent.mkdir()
    path.parent.chmod(mode)
    assert "lets others in" in refused(path)
    assert list(path.parent.iterdir()) == []


def test_directory_that_others_could_swap(path: Path) -> None:
    """A private directory in one that others may write in could be swapped: it is refused (A80)."""
    path.parent.mkdir(mode=0o700)
    path.parent.parent.chmod(0o777)
    try:
        assert "swap" in refused(path)
    finally:
        path.parent.parent.chmod(0o700)


def test_directory_that_is_a_link(path: Path) -> None:
    """A link to a private directory is refused (A80)."""
    (path.parent.parent / "real").mkdir(mode=0o700)
    path.parent.symlink_to("real")
    assert "symbolic link" in refused(path) or "not a directory" in refused(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give something away")
def test_directory_and_socket_of_somebody_else(path: Path) -> None:
    """Another user's directory is refused, and so is a socket of theirs in ours, stale or not (S4.8)."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
    os.chown(path, 12345, 12345)
    assert "a socket of user 12345" in refused(path)
    assert path.is_socket()
    path.unlink()
    os.chown(path.parent, 12345, 12345)
    assert "12345" in refused(path)


def test_stale_socket_is_removed(path: Path) -> None:
    """A socket of ours at which nobody listens any more is taken away (S4.8)."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with listening(path):
        assert connected(path)


def test_second_server_is_told(path: Path) -> None:
    """A path on which a server listens is not taken; the error says so, and the first goes on (S4.8)."""
    with listening(path):
        assert "a server listens there already" in refused(path)
        assert connected(path)


def test_full_server_is_no_stale_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose backlog is full is alive: its socket stays."""
    monkeypatch.setattr(unix, "BACKLOG", 0)
    with listening(path), contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(path))
        assert "a server listens there already" in refused(path)


@pytest.mark.parametrize("what", ["file", "link", "dangling", "directory", "fifo"])
def test_what_is_no_socket_stays(path: Path, what: str) -> None:
    """A file, a directory, a pipe, and a link even to a stale socket, are never removed (A80)."""
    path.parent.mkdir(mode=0o700)
    other = path.with_name("other")
    if what == "file":
        path.write_text("mine")
    elif what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    else:
        if what == "link":
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(str(other))
        path.symlink_to("other")
    before = path.lstat()
    assert "no socket" in refused(path) or "symbolic link" in refused(path)
    assert path.lstat().st_ino == before.st_ino
    assert what != "link" or other.is_socket()


def test_two_servers_at_once(path: Path) -> None:
    """Of several that start at once beside a stale socket one listens, and is the one that is reached."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    made: list[UnixListener] = []
    begin = threading.Barrier(8)

    def start() -> None:
        begin.wait()
        with contextlib.suppress(ConfigError):
            made.append(UnixListener(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert made[0].found == "there"
    assert connected(path)
    made[0].close()


def test_looking_and_binding_are_one_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody comes between the look at what is there and the new socket: who looked first has the path."""
    looked, bind = threading.Event(), unix._bound
    late: list[str] = []

    def slowly(sock: socket.socket, path: Path) -> None:
        if not looked.is_set():
            looked.set()
            second.join(0.3)
        bind(sock, path)

    def follow() -> None:
        looked.wait()
        late.append(refused(path))

    monkeypatch.setattr(unix, "_bound", slowly)
    second = threading.Thread(target=follow)
    second.start()
    with listening(path) as first:
        second.join()
        assert first.found == "there"
        assert "a server listens there already" in late[0]


def test_removed_at_the_end(path: Path) -> None:
    """At the end the socket goes, and the directory stays."""
    with listening(path):
        pass
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("what", ["socket", "file", "link"])
def test_what_took_its_place_stays(path: Path, what: str) -> None:
    """What was put in the place of our socket is seen, and is not removed at the end (S4.8, A80)."""
    with listening(path) as listener:
        path.unlink()
        if what == "socket":
            other = socket.socket(socket.AF_UNIX)
            other.bind(str(path))
            other.close()
        elif what == "file":
            path.write_text("")
        else:
            path.symlink_to("elsewhere")
        assert listener.found == "replaced"
    assert os.path.lexists(path)


def test_removed_socket_is_bound_anew(path: Path) -> None:
    """Where the path was removed, it is bound anew, and whoever waited to be accepted still is."""
    with listening(path) as listener:
        path.unlink()
        assert listener.found == "removed"
        listener.again()
        assert connected(path)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600


def test_long_path(tmp_path: Path) -> None:
    """A path that the system would cut is refused before anything is made (S4.8)."""
    path = tmp_path / ("d" * 100) / "x.sock"
    assert "bytes" in refused(path)
    assert not path.parent.exists()


def test_crash_leaves_a_socket_that_the_next_one_takes(path: Path) -> None:
    """A server that was killed leaves its socket, and the next one starts all the same."""
    program = (
        "import os, sys; from pathlib import Path; from hauberk.carriers.unix import UnixListener;"
        "listener = UnixListener(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert path.is_socket()
    with listening(path):
        assert connected(path)
