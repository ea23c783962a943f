"""What envelope says of sealed messages: they are between agents or guards, so none of it can be played here."""

from __future__ import annotations

from typing import Final

_MESSAGES: Final = (
    "untrusted key_expired key_not_yet_valid key_too_old key_revoked not_allowed plain malformed unsupported "
    "wrong_recipient wrong_sender forged too_large"
)
_SESSIONS: Final = (
    "carrier no_keys no_peer no_agreement no_session session_over out_of_order stale wrong_server wrong_name unsigned"
)
CONNECTIONS: Final = tuple(f"envelope.{code}" for code in ("carrier", "no_keys", "no_peer", "no_agreement"))
"""Those that refuse a connection."""
UNPLAYED_REFUSALS: Final[dict[str, tuple[int, str | None]]] = {
    **{f"envelope.{code}": (-32004, "warning") for code in f"{_MESSAGES} {_SESSIONS}".split()},
    "envelope.refused": (-32004, None),
}
"""Number and severity of those that need keys; plugins/envelope/tests makes each of them."""
UNPLAYED_EVENTS: Final = {
    "envelope.key_old": ("system", "warning", "logged", "`key_id`, `since`"),
    "envelope.agreed": ("connection", "info", "allowed", "`agent`, `key_id`, `session`, `sign`, `connection`"),
}
"""Category, severity, action and details of those that need keys."""
