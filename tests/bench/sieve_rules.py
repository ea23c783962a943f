"""What a decision of the sieve costs as its rules grow, over names that were not seen before."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tests.bench.measure import Row, micros, ratio, rounds

from hauberk_sieve.access._rule import Entry, read
from hauberk_sieve.access._rules import Rules
from hauberk_sieve.access._whom import NOBODY, Asker

FEW, MANY = 10, 10_000
_VERBS = ("read", "list", "get", "search", "create", "update", "delete", "describe", "export", "merge")


def run() -> Iterator[Row]:
    """Measure globs of one shape, of many shapes, and rules with conditions; each against ten of its kind."""
    for what, make, asker in (
        ("globs of one shape", _one_shape, NOBODY),
        ("globs of many shapes", _many_shapes, NOBODY),
        ("globs for groups", _for_groups, Asker(id="ada", groups=frozenset({"g1", "g7"}))),
    ):
        few, many = _rules(make, FEW), _rules(make, MANY)
        times = rounds({"few": _decide(few, asker), "many": _decide(many, asker)}, repeat=31, count=2000)
        line = f"{MANY:,} {what} / {FEW} ({micros(times, 'many'):.1f} µs)"
        yield Row("a decision of the sieve, names not seen before", line, ratio(times, "many", "few"), bar=5, aim=1.5)


def _rules(make: Callable[[int], Any], count: int) -> Rules:
    return Rules("deny", [read("allow", make(n)) for n in range(count)], [read("deny", make(-n - 1)) for n in range(9)])


def _one_shape(number: int) -> str:
    return f"files/{_VERBS[number % 10]}_{number}_*"


def _many_shapes(number: int) -> str:
    verb, server = _VERBS[number % 10], ("files", "*", f"server{number % 50}")[number % 3]
    shapes = (f"{verb}_{number}*", f"*_{number}_{verb}", f"{verb}*{number}", f"*{number}*{verb}_item*")
    return f"{server}/{shapes[number // 10 % 4]}"


def _for_groups(number: int) -> Entry:
    return Entry(server="files", tool=f"{_VERBS[number % 10]}_{number}_*", groups=(f"g{number % 20}",))


def _decide(rules: Rules, asker: Asker) -> Callable[[], Any]:
    """Return a function that decides on a name that nobody asked for yet."""
    numbers = itertools.count()
    return lambda: rules.decide("files", "tool", f"search_{next(numbers)}_item", asker)
