"""Where rules are found: by kind, by server, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import fold, nfc
from hauberk_sieve.access._patterns import Pattern, Patterns
from hauberk_sieve.access._rule import Rule
from hauberk_sieve.access._uris import decoded_pattern, readings


class Table:
    """The rules of one list on one kind: the server's part first, then the name's."""

    __slots__ = ("_servers",)

    def __init__(
        self,
        rules: Iterable[Rule],
        key: str,
        form: Callable[[str], str] = str,
        server_form: Callable[[str], str] = str,
    ) -> None:
        servers: dict[str, list[tuple[str, Rule]]] = {}
        for rule in rules:
            if key in rule.names:
                servers.setdefault(server_form(rule.server), []).append((form(rule.names[key]), rule))
        self._servers: Final = Patterns((server, Patterns(names)) for server, names in servers.items())

    def find(self, server: str, name: str) -> Iterator[Rule]:
        """Yield the rules that match the pair."""
        for names in self._servers.matching(server):
            yield from names.matching(name)


class Lists:
    """All rules on one kind."""

    __slots__ = ("_allow", "_deny", "_folded", "uris")

    def __init__(self, key: str, allow: Iterable[Rule], deny: tuple[Rule, ...]) -> None:
        self.uris: Final = key == "resource"
        """Whether the names are URIs."""
        self._allow: Final = Table(allow, key)
        self._deny: Final = Table(deny, key, decoded_pattern if self.uris else str)
        self._folded: Final = Table(deny, key, fold, fold)

    def allowing(self, server: str, name: str) -> Iterator[Rule]:
        """Yield the allow rules that match; both names are plain."""
        return self._allow.find(server, name)

    def denying(self, server: str, name: str, *, plain: bool) -> Iterator[Rule]:
        """Yield the deny rules that match, some of them more than once."""
        if plain and not self.uris:
            yield from self._deny.find(server, name)
            return
        names = readings(name) if self.uris else list(dict.fromkeys((name, nfc(name))))
        for one in names:
            yield from self._deny.find(server, one)
        if not plain:
            for one in dict.fromkeys(map(fold, names)):
                yield from self._folded.find(fold(server), one)


class Grants:
    """What persons were granted besides the rules, by those lists that were looked at last."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: Final[dict[tuple[Pattern, ...], Table]] = {}

    def find(self, grants: tuple[Pattern, ...], server: str, name: str) -> Rule | None:
        """Return a grant that is about the pair."""
        table = self._tables.get(grants)
        if table is None:
            if len(self._tables) >= LIMITS.askers:
                del self._tables[next(iter(self._tables))]
            table = self._tables[grants] = Table(map(Rule.of, grants), "tool")
        return next(table.find(server, name), None)
