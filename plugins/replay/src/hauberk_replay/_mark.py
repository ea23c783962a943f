"""Where the memory of a process may have ended: when the latest message that it accepted was made.

What a process forgets when it ends must not be accepted by the next. Refusing what was made before the start is not
enough: a message of a sender whose clock is ahead was made, as it says, after it. So the latest time of an accepted
message is in a file before the message is accepted, rounded up so that it is written once a second at most, and the
next process begins there. Guards of one host share the file; the highest stands.

A time more than an hour ahead was written while the clock was wrong, or is read while it is: nobody can tell. It would
refuse everything until then, so the next process begins ``skew`` from now instead. And it keeps that far time: what was
made in the window before it is refused too, for it was accepted if the clock is wrong now. The nearest far time stays.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_replay._refusals import refused
from hauberk_replay._window import Window

STEP: Final = 1.0
"""Seconds by which it is written ahead."""
WRONG: Final = 3600.0
"""Seconds ahead that nobody's clock is."""
_PACKED: Final = struct.Struct("<dd")
"""The time, and the far one."""
_NONE: Final = -math.inf


@final
class Mark:
    """The file; called by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.begin = _NONE
        """Where memory begins, as the file said when it was opened."""
        self.gap = (_NONE, _NONE)
        """From when to before when, besides, messages may have been accepted by a process that ended."""
        self._file: int | None = None
        self._written = _NONE

    def open(self, now: float, window: Window) -> float:
        """Return where memory begins: before it, messages may have been accepted by a process that ended.

        Raises:
            ConfigError: The file cannot be used.
        """
        files.private_dir(self.path.parent)
        try:
            self._file = files.append_private(self.path, in_place=True)
            begin, far = self._moved(self._file, now, now + window.skew)
        except OSError as error:
            raise ConfigError(f"cannot use {str(self.path)!r} ({error.strerror})") from error
        self.gap = (far - window.max_age - window.skew - STEP, far)
        self.begin = self._written = begin
        return begin

    def covers(self, issued: float) -> bool:
        """Whether a message that was made then may have been accepted by a process that ended."""
        return issued < self.begin or self.gap[0] <= issued < self.gap[1]

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def passed(self, issued: float) -> None:
        """Note that a message made then is about to be accepted.

        Raises:
            Refused: ``replay.store_down``: it cannot be written.
        """
        if issued < self._written:
            return  # it is below what the next process begins with
        if self._file is None:
            raise refused("replay.store_down", f"{str(self.path)!r} is not open")
        try:
            self._moved(self._file, issued + STEP, issued + STEP, least=issued + STEP)
        except OSError as error:
            raise refused("replay.store_down", f"{str(self.path)!r} ({error.strerror})") from error
        self._written = issued + STEP

    def _moved(self, file: int, now: float, instead: float, *, least: float = _NONE) -> tuple[float, float]:
        """Move the time to a least one, and one that is too far ahead of now to where it is far; return both."""
        with _alone(file):
            data = os.pread(file, _PACKED.size, 0)
            mark, far = found = _PACKED.unpack(data) if len(data) == _PACKED.size else (_NONE, _NONE)
            if not mark <= now + WRONG:
                mark, far = instead, (min(mark, far) if far > now else mark)
            mark = max(mark, least)
            if (mark, far) != found:
                os.pwrite(file, _PACKED.pack(mark, far), 0)
        return mark, far


@contextmanager
def _alone(file: int) -> Iterator[None]:
    """Hold a file, where there are systems on which a second process shares it."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
