"""The process that `hauberk.conformance._apart` starts: it imports one plugin, drives it, and says what it heard."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

from hauberk.conformance import _corpus as corpus
from hauberk.conformance._apart import Report
from hauberk.conformance._drive import outcomes
from hauberk.conformance._subject import Subject, shown
from hauberk.refusals import HauberkError

_EFFECTS: Final = {
    "socket.connect": "opens a connection",
    "socket.getaddrinfo": "looks up a name",
    "socket.gethostbyname": "looks up a name",
    "socket.gethostbyaddr": "looks up a name",
    "socket.sendto": "sends to the network",
    "socket.sendmsg": "sends to the network",
    "subprocess.Popen": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.fork": "starts a process",
    "os.system": "starts a process",
    "os.exec": "becomes another process",
    "os.mkdir": "makes a folder",
    "os.remove": "removes a file",
    "os.rename": "renames a file",
    "os.truncate": "writes a file",
    "tempfile.mkstemp": "writes a file",
    "tempfile.mkdtemp": "makes a folder",
}
"""Audit events of the interpreter (https://docs.python.org/3/library/audit_events.html), and what they mean."""
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ALWAYS: Final = ("time", "time_ns")
_WITHOUT_TIME: Final = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}
"""Functions that take the time of day where they get fewer arguments than they can."""
_THREADS: Final = ("start_new_thread", "start_joinable_thread")
Place = tuple[str, int]
"""A file and a line."""


class Ear:
    """Hears what is done and by whom, while it listens."""

    def __init__(self) -> None:
        self.listening = False
        self.effects: list[tuple[str, list[Place]]] = []
        """What was done, and the places that led to it, the innermost first."""
        self.clock: list[tuple[str, Place]] = []
        """What was asked, and where."""

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Note an audit event that is an effect."""
        if not self.listening:
            return
        what = _EFFECTS.get(event) or ("writes a file" if event == "open" and _writes(*args[:3]) else "")
        if what:
            self.effects.append((what, list(_stack(sys._getframe(1)))))  # noqa: SLF001 - who did it is said

    def asked(self, what: str, frame: FrameType) -> None:
        """Note that somebody asked for the time."""
        self.clock.append((what, (frame.f_code.co_filename, frame.f_lineno)))

    def profile(self, frame: FrameType, event: str, function: Any) -> None:
        """Note calls that can neither be replaced nor audited: the methods of ``datetime``, and new threads."""
        name = getattr(function, "__name__", "") if event == "c_call" else ""
        if name in ("now", "utcnow", "today"):
            of = getattr(function, "__self__", None)
            if isinstance(of, type) and issubclass(of, dt.date):
                self.asked(f"{of.__name__}.{name}", frame)
        elif name in _THREADS and self.listening:
            self.effects.append(("starts a thread", list(_stack(frame))))


def _writes(path: Any, mode: Any, flags: Any) -> bool:
    if path == os.devnull:
        return False
    return bool(set(mode or "") & set("wax+")) or (mode is None and bool((flags or 0) & _WRITES))


@contextlib.contextmanager
def listening(ear: Ear) -> Iterator[None]:
    """Let an ear hear what is done in between."""
    ear.listening = True
    try:
        yield
    finally:
        ear.listening = False


def tap(ear: Ear) -> None:
    """Put the ear on every way to ask for the time of day."""
    for name in _ALWAYS:
        setattr(time, name, _tapped(ear, name, getattr(time, name), None))
    for name, enough in _WITHOUT_TIME.items():
        setattr(time, name, _tapped(ear, name, getattr(time, name), enough))
    sys.setprofile(ear.profile)
    sys.addaudithook(ear.hear)


def _tapped(ear: Ear, name: str, function: Callable[..., Any], enough: int | None) -> Callable[..., Any]:
    @functools.wraps(function)
    def tapped(*args: Any) -> Any:
        if enough is None or len(args) <= enough:
            ear.asked(f"time.{name}", sys._getframe(1))  # noqa: SLF001 - who asks is what the report says
        return function(*args)

    return tapped


# --- who ---


def _stack(frame: FrameType | None) -> Iterator[Place]:
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def _place(stack: list[Place], own: set[str]) -> str:
    """Return the innermost place in the plugin's own code, or the innermost of all."""
    return shown(*next((place for place in stack if place[0] in own), stack[0]))


async def _drive(subject: Subject) -> None:
    async with subject.opened() as opened:
        async for _ in outcomes(opened, (*corpus.usual(), *corpus.strange())):
            pass


def main(state: dict[str, Any]) -> None:
    """Import, drive, and write the report to standard output, which the plugin does not get."""
    out = os.dup(1)
    os.dup2(2, 1)
    sys.dont_write_bytecode = True
    base = state["base"]
    subject = Subject(state["name"], state["toml"], base=Path(base) if base else None)
    ear = Ear()
    tap(ear)
    with listening(ear), contextlib.suppress(HauberkError):
        _ = subject.cls
    with contextlib.suppress(HauberkError):
        asyncio.run(_drive(subject))
    sys.setprofile(None)
    os.write(out, msgspec.json.encode(_report(ear, subject)))


def _report(ear: Ear, subject: Subject) -> Report:
    try:
        own = subject.own()
    except HauberkError:  # it does not import: everything that was heard is its own
        return Report([(what, _place(stack, set())) for what, stack in ear.effects], [])
    imported = [(what, _place(stack, own)) for what, stack in ear.effects]
    return Report(imported, [(what, shown(*place)) for what, place in ear.clock if place[0] in own])
