"""What only a process of its own can show: an import from scratch, and who asks for the time of day."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

import msgspec

from hauberk.conformance._subject import Fault, Subject, unique

_SECONDS: Final = 120.0
_PROGRAM: Final = """
import json, sys
state = json.load(sys.stdin)
sys.path[:] = state["path"]
from hauberk.conformance._probe import main
main(state)
"""


class Report(msgspec.Struct, frozen=True):
    """What the process saw: what was done and where, each a pair."""

    imported: list[tuple[str, str]]
    clock: list[tuple[str, str]]


async def quiet_import(subject: Subject) -> list[Fault]:
    """Import it in a fresh interpreter that hears of connections, written files, threads and processes."""
    report = _report(subject)
    if isinstance(report, Fault):
        return [report]
    return unique(Fault(f"importing it {what}", where) for what, where in report.imported)


async def guards_clock(subject: Subject) -> list[Fault]:
    """Import it and let it meet everything, in an interpreter that hears who asks for the time of day."""
    report = _report(subject)
    if isinstance(report, Fault):
        return [report]
    return unique(Fault(f"it asks {what} for the time, and not guard.now()", where) for what, where in report.clock)


def _report(subject: Subject) -> Report | Fault:
    if subject.apart is None:
        subject.apart = _started(subject)
    found: Report | Fault = subject.apart
    return found


def _started(subject: Subject) -> Report | Fault:
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-c", _PROGRAM],
            input=json.dumps(subject.state()),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Fault(f"importing it takes longer than {_SECONDS:g} s")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        return Fault(f"a process that imports it ends with status {done.returncode} {last[0]}".rstrip())
    return msgspec.json.decode(done.stdout, type=Report)
