"""A thread that looks after a log beside its writer: checkpoints, and files that are to go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, final

from hauberk_audit._bounds import BOUNDS

logger = logging.getLogger("hauberk.audit")
_START: Final = 0.5
"""Seconds before the first round: a host that starts has other things to do."""
_PAUSE: Final = 0.001
"""Seconds between two pieces of a log that is read: hashing one keeps all others of the process waiting."""


@final
class Caretaker:
    """Does some jobs in turn, at an interval, when it is asked to, and once more at the end."""

    def __init__(self, interval: float) -> None:
        """Nothing is done before `start`.

        Args:
            interval: Seconds between two rounds.
        """
        self._interval: Final = interval
        self._jobs: Sequence[Callable[[], None]] = ()
        self._state: Final = threading.Condition()
        self._ending: Final = threading.Event()
        self._asked = 0
        """How many rounds were asked for."""
        self._begun = 0
        """How many of them were asked for when the last round began."""
        self._done = 0
        """The same of the last round that ended."""
        self._thread: threading.Thread | None = None

    def start(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Begin."""
        self._jobs = jobs
        self._thread = threading.Thread(target=self._run, name="hauberk-audit-care", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Let others go on, unless it is the end. A job calls this now and then."""
        self._ending.wait(_PAUSE)

    def now(self, seconds: float) -> bool:
        """Do a round, and return whether it is done within some seconds."""
        with self._state:
            self._asked += 1
            mine = self._asked
            self._state.notify_all()
            return self._state.wait_for(lambda: self._done >= mine, seconds)

    def close(self) -> bool:
        """Do a last round, and return whether it is done; one that takes too long is left alone."""
        if self._thread is None:
            return True
        with self._state:
            self._ending.set()
            self._state.notify_all()
        self._thread.join(BOUNDS.farewell)
        return not self._thread.is_alive()

    def _run(self) -> None:
        seconds, ending = min(_START, self._interval), False
        while not ending:
            with self._state:
                self._state.wait_for(lambda: self._ending.is_set() or self._asked > self._begun, seconds)
                seconds, ending, self._begun = self._interval, self._ending.is_set(), self._asked
            for job in self._jobs:
                try:
                    job()
                except Exception as error:  # noqa: BLE001 - one job must not end the others
                    logger.error("%s: %s", type(error).__name__, error)  # noqa: TRY400 - no traceback to an operator
            with self._state:
                self._done = self._begun
                self._state.notify_all()
