"""A host that is killed at every system call that touches its logs, by strace.

The host (`tests.crash.load`) runs once in peace under strace, which says how often it makes which call on a file of its
state directory. Then it is started once for each of them, on a directory of its own: strace kills it as it enters that
call. Several threads write and compress, so what the k-th call is may differ from run to run; that there is one does
not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from tests.crash.judge import Killed, Logs, heard
from tests.crash.load import Load

LOAD: Final = Load(entries=3, callers=2, count=4)
CALLS: Final = (
    *("openat", "write", "pwrite64", "lseek", "fsync", "fdatasync", "ftruncate", "flock", "close"),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat"),
)
"""Those between which something changes."""
ROOT: Final = Path(__file__).resolve().parents[2]
TIME_LIMIT: Final = 60.0
"""Seconds of one run."""


class Point(NamedTuple):
    """Where a host is killed."""

    call: str
    at: int
    """Which call of this name of one thread, from 1."""


class Seen(NamedTuple):
    """What came of it."""

    point: Point
    acknowledged: int
    killed: bool
    wrong: list[str]


def is_there() -> bool:
    """Whether strace is installed, and may trace."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return done.returncode == 0


def points(folder: Path, *, ratchet: bool) -> tuple[list[str], list[Point]]:
    """Return the files of its logs that a host touches, and each call on one of them."""
    logs, trace = Logs(folder / "peace", ratchet=ratchet), folder / "trace"
    _run(logs, ["-y", "-o", str(trace)])
    lines = trace.read_text(errors="replace").splitlines()
    root = re.escape(str(logs.folder))
    names = sorted({name for line in lines for name in re.findall(rf"{root}(/audit[^\"<>]*)", line)})
    is_relative = re.compile("|".join(f'"{re.escape(Path(name).name)}"' for name in names))
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found and (f"{logs.folder}/audit" in line or is_relative.search(line)):
            counts[found[2], found[1]] += 1
    shutil.rmtree(logs.folder)
    most: Counter[str] = Counter()
    for (call, _), count in counts.items():
        most[call] = max(most[call], count)
    return names, [Point(call, at) for call in sorted(most) for at in range(1, most[call] + 1)]


def killed(folder: Path, touched: list[str], point: Point, *, ratchet: bool) -> Seen:
    """Run a host, kill it at one call, and judge what is left."""
    logs = Logs(folder / "life", ratchet=ratchet)
    status, one = _injected(logs, touched, f"{point.call}:signal=KILL:when={point.at}")
    found = logs.wrong([one] if status else [])
    shutil.rmtree(logs.folder)
    return Seen(point, len(one.acknowledged), bool(status), found)


def faulted(folder: Path, touched: list[str], fault: str) -> tuple[Killed, list[str]]:
    """Run a host whose system calls fail as strace is told; return what it said, and judge what is left."""
    logs = Logs(folder / "life", ratchet=False)
    _, one = _injected(logs, touched, fault)
    found = logs.wrong([one._replace(log="")])  # nobody killed it
    shutil.rmtree(logs.folder)
    return one, found


def campaign(folder: Path, *, ratchet: bool = False) -> Iterator[Seen]:
    """Kill a host at each of its calls in turn."""
    touched, there = points(folder, ratchet=ratchet)
    for point in there:
        yield killed(folder, touched, point, ratchet=ratchet)


def _injected(logs: Logs, touched: list[str], what: str) -> tuple[int, Killed]:
    """Run a host, and inject something into calls on its files."""
    paths = [f"{logs.folder}{name}" for name in touched] + [Path(name).name for name in touched]
    only = [word for path in paths for word in ("-P", path)]
    status, said = _run(logs, ["-o", "/dev/null", *only, "-e", f"inject={what}"])
    return status, heard(what, said)


def _run(logs: Logs, options: list[str]) -> tuple[int, bytes]:
    load = msgspec.json.encode(LOAD).decode()
    trace = ["strace", "-f", "-qq", "-e", f"trace={','.join(CALLS)}", *options]
    command = [*trace, sys.executable, "-m", "tests.crash.load", str(logs.folder), load]
    done = subprocess.run(command, capture_output=True, check=False, timeout=TIME_LIMIT, cwd=ROOT)
    return done.returncode, done.stdout
