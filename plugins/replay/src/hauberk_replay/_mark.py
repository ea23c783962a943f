"""Where the memory of a process may have ended: when the latest message that it accepted was made.

What a process forgets when it ends must not be accepted by the next. Refusing what was made before the start is not
enough: a message of a sender whose clock is ahead was made, as it says, after it. So the latest time of an accepted
message is in a file before the message is accepted, rounded up so that it is written once a second at most, and the
next process begins there. Guards of one host share the file; the highest stands.

A time more than an hour ahead was written while the clock was wrong; it would refuse everything until then. The next
process begins ``skew`` from now instead.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import Final, final

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_replay._refusals import refused

STEP: Final = 1.0
"""Seconds by which it is written ahead."""
WRONG: Final = 3600.0
"""Seconds ahead that nobody's clock is."""
_PACKED: Final = struct.Struct("<d")


@final
class Mark:
    """The file; called by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._file: int | None = None
        self._written = -math.inf

    def open(self, now: float, skew: float) -> float:
        """Return where memory begins.

        Raises:
            ConfigError: The file cannot be used.
        """
        files.private_dir(self.path.parent)
        try:
            self._file = files.append_private(self.path, in_place=True)
            found = self._read(self._file)
        except OSError as error:
            raise ConfigError(f"cannot use {str(self.path)!r} ({error.strerror})") from error
        self._written = found if found <= now + WRONG else now + skew
        return max(now, self._written)

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
            self._write(self._file, issued + STEP)
        except OSError as error:
            raise refused("replay.store_down", f"{str(self.path)!r} ({error.strerror})") from error
        self._written = issued + STEP

    @staticmethod
    def _read(file: int) -> float:
        data = os.pread(file, _PACKED.size, 0)
        value: float = _PACKED.unpack(data)[0] if len(data) == _PACKED.size else -math.inf
        return -math.inf if math.isnan(value) else value

    def _write(self, file: int, value: float) -> None:
        try:
            import fcntl
        except ImportError:  # a system where no second process shares it
            os.write(file, _PACKED.pack(value))
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if self._read(file) < value or self._read(file) > value + WRONG:
                os.pwrite(file, _PACKED.pack(value), 0)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
