"""What the log records of itself: these events are in no other plugin's hands."""

from __future__ import annotations

from typing import Final

UNPLAYED_EVENTS: Final = {
    "audit.chain_started": ("system", "info", "logged", "`file`"),
    "audit.chain_reset": (
        "system",
        "warning",
        "logged",
        "`reason`, `reason_code`, `changed_by`, `prior`, `files`",
    ),
    "audit.continued": ("system", "info", "logged", "`file`, `sequence`, `hash`"),
    "audit.recovered": ("system", "warning", "logged", "`bytes`, `file`"),
    "audit.rotation": ("system", "info", "logged", "`file`, `entries`, `reason`"),
    "audit.state_lost": ("system", "warning", "logged", "`reason`"),
    "audit.arguments": ("decision", "info", "logged", "arguments by name"),
    "audit.claimed": ("policy", "critical", "logged", "`code`"),
    "audit.probed": ("system", "info", "logged", ""),
    "audit.history_failed": ("policy", "warning", "logged", "`reason`"),
    "audit.heartbeat": ("system", "info", "logged", ""),
    "audit.checkpoint_failed": ("system", "warning", "logged", "`sink`, `reason`, `size`"),
    "audit.checkpoint_resumed": ("system", "info", "logged", "`sink`, `size`"),
    "audit.unanchored": ("system", "critical", "logged", "`seconds`, `anchored`"),
    "audit.pruned": (
        "system",
        "info",
        "logged",
        "`files`, `first`, `last`, `sequence`, `hash`, `root`, `reason`, `changed_by`",
    ),
    "audit.prune_failed": ("system", "warning", "logged", "`reason`"),
    "audit.rekeyed": ("system", "warning", "logged", "`old_key`, `new_key`, `recipients`, `changed_by`"),
}
"""Category, severity, action and details."""
