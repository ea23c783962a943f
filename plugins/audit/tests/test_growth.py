"""What does not grow with the log: a start, an append, and the memory of verify (S3.10, A27)."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from plugins.audit.tests.logs import KEY, event, stream
from plugins.audit.tests.test_tamper import write as write_log

from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import render
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._log import Disk, Log
from hauberk_audit.writing._rotation import Rotation


def written(path: Path, count: int, pack: Callable[[bytes], bytes] = bytes) -> Path:
    """Write a log of so many entries."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(pack(b"".join(line + b"\n" for line in stream(count))))
    return path


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the bytes that are read."""
    sizes: list[int] = []
    real = os.read

    def read(fd: int, count: int) -> bytes:
        data = real(fd, count)
        sizes.append(len(data))
        return data

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        yield sizes


def test_start_reads_as_much_of_any_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on with a log of many entries reads as many bytes as with one of few (S3.10)."""
    seen = []
    for count in (2000, 16_000):
        path = written(tmp_path / str(count) / "audit.jsonl", count)
        with reads(monkeypatch) as sizes, closing(Log.open(path, Chain(KEY), sync=False)) as log:
            assert log.sequence == count
        seen.append(sum(sizes))
    assert seen[1] <= seen[0] <= 4 * BOUNDS.line


def test_start_reads_as_much_of_any_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it read the files that were closed."""
    seen = []
    for count in (20, 200):
        path = tmp_path / str(count) / "audit.jsonl"
        write_log(path, range(count), Rotation(bytes=None, entries=5))
        with reads(monkeypatch) as sizes, closing(Log.open(path, Chain(KEY), sync=False)):
            pass
        seen.append(sum(sizes))
    assert abs(seen[1] - seen[0]) < 100  # numbers with more digits


def test_append_writes_as_much_to_any_log(tmp_path: Path) -> None:
    """An entry takes one write and one sync, of as many bytes, wherever in a log it stands (S3.10)."""
    seen = []
    for count in (1000, 9000):
        calls: list[int] = []

        def write(fd: int, data: bytes, calls: list[int] = calls) -> int:
            calls.append(len(data))
            return os.write(fd, data)

        def sync(fd: int, calls: list[int] = calls) -> None:
            calls.append(0)

        path = written(tmp_path / str(count) / "audit.jsonl", count)
        with closing(Log.open(path, Chain(KEY), sync=True, disk=Disk(write=write, sync=sync))) as log:
            calls.clear()
            log.append(render(event(1)))
            seen.append(tuple(calls))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("name", "pack"), [("audit.jsonl", bytes), ("audit.jsonl.1.gz", gzip.compress)])
def test_verify_takes_as_much_memory_for_any_log(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    """Verifying many entries takes as much memory as few, compressed or not (A27)."""

    def once(path: Path, count: int) -> int:
        tracemalloc.start()
        try:
            assert sum(log.entries for log in verify([path], KEY).logs) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def peak(count: int) -> int:
        path = written(tmp_path / str(count) / name, count, pack).with_name("audit.jsonl")
        return min(once(path, count) for _ in range(3))  # other threads allocate, too

    peak(10)
    assert peak(8000) < peak(2000) + 64 * 1024
