"""What one connection was shown, as far as names go: page by page, until the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from hauberk.names import Holder
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import fold, shown, unfit
from hauberk_sieve.names._findings import Finding
from hauberk_sieve.names._options import Names as Options
from hauberk_sieve.names._others import Others, Ranks
from hauberk_sieve.names._trusted import Trusted
from hauberk_sieve.names._twins import Twins


class Outcome(NamedTuple):
    """What was found in one page."""

    found: Mapping[str, Finding]
    held: Mapping[str, tuple[Holder, ...]]
    """Which names others have, or such as look like them, with who has them."""
    uncompared: int = 0
    """How many names could not be compared with all others."""


class Checks:
    """What names of one server are compared with, and how."""

    def __init__(self, options: Options, trusted: Trusted, ranks: Ranks) -> None:
        self.options: Final = options
        self.trusted: Final = trusted
        self.ranks: Final = ranks

    def compared(self, server: str, names: Sequence[str], others: Others | None, listed: set[str]) -> Outcome:
        """Return what is wrong with names beside others.

        Args:
            server: Who shows them.
            names: What it shows.
            others: What all servers show, if that counts here.
            listed: Every name of the same list, so far.
        """
        fit = [name for name in names if unfit(name) is None]
        held = _held(others, server, fit)
        found = {
            name: finding for name in held if others and (finding := self._shadow(others, server, name, held[name]))
        }
        own = listed - found.keys()
        budget, uncompared = [LIMITS.near_counts], 0
        for name in fit:
            if name in found and found[name].denies(self.options):
                continue
            finding = self._near(server, name, others, own, budget)
            if finding is not None and (name not in found or finding.denies(self.options)):
                found[name] = finding
            uncompared += budget[0] <= 0
        return Outcome(found, held, uncompared)

    def _shadow(self, others: Others, server: str, name: str, held: tuple[Holder, ...]) -> Finding | None:
        rivals = [holder.server for holder in held]
        if self.ranks.keeps(name, server, rivals, had_it=others.had(server, name)):
            return None
        same = next((holder for holder in held if holder.digest), None)
        whose = shown((same or held[0]).server)
        if same is None:
            return Finding("shadows", f"no name looks like one of server '{whose}'")
        return Finding("shadows", f"a name that server '{whose}' has is that server's")

    def _near(self, server: str, name: str, others: Others | None, own: set[str], budget: list[int]) -> Finding | None:
        if self.trusted.names(server, name):
            return None
        if budget[0] <= 0:
            return Finding("lookalikes", "a list has no more names that look alike than can be compared")
        folded = fold(name)
        for like in self.trusted.near(folded, budget):
            if like not in own:
                return Finding(
                    "lookalikes", f"no name is an edit or two from '{shown(like)}', which a rule allows", settled=True
                )
        if others is None:
            return None
        had_it = others.had(server, name)
        for rival, like in others.near(server, folded, budget):
            if like not in own and not self.ranks.keeps(name, server, (rival,), had_it=had_it):
                whose = f"'{shown(like)}' of server '{shown(rival)}'"
                return Finding("lookalikes", f"no name is an edit or two from {whose}", settled=True)
        return None


def _held(others: Others | None, server: str, names: Sequence[str]) -> dict[str, tuple[Holder, ...]]:
    """Return who else has which names; a digest is of the very same name."""
    if others is None:
        return {}
    return {
        name: tuple(
            Holder(holder, others.shown[holder][like] or "-" if like == name else "") for holder, like in theirs
        )
        for name, theirs in others.alike(server, names).items()
    }


class Listing:
    """The list of one kind that one connection is shown."""

    def __init__(self) -> None:
        self._refused: Mapping[str, Finding] = {}
        self._within: frozenset[str] | None = None
        self.told: Outcome | None = None
        """What was told of last."""
        self.digest = b""
        """Of the last result that holds nothing to tell of, nor to tell others."""
        self._gathered: dict[str, Finding] = {}
        self._definitions: dict[str, Any] = {}
        self._twins = Twins()
        self._last: tuple[list[str], Others | None, Checks, Outcome] | None = None

    def again(self) -> None:
        """Begin a list anew: the client asks for its first page."""
        self._gathered, self._definitions, self._twins = {}, {}, Twins()

    def refused(self, name: str) -> Finding | None:
        """Return what was found of a name in the whole list that came last, or in the pages since."""
        if self._within is not None and name not in self._within:
            return Finding("twins", _TOO_MANY)
        return self._refused.get(name)

    def is_quiet(self, digest: bytes, others: Others | None, checks: Checks) -> bool:
        """Whether this result came last, beside the same others, and all that it held was told and hid nothing."""
        return digest == self.digest and self._last is not None and self._last[1] is others and self._last[2] is checks

    def known(self, names: list[str], others: Others | None, checks: Checks) -> Outcome | None:
        """Return what was found in the last list if this is the same, whole and beside the same others."""
        if self._last is None or self._definitions:
            return None
        last, beside, by, outcome = self._last
        return outcome if by is checks and beside is others and last == names else None

    def take(
        self, server: str, entries: Mapping[str, Any], others: Others | None, checks: Checks, *, more: bool
    ) -> Outcome:
        """Return what is wrong with the names of a page, and with those of the pages before it because of these.

        Args:
            server: Who shows them.
            entries: The definitions by name (`by_name`).
            others: What all servers show, if that counts here.
            checks: What names are compared with.
            more: Whether another page follows.
        """
        names, single, whole = list(entries), not self._definitions, not more
        room = LIMITS.seen_tools - len(self._definitions.keys() - entries.keys())
        fit, over = names[:room], names[room:]
        shadows = {name for name, finding in self._gathered.items() if finding.why == "shadows"}
        outcome = checks.compared(server, fit, others, {*fit, *self._definitions} - shadows)
        found = dict(outcome.found)
        for name, finding in self._alike(fit, entries, is_whole=single and whole).items():
            settled = finding.settled and checks.trusted.names(server, name)
            if not settled and (name not in found or not found[name].denies(checks.options)):
                found[name] = finding
        self._gathered.update(found)
        self._refused = self._gathered if whole else {**self._refused, **self._gathered}
        if over:
            found |= dict.fromkeys(over, Finding("twins", _TOO_MANY))
            self._within = frozenset((*self._definitions, *fit))
        elif whole:
            self._within = None
        outcome = outcome._replace(found=found)
        if whole:
            self.again()
        doubles = any(type(entry) is _Doubled for entry in entries.values())
        self._last = (names, others, checks, outcome) if single and whole and not doubles else None
        return outcome

    def _alike(self, names: Sequence[str], entries: Mapping[str, Any], *, is_whole: bool) -> dict[str, Finding]:
        fit = [name for name in names if unfit(name) is None]
        found = {
            name: Finding("twins", f"no name looks like '{shown(other)}' of the same list", settled=True)
            for name, other in self._twins.add(fit).items()
        }
        for name in names:
            entry = entries[name]
            before = entry if is_whole else self._definitions.setdefault(name, entry)
            if type(entry) is _Doubled or (before is not entry and before != entry):
                found[name] = Finding("twins", _ONE_DEFINITION)
        return found


class _Doubled:
    """Stands for the definitions of a name that has several in one page."""


_DOUBLED: Final = _Doubled()
_ONE_DEFINITION: Final = "one name has one definition"
_TOO_MANY: Final = f"a list has at most {LIMITS.seen_tools} names"


def by_name(named: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the definitions by name; of a name that has several, what tells so to a `Listing`."""
    entries = dict(named)
    if len(entries) == len(named):
        return entries
    entries = {}
    for name, entry in named:
        before = entries.setdefault(name, entry)
        if before is not entry and before != entry:
            entries[name] = _DOUBLED
    return entries
