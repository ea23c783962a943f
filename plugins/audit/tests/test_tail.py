"""What is added to logs while somebody looks: each entry once, whatever happens to the files meanwhile."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins.audit.tests.written import entry, rotate, write

from hauberk_audit._paths import closed_files, log_set, sibling
from hauberk_audit.queries._reading import Reader
from hauberk_audit.queries._tail import Follower
from hauberk_audit.writing._packing import compress


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of three entries."""
    path = tmp_path / "audit.jsonl"
    write(path, [entry(1), entry(2), entry(3)])
    return path


def follow(*logs: Path) -> Follower:
    follower = Follower(lambda: [Reader(log) for log in logs])
    follower.skip()
    return follower


def added(follower: Follower) -> list[int]:
    return [found.sequence for found in follower.added()]


def test_only_what_is_added_is_given(log: Path) -> None:
    """What was there is skipped, what is added is given once, and a line only when it has its end."""
    follower = follow(log)
    assert added(follower) == []
    write(log, [entry(4)])
    with log.open("ab") as file:
        file.write(b'{"integrity":{"sequence":5')
    assert (added(follower), added(follower)) == ([4], [])
    with log.open("ab") as file:
        file.write(b"}}\nno json\n")
    assert (added(follower), follower.skipped) == ([5], 1)


def test_log_that_was_put_away_is_followed_anew(log: Path) -> None:
    """After ``audit chain reset`` the new chain is given from its beginning, however long it is."""
    follower = follow(log)
    for name in ("away", "away-too"):
        log.rename(log.with_name(name))
        write(log, [entry(number) for number in range(1, 6)])
        assert added(follower) == [1, 2, 3, 4, 5]
    rotate(log)
    write(log, [entry(6)])
    assert added(follower) == [6]
    for path in [*closed_files(log).values(), log]:
        path.unlink()
    write(log, [entry(1)])
    assert added(follower) == [1]


def test_log_that_was_cut_is_followed_from_its_beginning(log: Path) -> None:
    """A log that is shorter than it was is another one."""
    follower = follow(log)
    log.write_bytes(b"")
    write(log, [entry(9)])
    assert added(follower) == [9]


def test_new_siblings_are_followed(log: Path) -> None:
    """A log that appears beside is given from its beginning, and merged by time."""
    follower = Follower(lambda: [Reader(one) for one in log_set(log)])
    follower.skip()
    write(sibling(log, 1), [entry(100, 4), entry(101, 6)])
    write(log, [entry(4, 5)])
    assert added(follower) == [100, 4, 101]


def test_entries_that_came_first_are_told_from_those_that_come(log: Path) -> None:
    """What was there when following began is not new; what was added since is."""
    follower = follow(log)
    write(log, [entry(4)])
    assert [found.sequence for found in Reader(log).forwards() if not follower.is_new(found)] == [1, 2, 3]
    assert added(follower) == [4]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["append", "append", "append", "rotate", "rotate and pack", "pack", "look", "look"]),
        max_size=30,
    )
)
def test_each_entry_is_given_once(happenings: list[str]) -> None:
    """However often a log is rotated and compressed between two looks, each entry is given once, in order (S4.23)."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "audit.jsonl"
        log.touch()
        follower, number = follow(log), 0
        seen: list[Any] = []
        for what in happenings:
            if what == "append":
                number += 1
                write(log, [entry(number)])
            elif what.startswith("rotate"):
                rotate(log, pack="pack" in what)
            elif what == "pack":
                for path in closed_files(log).values():
                    if path.suffix != ".gz":
                        compress(path)
            else:
                seen += added(follower)
        assert seen + added(follower) == list(range(1, number + 1))
