"""The calls by which a log reads and changes the disk, each of which can be made to go wrong.

A `Tap` stands in front of functions of `os`. It counts their calls, and at the chosen one, or from it on, something
else happens: an error before the call or after it, half of a write, an interrupt, or the end of the process. What goes
through a buffered file is counted too. The calls of a run of one thread come in the same order each time, so a run can
be tried at each of them in turn.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, final
from unittest import mock

Real = Callable[..., Any]
Act = Callable[[str, Real, tuple[Any, ...], dict[str, Any]], Any]

_OS: Final = (
    *("open", "read", "write", "fsync", "fdatasync", "ftruncate", "close"),
    *("rename", "replace", "link", "unlink", "mkdir"),
)
REAL: Final[dict[str, Real]] = {name: getattr(os, name) for name in _OS if hasattr(os, name)} | {"flock": fcntl.flock}
QUICK: Final = REAL | dict.fromkeys(("fsync", "fdatasync"), os.fstat)
"""Without syncs: what a kill leaves does not depend on them, and they take most of the time."""
ALL: Final = frozenset(REAL)
FAILING: Final = ALL - {"close"}
"""What fails; a descriptor is gone, whatever close says."""
WRITE: Final = frozenset({"write"})
TAKING_ROOM: Final = frozenset({"open", "write", "fsync", "fdatasync", "rename", "replace", "link", "mkdir"}) & ALL
UNSEEN: Final = FAILING - {"open"}
"""Calls that give their caller nothing that has to be given back."""


class Way(NamedTuple):
    """How a call goes wrong."""

    name: str
    act: Act
    calls: frozenset[str]
    """To which calls that can happen."""
    passing: bool = False
    """Whether it never happens twice in a row."""


def fails(code: int, calls: frozenset[str] = FAILING, *, passing: bool = False) -> Way:
    """Return the way in which a call does nothing, and says so."""

    def act(_name: str, _real: Real, _args: tuple[Any, ...], _more: dict[str, Any]) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return Way(errno.errorcode[code], act, calls, passing)


def fails_late(code: int, calls: frozenset[str] = UNSEEN) -> Way:
    """Return the way in which a call does all that it should, and says that it failed."""

    def act(_name: str, real: Real, args: tuple[Any, ...], more: dict[str, Any]) -> NoReturn:
        real(*args, **more)
        raise OSError(code, os.strerror(code))

    return Way(f"{errno.errorcode[code]} when it is done", act, calls)


def _short(_name: str, real: Real, args: tuple[Any, ...], _more: dict[str, Any]) -> Any:
    fd, data = args
    return real(fd, bytes(data)[: max(1, len(data) // 2)])


def _half(name: str, real: Real, args: tuple[Any, ...], more: dict[str, Any]) -> NoReturn:
    _short(name, real, args, more)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _interrupt(name: str, real: Real, args: tuple[Any, ...], more: dict[str, Any]) -> NoReturn:
    real(*args, **more)
    raise KeyboardInterrupt


def _kill(_name: str, _real: Real, _args: tuple[Any, ...], _more: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_late(name: str, real: Real, args: tuple[Any, ...], more: dict[str, Any]) -> None:
    try:
        real(*args, **more)
    finally:
        _kill(name, real, args, more)


def _kill_amid(name: str, real: Real, args: tuple[Any, ...], more: dict[str, Any]) -> None:
    _short(name, real, args, more)
    _kill(name, real, args, more)


SHORT: Final = Way("a short write", _short, WRITE)
HALF: Final = Way("ENOSPC in the middle", _half, WRITE)
INTERRUPT: Final = Way("an interrupt", _interrupt, UNSEEN)
KILLED_AMID: Final = Way("killed in the middle", _kill_amid, WRITE)
KILLS: Final = (Way("killed before", _kill, ALL), Way("killed after", _kill_late, ALL), KILLED_AMID)
FAULTS: Final = (
    fails(errno.EIO),
    fails(errno.ENOSPC, TAKING_ROOM),
    fails_late(errno.EIO),
    fails(errno.EINTR, frozenset({"write", "fsync", "fdatasync", "ftruncate"}) & ALL, passing=True),
    SHORT,
    HALF,
    INTERRUPT,
)


@final
class Tap:
    """Counts calls, and lets one of them go wrong, or all from one on."""

    def __init__(
        self, at: int = 0, way: Way | None = None, *, lasting: bool = False, real: Mapping[str, Real] = QUICK
    ) -> None:
        """Choose what goes wrong.

        Args:
            at: Which call, from 1; 0 for none.
            way: What happens at it.
            lasting: Whether it happens to all that follow as well.
            real: What is called behind it.
        """
        self.calls: Final[list[str]] = []
        """The names of those that were made."""
        self.files: Final[list[str]] = []
        """Which file each of them was on, where that can be told from its descriptor."""
        self.hits = 0
        """How often something went wrong."""
        self._at = at
        self._way = way
        self._lasting: Final = lasting
        self._real: Final = real

    def arm(self, after: int, way: Way) -> None:
        """Let something go wrong at a call that is so many calls away."""
        self._at, self._way = len(self.calls) + after, way

    def heal(self) -> None:
        """Let nothing more go wrong."""
        self._at = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand in front of the functions."""
        with ExitStack() as stack:
            for name, real in self._real.items():
                module = fcntl if name == "flock" else os
                stack.enter_context(mock.patch.object(module, name, self._tapped(name, real)))
            stack.enter_context(mock.patch.object(os, "fdopen", _opener(os.fdopen)))
            yield

    def _tapped(self, name: str, real: Real) -> Real:
        def call(*args: Any, **more: Any) -> Any:
            self.calls.append(name)
            self.files.append(_file(args[0]) if args else "")
            if self._way is None or not self._is_hit(name):
                return real(*args, **more)
            self.hits += 1
            return self._way.act(name, real, args, more)

        return call

    def _is_hit(self, name: str) -> bool:
        assert self._way is not None
        if not self._at or name not in self._way.calls:
            return False
        return len(self.calls) >= self._at if self._lasting else len(self.calls) == self._at


def _file(place: Any) -> str:
    if not isinstance(place, int):
        return Path(os.fsdecode(place)).name
    try:
        return Path(f"/proc/self/fd/{place}").readlink().name
    except OSError:
        return ""


class _Raw(io.RawIOBase):
    """A file whose bytes go through `os.write`, as those of a buffered file of `os` do unseen."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any) -> int:
        return os.write(self._fd, bytes(data))

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)


def _opener(real: Real) -> Real:
    def fdopen(fd: int, mode: str = "r", *args: Any, **more: Any) -> Any:
        return io.BufferedWriter(_Raw(fd)) if mode == "wb" else real(fd, mode, *args, **more)

    return fdopen


def points(calls: list[str], ways: tuple[Way, ...]) -> Iterator[tuple[int, Way]]:
    """Yield each call that a run made, with each way in which it can go wrong."""
    for at, name in enumerate(calls, 1):
        for way in ways:
            if name in way.calls:
                yield at, way
