"""How much work it is to check a value, before it is done.

A validator that is asked in a loop over nested schemas does the same thing again and again; a schema of a few hundred
bytes can keep it busy for years. So the work is bounded first. The rules:

1. A state is how often each place of the schema looks at one value: the places that a reference, ``allOf`` and the like
   lead to on the same value are counted in. Members and items lead from state to state; states are made as they are
   met, and kept. What a value costs in a state is a sum over its places (`Place`).
2. Where all states that can be met are few and each value costs little, the size of a message bounds the work.
3. Else the value is walked with its states, without asking the validator, until the end or until it is too much.

Every assumption errs to more work: each pattern matches each key, each branch is tried to its end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.schemas._addresses import Unusable
from hauberk_sieve.schemas._graph import Graph, Place, nodes

Counts = dict[int, int]
_HOLDERS: Final = {dict, list}
_NUMBERS: Final = {int, float}
_NEAR: Final = 1e-6
_FAR: Final = 2**53


class State:
    """How often each place looks at one value."""

    __slots__ = (
        "by_index",
        "by_name",
        "cost",
        "counts",
        "deep",
        "each",
        "names",
        "odd",
        "other",
        "per_byte",
        "per_name_byte",
    )

    def __init__(self, counts: Counts, places: list[Place]) -> None:
        self.counts = counts
        items = [(count, places[index]) for index, count in counts.items()]
        self.cost = sum(count * place.cost for count, place in items)
        self.each = sum(count * place.each for count, place in items)
        self.per_byte = sum(count * place.per_byte for count, place in items)
        self.per_name_byte = sum(count * place.per_name_byte for count, place in items)
        self.deep = sum(count * place.deep for count, place in items)
        self.odd = sum(count * place.odd for count, place in items)
        self.by_name: dict[str, State] = {}
        self.by_index: list[State] = []
        self.names: frozenset[str] = frozenset(name for _, place in items for name in place.members)
        self.other: tuple[State, State, State] | None = None
        """Of members without a name of their own, of names, and of items after the first."""


class Work:
    """The work that one schema makes."""

    def __init__(self, graph: Graph) -> None:
        """Look at what can be met.

        Raises:
            Unusable: References go round in a circle, or multiply without looking at a part of the value.
        """
        self._places: Final = graph.places
        self._closures: Final[dict[int, Counts]] = {}
        self._heights: Final[dict[int, int]] = {}
        self._size = self._explored_so_far = 0
        self._states: Final[dict[frozenset[tuple[int, int]], State]] = {}
        for index in range(len(self._places)):
            self._closure(index, ())
        self.height: Final = max(self._heights.values())
        """The longest chain of places that look at one value."""
        self._per_value, self._per_byte = self._explored()
        self.spent: Final = self._size + self._explored_so_far
        """What it took to make the estimate (places met; about a microsecond each)."""

    def of_size(self, size: int) -> float:
        """Return what a value of so many bytes of JSON may cost; infinite where that says nothing (rule 2)."""
        return self._per_value * (size / 2 + 1) + self._per_byte * size

    def of_json(self, data: bytes) -> float:
        """Return what a value may cost of which this is the JSON (rule 2)."""
        return self._per_value * nodes(data) + self._per_byte * len(data)

    def size_within(self, work: float) -> float:
        """Return how long a value may be, as JSON, so that it surely costs no more than this (bytes)."""
        if math.isinf(self._per_value):
            return 0.0
        return (work - self._per_value) / (self._per_value / 2 + self._per_byte)

    def of(self, value: Any, most: float) -> float:
        """Return what this value may cost; infinite where that is more than ``most`` (rule 3)."""
        self._states.clear()
        self._explored_so_far = 0
        try:
            root = self._state({0: 1})
            spent, steps = self._leaf(value, root), 0
            todo: list[tuple[Any, State, float]] = [(value, root, 0.0)]
            while todo:
                found, state, deep = todo.pop()
                steps += len(found) if type(found) in _HOLDERS else 0
                if steps > LIMITS.work_steps or spent > most:
                    return math.inf
                below = deep + state.deep
                for item, then in self._below(found, state):
                    spent += below + self._leaf(item, then)
                    if type(item) in _HOLDERS:
                        todo.append((item, then, below))
        except Unusable:
            return math.inf
        finally:
            self._states.clear()
        return spent if spent <= most else math.inf

    def _leaf(self, value: Any, state: State) -> float:
        """Return what a value costs without what is in it."""
        kind = type(value)
        if kind is str:
            return state.cost + state.per_byte * _size(value)
        if kind is list:
            return state.cost + state.each * len(value)
        if kind is not dict:
            return state.cost + (state.odd if state.odd and _is_odd(value) else 0.0)
        names = self._others(state)[1]
        size = sum(map(_size, value))
        return state.cost + (state.each + names.cost) * len(value) + (state.per_name_byte + names.per_byte) * size

    def _below(self, value: Any, state: State) -> Iterator[tuple[Any, State]]:
        if type(value) is dict:
            for name, item in value.items():
                yield item, self._member(state, name)
        elif type(value) is list:
            rest, first = self._others(state)[2], state.by_index
            count = len(first)
            for index, item in enumerate(value):
                yield item, first[index] if index < count else rest

    def _member(self, state: State, name: str) -> State:
        if name not in state.names:
            return self._others(state)[0]
        found = state.by_name.get(name)
        if found is None:
            targets: Counter[int] = Counter()
            self._explore(len(state.counts))
            for index, count in state.counts.items():
                place = self._places[index]
                for target in (*place.other, *((place.members[name],) if name in place.members else ())):
                    targets[target] += count
            found = state.by_name[name] = self._state(targets)
        return found

    def _others(self, state: State) -> tuple[State, State, State]:
        if state.other is None:
            sums: list[Counter[int]] = [Counter(), Counter(), Counter()]
            firsts: list[Counter[int]] = []
            for index, count in state.counts.items():
                place = self._places[index]
                self._explore(1 + len(place.other) + len(place.items) + sum(map(len, firsts[: len(place.first)])))
                for total, targets in zip(sums, (place.other, place.names, place.items), strict=True):
                    for target in targets:
                        total[target] += count
                for at, target in enumerate(place.first):
                    firsts += [Counter()] * (at >= len(firsts))
                    firsts[at] = firsts[at] + Counter({target: count})
            state.by_index = [self._state(first + sums[2]) for first in firsts]
            state.other = self._state(sums[0]), self._state(sums[1]), self._state(sums[2])
        return state.other

    def _state(self, counts: Counts) -> State:
        """Return the state of places and of all that look at the same value with them.

        Raises:
            Unusable: There are too many states, or too many places in them.
        """
        total: Counter[int] = Counter()
        for index, count in counts.items():
            self._explore(len(self._closures[index]))
            for target, times in self._closures[index].items():
                total[target] += count * times
        if max(total.values(), default=0) > LIMITS.work:
            raise Unusable("work", "its branches multiply")
        key = frozenset(total.items())
        found = self._states.get(key)
        if found is None:
            if len(self._states) >= LIMITS.work_states:
                raise Unusable("work", "it leads to too many states")
            found = self._states[key] = State(dict(total), self._places)
        return found

    def _explore(self, places: int) -> None:
        """Count places that are met; a few hundred bytes of schema can make many states of many places each.

        Raises:
            Unusable: They are too many.
        """
        self._explored_so_far += places
        if self._explored_so_far > LIMITS.work_explored:
            raise Unusable("work", "it leads to too many states")

    def _closure(self, index: int, above: tuple[int, ...]) -> Counts:
        """Return how often each place looks at a value that this one looks at."""
        known = self._closures.get(index)
        if known is not None:
            return known
        if index in above:
            raise Unusable("work", "its references go round in a circle")
        place, total, height = self._places[index], Counter({index: 1}), 0
        for target in place.here if len(above) < LIMITS.schema_chain else ():
            for reached, times in self._closure(target, (*above, index)).items():
                total[reached] += times * place.again
            height = max(height, self._heights[target])
        if height >= LIMITS.schema_chain or len(above) >= LIMITS.schema_chain:
            raise Unusable("work", f"more than {LIMITS.schema_chain} places look at one value in a row")
        self._size += len(total)
        if sum(total.values()) > LIMITS.schema_branches or self._size > LIMITS.schema_branches * 10:
            raise Unusable("work", "its branches multiply")
        if place.again > 1:
            place.each += place.again * sum(total.values())
        self._closures[index], self._heights[index] = total, height + 1
        return total

    def _explored(self) -> tuple[float, float]:
        """Return the most that one value, and one byte of text, costs in any state; infinite where none is the most."""
        seen: set[int] = set()
        todo = [self._state({0: 1})]
        most = byte = deep = 0.0
        try:
            while todo:
                state = todo.pop()
                if id(state) not in seen:
                    seen.add(id(state))
                    other, names, items = self._others(state)
                    most = max(most, state.cost + state.odd + state.each + names.cost)
                    byte = max(byte, state.per_byte, state.per_name_byte + names.per_byte)
                    deep = max(deep, state.deep)
                    todo += [other, items, *state.by_index, *(self._member(state, name) for name in state.names)]
        except Unusable:  # places or states multiply on the way down: what a value costs depends on how deep it is
            return math.inf, math.inf
        finally:
            self._states.clear()
        return most + deep * LIMITS.depth, byte


def _is_odd(value: Any) -> bool:
    """Whether a number is so large, or so near to zero, that the validator reckons with it digit by digit."""
    return type(value) in _NUMBERS and value != 0 and not _NEAR <= abs(value) < _FAR


def _size(text: str) -> int:
    """Return at least the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text) * 4
