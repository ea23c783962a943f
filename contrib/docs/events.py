"""The catalogue of events: its meanings are written by hand, everything else is what was seen."""

from __future__ import annotations

import re
from typing import Final

from contrib.docs.pages import table, with_table
from contrib.docs.play import Played, played
from contrib.docs.refusals import entries
from contrib.docs.scenes import CONNECTIONS, EVENTS, REFUSALS, UNPLAYED_EVENTS, UNPLAYED_REFUSALS

_UNPLAYED: Final = ("`reason`", "`role`, `carrier`, `target`, `peer`, `reason`")
"""Details of a refusal that cannot be played: of a message, of a connection."""
HEAD: Final = ("code", "category", "severity", "action", "details", "meaning")


def page(text: str, refusals: str) -> str:
    """Return the page, with its two tables of codes made anew."""
    scenes = played(REFUSALS)
    codes = [entry.code for entry in entries(refusals)]
    text = with_table(text, "Refusals", lambda _: _refusals(codes, scenes))
    return with_table(text, "All others", _others)


def _refusals(codes: list[str], scenes: dict[str, Played]) -> str:
    lines = []
    for code in codes:
        severity = scenes[code].event.severity if code in scenes else UNPLAYED_REFUSALS[code][1]
        if severity is not None:
            details = _details(scenes[code]) if code in scenes else _UNPLAYED[code in CONNECTIONS]
            lines.append((f"[`{code}`](refusals/{code}.md)", severity, details))
    return table(("code", "severity", "details"), lines)


def _others(found: list[list[str]]) -> str:
    scenes = played(EVENTS)
    lines = []
    for code, meaning in ((re.findall(r"`(.*?)`", row[0])[0], row[-1]) for row in found):
        seen = UNPLAYED_EVENTS.get(code) or _seen(scenes[code])
        lines.append((f"`{code}`", *seen, meaning))
    return table(HEAD, lines)


def _seen(scene: Played) -> tuple[str, ...]:
    event = scene.event
    return event.category, event.severity, event.action, _details(scene)


def _details(scene: Played) -> str:
    return ", ".join(f"`{key}`" for key in scene.event.details)
