"""How each code of `hauberk-pins` comes about."""

from __future__ import annotations

from typing import Final

from contrib.docs.scene import Scene, answer, call, request

_PINS: Final = "[pins]\n"
_FIRST: Final = "[pins]\nauto_trust_first = true\n"
_LISTED: Final = (request("tools/list"), answer({"tools": [{"name": "read_note"}]}))
_LISTED_ANEW: Final = (
    request("tools/list", id=2),
    answer({"tools": [{"name": "read_note", "title": "Read all"}]}, 2),
)
REFUSALS: Final = {
    "pins.unpinned": Scene((*_LISTED, call("read_note", 2, name="milk")), _PINS),
    "pins.changed": Scene((*_LISTED, *_LISTED_ANEW, call("read_note", 3, name="milk")), _FIRST),
    "pins.unlisted": Scene((call("read_note", name="milk"),), _PINS, role="server"),
    "pins.malformed_list": Scene((request("tools/list"), answer({"tools": "all of them"})), _PINS),
}
EVENTS: Final = {
    "pins.hidden": Scene(_LISTED, _PINS),
    "pins.first_sight": Scene(_LISTED, _FIRST),
    "pins.drifted": Scene((*_LISTED, *_LISTED_ANEW), f'{_FIRST}on_change = "alert"\n'),
}
UNPLAYED_REFUSALS: Final = {
    "pins.executable": (-32003, "warning"),
    "pins.unreadable": (-32003, "warning"),
    "pins.too_many": (-32003, "warning"),
}
"""Number and severity of those that need a program that is started, a broken disk, or 65,537 tools."""
UNPLAYED_EVENTS: Final = {
    "pins.loaded": ("system", "info", "logged", "`generation`, `servers`"),
    "pins.not_reached": ("policy", "warning", "blocked", "`changed`"),
    "pins.replaced": ("policy", "critical", "blocked", "`path`"),
    "pins.unrecorded": ("policy", "warning", "logged", "`reason`"),
}
"""Category, severity, action and details of those that need files, or a program that is started."""
