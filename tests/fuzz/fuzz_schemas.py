"""Fuzz the check by schema: any schema is unusable or checks any value, agrees with its reference, in bounded work.

    python tests/fuzz/fuzz_schemas.py --runs 100000 --seed 7

Schemas are written at random from keywords, references, dialects and odd values, and some are wounded as bytes.
"""

from __future__ import annotations

import collections
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import orjson

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import driver

from hauberk_sieve.schemas._addresses import Unusable
from hauberk_sieve.schemas._checker import Checker

PATIENCE: Final = 30.0
"""Seconds; no schema and no value takes a hundredth of it."""
NAMES: Final = ("a", "b", "$id", "$ref", "", "a/b", "~", "é")
SCALARS: Final = (None, True, False, 0, 1, -1, 1.5, 2**53, "", "a", "ab", "2026-11-20", "http://a.example/")
UNLIKE: Final = (b'"format"', b'"multipleOf"', rb"\p", b'"dependencies"')
"""Of schemas with these the reference is not asked: it checks no formats unless told to, divides in floating point,
knows no classes of Unicode, and ignores ``dependencies`` in 2020-12, which the other still reads."""
REFS: Final = (
    "#",
    "#/$defs/a",
    "#/$defs/b",
    "#x",
    "#/properties/a",
    "other",
    "http://a.example/x",
    "#/$defs",
    "%41",
    7,
)
IDS: Final = ("http://a.example/", "urn:x", "sub", "#x", "file:///etc/", "../a", "")
TEXTS: Final = ("^a", "a+$", "(a|b)*", "[", "(?=a)", r"\p{L}{2}", "a{1,9}", "((a{9}){9}){9}", "", r"(a)\1")
DRAFTS: Final = (
    "https://json-schema.org/draft/2020-12/schema",
    "http://json-schema.org/draft-07/schema#",
    "http://json-schema.org/draft-04/schema#",
)
COUNTED: Final = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains")
BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
SINGLE: Final = (
    *("items", "contains", "not", "if", "then", "else", "additionalProperties", "propertyNames", "additionalItems"),
    *("unevaluatedProperties", "unevaluatedItems", "contentSchema"),
)
LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
TYPES: Final = ("string", "integer", "number", "object", "array", "boolean", "null")
FORMATS: Final = ("date", "email", "uri", "regex", "ipv4", "hostname", "unknown")


def written(rnd: random.Random) -> bytes:
    """Return a schema, or what looks like one."""
    made = _schema(rnd, rnd.randint(1, 4))
    if type(made) is dict and not rnd.randrange(3):
        made["$schema"] = rnd.choice(DRAFTS)
    data = bytearray(orjson.dumps(made))
    if not rnd.randrange(10):
        at = rnd.randrange(len(data))
        data[at : at + rnd.randint(0, 3)] = rnd.choice((b"", b"null", b'"a"', b"{}", b"[", b"1e300", b'"$ref":"#",'))
    return bytes(data)


def _schema(rnd: random.Random, levels: int) -> Any:
    if not levels or not rnd.randrange(8):
        return rnd.choice((True, False, {}, {"type": rnd.choice(TYPES)}, {"$ref": rnd.choice(REFS)}))
    return dict(_keyword(rnd, levels - 1) for _ in range(rnd.randint(1, 4)))


def _keyword(rnd: random.Random, levels: int) -> tuple[str, Any]:
    """Return a keyword with a value that it may have."""
    some = [_schema(rnd, levels) for _ in range(rnd.randint(1, 3))] if not rnd.randrange(3) else []
    kinds: tuple[tuple[tuple[str, ...], Any], ...] = (
        (("type",), rnd.choice(TYPES)),
        (COUNTED, rnd.choice((0, 1, 2, 2**40))),
        (BOUNDS, rnd.choice((0.5, 1, 2, 1e300, 1e-300))),
        (("pattern",), rnd.choice(TEXTS)),
        (("$ref", "$dynamicRef"), rnd.choice(REFS)),
        (("$id", "$anchor", "$dynamicAnchor", "$schema"), rnd.choice((*IDS, "x", *DRAFTS))),
        (("enum", "const"), [_value(rnd, 1)]),
        (("required", "format", "uniqueItems"), rnd.choice((["a"], *FORMATS, True))),
        (SINGLE, _schema(rnd, levels)),
        (LISTS, some or [True]),
        (MAPS, {rnd.choice((*NAMES, *TEXTS)): one for one in some}),
    )
    words, value = rnd.choice(kinds)
    return rnd.choice(words), value


def _value(rnd: random.Random, levels: int) -> Any:
    match rnd.randrange(3 if levels else 1):
        case 0:
            return rnd.choice(SCALARS)
        case 1:
            return [_value(rnd, levels - 1) for _ in range(rnd.randint(0, 3))]
        case _:
            return {rnd.choice(NAMES): _value(rnd, levels - 1) for _ in range(rnd.randint(0, 3))}


def check(data: bytes, value: Any) -> str:
    """Check one value by one schema; return the rule by which it is unusable, or ``kept`` or ``broken``.

    Raises:
        AssertionError: It took too long, or the reference says something else.
    """
    start = time.monotonic()
    try:
        checker = Checker(data)
        fault = checker.fault(value, len(orjson.dumps(value)))
        found = "kept" if fault is None else "broken"
    except Unusable as unusable:
        found = unusable.rule
    except orjson.JSONDecodeError:
        found = "no JSON"
    assert time.monotonic() - start < PATIENCE, data
    if found in {"kept", "broken"} and not any(word in data for word in UNLIKE):
        schema = orjson.loads(data)
        kind = (
            jsonschema.Draft7Validator if "draft-07" in schema.get("$schema", "") else jsonschema.Draft202012Validator
        )
        assert kind(schema).is_valid(value) == (found == "kept"), (data, value)
    return found


def run(runs: int, seed: int) -> collections.Counter[str]:
    """Check so many schemas, the same for a seed; return what came of them."""
    rnd = random.Random(seed)
    return collections.Counter(check(written(rnd), _value(rnd, 3)) for _ in range(runs))


if __name__ == "__main__":
    driver.main("the check by schema", run, runs=100_000)
