"""Where keys are.

::

    keys/                       0700  beside hauberk.toml, or --dir
        own/                    0700
            KEY-ID.key          0600  the secret keys of an agent of this machine
        agents/                 0700  who is trusted: [envelope] keys_directory
            KEY-ID.toml         0600  the public keys of an agent
            KEY-ID.revoked      0600  says that they count no longer
        .lock                   0600  held by a command while it changes something
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from hauberk import advisory, files
from hauberk.config import default_path
from hauberk.refusals import ConfigError

LOCK: Final = ".lock"
TRIES: Final = 100
"""How often the lock is tried for."""
PAUSE: Final = 0.05
"""Between two tries (seconds)."""


class Places(NamedTuple):
    """The two directories."""

    own: Path
    agents: Path

    @classmethod
    def of(cls, base: Path | None) -> Places:
        """Return the directories under ``base``, or where they are by default."""
        at = base or default_path().parent / "keys"
        return cls(at / "own", at / "agents")

    @contextmanager
    def locked(self, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
        """Make both, where they are missing, and keep all other commands from changing them meanwhile.

        Raises:
            ConfigError: One is somebody else's, or lets others in; or another command holds the lock for too long.
        """
        files.private_dir(self.own)
        files.private_dir(self.agents)
        fd = files.append_private(self.own.parent / LOCK)
        try:
            self._wait(fd, sleep)
            yield
        finally:
            os.close(fd)

    def _wait(self, fd: int, sleep: Callable[[float], None]) -> None:
        for _ in range(TRIES):
            if advisory.take(fd):
                return
            sleep(PAUSE)
        raise ConfigError(
            f"cannot change {str(self.own.parent)!r}: another command does not let go of it",
            hint=f"end the one that hangs: its lock is the file {LOCK} there",
        )
