"""Processes that are killed outright while they write: at random moments, and at every system call.

A round starts one to three hosts on one state directory, lets them record as fast as they can, and kills each at a
moment of its own; then the logs are judged (`tests.crash.judge`). A directory lives for some rounds, so that logs go on
over many kills. The choices of a round follow from the seed and its number; where exactly the kill strikes does not.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, final

from tests.crash.judge import Killed, Logs, heard
from tests.crash.load import Load, run, told_to

LIFE: Final = 5
"""Rounds of one directory."""
PATIENCE: Final = 30.0
"""Seconds; whoever says nothing for so long has found a hang."""


class Moment(NamedTuple):
    """When a process is killed."""

    lines: int
    """Of its output; then"""
    seconds: float
    """later."""


def chosen(seed: int, number: int) -> list[tuple[Load, Moment]]:
    """Return who runs in a round, and when each is killed."""
    rnd = random.Random(f"{seed}/{number}")
    hosts = []
    for which in range(rnd.choice((1, 1, 1, 2, 3))):
        load = Load(
            name=f"r{number}h{which}",
            durability=rnd.choice(("group", "group", "group", "event", "interval")),
            entries=rnd.choice((2, 3, 7, 20, 100)),
            compress=rnd.random() < 0.7,
            callers=rnd.choice((1, 4, 16)),
            count=1_000_000,
            bytes=rnd.choice((0, 0, 0, 0, 2000, 15_000)),
        )
        at_start = rnd.random() < 0.2
        moment = Moment(0, rnd.random() * 0.03) if at_start else Moment(rnd.randrange(1, 60), rnd.random() * 0.003)
        hosts.append((load, moment))
    return hosts


@final
class Host:
    """A process that runs a load, until it is killed."""

    def __init__(self, folder: Path, load: Load, moment: Moment) -> None:
        self.load: Final = load
        self._left, self._seconds = moment
        self._said = b""
        self.fd, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _be(folder, load, writing)
        os.close(writing)
        if not self._left:
            self._kill()

    def hear(self) -> bool:
        """Take what it says; return whether it may say more."""
        said = os.read(self.fd, 1 << 16)
        self._said += said
        before, self._left = self._left, self._left - said.count(b"\n")
        if self._left <= 0 < before:
            self._kill()
        return bool(said)

    def end(self) -> Killed:
        """Return what it said."""
        os.close(self.fd)
        _, status = os.waitpid(self._pid, 0)
        name = self.load.name
        return heard(name if os.WIFSIGNALED(status) else f"{name}, which ended with {status}", self._said)

    def _kill(self) -> None:
        if self._seconds:
            time.sleep(self._seconds)
        os.kill(self._pid, signal.SIGKILL)


def _be(folder: Path, load: Load, fd: int) -> None:
    """Run the load in this process, which ends with it."""
    try:
        asyncio.run(run(folder, load, told_to(fd)))
    finally:
        os._exit(3)


def killed(folder: Path, hosts: list[tuple[Load, Moment]]) -> list[Killed]:
    """Run hosts until all are killed."""
    running = [Host(folder, *each) for each in hosts]
    talking = {one.fd: one for one in running}
    while talking:
        ready, _, _ = select.select(list(talking), [], [], PATIENCE)
        if not ready:
            raise TimeoutError(f"no output from {[one.load for one in talking.values()]}")
        for fd in ready:
            if not talking[fd].hear():
                del talking[fd]
    return [one.end() for one in running]


@final
class Figures:
    """What a campaign did."""

    def __init__(self) -> None:
        self.kills = 0
        self.acknowledged = 0
        self.torn = 0
        self.entries = 0
        self.failures: Final[list[str]] = []

    def take(self, number: int, one: list[Killed], found: list[str]) -> None:
        """Add one round."""
        self.kills += len(one)
        self.acknowledged += sum(len(host.acknowledged) for host in one)
        self.failures.extend(f"round {number}: {what}" for what in found)
        self.failures.extend(f"round {number}: {host.name}" for host in one if "ended with" in host.name)


def campaign(folder: Path, rounds: int, seed: int) -> Iterator[Figures]:
    """Play rounds; yield the figures after each."""
    figures = Figures()
    logs = None
    torn = entries = 0
    for number in range(rounds):
        if logs is None or number % LIFE == 0:
            torn, entries = figures.torn, figures.entries
            logs = Logs(folder / str(number // LIFE), ratchet=(number // LIFE) % 2 == 1)
        one = killed(logs.folder, chosen(seed, number))
        figures.take(number, one, logs.wrong(one))
        figures.torn, figures.entries = torn + logs.torn, entries + logs.entries
        yield figures
