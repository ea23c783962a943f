"""What is found in a list of tools when it passes: tools that are invalid, and schemas that are unusable."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import msgspec

from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown
from hauberk_sieve.schemas._known import Reason, headers, inspected, measured

_TOO_MUCH: Final = Reason("x-mcp-header", "the list has more annotations than can be looked at")


class Found(msgspec.Struct, frozen=True):
    """What is wrong in one list."""

    invalid: frozenset[str] = frozenset()
    """Names of tools whose ``x-mcp-header`` breaks a rule."""
    why: dict[str, str] = {}
    """Why, of the first of them, by their names as they may be shown."""
    unusable: int = 0
    unusable_why: dict[str, str] = {}
    """Why schemas are unusable, of the first of them, likewise."""
    left: int = 0
    """Tools that were not looked at; they are when they are called."""


class Lists:
    """What was found in the lists that passed last."""

    def __init__(self) -> None:
        self._found: Final[OrderedDict[bytes, Found]] = OrderedDict()

    def look(self, digest: bytes, tools: list[Any]) -> Found:
        """Return what is wrong in a list.

        Args:
            digest: Equal for equal lists.
            tools: Its entries.
        """
        known = self._found.get(digest)
        if known is None:
            known = self._found[digest] = find(tools)
            if len(self._found) > LIMITS.known_lists:
                self._found.popitem(last=False)
        return known


def find(tools: list[Any]) -> Found:
    """Look at the annotations of each tool of a list, and at the schemas of the first ones.

    Both stop where that would take long: what is left of the annotations makes a tool invalid, what is left of the
    schemas is looked at when the tool is called.
    """
    invalid: dict[str, str] = {}
    unusable: dict[str, str] = {}
    named = [tool for tool in tools if isinstance(tool, dict) and isinstance(tool.get("name"), str)]
    annotated = inspected_bytes = explored = left = 0
    for place, tool in enumerate(named):
        size, is_annotated = measured(tool)
        annotated += size if is_annotated else 0
        found = headers(tool) if annotated <= LIMITS.schema_bytes or not is_annotated else _TOO_MUCH
        if isinstance(found, Reason):
            invalid[tool["name"]] = found.text
        is_much = inspected_bytes + size > LIMITS.inspected_bytes or explored > LIMITS.work_explored
        if place >= LIMITS.schema_inspected or is_much:
            left += 1
            continue
        inspected_bytes += size
        reason, spent = inspected(tool)
        explored += spent
        if reason is not None:
            unusable[tool["name"]] = f"{reason.rule}: {reason.text}"
    return Found(frozenset(invalid), _first(invalid), len(unusable), _first(unusable), left)


def _first(reasons: dict[str, str]) -> dict[str, str]:
    return {shown(name): reasons[name] for name in list(reasons)[: LIMITS.shown_names]}
