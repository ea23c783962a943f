"""A message is accepted once: age, expiry and the memory of nonces, in memory, SQLite or Redis."""

from __future__ import annotations

from hauberk_replay._plugin import Replay

__all__ = ["Replay"]
