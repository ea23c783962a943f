"""A schema made ready: one that says whether a value is valid, and where it is not; or why nothing can be said.

``jsonschema-rs`` does the checking; ``jsonschema`` is the reference in the tests. Nothing is ever fetched: a reference
that leads out of the document does not get here (`_graph`), and the validator is told to be offline. Patterns run on an
engine without backtracking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, final

import orjson

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.schemas._addresses import Unusable
from hauberk_sieve.schemas._fault import Fault, pointer
from hauberk_sieve.schemas._graph import Graph
from hauberk_sieve.schemas._work import Work

_UNKNOWN: Final = Fault("", "")
_FALSE: Final = "falseSchema"


@final
class Checker:
    """One schema, compiled."""

    __slots__ = ("_validator", "_work", "is_valid", "most", "names")

    def __init__(self, data: bytes) -> None:
        """Compile a schema.

        Args:
            data: The schema, as JSON.

        Raises:
            Unusable: It is too large, invalid, of another dialect, or leads out of the document.
        """
        if len(data) > LIMITS.schema_bytes:
            raise Unusable("size", f"it has {len(data)} bytes, more than {LIMITS.schema_bytes}")
        schema = orjson.loads(data)
        graph = Graph(schema)
        self._work: Final = Work(graph)
        self.names: Final = frozenset(graph.names)
        """The names of members that it names."""
        self._validator: Final = compiled(schema, graph.dialect)
        self.is_valid: Final[Callable[[Any], bool]] = self._validator.is_valid
        self.most: Final = self._work.size_within(LIMITS.work)
        """How long a value may be, as JSON, that is surely no work to check (bytes)."""

    def fault(self, value: Any, size: int) -> Fault | None:
        """Return what is wrong with a value, or None.

        Args:
            value: It.
            size: Its length as JSON, or more (bytes).

        Raises:
            Unusable: To check it would be too much work.
        """
        self.afford(value, size)
        return None if self.is_valid(value) else self.located(value, size)

    def afford(self, value: Any, size: int) -> None:
        """Make sure that a value can be checked in bounded time.

        Raises:
            Unusable: It cannot.
        """
        if size > self.most and not self._is_within(value, size, LIMITS.work):
            raise Unusable("work", "checking it would take too long")

    def located(self, value: Any, size: int, unsure: Iterable[str] = ()) -> Fault | None:
        """Return what is wrong with a value that is not valid; without a place where that would take too long.

        Args:
            value: It.
            size: Its length as JSON, or more (bytes).
            unsure: Pointers to texts whose content is not known: there only a wrong type is a fault.
        """
        is_cheap = self._is_within(value, size, LIMITS.work_located)
        if not is_cheap or self._work.height * _depth(value) > LIMITS.located_depth:
            return _UNKNOWN
        unknown = frozenset(unsure)
        found = map(_fault, self._validator.iter_errors(value))
        return next((fault for fault in found if fault.pointer not in unknown or fault.keyword == "type"), None)

    def _is_within(self, value: Any, size: int, most: float) -> bool:
        """Whether checking costs no more than this, by ever better estimates."""
        work = self._work
        return work.of_size(size) <= most or work.of_json(orjson.dumps(value)) <= most or work.of(value, most) <= most


def compiled(schema: Any, dialect: str) -> Any:
    """Return the validator of a schema.

    Raises:
        Unusable: It is no valid schema, or has a pattern that cannot run in linear time.
    """
    import jsonschema_rs  # as large as all else together, and of no use before the first check

    kinds = {"2020-12": jsonschema_rs.Draft202012Validator, "draft-07": jsonschema_rs.Draft7Validator}
    patterns = jsonschema_rs.RegexOptions(size_limit=LIMITS.pattern_bytes)
    try:
        return kinds[dialect](schema, validate_formats=True, offline=True, pattern_options=patterns)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        raise Unusable("invalid", "it is no valid schema, or has a pattern that cannot be searched for") from None


def _depth(value: Any) -> int:
    """Return how many values stand in one another; the walk goes level by level, as deep as it may be."""
    level, depth = [value], 0
    while level:
        depth += 1
        holders = [item for item in level if type(item) in {list, dict}]
        level = [item for holder in holders for item in (holder.values() if type(holder) is dict else holder)]
    return depth


def _fault(error: Any) -> Fault:
    keyword = error.kind.name
    return Fault(pointer(error.instance_path), "false" if keyword == _FALSE else keyword)
