"""Schemas that were written to break whoever checks with them: each is unusable, or is checked in bounded work."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.schemas import _checker
from hauberk_sieve.schemas._addresses import Unusable
from hauberk_sieve.schemas._checker import Checker
from hauberk_sieve.schemas._fault import Fault
from hauberk_sieve.schemas._graph import Graph
from hauberk_sieve.schemas._work import Work

if TYPE_CHECKING:
    from plugins.sieve.tests.conftest import Connect

Json = dict[str, Any]
PATIENCE: Final = 30.0
"""Seconds, many times what the whole corpus takes; what is not bounded takes years."""


def nested(depth: int, value: Any = 1) -> Any:
    return functools.reduce(lambda inner, _: [inner], range(depth), value)


def tree(depth: int, around: Callable[[Any], Any]) -> Any:
    made: Any = 1
    for _ in range(depth):
        made = around(made)
    return made


def within(word: str, depth: int, inner: Any = None) -> Json:
    """Return a schema inside a schema inside a schema."""
    more = {word: [inner]} if word.endswith("Of") else {word: inner}
    made: Json = {**more} if inner is not None else {}
    for _ in range(depth):
        made = {word: [made]} if word.endswith("Of") else {word: made}
    return made


def bomb(word: str, levels: int, *, branches: int = 2) -> Json:
    """Return a schema that asks twice for one that asks twice for one …"""
    parts: Json = {"p0": {"type": "string"}}
    for level in range(1, levels):
        parts[f"p{level}"] = {word: [{"$ref": f"#/$defs/p{level - 1}"}] * branches}
    return {"$defs": parts, "$ref": f"#/$defs/p{levels - 1}"}


def chain(length: int) -> Json:
    parts = {f"p{place}": {"$ref": f"#/$defs/p{place + 1}"} for place in range(length - 1)}
    return {"$defs": {**parts, f"p{length - 1}": {}}, "$ref": "#/$defs/p0"}


def unevaluated(levels: int) -> Json:
    made: Json = {"type": "object"}
    for _ in range(levels):
        made = {"allOf": [made], "unevaluatedProperties": {"type": "integer"}}
    return made


UNUSABLE: Final[dict[str, tuple[Any, str]]] = {
    "null": (None, "object"),
    "true": (True, "object"),
    "false": (False, "object"),
    "a text": ("object", "object"),
    "an array": ([{}], "object"),
    "a number": (7, "object"),
    "an invalid type": ({"type": "strin"}, "invalid"),
    "an invalid bound": ({"minLength": -1}, "invalid"),
    "a schema that is no schema": ({"properties": {"a": 7}}, "invalid"),
    "an items that is a text": ({"items": "string"}, "invalid"),
    "an array of items in 2020-12": ({"items": [{"type": "string"}]}, "invalid"),
    "draft 2019-09": ({"$schema": "https://json-schema.org/draft/2019-09/schema"}, "dialect"),
    "draft-06": ({"$schema": "http://json-schema.org/draft-06/schema#"}, "dialect"),
    "draft-04": ({"$schema": "http://json-schema.org/draft-04/schema#"}, "dialect"),
    "an unknown dialect": ({"$schema": "https://attacker.example/schema"}, "dialect"),
    "a dialect that is no text": ({"$schema": 7}, "dialect"),
    "a part of another dialect": (
        {"properties": {"a": {"$schema": "http://json-schema.org/draft-04/schema#"}}},
        "dialect",
    ),
    "a remote reference": ({"$ref": "https://attacker.example/schema"}, "reference"),
    "a reference to a file": ({"$ref": "file:///etc/passwd"}, "reference"),
    "a reference to a metaschema": ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "reference"),
    "a relative reference": ({"properties": {"a": {"$ref": "other.json"}}}, "reference"),
    "a relative reference by $id": ({"$id": "file:///etc/", "$ref": "passwd"}, "reference"),
    "a reference without a scheme": ({"$id": "https://a.example/b", "$ref": "//attacker.example/b"}, "reference"),
    "a base URI of a part": (
        {"properties": {"a": {"$id": "https://attacker.example/", "properties": {"b": {"$ref": "x"}}}}},
        "reference",
    ),
    "a remote dynamic reference": ({"$dynamicRef": "https://attacker.example/schema#a"}, "reference"),
    "a recursive reference": ({"$recursiveRef": "#"}, "reference"),
    "a reference that is escaped": ({"$id": "https://a.example/", "$ref": "%2e%2e/x"}, "reference"),
    "a reference upwards": ({"$id": "https://a.example/b/c", "$ref": "../x"}, "reference"),
    "two parts of one address": ({"$defs": {"a": {"$id": "urn:x"}, "b": {"$id": "urn:x"}}}, "reference"),
    "two anchors of one name": ({"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}, "reference"),
    "a reference that leads nowhere": ({"$ref": "#/$defs/missing"}, "reference"),
    "an anchor that is nowhere": ({"$ref": "#missing"}, "reference"),
    "a reference that is no text": ({"$ref": 7}, "invalid"),
    "a reference to what is no schema": ({"$ref": "#/title", "title": "x"}, "invalid"),
    "look-ahead": ({"pattern": "^(?=a)b$"}, "invalid"),
    "look-behind": ({"pattern": "(?<!a)b"}, "invalid"),
    "a reference back": ({"pattern": r"^(a+)\1+$"}, "invalid"),
    "a pattern that is none": ({"patternProperties": {"(": {}}}, "invalid"),
    "a pattern of a million states": ({"pattern": "((a{0,100}){0,100}){0,100}"}, "pattern"),
    "many patterns of many states": ({"allOf": [{"pattern": f"x{{{i}}}y"} for i in range(500, 600)]}, "pattern"),
    "a long pattern": ({"pattern": "a" * (LIMITS.pattern_chars + 1)}, "pattern"),
    "itself": ({"$ref": "#"}, "work"),
    "itself in a circle": ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#"}]}}}, "work"),
    "its own opposite": ({"not": {"$ref": "#"}}, "work"),
    "itself dynamically": ({"$dynamicRef": "#a", "$dynamicAnchor": "a"}, "work"),
    "2^25 branches of anyOf": (bomb("anyOf", 25), "work"),
    "2^25 branches of allOf": (bomb("allOf", 25), "work"),
    "2^25 branches of oneOf": (bomb("oneOf", 25), "work"),
    "9^6 branches": (bomb("anyOf", 7, branches=9), "work"),
    "a chain of 1000 references": (chain(1000), "work"),
    "unevaluatedProperties 30 times": (unevaluated(30), "work"),
    "branches that are shared a thousand times": (
        {
            "$defs": {
                "a": {"anyOf": [{"type": "integer"}] * 2000},
                **{f"b{i}": {"$ref": "#/$defs/a"} for i in range(1000)},
            }
        },
        "work",
    ),
    "100 deep": (within("items", 100), "size"),
    "not, 100 times": (within("not", 100), "size"),
    "10 MB": ({"description": "x" * 10_000_000}, "size"),
    "too many parts": ({"properties": {f"p{i}": {} for i in range(LIMITS.schema_places + 1)}}, "size"),
}
"""What no value can be checked with, and by which rule."""


@functools.cache
def checker(data: bytes) -> Checker:
    return Checker(data)


def made(schema: Any) -> Checker:
    return checker(orjson.dumps(schema))


@pytest.mark.parametrize("name", UNUSABLE)
def test_hostile_schema_is_unusable(name: str) -> None:
    """A hostile schema is found unusable, by its rule, and in no time (A47)."""
    schema, rule = UNUSABLE[name]
    start = time.monotonic()
    with pytest.raises(Unusable) as raised:
        Checker(orjson.dumps(schema))
    assert raised.value.rule == rule
    assert len(raised.value.reason) < 200
    assert time.monotonic() - start < PATIENCE


@pytest.mark.parametrize("name", UNUSABLE)
async def test_call_of_a_tool_with_a_hostile_schema_is_denied(link: Connect, name: str) -> None:
    """A call of a tool whose schema is unusable is denied, in each case, and nothing of the schema is told (A47)."""
    between = await link('[sieve]\ndefault = "allow"')
    between.listed({"tools": [{"name": "read", "inputSchema": UNUSABLE[name][0]}]})
    got = between.call("read", 2)
    assert got is not None
    assert (got["error"]["data"]["code"], got["error"]["data"]["rule"]) == ("sieve.schema_unusable", UNUSABLE[name][1])
    assert "attacker" not in str(got)
    assert [sent["method"] for sent in between.server.got] == ["tools/list"]


# --- no network, no files ---


def elsewhere(address: str) -> list[Json]:
    """Return ways to have a schema fetched."""
    return [
        {"$ref": address},
        {"$dynamicRef": f"{address}#a"},
        {"$id": address, "properties": {"a": {"$ref": "other"}}},
        {"$schema": address},
        {"properties": {"a": {"items": {"not": {"$ref": address}}}}},
        {"$defs": {"a": {"$id": address}}, "$ref": f"{address}/more"},
        {"$ref": "#/x-unknown/a", "x-unknown": {"a": {"$ref": address}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"$ref": address}}},
    ]


@pytest.fixture
def listening() -> Any:
    """Return a socket that waits for whoever fetches."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def address_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/schema"


def test_nothing_is_fetched(listening: socket.socket, tmp_path: Path) -> None:
    """No way to write a reference makes a connection or opens a file (A47)."""
    file = tmp_path / "schema.json"
    file.write_text("{}")
    for address in (address_of(listening), file.as_uri()):
        for schema in elsewhere(address):
            with pytest.raises(Unusable):
                Checker(orjson.dumps(schema))
    with pytest.raises(BlockingIOError):
        listening.accept()


def test_validator_itself_is_offline(listening: socket.socket, tmp_path: Path) -> None:
    """What slipped past the reading of references would not be fetched by the validator either (A47)."""
    file = tmp_path / "schema.json"
    file.write_text("{}")
    for address in (address_of(listening), file.as_uri()):
        for dialect in ("2020-12", "draft-07"):
            with pytest.raises(Unusable):
                _checker.compiled({"$ref": address}, dialect)
    with pytest.raises(BlockingIOError):
        listening.accept()


# --- bounded work ---

TREE: Final[Json] = {
    "anyOf": [
        {"type": "integer"},
        {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "required": ["left"]},
    ]
}
TWICE: Final[Json] = {"anyOf": [{"items": {"$ref": "#"}}, {"contains": {"$ref": "#"}}], "not": {"type": "integer"}}
"""Looks twice at each item: 2^depth times at the innermost."""
THRASH: Final = "[ab]*a[ab]{%d}[cd]"
"""A pattern that makes each engine follow as many paths as it counts."""

EXPENSIVE: Final[dict[str, tuple[Json, Any]]] = {
    "2^120 looks": (TWICE, nested(120)),
    "4096 branches for each item": (
        {"items": {"$ref": "#/$defs/p11"}, "$defs": bomb("anyOf", 12)["$defs"]},
        [1] * 50_000,
    ),
    "an enum of 5000 objects": ({"items": {"enum": [{"a": i} for i in range(5000)]}}, [{"a": 4999}] * 5000),
    "a const of 10000 items": ({"items": {"const": [0] * 10_000}}, [[0] * 10_000] * 200),
    "500 patterns for each of 5000 names": (
        {"patternProperties": {f"^a.*{i}$": {} for i in range(500)}},
        {f"a{i}": 1 for i in range(5000)},
    ),
    "uniqueItems at each level": ({"uniqueItems": True, "items": {"$ref": "#"}}, [nested(100, i) for i in range(800)]),
    "unevaluatedItems of many branches": (
        {"anyOf": [{"anyOf": [{"anyOf": [{"items": {"type": "string"}}] * 4}] * 4}] * 4, "unevaluatedItems": {}},
        list(range(50_000)),
    ),
    "unevaluatedProperties, three times": (
        {"allOf": [{"allOf": [unevaluated(3), {}], "unevaluatedProperties": {}}, {}], "unevaluatedProperties": {}},
        {f"a{i}": 1 for i in range(50_000)},
    ),
    "dividing by a tiny number": ({"items": {"multipleOf": 1e-300}}, [1e300] * 20_000),
    "comparing huge numbers": ({"items": {"minimum": 0.5}}, [2**64 - 1] * 100_000),
    "300 states for each byte": ({"pattern": THRASH % 300}, "ab" * 100_000),
    "300 states for each byte of a name": ({"patternProperties": {THRASH % 300: {}}}, {"ab" * 50_000: 1}),
    "300 states for each name": ({"propertyNames": {"pattern": THRASH % 300}}, {"ab" * 50_000: 1}),
}
"""What is usable, and would take too long on this value."""


@pytest.mark.parametrize("name", EXPENSIVE)
def test_expensive_check_is_not_begun(name: str) -> None:
    """A check that would take too long is refused before the validator sees the value (A47)."""
    schema, value = EXPENSIVE[name]
    expensive = Checker(orjson.dumps(schema))
    start = time.monotonic()
    with pytest.raises(Unusable, match="too long"):
        expensive.fault(value, len(orjson.dumps(value)))
    assert time.monotonic() - start < PATIENCE


async def test_expensive_call_is_denied(link: Connect) -> None:
    """A call that it would take too long to check is denied, and so is a result (A47)."""
    between = await link('[sieve]\ndefault = "allow"')
    twice = {"properties": {"a": {"$ref": "#/$defs/t"}}, "$defs": {"t": _at("#/$defs/t")}}
    between.listed({"tools": [{"name": "read", "inputSchema": twice, "outputSchema": twice}]})
    got = between.ask("tools/call", {"name": "read", "arguments": {"a": nested(100)}}, 2)
    assert got is not None
    assert got["error"]["data"]["code"] == "sieve.schema_unusable"
    assert got["error"]["data"]["rule"] == "work"
    between.ask("tools/call", {"name": "read", "arguments": {"a": []}}, 3)
    answer = between.answer({"content": [], "structuredContent": {"a": nested(100)}}, 3)
    assert (answer["error"]["data"]["code"], answer["error"]["data"]["rule"]) == ("sieve.schema_unusable", "work")


def _at(address: str) -> Json:
    return orjson.loads(orjson.dumps(TWICE).replace(b'"#"', f'"{address}"'.encode()))  # type: ignore[no-any-return]


def rows(count: int) -> Json:
    row = {"id": 7, "name": "Ada", "score": 0.5, "tags": ["a", "b"], "ok": True}
    return {"rows": [{**row, "id": place} for place in range(count)]}


ROWS: Final[Json] = {
    "type": "object",
    "properties": {
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer", "minimum": 0},
                    "name": {"type": "string", "maxLength": 100, "pattern": "^[A-Z][a-z]*$"},
                    "score": {"type": "number", "multipleOf": 0.5},
                    "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                },
                "required": ["id", "name"],
            },
        }
    },
}
HONEST: Final[dict[str, tuple[Json, Any]]] = {
    "a call": ({"properties": {"path": {"type": "string"}}, "required": ["path"]}, {"path": "/a"}),
    "a table": (ROWS, rows(5000)),
    "a megabyte of text": ({"properties": {"t": {"type": "string", "maxLength": 2_000_000}}}, {"t": "x" * 1_000_000}),
    "a megabyte of Base64": ({"properties": {"t": {"pattern": "^[A-Za-z0-9+/]*=*$"}}}, {"t": "x" * 1_000_000}),
    "a picture in a URL": (
        {"properties": {"t": {"pattern": "^data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+$"}}},
        {"t": "data:image/png;base64," + "x" * 1_000_000},
    ),
    "200,000 numbers": ({"properties": {"n": {"items": {"type": "number", "minimum": 0}}}}, {"n": [1.5] * 200_000}),
    "40,000 prices": ({"properties": {"n": {"items": {"multipleOf": 0.01}}}}, {"n": [12.34] * 40_000}),
    "a tree": (TREE, tree(60, lambda inner: {"left": inner, "right": 1})),
    "a large tree": (TREE, tree(11, lambda inner: {"left": inner, "right": inner})),
    "a shallow value for what doubles": (TWICE, nested(8, "x")),
    "runaway pattern": ({"pattern": "^(a+)+$"}, "a" * 1_000_000),
    "2000 parameters": (
        {"properties": {f"p{i}": {"type": "string"} for i in range(2000)}, "additionalProperties": False},
        {f"p{i}": "x" for i in range(2000)},
    ),
}
"""What honest servers ask for, large as it may be."""


@pytest.mark.parametrize("name", HONEST)
def test_honest_values_are_checked(name: str) -> None:
    """What honest servers ask for is checked, also where schema or value are large."""
    schema, value = HONEST[name]
    assert Checker(orjson.dumps(schema)).fault(value, len(orjson.dumps(value))) is None


def test_estimates_agree() -> None:
    """No estimate of the work is less than the one after it, which looks closer."""
    for schema, value in (*HONEST.values(), *EXPENSIVE.values()):
        work, data = Work(Graph(orjson.loads(orjson.dumps(schema)))), orjson.dumps(value)
        assert work.of_size(len(data)) >= work.of_json(data)
        if (counted := work.of(value, 1e12)) < 1e12:
            assert work.of_json(data) >= counted > 0


def test_work_is_at_least_what_the_validator_does() -> None:
    """Where schemas multiply, the estimate counts at least each time that a schema looks at a value."""
    for levels in range(2, 10):
        work = Work(Graph(bomb("allOf", levels)))
        assert work.of("x", 1e12) >= 2**levels - 1
        deep = Work(Graph(orjson.loads(orjson.dumps(TWICE))))
        assert deep.of(nested(levels), 1e12) >= 2**levels


def test_place_of_a_fault_is_not_sought_for_long() -> None:
    """Where finding the place of a fault would take long, the fault is told without it; its verdict is the same."""
    schema = {"items": {"anyOf": [{"items": {"type": "string"}}] * 50}}
    value = [[1] * 200] * 100
    start = time.monotonic()
    assert made(schema).fault(value, len(orjson.dumps(value))) == Fault("", "")
    assert Fault("", "").told(()) == "schema"
    assert time.monotonic() - start < PATIENCE
    assert made(schema).fault([[1]], 5) == Fault("/0", "anyOf")


DEEP: Final = """
import sys, threading, orjson
from hauberk_sieve.schemas._checker import Checker
from hauberk_sieve._limits import LIMITS
def deep(kind, steps):
    last = (LIMITS.schema_chain - 2) // steps - 1
    parts = {"p0": {"type": ["array", "integer"], "items": {"$ref": "#"}}, "z": {}}
    for level in range(1, last + 1):
        under = {"$ref": f"#/$defs/p{level - 1}"}
        parts[f"p{level}"] = kind(under)
    return {"$defs": parts, "$ref": f"#/$defs/p{last}"}
kinds = [
    (lambda u: {"allOf": [u, {"$ref": "#/$defs/z"}]}, 2),
    (lambda u: {"oneOf": [u, {"type": "string"}]}, 2),
    (lambda u: {"anyOf": [{"type": "string"}, u]}, 2),
    (lambda u: {"if": u, "then": {}, "else": False}, 2),
    (lambda u: {"not": {"not": u}}, 3),
    (lambda u: u, 1),
    (None, 1),
]
def run():
    for kind, steps in kinds:
        schema = deep(kind, steps) if kind else {"type": ["array", "integer"], "items": {"$ref": "#"}}
        checker = Checker(orjson.dumps(schema))
        for leaf in (1, "a"):
            value = leaf
            for _ in range(126):
                value = [value]
            print(checker.is_valid(value))
            checker.located(value, 300)
threading.stack_size(1 << 20)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def test_deepest_schemas_on_deepest_values_do_not_end_the_process() -> None:
    """The longest chains that are usable, on values 128 deep, fit into 1 MiB of stack: an eighth of what is usual."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DEEP)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 14
    assert set(done.stdout.split()) == {"True", "False"}
