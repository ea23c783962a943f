"""What a call costs: permits of rates and quotas, and credits.

The rules:

1. Of one table the entry that says most holds, as of rules; what no entry names costs what is usual.
2. The first table that says it is what a call costs, unless another table says more: none makes it cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hauberk_ratelimit._patterns import Pattern, pattern

Said = tuple[int | str | None, ...]
"""What tables say of one tool: a number, an argument whose items are counted, or None for what is usual."""


class Costs:
    """What calls cost, by server and tool, of every table."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: list[list[tuple[Pattern, Pattern, int | str]]] = []

    def add(self, said: Mapping[str, int | str], where: str) -> None:
        """Take in one table, of one server (``where``) or of all."""
        costs = []
        for name, cost in said.items():
            on, tool = map(pattern, split(name, where))
            costs.append((on, tool, cost))
        self._tables.append(sorted(costs, key=lambda one: (one[1].weight, one[0].weight), reverse=True))

    def said(self, server: str, tool: str) -> Said:
        """Return what is said of a tool."""
        found: list[int | str | None] = []
        for costs in self._tables:
            said = next((cost for on, name, cost in costs if on.matches(server) and name.matches(tool)), None)
            if said is not None or not found:
                found.append(said)
        return tuple(found) or (None,)


def counted(said: Said) -> bool:
    """Whether a call costs as much as its arguments say."""
    return any(isinstance(one, str) for one in said)


def cost_of(said: Said, arguments: Mapping[str, Any], usual: int) -> int:
    """Return what a call costs.

    Args:
        said: What is said of its tool.
        arguments: The arguments of the call.
        usual: What a call costs of which no table says it.
    """
    if len(said) == 1 and isinstance(said[0], int):
        return said[0]
    return max(usual if one is None else _items(arguments.get(one)) if isinstance(one, str) else one for one in said)


def _items(value: Any) -> int:
    """Return how many items an argument has; what is no list counts as one."""
    return max(1, len(value)) if isinstance(value, list | dict) else 1


def split(spec: str, where: str) -> tuple[str, str]:
    """Return server and tool of ``SERVER/TOOL`` or ``TOOL``; in a server's own table it is the whole name of a tool."""
    server, stroke, tool = spec.partition("/")
    return (server, tool) if stroke and where == "*" else (where, spec)
