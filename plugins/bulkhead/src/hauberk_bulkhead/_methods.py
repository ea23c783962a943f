"""Which requests take a place.

Not those of the handshake and ``ping``: a server that is full must still be one that can be spoken to. Nor
``subscriptions/listen``, whose answer comes when its stream ends. Of what a call's task is asked for, the core wants
every method named, notifications included; they take nothing.
"""

from __future__ import annotations

from typing import Final

from hauberk.methods import METHODS

_FREE: Final = frozenset({"initialize", "server/discover", "ping", "subscriptions/listen"})


def _of(sender: str) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in METHODS.values()
        if one.kind == "request" and one.sender in {sender, "both"} and one.name not in _FREE
    )


ASKED: Final = (*_of("client"), "notifications/tasks")
"""What clients ask servers."""
ASKS: Final = _of("server")
"""What servers ask clients."""
