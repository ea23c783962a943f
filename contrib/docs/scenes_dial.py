"""What is said of connections that are dialled: their peers are no messages, so none of it can be played here."""

from __future__ import annotations

from typing import Final

_CODES: Final = (
    "unreachable no_tls not_a_socket peer_user unanswered refused_by_peer not_restored peer_changed redirected "
    "compressed"
)
_NO_MESSAGE: Final = frozenset({"not_restored", "compressed"})
BEFORE: Final = {f"core.{code}": (-32006 if code in _NO_MESSAGE else -32004, "warning") for code in _CODES.split()}
"""Number and severity of those that are recorded of a connection, and of no message; tests/core/test_dial.py,
tests/test_connect.py and tests/sdk/test_https.py make each of them."""
UNPLAYED_REFUSALS: Final = {**BEFORE, "core.connection_lost": (-32006, None)}
"""The same, and what is told of a request whose loss is an event of its connection."""
UNPLAYED_EVENTS: Final = {
    "core.connection_lost": ("connection", "warning", "logged", "`target`, `why`, `unanswered`"),
    "core.reconnected": ("connection", "info", "logged", "`target`, `attempts`, `seconds`"),
    "core.repeated": ("connection", "info", "logged", "`target`, `tries`"),
    "core.not_repeated": ("connection", "warning", "logged", "`target`, `tries`"),
    "core.server_changed": ("connection", "warning", "logged", "`target`, `changed`"),
    "core.fallback": ("connection", "warning", "logged", "`from`, `to`, `why`"),
}
"""Category, severity, action and details of those that need a connection that is lost."""
