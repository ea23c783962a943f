"""The validator that is used beside the one that is the reference (`jsonschema`): the same verdicts, the same faults.

Where they say of one fault another place or keyword, the difference is listed here, with the reason. The verdict is
the same, but for multiples in doubles beyond 2^53, which the reference takes for the double and not for what is
written, and for ``dependencies`` in 2020-12, which it ignores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve.schemas._checker import Checker, _fault
from hauberk_sieve.schemas._fault import Fault, pointer

Json = dict[str, Any]
DIALECTS: Final = {
    "https://json-schema.org/draft/2020-12/schema": jsonschema.Draft202012Validator,
    "http://json-schema.org/draft-07/schema#": jsonschema.Draft7Validator,
}
NEW, OLD = DIALECTS

RENAMED: Final = {
    "dependentRequired": "required",  # it says what is required, and not why
    "dependencies": "required",
    "minContains": "contains",  # it counts for all three together
    "maxContains": "contains",
}
"""Keywords of the reference that the other calls by another name."""
ELSEWHERE: Final = {"false", "propertyNames"}
"""Keywords whose faults the reference places elsewhere: of a ``false`` schema at the value around it, under no keyword;
of a name under the keyword that the name breaks, as if the object broke it."""

SINGLE: Final[list[tuple[str, Json, Any, Any]]] = [
    *((dialect, {"type": "string"}, "a", 1) for dialect in DIALECTS),
    *((dialect, {"type": ["integer", "null"]}, 1.0, 1.5) for dialect in DIALECTS),
    *((dialect, {"enum": [1, "a", [2]]}, [2], [3]) for dialect in DIALECTS),
    *((dialect, {"const": {"a": [1, 2]}}, {"a": [1, 2]}, {"a": [2, 1]}) for dialect in DIALECTS),
    *((dialect, {"minimum": 3}, 3, 2.9) for dialect in DIALECTS),
    *((dialect, {"maximum": 3}, 3.0, 4) for dialect in DIALECTS),
    *((dialect, {"exclusiveMinimum": 3}, 3.1, 3) for dialect in DIALECTS),
    *((dialect, {"exclusiveMaximum": 3}, 2, 3.0) for dialect in DIALECTS),
    *((dialect, {"multipleOf": 3}, 9, 10) for dialect in DIALECTS),
    *((dialect, {"minLength": 2}, "éé", "é") for dialect in DIALECTS),
    *((dialect, {"maxLength": 2}, "😀😀", "abc") for dialect in DIALECTS),
    *((dialect, {"pattern": "^a+$"}, "aa", "ab") for dialect in DIALECTS),
    *((dialect, {"format": "date"}, "2026-11-20", "2026-13-20") for dialect in DIALECTS),
    *((dialect, {"format": "ipv4"}, "127.0.0.1", "127.0.0.256") for dialect in DIALECTS),
    *((dialect, {"minItems": 1}, [1], []) for dialect in DIALECTS),
    *((dialect, {"maxItems": 1}, [1], [1, 2]) for dialect in DIALECTS),
    *((dialect, {"uniqueItems": True}, [1, True], [1, 1.0]) for dialect in DIALECTS),
    *((dialect, {"contains": {"const": 1}}, [2, 1], [2]) for dialect in DIALECTS),
    *((dialect, {"minProperties": 1}, {"a": 1}, {}) for dialect in DIALECTS),
    *((dialect, {"maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}) for dialect in DIALECTS),
    *((dialect, {"required": ["a"]}, {"a": None}, {"b": 1}) for dialect in DIALECTS),
    *((dialect, {"additionalProperties": False, "properties": {"a": {}}}, {"a": 1}, {"b": 1}) for dialect in DIALECTS),
    *((dialect, {"patternProperties": {"^x": {"type": "null"}}}, {"x": None}, {"x": 1}) for dialect in DIALECTS),
    *((dialect, {"propertyNames": {"maxLength": 1}}, {"a": 1}, {"ab": 1}) for dialect in DIALECTS),
    *((dialect, {"anyOf": [{"type": "string"}, {"minimum": 3}]}, 4, 2) for dialect in DIALECTS),
    *((dialect, {"oneOf": [{"type": "integer"}, {"minimum": 3}]}, 2, 4) for dialect in DIALECTS),
    *((dialect, {"not": {"type": "string"}}, 1, "a") for dialect in DIALECTS),
    *((dialect, {"if": {"type": "string"}, "then": {"minLength": 2}}, "ab", "a") for dialect in DIALECTS),
    *((dialect, {"if": {"type": "string"}, "else": {"minimum": 2}}, 2, 1) for dialect in DIALECTS),
    *((dialect, {"items": {"type": "null"}}, [None], [None, 1]) for dialect in DIALECTS),
    (NEW, {"minContains": 2, "contains": {"const": 1}}, [1, 1], [1, 2]),
    (NEW, {"maxContains": 1, "contains": {"const": 1}}, [1, 2], [1, 1]),
    (NEW, {"prefixItems": [{"type": "null"}], "items": {"type": "string"}}, [None, "a"], [None, 1]),
    (NEW, {"dependentRequired": {"a": ["b"]}}, {"b": 1}, {"a": 1}),
    (NEW, {"dependentSchemas": {"a": {"minProperties": 2}}}, {"b": 1}, {"a": 1}),
    (NEW, {"unevaluatedProperties": False, "allOf": [{"properties": {"a": {}}}]}, {"a": 1}, {"b": 1}),
    (NEW, {"unevaluatedItems": False, "allOf": [{"prefixItems": [{}]}]}, [1], [1, 2]),
    (OLD, {"items": [{"type": "null"}], "additionalItems": {"type": "string"}}, [None, "a"], [None, 1]),
    (OLD, {"items": [{"type": "null"}], "additionalItems": False}, [None], [None, 1]),
    (OLD, {"dependencies": {"a": ["b"]}}, {"b": 1}, {"a": 1}),
    (OLD, {"dependencies": {"a": {"minProperties": 2}}}, {"b": 1}, {"a": 1}),
]
"""A dialect, a schema of one rule, a value that keeps it, one that breaks it."""


def ours(schema: Json, value: Any) -> set[Fault]:
    checker = Checker(orjson.dumps(schema))
    found = {_fault(error) for error in checker._validator.iter_errors(value)}
    assert checker.is_valid(value) == (not found)
    first = checker.fault(value, len(orjson.dumps(value)))
    assert (first is None) == (not found)
    assert first is None or first in found or not first.keyword
    return found


def theirs(schema: Json, value: Any) -> set[Fault]:
    kind = DIALECTS[schema["$schema"]]
    errors = kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(value)
    return {
        Fault(pointer(tuple(error.absolute_path)), RENAMED.get(str(error.validator), str(error.validator)))
        for error in errors
    }


def around(schema: Json, good: Any, bad: Any, way: str) -> tuple[Json, Any, Any]:
    """Put a rule somewhere inside a larger schema, and its values with it."""
    match way:
        case "member":
            return {"properties": {"a/b~": schema}, "required": ["a/b~"]}, {"a/b~": good}, {"a/b~": bad, "z": 1}
        case "item":
            return {"items": schema}, [good, good], [good, bad]
        case "all":
            return {"allOf": [{}, schema]}, good, bad
        case "reference":
            return {"$ref": "#/definitions/a%20b", "definitions": {"a b": schema}}, good, bad
        case "other member":
            return {"additionalProperties": schema}, {"x": good}, {"x": good, "y": bad}
        case _:
            return {"if": {}, "then": schema}, good, bad


WAYS: Final = ("member", "item", "all", "reference", "other member", "then")


@pytest.mark.parametrize("place", range(len(SINGLE)), ids=lambda place: f"{place}-{next(iter(SINGLE[place][1]))}")
@pytest.mark.parametrize("way", WAYS)
def test_one_fault_is_the_same_fault(place: int, way: str) -> None:
    """Of a value that breaks one rule both say the same pointer and keyword, but for the listed differences."""
    dialect, rule, good, bad = SINGLE[place]
    schema, kept, broken = around(rule, good, bad, way)
    schema = {"$schema": dialect, **schema}
    assert ours(schema, kept) == theirs(schema, kept) == set()
    found, expected = ours(schema, broken), theirs(schema, broken)
    assert len(found) == 1
    assert expected
    if not {fault.keyword for fault in found} & ELSEWHERE:
        assert found == expected


def test_listed_differences_are_there() -> None:
    """Each listed difference is one; a validator that loses it can have its line taken away."""
    for keyword, other in RENAMED.items():
        schema = next(schema for _, schema, _, _ in SINGLE if keyword in schema)
        dialect, _, _, bad = next(case for case in SINGLE if case[1] is schema)
        kind = DIALECTS[dialect]
        assert [error.validator for error in kind(schema).iter_errors(bad)] == [keyword]
        assert {fault.keyword for fault in ours({"$schema": dialect, **schema}, bad)} == {other}
    late: Json = {"$schema": NEW, "dependencies": {"a": ["b"]}}  # of an older draft, and still read
    assert (ours(late, {"a": 1}), theirs(late, {"a": 1})) == ({Fault("", "required")}, set())
    for dialect in DIALECTS:
        one: Json = {"$schema": dialect, "properties": {"a": False}}
        assert (ours(one, {"a": 1}), theirs(one, {"a": 1})) == ({Fault("/a", "false")}, {Fault("", "None")})
        one = {"$schema": dialect, "properties": {"": {"type": "null"}}}
        assert (ours(one, {"": 1}), theirs(one, {"": 1})) == ({Fault("", "type")}, {Fault("/", "type")})
        one = {"$schema": dialect, "multipleOf": 3}  # 10^300, as it is written; the nearest double is a multiple
        assert (ours(one, 1e300), theirs(one, 1e300)) == ({Fault("", "multipleOf")}, set())
        one = {"$schema": dialect, "propertyNames": {"maxLength": 1}}
        assert ours(one, {"ab": 1}) == {Fault("", "propertyNames")}
        assert theirs(one, {"ab": 1}) == {Fault("", "maxLength")}


# --- any schema, any value ---

NAMES = st.sampled_from(["a", "b", "ab", "", "é"])
NUMBERS = st.one_of(st.integers(-4, 4), st.sampled_from([0.5, 1.0, -1.5, 2.0, 2**53, 2**63, -(2**63)]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, NAMES)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
COUNTS = st.integers(0, 3)
TYPES = st.sampled_from(["string", "integer", "number", "object", "array", "boolean", "null"])
PATTERNS = st.sampled_from(["^a", "b$", "^$", "a|b", "[^a]", "a{2}", r"\d", "."])


def rules(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    some = st.lists(inner, min_size=1, max_size=3)
    members = st.dictionaries(NAMES, inner, max_size=3)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), NUMBERS),
        "multipleOf": st.sampled_from([1, 2, 3, 0.5]),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), COUNTS),
        "pattern": PATTERNS,
        "uniqueItems": st.booleans(),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "properties": members,
        "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
        **dict.fromkeys(
            ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"), inner
        ),
        **dict.fromkeys(("allOf", "anyOf", "oneOf"), some),
    }
    return st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({keyword: keywords[keyword] for keyword in chosen})
    )


def newer(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    more: dict[str, st.SearchStrategy[Any]] = {
        "prefixItems": st.lists(inner, min_size=1, max_size=2),
        "unevaluatedProperties": inner,
        "unevaluatedItems": inner,
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=2),
        "dependentSchemas": st.dictionaries(NAMES, inner, max_size=2),
        "minContains": COUNTS,
        "maxContains": COUNTS,
    }
    extra = st.lists(st.sampled_from(sorted(more)), max_size=2, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({keyword: more[keyword] for keyword in chosen})
    )
    return st.builds(lambda one, two: {**one, **two}, rules(inner), extra)


LEAVES = st.one_of(st.booleans(), rules(st.booleans()))


def schemas(dialect: str, make: Callable[[st.SearchStrategy[Any]], st.SearchStrategy[Json]]) -> st.SearchStrategy[Json]:
    """Return schemas of one dialect."""
    some = st.recursive(LEAVES, make, max_leaves=5).filter(lambda schema: type(schema) is dict)
    return some.map(lambda schema: {"$schema": dialect, **dict(schema)})  # type: ignore[arg-type]


@given(st.one_of(schemas(NEW, newer), schemas(OLD, rules)), VALUES)
def test_verdicts_are_the_same(schema: Json, value: Any) -> None:
    """On any schema of what MCP allows, and any value, both say the same."""
    assert bool(ours(schema, value)) == bool(theirs(schema, value))
