"""How the codes of people, of calls inside calls and of probing come about."""

from __future__ import annotations

from typing import Final

from contrib.docs.scene import Scene, answer, call, request

_RULES: Final = '[sieve]\nallow = ["files/*"]\ndeny = ["files/delete_*"]\n'
_BATCH: Final = f'{_RULES}\n[sieve.inner]\n"files/batch" = "commands[].tool"\n'
_LISTED: Final = f'{_RULES}\n[sieve.inner]\n"files/tools" = {{ results = "tools[].name" }}\n'
_CALLED: Final = call("batch", commands=[{"tool": "read_note"}, {"tool": "delete_all"}])
REFUSALS: Final = {
    "sieve.inner_denied": Scene((_CALLED,), _BATCH),
    "sieve.inner_malformed": Scene((call("batch", commands=[{"name": "read_note"}]),), _BATCH),
    "sieve.no_access": Scene(
        (call("tools"), answer({"content": [{"type": "text", "text": '{"tools":[{"name":"delete_all"}]}'}]})), _LISTED
    ),
}
EVENTS: Final = {
    "sieve.inner_refused": Scene((_CALLED,), _BATCH),
    "sieve.probing": Scene(
        (request("resources/read", {"uri": "file:///etc/passwd"}), call("drop_all", 2)),
        "[sieve]\n\n[sieve.probing]\nrefusals = 2\n",
    ),
}
UNPLAYED_REFUSALS: Final = {
    "sieve.suspended": (-32003, "warning"),
    "sieve.not_subscribed": (-32003, "warning"),
    "sieve.user_disabled": (-32003, "warning"),
    "sieve.people_stale": (-32003, "warning"),
}
"""Number and severity of those that need a file of people."""
UNPLAYED_EVENTS: Final = {
    "sieve.emptied": ("policy", "info", "blocked", ""),
    "sieve.people_loaded": ("system", "info", "logged", "`version`, `people`, `before`"),
    "sieve.people_unreadable": ("system", "warning", "logged", "`why`, `holds`"),
    "sieve.people_expired": ("system", "critical", "logged", "`why`"),
    "sieve.people_readable": ("system", "info", "logged", ""),
}
"""Category, severity, action and details of those that need a file of people."""
