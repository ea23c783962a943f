"""A hostile server against the sieve: what it shows, asks and leads to, in the places where a filter may not look."""

from __future__ import annotations

from typing import Any

import orjson

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.schemas._graph import Graph
from hauberk_sieve.schemas._lists import find
from hauberk_sieve.schemas._work import Work

Json = dict[str, Any]

# --- schemas that keep the host busy ---


def multiplying(steps: int, width: int) -> Json:
    """Return a schema whose places, as an automaton, make two to the power of ``steps`` states of many places."""
    places: Json = {"q0": {"properties": {"a": {"$ref": "#/$defs/q1"}}, "additionalProperties": {"$ref": "#/$defs/q0"}}}
    for step in range(1, steps + 1):
        places[f"q{step}"] = {"allOf": [{"minLength": least} for least in range(width)]}
        if step < steps:
            places[f"q{step}"]["additionalProperties"] = {"$ref": f"#/$defs/q{step + 1}"}
    return {"type": "object", "$ref": "#/$defs/q0", "$defs": places}


def test_a_schema_of_many_states_of_many_places_is_not_explored_to_the_end() -> None:
    """Estimating the work of a small schema is no work itself, however its places combine (A47)."""
    graph = Graph(multiplying(10, 50))
    work = Work(graph)
    assert work.spent <= 2 * LIMITS.work_explored
    deep: Any = 1
    for _ in range(100):
        deep = {"a": deep, "b": deep} if deep == 1 else {"a": deep}
    assert work.of(deep, LIMITS.work) > 0


def test_a_list_of_such_schemas_is_looked_at_in_part() -> None:
    """What the schemas of one list take together is bounded; the rest is looked at when it is called (A47)."""
    tools = [{"name": f"t{i}", "inputSchema": {**multiplying(8, 5), "title": str(i)}} for i in range(30)]
    assert len(orjson.dumps(tools)) < LIMITS.inspected_bytes
    assert find(tools).left > 20
