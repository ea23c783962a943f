"""Scan leaves by rules: one pass of all patterns over all leaves together, and a closer look if that finds something.

The rules:

1. The gate is few automata of all that is looked for. It runs over all leaves, joined by empty lines, and does not
   count repetitions: it may find what no leaf has, never the other way round. The closer look takes leaf by leaf, and
   the rules as they are written.
2. A text in which something is in disguise is looked at in its fold too (`hauberk_sieve.text._fold`). What speaks to a
   model before anybody asked, definitions and asks, is looked at unwrapped too, and so is its fold.
3. A gate that could not run to its end says so, and that is an error: it never means that nothing was found.
4. More findings than the bound are counted as such (`Found.more`), and whoever acts on them must take it for the worst.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.text._detectors import DETECTORS, Span
from hauberk_sieve.text._fold import NEEDED, fold, rewrapped, unfolded, unwrapped
from hauberk_sieve.text._leaves import Leaf, Leaves

if TYPE_CHECKING:
    from hauberk_sieve.text._packs import Action, Place, Rule

_MEMORY: Final = 16 * 1024 * 1024
_END: Final = r"\z"
_VOLUME: Final = 6000
"""Characters of the patterns of one automaton."""

_COUNTED: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\{([01]),\d+\}", re.DOTALL)
"""What is escaped, a class, or a repetition with an upper bound; the first two are left alone."""


_UNWRAPPED: Final = frozenset({"definitions", "asks"})
"""The places whose text is read unwrapped too."""


class GateError(RuntimeError):
    """The automaton gave up; nobody knows what the text holds."""


class Finding(msgspec.Struct, frozen=True):
    """What one rule found in one leaf."""

    rule: Rule
    action: Action
    leaf: Leaf
    spans: tuple[Span, ...]
    """Where, in the text of the leaf; at most `LIMITS.spans` of a pattern."""
    whole: bool = True
    """Whether these are all."""


class Found(NamedTuple):
    """What a scan found."""

    findings: tuple[Finding, ...]
    more: tuple[Rule, ...] = ()
    """The rules that may have found more than is listed."""


NOTHING: Final = Found(())


class _Reading(NamedTuple):
    """One way in which a text can be read."""

    text: str
    back: Callable[[list[Span]], list[Span]]
    """What makes places in the text of places in this."""


class _Probe:
    """One rule, and what is needed to look; its patterns are compiled when the gate first asks for a closer look."""

    __slots__ = ("_confirm", "_find", "_patterns", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule: Final = rule
        self._patterns: tuple[Any, ...] = ()
        self._confirm: Any = None
        self._find: Final = DETECTORS[rule.detector].find if rule.detector else None

    def gates(self) -> tuple[str, ...]:
        """Return the patterns without one of which nothing is found."""
        if self.rule.detector:
            return (DETECTORS[self.rule.detector].needs,)
        return self.rule.patterns

    def spans(self, text: str) -> tuple[list[Span], bool]:
        """Return what is found in a text, and whether that is all."""
        if self._find is not None:
            return self._find(text), True
        if not self._patterns:
            self._compile()
        if self._confirm is not None and self._confirm.search(text) is None:
            return [], True
        spans: list[Span] = []
        for pattern in self._patterns:
            for found in pattern.finditer(text):
                if len(spans) >= LIMITS.spans:
                    return _united(spans), False
                spans.append(found.span())
        return _united(spans), True

    def _compile(self) -> None:
        rule = self.rule
        self._confirm = compiled(rule.confirm, case=rule.case) if rule.confirm else None
        self._patterns = tuple(compiled(pattern, case=rule.case) for pattern in rule.patterns)


class Scanner:
    """Some rules for one place."""

    __slots__ = ("_gates", "_owners", "_probes", "_unwraps", "place")

    def __init__(self, rules: Iterable[Rule], place: Place) -> None:
        self.place: Final = place
        self._unwraps: Final = place in _UNWRAPPED
        self._probes: Final = tuple(_Probe(rule) for rule in rules if place in rule.where)
        gates = [(pattern, probe) for probe in self._probes for pattern in probe.gates()]
        self._owners: Final = tuple(probe for _, probe in gates)
        self._gates: Final = tuple(_gates([*((pattern, probe.rule.case) for pattern, probe in gates), (NEEDED, True)]))

    def clears(self, text: str) -> bool:
        """Whether the gates find nothing in a text; where one does, or gives up, a scan says what."""
        if self._unwraps and (plain := unwrapped(text)) != text and not self._passes(plain):
            return False
        return self._passes(text)

    def _passes(self, text: str) -> bool:
        data = text.encode("utf-8", "surrogatepass")
        for gate in self._gates:  # noqa: SIM110 - a generator costs more than the loop, and most messages come here
            if gate.match(data) != gate.nothing:
                return False
        return True

    def scan(self, leaves: Leaves, *, suspect: bool = False) -> Found:
        """Return what the rules find in the leaves of a part of a message.

        Args:
            leaves: They.
            suspect: Whether `clears` was asked about all of them, and said no.

        Raises:
            GateError: The automaton gave up.
        """
        text = leaves.joined()
        if not suspect and self.clears(text):
            return NOTHING
        return self._closely(leaves.located()) if self._suspects(text)[0] else NOTHING

    def scan_text(self, text: str) -> tuple[Finding, ...]:
        """Return what the rules find in one text."""
        return self.scan(Leaves.of_text(text)).findings

    def _suspects(self, text: str) -> tuple[list[_Probe], list[_Reading]]:
        """Return the rules that may find something in a text, and what else it can be read as (rule 2)."""
        owners, rules = self._owners, len(self._owners)
        ids = self._match(text)
        readings = [_Reading(fold(text), partial(unfolded, text))] if rules in ids else []
        if self._unwraps:
            readings += list(_unwrapped(text, readings))
        for reading in readings:
            ids += self._match(reading.text)
        return [owners[id] for id in sorted({*ids}) if id < rules], readings

    def _match(self, text: str) -> list[int]:
        """Return the numbers of what matches somewhere in a text.

        Raises:
            GateError: An automaton gave up (rule 3).
        """
        data = text.encode("utf-8", "surrogatepass")
        return [id for gate in self._gates for id in gate.ids(data)]

    def _closely(self, leaves: Iterator[Leaf]) -> Found:
        findings: list[Finding] = []
        more: dict[str, Rule] = {}
        for leaf in leaves:
            probes, readings = self._suspects(leaf.text)
            for probe in dict.fromkeys(probes):
                if len(findings) >= LIMITS.findings:
                    more[probe.rule.id] = probe.rule
                elif (finding := self._found(probe, leaf, readings)) is not None:
                    findings.append(finding)
        return Found(tuple(findings), tuple(more.values()))

    def _found(self, probe: _Probe, leaf: Leaf, readings: list[_Reading]) -> Finding | None:
        spans, whole = probe.spans(leaf.text)
        for reading in () if probe.rule.detector else readings:
            seen, all_of_it = probe.spans(reading.text)
            spans = _united([*spans, *reading.back(seen)]) if seen else spans
            whole = whole and all_of_it
        if not spans:
            return None
        return Finding(probe.rule, probe.rule.where[self.place], leaf, tuple(spans), whole)


def _unwrapped(text: str, readings: Iterable[_Reading]) -> Iterator[_Reading]:
    """Yield a text unwrapped, and what else it can be read as, where that differs."""
    for base, back in (_Reading(text, list), *readings):
        if (plain := unwrapped(base)) != base:
            yield _Reading(plain, partial(_back, base, back))


def _back(base: str, back: Callable[[list[Span]], list[Span]], spans: list[Span]) -> list[Span]:
    return back(rewrapped(base, spans))


def compiled(pattern: str, *, case: bool) -> Any:
    """Return a pattern of RE2, ready to search.

    Raises:
        ValueError: It is none.
    """
    import re2  # type: ignore[import-untyped]  # here, since a start takes longer with it and does not need it

    try:
        return re2.compile(f"(?m){pattern}", _options(case=case))
    except re2.error as error:
        text = error.args[0] if error.args else ""
        raise ValueError(text.decode(errors="replace") if isinstance(text, bytes) else str(text)) from None


def relaxed(pattern: str) -> str:
    """Return a pattern that matches wherever this one does, without the upper bounds that make an automaton large."""
    if not ("{0," in pattern or "{1," in pattern) or r"\Q" in pattern:
        return pattern
    return _COUNTED.sub(lambda found: found[0] if found[1] is None else "*+"[int(found[1])], pattern)


class _Gate:
    """One automaton of some patterns. The last thing in it matches every text: without that, it gave up."""

    __slots__ = ("match", "nothing", "start")

    def __init__(self, patterns: Sequence[tuple[str, bool]], start: int) -> None:
        import re2

        gate = re2.Set.SearchSet(_options(case=True))
        for pattern, case in (*patterns, (_END, True)):
            gate.Add(f"(?m){pattern}" if case else f"(?mi){pattern}")
        gate.Compile()
        self.match: Callable[[bytes], list[int]] = gate._set.Match  # noqa: SLF001 - the wrapper only adds its time
        self.nothing: Final = [len(patterns)]
        """What it says of a text in which nothing is found."""
        self.start: Final = start
        """The number of its first pattern among those of all gates."""

    def ids(self, data: bytes) -> list[int]:
        """Return the numbers of what matches.

        Raises:
            GateError: It gave up.
        """
        found, end = self.match(data), self.nothing[0]
        if not found or end not in found:
            raise GateError("the automaton of the rules gave up")
        return [self.start + id for id in found if id != end]


def _gates(patterns: Sequence[tuple[str, bool]]) -> Iterator[_Gate]:
    """Yield automata of all patterns. One of them all would have more states than it can keep, and make them anew."""
    some: list[tuple[str, bool]] = []
    start = 0
    for place, (pattern, case) in enumerate(patterns):
        if some and sum(len(one) for one, _ in some) + len(pattern) > _VOLUME:
            yield _Gate(some, start)
            some, start = [], place
        some.append((pattern, case))
    yield _Gate(some, start)


def _options(*, case: bool) -> Any:
    import re2

    options = re2.Options()
    options.case_sensitive = case
    options.max_mem = _MEMORY
    options.log_errors = False
    return options


def _united(spans: list[Span]) -> list[Span]:
    """Return places in order, those that overlap as one."""
    if len(spans) < _TWO:
        return spans
    united: list[Span] = []
    for start, end in sorted(spans):
        if united and start < united[-1][1]:
            united[-1] = united[-1][0], max(end, united[-1][1])
        else:
            united.append((start, end))
    return united


_TWO: Final = 2
