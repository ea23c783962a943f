"""What a call costs: permits of rates and quotas, and credits.

The rules:

1. Of one table the entry that says most holds, as of rules; what no entry names costs what is usual.
2. The first table that says it is what a call costs, unless another table says more: none makes it cheaper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hauberk_ratelimit._patterns import Pattern, pattern


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

    def of(self, server: str, tool: str, items: Callable[[str], int], usual: int) -> int:
        """Return what a call costs.

        Args:
            server: The server.
            tool: The tool.
            items: Counts the items of an argument.
            usual: What a call costs of which no table says it.
        """
        found: list[int] = []
        for costs in self._tables:
            said = next((cost for on, name, cost in costs if on.matches(server) and name.matches(tool)), None)
            if said is not None:
                found.append(items(said) if isinstance(said, str) else said)
            elif not found:
                found.append(usual)
        return max(found, default=usual)


def split(spec: str, where: str) -> tuple[str, str]:
    """Return server and tool of ``SERVER/TOOL`` or ``TOOL``; in a server's own table it is the whole name of a tool."""
    server, stroke, tool = spec.partition("/")
    return (server, tool) if stroke and where == "*" else (where, spec)
