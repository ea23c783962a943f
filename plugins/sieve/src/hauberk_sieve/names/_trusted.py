"""The names that the operator wrote out: an allow rule whose tool has no ``*``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from hauberk_sieve._spelling import fold, nfc
from hauberk_sieve.names._near import Near

_MEMBER: Final = {"tools": "tool", "prompts": "prompt"}


class Trusted:
    """The exact names of one table's allow rules."""

    def __init__(self, allow: Iterable[Any], kind: str) -> None:
        """Read the rules.

        Args:
            allow: The rules as the table has them, patterns ``server/tool`` and tables.
            kind: What they name: ``tools`` or ``prompts``.
        """
        servers: dict[str, list[str]] = {}
        for server, name in _exact(allow, kind):
            servers.setdefault(nfc(name), []).append(re.escape(nfc(server)).replace(r"\*", ".*"))
        self._servers: Final = {name: re.compile("|".join(patterns), re.DOTALL) for name, patterns in servers.items()}
        self._folds: Final = {fold(name): name for name in servers}
        self._near: Final = Near(self._folds)

    def names(self, server: str, name: str) -> bool:
        """Whether a rule names exactly this tool of this server."""
        servers = self._servers.get(name)
        return servers is not None and servers.fullmatch(nfc(server)) is not None

    def near(self, folded: str, budget: list[int]) -> Iterator[str]:
        """Yield the names that are a mistake away from one."""
        for found in self._near.find(folded, budget):
            yield self._folds[found]


def _exact(allow: Iterable[Any], kind: str) -> Iterator[tuple[str, str]]:
    for item in allow:
        if isinstance(item, str):
            server, slash, name = item.partition("/")
            if slash and kind == "tools" and "*" not in name:
                yield server, name
        else:
            named: Any = getattr(item, _MEMBER[kind], None)
            if isinstance(named, str) and "*" not in named:
                yield item.server, named
