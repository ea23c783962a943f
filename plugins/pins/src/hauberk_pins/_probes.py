"""What shows that pins are live: of the doctor's server, one tool is pinned, and it shows that tool changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hauberk.event import Event
from hauberk.principal import DOCTOR
from hauberk_pins import _items
from hauberk_pins._items import Shown

_PINNED: Final = {"name": "pinned", "description": "as it was", "inputSchema": {"type": "object"}}
_CHANGED: Final = {**_PINNED, "annotations": {"readOnlyHint": True}}
_TOOL: Final = _items.item("tool", "pinned", _PINNED)
_UNPINNED: Final = "unpinned"
FIXED: Final[Mapping[str, Shown]] = {DOCTOR.id: {_TOOL.key: _TOOL}}
"""The pins of the doctor's server, whatever is in a file (`hauberk.probe`)."""


def probes(guard: Any, plugin: Any) -> list[Any]:
    """Return the probes of the table that holds for the doctor's server."""
    from hauberk.probe import SERVER, Probe, call, client, request, result, server

    stance = guard.options_for(plugin, SERVER).stance
    changed = (client(request("tools/list")), server(result({"tools": [_CHANGED]})))
    if stance.on_change != "block":
        return [Probe("pins.notes_change", "a tool that is not what was pinned is an event", changed, check=_unnoted)]
    found = [
        Probe("pins.hides_changed_tool", "a changed tool is gone from a list", changed, hidden=_PINNED["name"]),  # type: ignore[arg-type]
        Probe(
            "pins.refuses_changed_tool",
            "a call of a tool that is not what was pinned is refused",
            (*changed, client(call("pinned", id=2))),
            refused="pins.changed",
        ),
    ]
    unpinned = (client(request("tools/list")), server(result({"tools": [_PINNED, {"name": _UNPINNED}]})))
    return [
        *found,
        Probe(
            "pins.refuses_unpinned_tool",
            "a call of a tool that nobody has pinned is refused",
            (*unpinned, client(call(_UNPINNED, id=2))),
            refused="pins.unpinned",
        ),
    ]


def _unnoted(events: Sequence[Event]) -> str | None:
    return None if any(event.code == "pins.drifted" for event in events) else "a changed tool was no event"
