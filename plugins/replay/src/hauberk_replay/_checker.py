"""Whether a message may be accepted: its times, and that it came for the first time."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, final

from hauberk.message import Proof
from hauberk_replay._counters import Counters
from hauberk_replay._nonces import Nonces
from hauberk_replay._window import Window


@final
class Checker:
    """Accepts each message once.

    A message with a nonce (bytes) is remembered by its key and nonce; one with a counter (an integer) by a window of
    its session's. Whoever calls `check` has checked the signature.
    """

    def __init__(self, window: Window, nonces: Nonces, counters: Counters | None = None) -> None:
        self.window: Final = window
        self.nonces: Final = nonces
        self.counters: Final = Counters() if counters is None else counters

    def check(self, proof: Proof, now: float, window: Window | None = None) -> Awaitable[None] | None:
        """Accept a message, or refuse it.

        Args:
            proof: What its seal proved.
            now: The time (seconds since 1970).
            window: Other bounds of its age than the checker's own.

        Returns:
            None when it is accepted; or what is to be awaited, of a memory that is not in this process.

        Raises:
            Refused: ``replay.too_old``, ``replay.from_the_future``, ``replay.expired``, ``replay.detected``,
                ``replay.not_remembered``, ``replay.full`` or ``replay.store_down``.
        """
        window = self.window if window is None else window
        issued, nonce = proof.issued, proof.nonce
        if proof.expires is not None or not -window.skew <= now - issued <= window.max_age:
            window.check(issued, proof.expires, now)
        if isinstance(nonce, int):
            self.counters.see(proof.key_id, nonce, issued, now, window, proof.sender)
            return None
        return self.nonces.remember(proof.key_id, nonce, issued, now)
