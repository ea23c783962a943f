"""Files that nobody else may read, change or swap."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hauberk import files
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


def _read_private(path: Path) -> object:
    return files.read_private(path, max_bytes=100)


def _read_trusted(path: Path) -> object:
    return files.read_trusted(path, max_bytes=100)


def _append(path: Path) -> object:
    os.close(files.append_private(path))
    return None


READERS = pytest.mark.parametrize("use", [_read_private, _read_trusted, _append])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def secret(home: Path) -> Path:
    path = home / "secret"
    path.write_bytes(b"content")
    path.chmod(0o600)
    return path


def owned_by(monkeypatch: pytest.MonkeyPatch, uid: int, *, directory: bool) -> None:
    def status(fd: int) -> os.stat_result:
        info = os.fstat(fd)
        if stat.S_ISDIR(info.st_mode) != directory:
            return info
        return os.stat_result((*info[:4], uid, *info[5:]))

    monkeypatch.setattr(files, "_status", status)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@READERS
def test_accepts(use: Callable[[Path], object], secret: Path) -> None:
    """A file of mode 0600 in a directory of mode 0700 is used."""
    assert use(secret) in {b"content", None}


@pytest.mark.parametrize("bits", [0o400, 0o600])
def test_private_modes(bits: int, secret: Path) -> None:
    """Modes 0400 and 0600 are private (X.9)."""
    secret.chmod(bits)
    assert files.read_private(secret, max_bytes=7) == b"content"


@pytest.mark.parametrize("bits", [0o604, 0o640, 0o602, 0o620, 0o601, 0o610, 0o444])
def test_not_private(bits: int, secret: Path) -> None:
    """Any bit for group or others makes a private file unusable, and the hint is the command that mends it (X.9)."""
    secret.chmod(bits)
    with pytest.raises(ConfigError, match=f"its mode {bits:04o} lets others in") as caught:
        files.read_private(secret, max_bytes=100)
    assert caught.value.hint == f"chmod 600 {secret}"
    with pytest.raises(ConfigError):
        files.append_private(secret)


@pytest.mark.parametrize(("bits", "good"), [(0o644, True), (0o444, True), (0o664, False), (0o646, False)])
def test_trusted_modes(bits: int, good: bool, secret: Path) -> None:
    """A trusted file may be read by others, and written by nobody else."""
    secret.chmod(bits)
    _, fault = files.read_judged(secret)
    assert (fault is None) == good
    if not good:
        with pytest.raises(ConfigError, match="lets others change it"):
            files.read_trusted(secret)


@READERS
def test_symbolic_link(use: Callable[[Path], object], secret: Path) -> None:
    """A link to a good file is refused (X.9)."""
    link = secret.with_name("link")
    link.symlink_to(secret)
    with pytest.raises(ConfigError, match="it is a symbolic link"):
        use(link)


@READERS
def test_dangling_link(use: Callable[[Path], object], home: Path) -> None:
    """A link to nothing is refused, and nothing is made where it points."""
    (home / "link").symlink_to(home / "target")
    with pytest.raises(ConfigError, match="it is a symbolic link"):
        use(home / "link")
    assert not (home / "target").exists()


def test_swap_after_open(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is checked is what is read: a file that is swapped after the open changes nothing."""
    opened = files._open_in_directory

    def swapping(path: Path, flags: int) -> tuple[int, os.stat_result]:
        result = opened(path, flags)
        path.unlink()
        path.write_bytes(b"evil")
        return result

    monkeypatch.setattr(files, "_open_in_directory", swapping)
    assert files.read_private(secret, max_bytes=100) == b"content"


@READERS
def test_fifo(use: Callable[[Path], object], home: Path) -> None:
    """A FIFO without a writer is refused, and does not block."""
    os.mkfifo(home / "fifo", 0o600)
    with pytest.raises(ConfigError, match="no regular file"):
        use(home / "fifo")


@READERS
def test_directory(use: Callable[[Path], object], home: Path) -> None:
    """A directory is refused."""
    (home / "d").mkdir()
    with pytest.raises(ConfigError, match="is a directory"):
        use(home / "d")


def test_device() -> None:
    """A device is refused."""
    with pytest.raises(ConfigError, match="no regular file"):
        files.read_trusted(Path("/dev/null"))


@READERS
@pytest.mark.parametrize("directory", [False, True])
def test_owner(use: Callable[[Path], object], directory: bool, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, or a directory, of another user is refused, and the user is named (X.9)."""
    owned_by(monkeypatch, 4711, directory=directory)
    with pytest.raises(ConfigError, match="its owner is user 4711"):
        use(secret)


@READERS
def test_root_owns(use: Callable[[Path], object], secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may own what nobody else can write."""
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1 if real == 0 else real)
    owned_by(monkeypatch, 0, directory=False)
    assert use(secret) in {b"content", None}


@READERS
@pytest.mark.parametrize(
    ("bits", "good"), [(0o755, True), (0o770, False), (0o707, False), (0o777, False), (0o1777, True)]
)
def test_directory_mode(use: Callable[[Path], object], bits: int, good: bool, secret: Path) -> None:
    """The directory is not writable by others, unless it is sticky (X.9)."""
    secret.parent.chmod(bits)
    if good:
        assert use(secret) in {b"content", None}
    else:
        with pytest.raises(ConfigError, match="lets others swap the files in it"):
            use(secret)


def test_missing(home: Path) -> None:
    """A file that is not there is an error that says so, and carries the cause."""
    with pytest.raises(ConfigError, match="no such file") as caught:
        files.read_private(home / "none", max_bytes=1)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_too_large(secret: Path) -> None:
    """A file is as large as the bound and not a byte larger."""
    assert files.read_private(secret, max_bytes=7) == b"content"
    with pytest.raises(ConfigError, match="larger than 6 bytes"):
        files.read_private(secret, max_bytes=6)


def test_large_content(home: Path) -> None:
    """Content of more than one block is read whole."""
    files.write_atomic(home / "f", bytes(range(256)) * 1000)
    assert files.read_private(home / "f", max_bytes=256_000) == bytes(range(256)) * 1000


def test_descriptors(secret: Path, home: Path) -> None:
    """No descriptor is left open, neither by an answer nor by an error."""
    secret.chmod(0o644)
    before = set(Path("/dev/fd").iterdir())
    for use in (_read_private, _read_trusted, _append):
        for path in (secret, home, home / "none" / "x"):
            try:
                use(path)
            except ConfigError:
                continue
    assert set(Path("/dev/fd").iterdir()) == before


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_created_private(umask: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file is 0600 from its creation, whatever the umask; no chmod comes after (X.12)."""
    monkeypatch.setattr(os, "fchmod", None)
    monkeypatch.setattr(os, "chmod", None)
    old = os.umask(umask)
    try:
        os.close(files.create_private(home / "a"))
        os.close(files.append_private(home / "b"))
        files.write_atomic(home / "c", b"c")
        files.write_new(home / "d", b"d")
    finally:
        os.umask(old)
    assert [mode(home / name) for name in "abcd"] == [0o600] * 4


def test_create_private_never_overwrites(secret: Path) -> None:
    """A file that exists is not opened for creation."""
    with pytest.raises(ConfigError, match="it exists already"):
        files.create_private(secret)
    assert secret.read_bytes() == b"content"


def test_create_in_open_directory(home: Path) -> None:
    """Nothing private is made where others could swap it."""
    home.chmod(0o777)
    for make in (files.create_private, files.append_private, lambda path: files.write_atomic(path, b"")):
        with pytest.raises(ConfigError, match="lets others swap"):
            make(home / "f")
    assert list(home.iterdir()) == []


def test_append(home: Path) -> None:
    """Appending starts a file, goes on at its end, and can read it."""
    for text in (b"one\n", b"two\n"):
        fd = files.append_private(home / "log")
        os.write(fd, text)
        os.lseek(fd, 0, os.SEEK_SET)
        content = os.read(fd, 100)
        os.close(fd)
    assert content == b"one\ntwo\n"


def test_append_lost_race(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process makes the file first, that file is checked and used."""
    (home / "log").write_bytes(b"")
    (home / "log").chmod(0o644)
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    with pytest.raises(ConfigError, match="lets others in"):
        files.append_private(home / "log")


def test_append_unsynced_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file whose name could not be made durable is an error, and its descriptor is closed."""
    before = len(list(Path("/dev/fd").iterdir()))
    monkeypatch.setattr(os, "fsync", broken(errno.EIO))
    with pytest.raises(OSError, match="simulated"):
        files.append_private(home / "log")
    assert len(list(Path("/dev/fd").iterdir())) == before


def broken(number: int) -> Callable[..., None]:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, "simulated")

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_write_atomic_failure(call: str, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails, the old file stands whole and nothing is left beside it (X.12)."""
    monkeypatch.setattr(os, call, broken(errno.EIO))
    with pytest.raises(OSError, match="simulated"):
        files.write_atomic(secret, b"new")
    assert secret.read_bytes() == b"content"
    assert list(secret.parent.iterdir()) == [secret]


def test_write_atomic_interrupted(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt while writing leaves the old file and nothing beside it."""

    def interrupt(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(secret, b"new")
    assert list(secret.parent.iterdir()) == [secret]


def test_write_atomic_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data is synced before the rename, the directory after it (X.12)."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(fd: int) -> None:
        done.append("sync directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync data")
        fsync(fd)

    def note_replace(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    files.write_atomic(home / "f", b"x")
    assert done == ["sync data", "rename", "sync directory"]


def test_killed_writer(home: Path) -> None:
    """A process that is killed in the middle of a write leaves the old file, and the next write succeeds."""
    target = home / "state"
    files.write_atomic(target, b"old")
    child = os.fork()
    if child == 0:  # pragma: no cover  # dies before the rename
        os.replace = lambda *_: os._exit(9)
        try:
            files.write_atomic(target, b"half")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert target.read_bytes() == b"old"
    files.write_atomic(target, b"new")
    assert target.read_bytes() == b"new"


def test_leftover_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remains of a killed process of the same number are neither used nor an obstacle."""
    monkeypatch.setattr(files, "_serial", iter(range(3)))
    left = home / f".f.{os.getpid()}.0.tmp"
    left.symlink_to(home / "elsewhere")
    files.write_atomic(home / "f", b"x")
    assert (home / "f").read_bytes() == b"x"
    assert not (home / "elsewhere").exists()


def test_write_atomic_replaces_link(secret: Path) -> None:
    """Writing to a link replaces the link; what it points to stays."""
    link = secret.with_name("link")
    link.symlink_to(secret)
    files.write_atomic(link, b"new")
    assert secret.read_bytes() == b"content"
    assert not link.is_symlink()


def test_write_atomic_mode(home: Path) -> None:
    """A file that others may read gets its mode before it gets its name."""
    files.write_atomic(home / "lock", b"x", mode=0o644)
    assert mode(home / "lock") == 0o644


def test_write_new_never_overwrites(secret: Path) -> None:
    """A file that exists stays as it is, and nothing is left beside it."""
    with pytest.raises(ConfigError, match="it exists already"):
        files.write_new(secret, b"new")
    assert secret.read_bytes() == b"content"
    assert list(secret.parent.iterdir()) == [secret]


def test_write_into_nothing(home: Path) -> None:
    """A directory that is not there is an error that names the file."""
    for write in (files.write_atomic, files.write_new):
        with pytest.raises(ConfigError, match=r"cannot use .*no such file"):
            write(home / "none" / "f", b"x")


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_sync_directory(number: int, raises: bool, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot sync directories is used; one that fails to is an error."""
    monkeypatch.setattr(os, "fsync", broken(number))
    if raises:
        with pytest.raises(OSError, match="simulated"):
            files.sync_directory(home)
    else:
        files.sync_directory(home)


def test_private_dir(home: Path) -> None:
    """A private directory is made 0700 with its parents, and then found again."""
    path = home / "a" / "b"
    old = os.umask(0)
    try:
        assert files.private_dir(path) == path
    finally:
        os.umask(old)
    assert (mode(path), mode(path.parent)) == (0o700, 0o700)
    assert files.private_dir(path) == path


def test_private_dir_refuses(home: Path, secret: Path) -> None:
    """A directory that lets others in, a link to one, and a file are no private directories."""
    (home / "open").mkdir(mode=0o755)
    (home / "link").symlink_to(home)
    with pytest.raises(ConfigError, match="mode 0755 lets others in") as caught:
        files.private_dir(home / "open")
    assert caught.value.hint == f"chmod 700 {home / 'open'}"
    for path in (home / "link", secret):
        with pytest.raises(ConfigError, match="cannot use directory"):
            files.private_dir(path)


def test_private_dir_owner(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private directory belongs to the effective user."""
    owned_by(monkeypatch, 4711, directory=True)
    with pytest.raises(ConfigError, match="its owner is user 4711"):
        files.private_dir(home)


def test_hint_is_quoted(home: Path) -> None:
    """A hint can be pasted into a shell, whatever the name."""
    path = home / "a b;c"
    path.write_bytes(b"")
    path.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        files.read_private(path, max_bytes=1)
    assert caught.value.hint == f"chmod 600 '{path}'"


def test_without_owners(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system knows no owners and modes, links are refused and writes are whole all the same."""
    monkeypatch.setattr(files, "_POSIX", False)
    secret.chmod(0o644)
    assert files.read_private(secret, max_bytes=100) == b"content"
    files.write_atomic(secret, b"new", mode=0o644)
    assert files.read_trusted(secret) == b"new"
    assert files.private_dir(secret.parent / "d").is_dir()
    secret.with_name("link").symlink_to(secret)
    with pytest.raises(ConfigError, match="it is a symbolic link"):
        files.read_private(secret.with_name("link"), max_bytes=100)


def test_impossible_name(home: Path) -> None:
    """A name that no file can have is an error that says so."""
    for write in (files.create_private, files.append_private):
        with pytest.raises(ConfigError, match=r"cannot make .*file name too long"):
            write(home / ("x" * 300))


def test_socket(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket is refused."""
    monkeypatch.chdir(home)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(ConfigError, match="no regular file"):
            files.read_trusted(home / "s")
