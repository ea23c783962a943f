"""The memory of one process.

A nonce is kept in the span of time in which its message was made, under its key: a dictionary of 60-bit marks of nonces
for each span. All spans are looked into, and a span is forgotten whole once each message of it is too old. The rules:

1. What was forgotten is refused, not accepted: ``since`` is where memory begins, and only moves forward, to the latest
   message that was forgotten. So a clock that is set back brings nothing back, and what is from before the start is
   refused (S0.34). A message that was accepted may have been made after the next start, by a sender whose clock is
   ahead, or by a clock that is wrong then: see `Mark`.
2. A mark is Python's keyed hash (SipHash) of the nonce. Two nonces of one sender with one mark, one pair in 2**60, cost
   the second message; they never let a message through, and one sender's nonces are never compared with another's.
3. One lock makes looking and keeping one step.
"""

from __future__ import annotations

import math
import threading
from typing import Final, final

from hauberk_replay._bound import check_room, span_of
from hauberk_replay._mark import Mark
from hauberk_replay._nonces import check_nonce
from hauberk_replay._refusals import refused
from hauberk_replay._window import Window

_MARK: Final = (1 << 60) - 1
"""Integers up to this take 32 bytes, others 48."""


@final
class LocalNonces:
    """Nonces in the memory of this process."""

    def __init__(self, window: Window, most: int, *, since: float, mark: Mark | None = None) -> None:
        """Begin with nothing.

        Args:
            window: What messages are accepted by.
            most: How many nonces may be held.
            since: Where memory begins: messages made before it are refused. The time of the start.
            mark: What tells the next process where memory ends; `open` reads it.
        """
        self._window: Final = window
        self._span: Final = span_of(window)
        self._most: Final = most
        self.start: Final = since
        """Where memory began, but for the mark."""
        self._since = since
        self._gap = (-math.inf, -math.inf)
        """Messages that were made then are from before memory begins, too."""
        self.mark: Final = mark
        self._held = 0
        self._senders: Final[dict[str, dict[int, dict[int, None]]]] = {}
        self._latest: Final[dict[int, float]] = {}
        """Of each span that is kept, when the latest of its messages was made."""
        self._swept = math.inf
        """In which span the time was when it was last looked for what to forget."""
        self._lock: Final = threading.Lock()

    @property
    def held(self) -> int:
        """How many are held."""
        return self._held

    @property
    def senders(self) -> int:
        """How many keys they are from."""
        return len(self._senders)

    async def open(self) -> None:
        """Begin where the process before this one may have ended.

        Raises:
            ConfigError: The mark cannot be read.
        """
        if self.mark is not None:
            self._since = max(self._since, self.mark.open(self._since, self._window))
            self._gap = self.mark.gap

    async def close(self) -> None:
        """Let go of the mark; what is remembered stays."""
        if self.mark is not None:
            self.mark.close()

    def remember(self, key_id: str, nonce: bytes, issued: float, now: float) -> None:
        """Take a nonce that has not come before."""
        check_nonce(nonce)
        short = hash(nonce) & _MARK
        with self._lock:
            if (present := (now - self._window.max_age) // self._span) != self._swept:
                self._sweep(present)
            if issued < self._since or self._gap[0] <= issued < self._gap[1]:
                begins = self._since if issued < self._since else self._gap[1]
                raise refused("replay.not_remembered", f"{begins - issued:.3f} s before")
            spans = self._senders.get(key_id)
            if spans is None:
                check_room(self._held, 0, self._most)
                spans = self._senders[key_id] = {}
            else:
                held = 0
                for marks in spans.values():
                    if short in marks:
                        raise refused("replay.detected", f"key {key_id!r}")
                    held += len(marks)
                check_room(self._held, held, self._most)
            if self.mark is not None:
                self.mark.passed(issued)
            number = int(issued // self._span)
            spans.setdefault(number, {})[short] = None
            self._latest[number] = max(issued, self._latest.get(number, issued))
            self._held += 1

    def _sweep(self, first: float) -> None:
        """Forget the spans before the first of which a message can be accepted."""
        self._swept = first
        for key_id, spans in list(self._senders.items()):
            for number in [number for number in spans if number < first]:
                self._held -= len(spans.pop(number))
            if not spans:
                del self._senders[key_id]
        for number in [number for number in self._latest if number < first]:
            self._since = max(self._since, math.nextafter(self._latest.pop(number), math.inf))
