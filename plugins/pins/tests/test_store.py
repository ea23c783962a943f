"""What is trusted on a machine: private, whole, and never older than what was seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hauberk import advisory, files
from hauberk.refusals import ConfigError
from hauberk_pins import _items, _lock
from hauberk_pins._book import Book, checked, write
from hauberk_pins._items import Lock
from hauberk_pins._store import Seen, Store

READ = _items.item("tool", "read", {"name": "read"})


def lock_of(generation: int) -> Lock:
    return Lock(generation, {"files": {READ.key: READ}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store in which generation 2 is trusted, and was seen."""
    made = Store(tmp_path / "state", tmp_path / "hauberk.lock", sleep=lambda _: None)
    trust(made, 2)
    with made.locked():
        made.record(Seen("h", "files", now={"tool": {"read": READ.canonical}}))
    return made


def trust(store: Store, generation: int) -> None:
    with store.locked():
        store.trust(lock_of(generation), _lock.write(lock_of(generation)))


def test_files_are_private(store: Store) -> None:
    """Each file has mode 0600, in a directory of mode 0700 (S3.43)."""
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in store.directory.iterdir()} == {0o600}
    assert store.trusted()[0] == lock_of(2)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes().replace(b"read", b"rm_r")),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes().replace(b" 2 ", b" 9 ", 1)),
        lambda path: path.write_bytes(b""),
        lambda path: path.chmod(0o644),
        lambda path: path.write_bytes(next(path.parent.glob("seen-*")).read_bytes()),
        lambda path: (path.unlink(), path.symlink_to("key")),
        lambda path: path.parent.chmod(0o755),
        lambda path: (path.parent / "key").unlink(),
    ],
)
def test_harmed_file_stops_the_start(store: Store, tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """What was changed, cut off, made readable, swapped or lost its key is an error, and stays as it is."""
    harm(store.path)
    before = {path.name: path.lstat().st_mtime_ns for path in store.directory.iterdir()}
    with pytest.raises(ConfigError, match="cannot"):
        Book(Store(tmp_path / "state", tmp_path / "hauberk.lock"), None, "h", {}).open()
    assert {path.name: path.lstat().st_mtime_ns for path in store.directory.iterdir()} == before


def test_roll_back_is_seen(store: Store) -> None:
    """An older private copy that is put back, or one that is taken away, is an error that says so (S3.43)."""
    old = store.path.read_bytes()
    trust(store, 3)
    with store.locked():
        store.record(Seen("h", "files"))
    files.write_atomic(store.path, old)
    with pytest.raises(ConfigError, match="it is of generation 2, and generation 3 was seen here"):
        store.trusted()
    store.path.unlink()
    with pytest.raises(ConfigError, match="it is of generation 0, and generation 3 was seen here"):
        store.trusted()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_lock.write(lock_of(1)), "it is of generation 1, and generation 2 was trusted here"),
        (_lock.write(lock_of(3)), "it is of generation 3, and only generation 2 was trusted here"),
        (_lock.write(Lock(2)), "it says something else than what was trusted"),
        ("junk\n", "line 1 is no hauberk.lock"),
    ],
)
def test_file_for_review_must_say_the_same(store: Store, tmp_path: Path, text: str, reason: str) -> None:
    """``hauberk.lock`` that is older, newer, edited or malformed is an error that says which."""
    path = tmp_path / "hauberk.lock"
    path.write_text(_lock.write(lock_of(2)))
    assert checked(store, path) == lock_of(2)
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        checked(store, path)
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="lets others change it"):
        checked(store, path)


def test_locks_keep_apart(store: Store, tmp_path: Path) -> None:
    """What is trusted under one configuration is not trusted under another."""
    assert Store(tmp_path / "state", tmp_path / "other.lock").trusted() == (Lock(), "")


def test_writers_take_turns(store: Store) -> None:
    """While another process holds the lock nothing is written, and the error says so."""
    fd = files.append_private(store.directory / "lock")
    assert advisory.take(fd)
    with pytest.raises(ConfigError, match="another process does not let go of it"), store.locked():
        pytest.fail("got in")


def test_first_sight_stays_the_first(store: Store) -> None:
    """What was seen first is not overwritten by what is seen later, nor by another guard that began earlier."""
    one, other = Book(store, None, "h", {}), Book(store, None, "h", {})
    for book in (one, other):
        book.pins("mail")
    later = _items.item("tool", "read", {"name": "read", "title": "x"})
    for book, shown in ((one, READ), (other, later)):
        book.see("mail", [shown], first=[READ.key])
        book.wrote(write(store, book.news()))
    assert one.pins("mail")[READ.key] == other.pins("mail")[READ.key] == READ
    assert store.seen("h", "mail").now["tool"]["read"] == later.canonical
