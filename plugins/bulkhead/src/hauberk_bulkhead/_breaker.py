"""A circuit breaker. Pure: no loop, no clock, no memory of anything but numbers.

The rules:

1. *Closed*: everything passes. It opens at the failure with which there are ``failures`` of them within ``window``
   seconds, among at least ``minimum`` requests of that time.
2. *Open*: nothing passes for ``open_seconds``.
3. *Half-open*: then at most ``probes`` requests are on their way at once. ``successes`` of them close it, one failure
   opens it anew. A probe that is not over after ``slow`` seconds has failed.
4. What is neither (`Breaker.forget`: a client's own mistake, a denial, a request that was withdrawn) gives its probe
   back and counts for nothing.
5. A request that began before the last change of state says nothing about the state there is now.

Requests are counted in ten parts of the window, failures one by one: the window of the failures is exact.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal, NamedTuple

State = Literal["closed", "open", "half-open"]
PARTS: Final = 10
"""Parts of a window in which requests are counted."""


class Terms(NamedTuple):
    """When a breaker opens, and when it closes again."""

    failures: int = 5
    window: float = 60.0
    """Seconds."""
    minimum: int = 5
    """Requests within the window, below which it does not open."""
    open_seconds: float = 30.0
    probes: int = 1
    """Requests at once while it is half-open."""
    successes: int = 3
    slow: float = 30.0
    """Seconds after which a probe has failed, and an answer is one that came too late."""


class Permit(NamedTuple):
    """A request that was let pass; the breaker is told how it ended."""

    epoch: int
    number: int
    """Of a probe; 0 of any other request."""


class Breaker:
    """One breaker."""

    __slots__ = ("_failures", "_numbers", "_parts", "_probes", "_successes", "epoch", "since", "state", "terms")

    def __init__(self, terms: Terms, now: float) -> None:
        self.terms = terms
        self.state: State = "closed"
        self.since = now
        """When the state began (monotonic seconds)."""
        self.epoch = 0
        """Counts the changes of state."""
        self._failures: deque[float] = deque()
        self._parts: deque[list[int]] = deque()
        """Number of the part, and requests in it."""
        self._probes: Final[dict[int, float]] = {}
        self._numbers = 0
        self._successes = 0

    # --- may it pass ---

    def allow(self, now: float) -> Permit | None:
        """Return a permit, or None where the request may not pass."""
        if self.state == "closed":
            return Permit(self.epoch, 0)
        if self.state == "open":
            if now < self.since + self.terms.open_seconds:
                return None
            self._change("half-open", now)
        elif any(now - begun >= self.terms.slow for begun in self._probes.values()):
            self._change("open", now)
            return None
        if len(self._probes) >= self.terms.probes:
            return None
        self._numbers += 1
        self._probes[self._numbers] = now
        return Permit(self.epoch, self._numbers)

    def again_in(self, now: float) -> float:
        """Return when it is worth another try (seconds from now)."""
        if self.state == "open":
            return max(0.0, self.since + self.terms.open_seconds - now)
        return 0.0 if self.state == "closed" else 1.0

    # --- how it ended ---

    def succeed(self, permit: Permit, now: float) -> None:
        """Count a request that was answered."""
        if not self._is_current(permit):
            return
        if self.state == "closed":
            self._count(now)
            return
        del self._probes[permit.number]
        self._successes += 1
        if self._successes >= self.terms.successes:
            self._change("closed", now)

    def fail(self, permit: Permit, now: float) -> None:
        """Count a request that failed."""
        if not self._is_current(permit):
            return
        if self.state != "closed":
            self._change("open", now)
            return
        self._count(now)
        failures, terms = self._failures, self.terms
        failures.append(now)
        while len(failures) > terms.failures:
            failures.popleft()
        recent = len(failures) >= terms.failures and failures[0] > now - terms.window
        if recent and self.requests(now) >= terms.minimum:
            self._change("open", now)

    def forget(self, permit: Permit) -> None:
        """Let go of a request that says nothing."""
        if self._is_current(permit) and permit.number:
            del self._probes[permit.number]

    def requests(self, now: float) -> int:
        """Return how many requests were counted within the window."""
        oldest = self._part(now) - PARTS + 1
        while self._parts and self._parts[0][0] < oldest:
            self._parts.popleft()
        return sum(count for _, count in self._parts)

    def idle(self, now: float) -> bool:
        """Whether it knows nothing any more that a new one would not: it is closed, and no failure is recent."""
        return self.state == "closed" and (not self._failures or self._failures[-1] <= now - self.terms.window)

    def open(self, now: float) -> None:
        """Open it: somebody else has found out that it must be."""
        if self.state != "open":
            self._change("open", now)

    def close(self, now: float) -> None:
        """Close it: somebody else has found out that it may be."""
        if self.state != "closed":
            self._change("closed", now)
        self._clear()

    # --- within ---

    def _is_current(self, permit: Permit) -> bool:
        return permit.epoch == self.epoch and (not permit.number or permit.number in self._probes)

    def _part(self, now: float) -> int:
        return int(now * PARTS // self.terms.window)

    def _count(self, now: float) -> None:
        part = self._part(now)
        if self._parts and self._parts[-1][0] == part:
            self._parts[-1][1] += 1
            return
        self._parts.append([part, 1])
        if len(self._parts) > PARTS:
            self._parts.popleft()

    def _change(self, state: State, now: float) -> None:
        self.state, self.since = state, now
        self.epoch += 1
        self._clear()

    def _clear(self) -> None:
        self._failures.clear()
        self._parts.clear()
        self._probes.clear()
        self._successes = 0
