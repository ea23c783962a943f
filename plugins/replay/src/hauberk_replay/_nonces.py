"""What every memory of nonces is, wherever it keeps them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, Protocol

NONCE_MAX: Final = 64
"""Bytes of a nonce."""


class Nonces(Protocol):
    """Remembers which nonces came from which key."""

    def remember(self, key_id: str, nonce: bytes, issued: float, now: float) -> Awaitable[None] | None:
        """Take a nonce that has not come before, as one step.

        It is called for messages whose signature held, so that nobody else can fill it.

        Args:
            key_id: Whose it is.
            nonce: The nonce.
            issued: When the message was made (seconds since 1970); within the window.
            now: The time.

        Returns:
            None when it is done, or what is to be awaited.

        Raises:
            Refused: ``replay.detected`` if it came before, ``replay.not_remembered`` if nobody can tell,
                ``replay.full``, ``replay.store_down``; and of a store with a clock of its own ``replay.too_old``.
        """

    async def open(self) -> None:
        """Be ready; raises `ConfigError` or `PluginError`."""

    async def close(self) -> None:
        """Let go of what is held open; what is kept stays."""


def check_nonce(nonce: object) -> None:
    """Check what a seal gave.

    Raises:
        ValueError: It is no nonce; the plugin that seals is broken.
    """
    if not isinstance(nonce, bytes) or not 0 < len(nonce) <= NONCE_MAX:
        raise ValueError("a nonce has 1 to 64 bytes")
