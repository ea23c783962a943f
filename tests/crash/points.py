"""Each call of a life in turn: it fails, in each way in which it can, or the process is killed there.

A life (`tests.crash.lives`) is lived once in peace, to see which calls it makes. Then it is lived again for each of
them, in a folder of its own, with the one fault, and is judged.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.crash.lives import KEY_FILE, Life, Ways, wrong
from tests.crash.taps import FAULTS, KILLED_AMID, KILLS, Tap, Way, points

from hauberk.refusals import HauberkError

PLACES: Final = Path("/proc/self/fd")


class Point(NamedTuple):
    """One fault of one life."""

    ways: Ways
    at: int
    """Which call."""
    way: Way
    lasting: bool
    """Whether all calls after it fail likewise."""

    def __str__(self) -> str:
        return f"{self.way.name}{' from' if self.lasting else ' at'} call {self.at}, {self.ways}"


class Seen(NamedTuple):
    """What came of it."""

    point: Point
    acknowledged: int
    wrong: list[str]


def peace(folder: Path, ways: Ways) -> Tap:
    """Live a life in which nothing goes wrong; return its calls."""
    tap, life = Tap(), _begun(folder / "peace", ways)
    with tap.installed():
        life.play()
    shutil.rmtree(folder / "peace")
    if life.refused:
        raise life.refused[0]
    return tap


def faults(folder: Path, ways: Ways) -> Iterator[Point]:
    """Yield each call of a life with each way in which it fails, once and from then on."""
    for at, way in points(peace(folder, ways).calls, FAULTS):
        yield Point(ways, at, way, lasting=False)
        if not way.passing:
            yield Point(ways, at, way, lasting=True)


def kills(folder: Path, ways: Ways) -> Iterator[Point]:
    """Yield each call of a life, to be killed before it, after it, and in the middle where it writes.

    A key file is one line, written in place: no sector of a disk is written by half, so neither is that.
    """
    tap = peace(folder, ways)
    for at, way in points(tap.calls, KILLS):
        if way is not KILLED_AMID or tap.files[at - 1] != KEY_FILE:
            yield Point(ways, at, way, lasting=False)


def faulted(folder: Path, point: Point) -> Seen:
    """Live a life with a fault, in this process, and judge it."""
    where = folder / "life"
    tap, life = Tap(point.at, point.way, lasting=point.lasting), _begun(where, point.ways)
    before = _descriptors()
    with tap.installed():
        life.play()
    found = [] if tap.hits else ["it was not reached"]
    if _descriptors() > before:
        found.append("a descriptor was left open")
    return _judged(where, point, found, life, life.acknowledged)


def killed(folder: Path, point: Point) -> Seen:
    """Live a life in a process that is killed, and judge it."""
    where = folder / "life"
    reading, writing = os.pipe()
    write = os.write  # the system's own, whatever stands in front of it later

    def tell(number: int) -> None:
        write(writing, b"%d\n" % number)

    life = _begun(where, point.ways, tell)
    pid = os.fork()
    if pid == 0:
        try:
            with Tap(point.at, point.way).installed():
                life.play()
        finally:
            os._exit(3)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        acknowledged = [int(line) for line in said]
    _, status = os.waitpid(pid, 0)
    found = [] if os.WIFSIGNALED(status) else ["it was not killed"]
    return _judged(where, point, found, life, acknowledged)


def _begun(folder: Path, ways: Ways, tell: Callable[[int], None] = lambda number: None) -> Life:
    with Tap().installed():
        return Life(folder, ways, tell)


def _judged(folder: Path, point: Point, found: list[str], life: Life, acknowledged: list[int]) -> Seen:
    try:
        with Tap().installed():  # without syncs
            found += wrong(life.path, life.key, acknowledged)
    except (OSError, HauberkError, ValueError) as error:
        found.append(f"it does not go on: {error}")
    shutil.rmtree(folder)
    return Seen(point, len(acknowledged), found)


def _descriptors() -> int:
    return len(list(PLACES.iterdir())) if PLACES.exists() else 0
