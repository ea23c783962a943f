"""How names of one server may be written, with what its table says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hauberk.names import Kind
from hauberk_sieve._limits import LIMITS
from hauberk_sieve.names._faults import Spelling
from hauberk_sieve.names._findings import LISTS, Finding
from hauberk_sieve.names._trusted import Trusted

if TYPE_CHECKING:
    from hauberk_sieve._options import Options


class Written:
    """How names of one server may be written."""

    def __init__(self, options: Options) -> None:
        self.options: Final = options.names
        self._spelling: Final = Spelling(options.names.max_chars, options.names.reserved)
        self._trusted: Final = {kind: Trusted(options.allow, kind) for kind in LISTS.values()}
        self._memo: Final[dict[tuple[Kind, str, str], Finding | None]] = {}
        self._last: Final[dict[Kind, tuple[str, list[str], dict[str, Finding]]]] = {}

    def finding(self, kind: Kind, server: str, name: str) -> Finding | None:
        """Return what is wrong with a name, if something is."""
        key = (kind, server, name)
        try:
            return self._memo[key]
        except KeyError:
            found = self._found(kind, server, [name]).get(name)
        if len(name) <= LIMITS.memo_chars:
            if len(self._memo) >= LIMITS.spelled:
                del self._memo[next(iter(self._memo))]
            self._memo[key] = found
        return found

    def findings(self, kind: Kind, server: str, names: list[str]) -> dict[str, Finding]:
        """Return what is wrong with each of the names that have something; quick for the list that came last."""
        last = self._last.get(kind)
        if last is None or last[0] != server or last[1] != names:
            last = self._last[kind] = server, names, self._found(kind, server, names)
        return last[2]

    def _found(self, kind: Kind, server: str, names: list[str]) -> dict[str, Finding]:
        return {
            name: Finding("spelling", fault.rule, settled=fault.settled)
            for name, fault in self._spelling.faults(names).items()
            if not (fault.settled and self._trusted[kind].names(server, name))
        }
