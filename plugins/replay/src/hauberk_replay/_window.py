"""When a message may be accepted at all.

The rules, in this order; times are seconds since 1970, and what is no number of such a time is refused:

1. Its age is at most ``max_age``: at exactly 300 s it is accepted, at 300.001 s not (S0.31).
2. It was made at most ``skew`` seconds from now: by a sender whose clock is ahead (S0.32).
3. It says itself until when it holds, and that is not over (S0.30); this never makes rule 1 longer.
"""

from __future__ import annotations

from typing import NamedTuple

from hauberk_replay._refusals import refused


class Window(NamedTuple):
    """The bounds of a message's age (seconds)."""

    max_age: float = 300.0
    skew: float = 60.0

    def check(self, issued: float, expires: float | None, now: float) -> None:
        """Check when a message was made.

        Args:
            issued: When it says that it was made.
            expires: Until when it says that it holds; None if it does not say.
            now: The time.

        Raises:
            Refused: ``replay.too_old``, ``replay.from_the_future`` or ``replay.expired``.
        """
        age = now - issued
        # Each is written so that NaN, which compares as false, refuses.
        if not age <= self.max_age:
            raise refused("replay.too_old", f"{age:.3f} s, and {self.max_age:g} s is the most")
        if not -age <= self.skew:
            raise refused("replay.from_the_future", f"by {-age:.3f} s, and {self.skew:g} s is the most")
        if expires is not None and not max(now, issued) <= expires:
            raise refused("replay.expired", f"{now - expires:.3f} s ago")
