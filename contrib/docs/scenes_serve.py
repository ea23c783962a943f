"""What is said of connections to a server that is offered: none of it is a message, so it cannot be played here."""

from __future__ import annotations

from typing import Final

UNPLAYED_REFUSALS: Final[dict[str, tuple[int, str | None]]] = {
    "core.silent": (-32004, "warning"),
    "core.not_started": (-32007, "warning"),
    "core.server_gone": (-32007, "warning"),
    "core.too_many_connections": (-32005, "warning"),
    "core.draining": (-32005, "warning"),
}
"""Number and severity of those that need a socket; tests/test_serve_flow.py makes each of them."""
_WHERE: Final = "`carrier`, `target`"
UNPLAYED_EVENTS: Final = {
    "core.listening": ("connection", "info", "logged", _WHERE),
    "core.stalled": ("connection", "warning", "logged", f"{_WHERE}, `peer`, `reason`"),
    "core.socket_lost": ("connection", "critical", "logged", f"{_WHERE}, `reason`"),
    "core.restart_needed": ("policy", "warning", "logged", "`changed`"),
    "core.no_descriptors": ("connection", "critical", "logged", f"{_WHERE}, `reason`"),
}
"""Category, severity, action and details of those that need one that is slow, lost or full."""
