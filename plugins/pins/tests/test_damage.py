"""Files that are damaged: each kind stops the start with a clear error, and nothing is overwritten."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_pins import _items, _lock
from hauberk_pins._book import Book
from hauberk_pins._items import Lock
from hauberk_pins._store import Seen, Store

READ: Final = _items.item("tool", "read", {"name": "read"})
LOCK: Final = Lock(2, {"files": {READ.key: READ}})
TEXT: Final = _lock.write(LOCK).encode()


def made(folder: Path) -> Store:
    """Trust a tool, and record that it was seen."""
    folder.chmod(0o700)
    store = Store(folder / "state", folder / "hauberk.lock", sleep=lambda _: None)
    with store.locked():
        store.trust(LOCK, TEXT.decode())
        store.record(Seen("h", "files", now={"tool": {"read": READ.canonical}}))
    (folder / "hauberk.lock").write_bytes(TEXT)
    return store


def opened(folder: Path) -> Book:
    """Start anew, as a host does."""
    book = Book(Store(folder / "state", folder / "hauberk.lock"), folder / "hauberk.lock", "h", {})
    book.open()
    book.pins("files")
    return book


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in found}


def stops(folder: Path, *, reason: str = "cannot") -> None:
    """Check that a start fails, and leaves everything as it is."""
    before = content(folder)
    with pytest.raises(ConfigError, match=reason):
        opened(folder)
    assert content(folder) == before


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        made(folder)
        yield folder


def private(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "state").rglob("*") if path.is_file() and path.name != "lock")


@given(at=st.integers(0, len(TEXT) - 1))
def test_lock_that_was_cut_off_stops_the_start(place: Path, at: int) -> None:
    """``hauberk.lock`` that ends anywhere before its end is an error that names it."""
    lock = place / "hauberk.lock"
    lock.write_bytes(TEXT[:at])
    try:
        stops(place, reason="hauberk.lock")
    finally:
        lock.write_bytes(TEXT)
    assert opened(place).trusted == LOCK


@given(data=st.data())
def test_private_file_that_was_cut_off_or_changed_stops_the_start(place: Path, data: st.DataObject) -> None:
    """Each private file, the key too, that is shorter or has another byte anywhere is an error (S3.43)."""
    path = data.draw(st.sampled_from(private(place)))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    other = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    harmed = data.draw(st.sampled_from([whole[:at], whole[:at] + other + whole[at + 1 :], whole + b"x"]))
    assume(path.name != "key" or harmed.rstrip(b"\n") != whole.rstrip(b"\n"))  # its line feed is left to taste
    path.write_bytes(harmed)
    try:
        stops(place)
    finally:
        path.write_bytes(whole)
    assert opened(place).trusted == LOCK


def link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


LOCK_HARMS: Final[dict[str, Callable[[Path], object]]] = {
    "others may write": lambda path: path.chmod(0o666),
    "the group may write": lambda path: path.chmod(0o664),
    "a link": link,
    "a directory": become_a_directory,
    "a pipe": become_a_pipe,
    "not UTF-8": lambda path: path.write_bytes(TEXT.replace(b"read", b"re\xffd")),
    "another line end": lambda path: path.write_bytes(TEXT.replace(b"\n", b"\r\n")),
    "a mark of the byte order": lambda path: path.write_bytes(b"\xef\xbb\xbf" + TEXT),
    "twice": lambda path: path.write_bytes(TEXT + TEXT),
    "a conflict": lambda path: path.write_bytes(TEXT.replace(b"generation", b"<<<<<<< HEAD\ngeneration")),
    "another definition": lambda path: path.write_bytes(TEXT.replace(b'"name": "read"', b'"name": "rm"')),
}


@pytest.mark.parametrize("harm", LOCK_HARMS.values(), ids=LOCK_HARMS)
def test_harmed_lock_stops_the_start(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """A lock of the wrong mode or kind, or that is no lock, is an error."""
    made(tmp_path)
    harm(tmp_path / "hauberk.lock")
    stops(tmp_path)


PRIVATE_HARMS: Final[dict[str, Callable[[Path], object]]] = {
    "others may read": lambda path: path.chmod(0o604),
    "the group may read": lambda path: path.chmod(0o640),
    "a link": link,
    "empty": lambda path: path.write_bytes(b""),
    "no head": lambda path: path.write_bytes(path.read_bytes().split(b"\n", 1)[1]),
    "of another kind": lambda path: path.write_bytes(path.read_bytes().replace(b" trusted ", b" seen ", 1)),
    "in an open directory": lambda path: path.parent.chmod(0o750),
}


@pytest.mark.parametrize("harm", PRIVATE_HARMS.values(), ids=PRIVATE_HARMS)
def test_harmed_private_copy_stops_the_start(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """A private copy that others may read, that is a link or that was swapped is an error (S3.43)."""
    harm(made(tmp_path).path)
    stops(tmp_path)


@pytest.mark.parametrize("name", ["trusted", "key", "hauberk.lock"])
def test_file_of_somebody_else_stops_the_start(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose owner is neither the user nor root is an error."""
    store = made(tmp_path)
    path = tmp_path / name if name == "hauberk.lock" else store.directory / name
    inode, status = path.stat().st_ino, files._status

    def foreign(fd: int) -> os.stat_result:
        found = status(fd)
        return found if found.st_ino != inode else os.stat_result((*found[:4], os.geteuid() + 4242, *found[5:]))

    monkeypatch.setattr(files, "_status", foreign)
    stops(tmp_path, reason="its owner is user")


def test_private_copy_and_what_was_seen_cannot_be_put_back_together(tmp_path: Path) -> None:
    """An older state directory, whole and valid, is older than ``hauberk.lock``, and an error that says so (S3.43)."""
    store = made(tmp_path)
    shutil.copytree(store.directory, tmp_path / "old")
    newer = Lock(3, LOCK.servers)
    with store.locked():
        store.trust(newer, _lock.write(newer))
    (tmp_path / "hauberk.lock").write_text(_lock.write(newer))
    shutil.rmtree(store.directory)
    shutil.copytree(tmp_path / "old", store.directory)
    stops(tmp_path, reason="it is of generation 3, and only generation 2 was trusted here")


def test_lock_of_another_machine_is_no_trust(tmp_path: Path) -> None:
    """A lock alone, without a private copy that says the same, stops the start: it is for review."""
    tmp_path.chmod(0o700)
    (tmp_path / "hauberk.lock").write_bytes(TEXT)
    stops(tmp_path, reason="nothing is trusted on this machine")
