"""The counters of sessions: one sliding window each (RFC 4303 §3.4.3, RFC 6479), so memory is by session, not message.

A session's key never outlives the process, so neither does its window, and no store is asked. The rules:

1. A counter above the highest so far is accepted, and moves the window. One within the window is accepted once. One
   below the window is refused, for nobody can tell.
2. A session is forgotten once each of its messages is too old. ``since`` is when the latest message of a forgotten one
   was made; of a session that is not known, or goes on after it was forgotten, no message made by then is accepted.
3. Where there is no room for one more session, it is refused. A sender may hold as many as four times what is free, as
   of nonces: one that begins many leaves room for the others.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from typing import Final, final

from hauberk_replay._bound import check_room
from hauberk_replay._refusals import refused
from hauberk_replay._window import Window

WIDTH: Final = 1024
"""How far behind the highest a counter may come (messages)."""
SESSIONS: Final = 65536
"""Sessions whose windows are held."""
_SWEEPS: Final = 8
"""How often in a window it is looked for sessions to forget, when new ones come."""
_MASK: Final = (1 << WIDTH) - 1


class _Session:
    """One window."""

    __slots__ = ("bits", "highest", "latest", "lowest", "sender", "since")

    def __init__(self, counter: int, issued: float, since: float, sender: str) -> None:
        self.highest = self.lowest = counter
        """From the lowest on all came, one after the other, up to the highest."""
        self.bits = 1
        """Bit n is for the lowest less n; those of the run are not among them yet."""
        self.latest = issued
        """When the latest message was made."""
        self.since = since
        """Where memory of it begins: it may have been forgotten before, and gone on."""
        self.sender = sender


@final
class Counters:
    """The windows of all sessions."""

    def __init__(self, *, most: int = SESSIONS) -> None:
        self._most: Final = most
        self._sessions: Final[dict[str, _Session]] = {}
        self._held: Final[Counter[str]] = Counter()
        """How many sessions each sender has."""
        self._since = -math.inf
        self._swept = math.inf
        self._lock: Final = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def see(self, key_id: str, counter: int, issued: float, now: float, window: Window, sender: str = "") -> None:
        """Take a counter that has not come before.

        Args:
            key_id: The session's.
            counter: The counter, from 0.
            issued: When the message was made; within the window.
            now: The time.
            window: What messages are accepted by.
            sender: Whose session it is; without it, each session has a sender of its own.

        Raises:
            Refused: ``replay.detected``, ``replay.not_remembered`` or ``replay.full``.
        """
        with self._lock:
            session = self._sessions.get(key_id)
            # Most come one after the other. The latest was made after memory begins, so what is no older was, too.
            if session is not None and counter == session.highest + 1 and issued >= session.latest:
                session.highest, session.latest = counter, issued
                return
            if counter < 0:
                raise ValueError("a counter is not negative")
            if session is not None:
                self._check_since(issued, session.since, key_id)
                _slide(session, counter, key_id)
                session.latest = max(session.latest, issued)
                return
            if abs(now - self._swept) > window.max_age / _SWEEPS:
                self._sweep(now, window)
            self._check_since(issued, self._since, key_id)
            sender = sender or key_id
            check_room(len(self._sessions), self._held.get(sender, 0), self._most)
            self._sessions[key_id] = _Session(counter, issued, self._since, sender)
            self._held[sender] += 1

    @staticmethod
    def _check_since(issued: float, since: float, key_id: str) -> None:
        if issued <= since:
            raise refused("replay.not_remembered", f"session {key_id!r}")

    def _sweep(self, now: float, window: Window) -> None:
        """Forget the sessions that were silent for too long, before a new one is taken."""
        self._swept = now
        for key_id, session in list(self._sessions.items()):
            if session.latest < now - window.max_age:
                self._since = max(self._since, session.latest)
                del self._sessions[key_id]
                self._held[session.sender] -= 1
                if not self._held[session.sender]:
                    del self._held[session.sender]


def _slide(session: _Session, counter: int, key_id: str) -> None:
    run = session.highest - session.lowest
    session.lowest = session.highest
    session.bits = _MASK if run >= WIDTH else (session.bits << run | (1 << run) - 1) & _MASK
    ahead = counter - session.highest
    if ahead > 0:
        session.highest = session.lowest = counter
        session.bits = 1 if ahead >= WIDTH else (session.bits << ahead) & _MASK | 1
        return
    if -ahead >= WIDTH or session.bits >> -ahead & 1:
        raise refused("replay.detected", f"counter {counter} of session {key_id!r}, {-ahead} behind the highest")
    session.bits |= 1 << -ahead
