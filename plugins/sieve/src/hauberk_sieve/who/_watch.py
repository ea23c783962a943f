"""A register that is watched: a change of it holds at once, and what is known holds for a while when it cannot be read.

The rules:

1. Each time somebody asks, the source is looked at. It is read again when its mark is another, and once more a little
   later, for a change that came too soon after the other to show in the mark.
2. What was read last holds for ``ttl`` seconds from the last time when the source was seen to be as it was read. A
   failure never begins the time anew (S1.8): whoever lost a right does not keep it because the source is down.
3. After that nobody knows anything, until the source can be read again.
4. Each change of the state is told once: what was read, that it cannot be read, that what is known has expired, that
   it can be read again.

Pure: the source, the clock and who is told are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Literal, Protocol

from hauberk.refusals import ConfigError
from hauberk_sieve._limits import LIMITS
from hauberk_sieve.who._register import Register

State = Literal["unread", "fresh", "held", "expired"]
Told = Literal["sieve.people_loaded", "sieve.people_unreadable", "sieve.people_expired", "sieve.people_readable"]
Tell = Callable[[Told, dict[str, Any]], None]


class Source(Protocol):
    """Where a register comes from."""

    def mark(self) -> Hashable:
        """Return quickly what is another once `read` may return something else.

        Raises:
            OSError: It cannot be looked at.
        """

    def read(self) -> Register:
        """Return the register.

        Raises:
            ConfigError: It cannot be read.
        """


class Watch:
    """One source, and what is known of it."""

    __slots__ = (
        "_again",
        "_clock",
        "_failed",
        "_mark",
        "_read_at",
        "_register",
        "_seen",
        "_source",
        "_tell",
        "_ttl",
        "state",
    )

    def __init__(self, source: Source, clock: Callable[[], float], *, ttl: float, tell: Tell) -> None:
        """Begin with nothing read.

        Args:
            source: What is watched.
            clock: Monotonic seconds.
            ttl: How long what was read holds without the source (seconds).
            tell: Gets what happened, and details of it for the record.
        """
        self._source: Final = source
        self._clock: Final = clock
        self._ttl: Final = ttl
        self._tell: Final = tell
        self._register: Register | None = None
        self._mark: Hashable = None
        self._read_at = self._seen = 0.0
        self._again = False
        self._failed: tuple[Hashable, float] | None = None
        self.state: State = "unread"

    def open(self) -> None:
        """Read for the first time.

        Raises:
            ConfigError: It cannot be read.
        """
        now = self._clock()
        try:
            mark = self._source.mark()
        except OSError as error:
            self._source.read()  # it says better what is wrong
            raise ConfigError(_why(error)) from None
        self._take(self._source.read(), mark, now)

    def current(self) -> Register | None:
        """Return what holds now; None where nobody knows."""
        now = self._clock()
        try:
            mark = self._source.mark()
        except OSError as error:
            return self._lost(_why(error), now)
        if mark == self._mark and self._register is not None and not (self._again and self._is_settled(now)):
            self._seen = now
            if self.state != "fresh":
                self._regained()
            return self._register
        if self._failed is not None and self._failed[0] == mark and now - self._failed[1] < LIMITS.people_retry:
            return self._lost("", now)
        return self._read(mark, now)

    def _is_settled(self, now: float) -> bool:
        return now - self._read_at >= LIMITS.people_settle

    def _read(self, mark: Hashable, now: float) -> Register | None:
        try:
            register = self._source.read()
        except ConfigError as error:
            self._failed = mark, now
            return self._lost(error.message, now)
        self._take(register, mark, now)
        return register

    def _take(self, register: Register, mark: Hashable, now: float) -> None:
        before, self._register = self._register, register
        self._again = mark != self._mark
        self._mark, self._read_at, self._seen, self._failed = mark, now, now, None
        if before is None or before.version != register.version:
            old = {} if before is None else {"before": before.version}
            self._tell("sieve.people_loaded", {"version": register.version, "people": len(register), **old})
        if self.state != "fresh":
            self._regained()

    def _regained(self) -> None:
        before, self.state = self.state, "fresh"
        if before != "unread":
            self._tell("sieve.people_readable", {})

    def _lost(self, why: str, now: float) -> Register | None:
        """Say what holds while the source is down."""
        if (held := self._register) is None or now - self._seen >= self._ttl:
            if self.state != "expired":
                self.state = "expired"
                self._tell("sieve.people_expired", {"why": why} if why else {})
            return None
        if self.state != "held":
            self.state = "held"
            self._tell("sieve.people_unreadable", {"why": why, "holds": round(self._ttl - (now - self._seen), 3)})
        return held


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
