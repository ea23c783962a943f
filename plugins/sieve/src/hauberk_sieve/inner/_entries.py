"""Which tools are meta-tools, and where their calls stand.

A pattern is about the tool that it names, compared as `hauberk_sieve.access` compares names, and like a deny rule also
about one that only looks like it: a server that is lenient would take it for the meta-tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hauberk.principal import DOCTOR
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import fold, is_plain, nfc, shown, unfit
from hauberk_sieve.access._patterns import Pattern, Patterns
from hauberk_sieve.inner import _path
from hauberk_sieve.inner._options import Inner

PROBED: Final = "meta"
"""A meta-tool of the doctor's server, wherever there is one at all."""


class Entry:
    """One meta-tool."""

    __slots__ = ("_names", "calls", "most", "results", "rule")

    def __init__(self, text: str, inner: str | Inner) -> None:
        """Read one entry.

        Raises:
            ValueError: The pattern or a path is malformed.
        """
        pattern, one = Pattern.parse(text), Inner(name=inner) if isinstance(inner, str) else inner
        self.rule: Final = f'"{pattern.text}"'
        self.calls: Final = one.calls()
        self.most: Final = one.most
        self.results: Final = _path.parse("results", one.results) if one.results else None
        self._names: Final = [_Pair(pattern.server, pattern.tool), _Pair(fold(pattern.server), fold(pattern.tool))]

    def is_about(self, server: str, tool: str) -> bool:
        """Whether this is the meta-tool, or it could be taken for it."""
        exact, folded = self._names
        if exact.matches(nfc(server), tool):
            return True
        if unfit(tool) is not None or (is_plain(nfc(server)) and is_plain(tool)):
            return False
        return exact.matches(nfc(server), nfc(tool)) or folded.matches(fold(server), fold(tool))


class _Pair:
    """One pattern on pairs of server and tool."""

    __slots__ = ("_server", "_tool")

    def __init__(self, server: str, tool: str) -> None:
        self._server: Final = Patterns([(server, True)])
        self._tool: Final = Patterns([(tool, True)])

    def matches(self, server: str, tool: str) -> bool:
        return any(self._server.matching(server)) and any(self._tool.matching(tool))


class Entries:
    """The meta-tools of one table."""

    __slots__ = ("_entries", "_memo", "lists")

    def __init__(self, table: Mapping[str, str | Inner]) -> None:
        """Read a table.

        Raises:
            ValueError: An entry is malformed; it is named.
        """
        probe = {f"{DOCTOR.id}/{PROBED}": Inner(name="tool")} if table else {}
        self._entries: Final = tuple(_entry(text, inner) for text, inner in {**probe, **table}.items())
        self._memo: Final[dict[tuple[str, str], tuple[Entry, ...]]] = {}
        self.lists: Final = any(entry.results is not None for entry in self._entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def of(self, server: str, tool: str) -> tuple[Entry, ...]:
        """Return each entry that is about a tool."""
        if not self._entries:
            return ()
        found = self._memo.get((server, tool))
        if found is None:
            found = tuple(entry for entry in self._entries if entry.is_about(server, tool))
            if len(server) + len(tool) <= LIMITS.memo_chars:
                if len(self._memo) >= LIMITS.memo:
                    del self._memo[next(iter(self._memo))]
                self._memo[server, tool] = found
        return found


def _entry(text: str, inner: str | Inner) -> Entry:
    try:
        return Entry(text, inner)
    except ValueError as error:
        raise ValueError(f"inner.{shown(text)!r}: {error}") from None
