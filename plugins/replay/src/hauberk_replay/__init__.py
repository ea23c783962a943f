"""A message is accepted once: age, expiry and the memory of nonces, in memory, SQLite or Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hauberk_replay._bound import capacity
from hauberk_replay._checker import Checker
from hauberk_replay._counters import Counters
from hauberk_replay._local import LocalNonces
from hauberk_replay._nonces import Nonces
from hauberk_replay._plugin import Replay
from hauberk_replay._window import Window

if TYPE_CHECKING:
    from hauberk_replay._shared import SharedNonces
    from hauberk_replay._sqlite import SqliteNonces

__all__ = [
    "Checker",
    "Counters",
    "LocalNonces",
    "Nonces",
    "Replay",
    "SharedNonces",
    "SqliteNonces",
    "Window",
    "capacity",
]


def __getattr__(name: str) -> Any:
    """Import what few need, when it is asked for."""
    if name == "SharedNonces":
        from hauberk_replay._shared import SharedNonces

        return SharedNonces
    if name == "SqliteNonces":
        from hauberk_replay._sqlite import SqliteNonces

        return SqliteNonces
    raise AttributeError(name)
