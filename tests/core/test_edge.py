"""The strict edge: each rule, what passes, and what can be told of what does not."""

from __future__ import annotations

import enum
import gc
import itertools
import json
import math
import random
import subprocess
import sys
import threading
import tracemalloc
import types
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs
from tests.fuzz import fuzz_edge

from hauberk import _depth, edge
from hauberk.bounds import Bounds
from hauberk.edge import Framer, Overlong
from hauberk.refusals import MEDIATION, PARSE_ERROR, Refused

BOUNDS = Bounds()
SMALL = Bounds(line_bytes=1024)
WORD = "kobold"
"""Stands in refused messages, and must not stand in what is said of them."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INTEGERS = st.integers(-(2**63), 2**64 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=6)


def message(inner: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"word":"kobold","x":%b}}' % inner


def nested(levels: int, kinds: str, leaf: bytes = b"1", blank: bytes = b"") -> bytes:
    """Return an object in which containers stand so many deep, itself counted."""
    opening, closing = b'{"x":', b"}"
    for level in range(levels - 1):
        kind = kinds[level % len(kinds)]
        opening += b"[" if kind == "[" else b'{"a":'
        closing = (b"]" if kind == "[" else b"}") + closing
    return opening + blank + leaf + closing


def refusal(line: bytes, bounds: Bounds = BOUNDS) -> Refused:
    with pytest.raises(Refused) as caught:
        edge.read(line, bounds=bounds)
    return caught.value


# --- each rule ---


@pytest.mark.parametrize(
    ("line", "code", "number"),
    [
        pytest.param(b"", "core.not_json", PARSE_ERROR, id="empty"),
        pytest.param(b"   ", "core.not_json", PARSE_ERROR, id="blank"),
        pytest.param(b"npm WARN deprecated", "core.not_json", PARSE_ERROR, id="a log line"),
        pytest.param(message(b"1") + b"x", "core.not_json", PARSE_ERROR, id="trailing data"),
        pytest.param(message(b"1") * 2, "core.not_json", PARSE_ERROR, id="two objects"),
        pytest.param(message(b"1,"), "core.not_json", PARSE_ERROR, id="a comma too many"),
        pytest.param(message(b"1")[:-1], "core.not_json", PARSE_ERROR, id="unfinished"),
        pytest.param(message(b"NaN"), "core.not_json", PARSE_ERROR, id="NaN"),
        pytest.param(message(b"Infinity"), "core.not_json", PARSE_ERROR, id="Infinity"),
        pytest.param(message(b"-Infinity"), "core.not_json", PARSE_ERROR, id="-Infinity"),
        pytest.param(message(b"01"), "core.not_json", PARSE_ERROR, id="leading zero"),
        pytest.param(message(b'"\x00"'), "core.not_json", PARSE_ERROR, id="NUL"),
        pytest.param(message(b"\x0b1"), "core.not_json", PARSE_ERROR, id="VT is no blank"),
        pytest.param(message(b'"\\ud800"'), "core.not_json", PARSE_ERROR, id="high surrogate"),
        pytest.param(message(b'"\\udc00\\ud800"'), "core.not_json", PARSE_ERROR, id="swapped surrogates"),
        pytest.param(message(b'{"\\ud800":1}'), "core.not_json", PARSE_ERROR, id="surrogate in a key"),
        pytest.param(message(b'"\xed\xa0\x80"'), "core.not_json", PARSE_ERROR, id="surrogate in UTF-8"),
        pytest.param(message(b'"\xff"'), "core.not_json", PARSE_ERROR, id="not UTF-8"),
        pytest.param(message(b'"\xc0\xaf"'), "core.not_json", PARSE_ERROR, id="overlong UTF-8"),
        pytest.param(b"\xef\xbb\xbf" + message(b"1"), "core.not_json", PARSE_ERROR, id="BOM"),
        pytest.param(message(b"1").decode().encode("utf-16"), "core.not_json", PARSE_ERROR, id="UTF-16"),
        pytest.param(message(b'{"a":1,"a":1}'), "core.duplicate_key", MEDIATION, id="duplicate"),
        pytest.param(message(b'{"a": 1, "b": 2, "a": 3}'), "core.duplicate_key", MEDIATION, id="duplicate, spaced"),
        pytest.param(message(b'{"a":1,"\\u0061":2}'), "core.duplicate_key", MEDIATION, id="duplicate, escaped"),
        pytest.param(message(b'{"/":1,"\\/":2}'), "core.duplicate_key", MEDIATION, id="duplicate, escaped slash"),
        pytest.param(message(b'[[{"":{},"":[]}]]'), "core.duplicate_key", MEDIATION, id="duplicate, empty and deep"),
        pytest.param(message(b'{"a":18446744073709551616,"a":1}'), "core.duplicate_key", MEDIATION, id="two faults"),
        pytest.param(message(b'1,"x":2'), "core.duplicate_key", MEDIATION, id="duplicate, outside"),
        pytest.param(message(b"18446744073709551616"), "core.number", MEDIATION, id="2**64"),
        pytest.param(message(b"-9223372036854775809"), "core.number", MEDIATION, id="-2**63-1"),
        pytest.param(message(b"9" * 400), "core.number", MEDIATION, id="400 digits"),
        pytest.param(message(b"[1, -" + b"9" * 5000 + b"]"), "core.number", MEDIATION, id="5000 digits"),
        pytest.param(message(b"9" * 300), "core.number", MEDIATION, id="an integer that is a finite double"),
        pytest.param(message(b"1E400"), "core.number", MEDIATION, id="overflow"),
        pytest.param(message(b"-1e400"), "core.number", MEDIATION, id="overflow below"),
        pytest.param(message(b"[" * 100_000 + b"]" * 100_000), "core.depth", MEDIATION, id="100k arrays"),
        pytest.param(message(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "core.depth", MEDIATION, id="100k objects"),
        pytest.param(b"[" * 100_000, "core.depth", MEDIATION, id="100k unfinished"),
        pytest.param(b"[" + message(b"1") + b"]", "core.batch", MEDIATION, id="batch"),
        pytest.param(b"[]", "core.batch", MEDIATION, id="empty batch"),
        pytest.param(b'[{"a":1,"a":1}]', "core.batch", MEDIATION, id="batch with a fault in it"),
        pytest.param(b'"kobold"', "core.not_an_object", MEDIATION, id="string"),
        pytest.param(b"null", "core.not_an_object", MEDIATION, id="null"),
        pytest.param(b"7", "core.not_an_object", MEDIATION, id="number"),
    ],
)
def test_refused(line: bytes, code: str, number: int) -> None:
    """Each rule refuses by its code, names itself, and repeats nothing of the message (A51, A52, A53, A55, S3.39, V17).

    A number where JSON-RPC wants one: -32700 for what does not parse, -32006 for what does and breaks a rule.
    """
    refused = refusal(line)
    assert (refused.code, refused.jsonrpc) == (code, number)
    assert refused.rule
    assert WORD not in str(refused) + repr(refused.args) + repr(refused.details) + refused.rule


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (b'"\\udc00"', "surrogate"),
        (b'"\\ud800\\ud800"', "surrogate"),
        (b'"\xff"', "UTF-8"),
        (b"NaN", "RFC 8259"),
    ],
)
def test_rule_of_what_does_not_parse(inner: bytes, words: str) -> None:
    """What does not parse is told apart by the rule, where one can be named."""
    rule = refusal(message(inner)).rule
    assert rule is not None
    assert words in rule


def test_bom_is_named() -> None:
    """A byte order mark is refused as what it is, even before an object."""
    assert refusal(b"\xef\xbb\xbf{}").rule == "no byte order mark"


def test_refusal_holds_no_line() -> None:
    """A refusal for what does not parse does not keep the parser's error, which keeps the whole text."""
    refused = refusal(message(b"NaN"))
    assert refused.__cause__ is None
    assert refused.__context__ is None


def test_line_bytes() -> None:
    """A line of exactly ``line_bytes`` passes, one byte more does not (A53)."""
    line = b'{"x":"' + b"y" * (SMALL.line_bytes - 8) + b'"}'
    assert edge.read(line, bounds=SMALL)[1] == line
    refused = refusal(line + b" ", SMALL)
    assert (refused.code, refused.jsonrpc) == ("core.line_too_long", MEDIATION)
    assert refused.hint is not None
    assert "line_bytes" in refused.hint


# --- what passes ---


@pytest.mark.parametrize(
    ("inner", "value"),
    [
        (b"-0", 0),
        (b"1E5", 100000.0),
        (b"20e1", 200.0),
        (b"1.50", 1.5),
        (b"1e-400", 0.0),
        (b"5e-324", 5e-324),
        (b"0.1000000000000000055511151231257827", 0.1),
        (b"-9223372036854775808", -(2**63)),
        (b"18446744073709551615", 2**64 - 1),
        (b"9007199254740993", 2**53 + 1),
        (b"1.8446744073709552e+19", 2.0**64),
        (b'"\\u0000\\u001f\\/\\ud83d\\ude00"', "\0\x1f/😀"),
        (b'"\\\\\\"\\\\"', '\\"\\'),
        (b'{"\\u0061":1,"A":2,"a ":3}', {"a": 1, "A": 2, "a ": 3}),
        (b'{"":{"":{}},"a":{"a":1}}', {"": {"": {}}, "a": {"a": 1}}),
        ('["\u2028\u0085",{"é":"e\u0301"}]'.encode(), ["\u2028\u0085", {"é": "e\u0301"}]),
    ],
)
@pytest.mark.parametrize("around", [b"%b", b" %b", b"\r\n\t%b "])
def test_carried(inner: bytes, value: Any, around: bytes) -> None:
    """Integers in range are exact, other numbers the nearest double, strings and keys as they came (A54, X.8)."""
    read, own = edge.read(message(around % inner) + b"\r", bounds=BOUNDS)
    carried = read["params"]["x"]
    assert carried == value
    assert type(carried) is type(value)
    assert orjson.loads(own) == read


def test_negative_zero() -> None:
    """The double -0.0 keeps its sign; the integer -0 is 0."""
    assert math.copysign(1, edge.read(b'{"x": -0.0}', bounds=BOUNDS)[0]["x"]) == -1
    assert edge.read(b'{"x": -0}', bounds=BOUNDS)[1] == b'{"x":0}'


def outlines(value: Any) -> Any:
    """Return a value in which types and the order of keys count."""
    if isinstance(value, dict):
        return [(key, outlines(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [outlines(item) for item in value]
    return type(value).__name__, repr(value)


@given(
    OBJECTS,
    st.sampled_from(
        [
            orjson.dumps,
            lambda value: json.dumps(value).encode(),
            lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
            lambda value: json.dumps(value, indent=2).encode(),
            lambda value: orjson.dumps(value) + b"\r",
        ]
    ),
)
def test_every_value_arrives(value: dict[str, Any], dumps: Any) -> None:
    """Any object arrives as it was, types, order of keys and unknown fields kept, and leaves so (S3.39, A51)."""
    read, own = edge.read(dumps(value), bounds=BOUNDS)
    assert outlines(read) == outlines(value)
    assert own == orjson.dumps(value)


@given(st.binary() | st.sampled_from(fuzz_edge.ATOMS).flatmap(lambda atom: st.just(b'{"x":' + atom + b"}")))
@example(b'{"a":1,"\\u0061":1}')
def test_any_bytes(line: bytes) -> None:
    """Any bytes are read as the slow reader reads them, or refused as it refuses them; nothing else happens (A51)."""
    fuzz_edge.check(line)


@given(st.integers(0, 2**64), st.booleans())
def test_any_odd_text(seed: int, whole: bool) -> None:
    """Odd but valid JSON, and frames with a few wounds, are read as the slow reader reads them (A51)."""
    rnd = random.Random(seed)
    fuzz_edge.check(fuzz_edge.written(rnd) if whole else fuzz_edge.mutated(rnd))


@given(OBJECTS, st.data())
def test_a_key_twice_anywhere(value: dict[str, Any], data: st.DataObject) -> None:
    """One object with a key twice is enough, wherever it stands, and however the key is written (S3.39)."""
    key = data.draw(TEXT)
    again = "".join(f"\\u{unit:04x}" for unit in memoryview(key.encode("utf-16-le")).cast("H"))
    written = data.draw(st.sampled_from([json.dumps(key), json.dumps(key, ensure_ascii=False), f'"{again}"']))
    twice = f'{{"z":0,{json.dumps(key)}:{json.dumps(value)},"y":[],{written}:1}}'
    if key in {"y", "z"}:
        twice = twice.replace('"z":0,', "").replace('"y":[],', "")
    texts = [twice, f'{{"x":{twice}}}', f'{{"x": [1.0, {twice}, "{{"]}}']
    assert refusal(data.draw(st.sampled_from(texts)).encode()).code == "core.duplicate_key"


@pytest.mark.parametrize("size", [0, 5000])
def test_a_line_as_long_as_its_serialisation_is_not_equal_to_it(size: int) -> None:
    """A number that grows by as much as a lost key took does not hide the loss."""
    line = b'{"a":1,"a":1e6,"x":"' + b"x" * size + b'"}'
    assert len(orjson.dumps(orjson.loads(line))) == len(line)
    assert refusal(line).code == "core.duplicate_key"


@pytest.mark.parametrize(
    "lost",
    [
        '{"a":1,"b":"x","c":true}',
        '{"a":1.5,"d":"x","c":true}',
        '{"a":1.25,"b":"x","c":true}',
        '{"a":1.5,"b":"x ","c":true}',
        '{"a":1.5,"b":"x","c":false}',
        '{"a":1.5,"b":"x","c":[]}',
        '{"a":1.5,"b":"x","c":null}',
    ],
)
def test_a_parser_that_errs_is_caught(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the parser gives another key, number or string than the text has, the line is refused, not changed."""
    erring = types.SimpleNamespace(**{name: getattr(orjson, name) for name in ("dumps", "JSONDecodeError")})
    line = b'{"a" : 1.50, "b" : "x", "c" : true}'
    erring.loads = lambda text: orjson.loads(lost if text == line else text)
    monkeypatch.setattr(edge, "orjson", erring)
    assert refusal(line).code in {"core.not_json", "core.number"}


def test_large_line_is_read_without_the_collector() -> None:
    """A line of a million arrays does not make the collector walk them, and it is on again afterwards (A53)."""
    before = gc.get_stats()[0]["collections"]
    line = b'{"x":[' + b"[]," * 400_000 + b"1]}"
    read, own = edge.read(line, bounds=BOUNDS)
    assert gc.get_stats()[0]["collections"] - before < 10
    assert own == line
    assert len(read["x"]) == 400_001
    assert refusal(line[:-2] + b',{"a":1,"a":1}]}').code == "core.duplicate_key"
    assert gc.isenabled()


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1", b'""', b'{"a":[1]}'], ids=repr)
def test_values_of_a_long_line_are_bounded(value: bytes) -> None:
    """A line that would take many times its length in memory is refused before it is parsed (A53)."""
    assert refusal(b'{"x":[' + (value + b",") * 1_100_000 + b"1]}").code == "core.values"


def test_what_stands_in_a_string_is_no_value() -> None:
    """A long text may hold as many commas and brackets as it likes, escaped quotes among them."""
    text = '"[{,' * 600_000
    line = orjson.dumps({"x": text})
    assert edge.read(line, bounds=BOUNDS) == ({"x": text}, line)
    few = structs.replace(BOUNDS, values=10)
    assert edge.read(line, bounds=few)[1] == line
    assert refusal(line[:-1] + b',"y":[' + b"1," * 10 + b"1]}", few).code == "core.values"


# --- depth ---


@pytest.mark.parametrize("kinds", ["[", "{", "[{", "[[{"])
@pytest.mark.parametrize("leaf", [b"1", b'"["'])
@pytest.mark.parametrize("blank", [b"", b" ", b'"", ' * 400, b'"", ' * 4000])
def test_depth(kinds: str, leaf: bytes, blank: bytes) -> None:
    """128 levels pass and 129 do not, in a short line, a long one, and one that needs the second reading (A53)."""
    if blank.strip():
        leaf, blank = b"[" + blank + leaf + b"]", b""
    levels = 128 - leaf.startswith(b"[")
    read, own = edge.read(nested(levels, kinds, leaf, blank), bounds=BOUNDS)
    assert orjson.loads(own) == read
    assert refusal(nested(levels + 1, kinds, leaf, blank)).code == "core.depth"


@pytest.mark.parametrize("leaf", [b"[]", b"{}"])
@pytest.mark.parametrize("kinds", ["[", "{"])
@pytest.mark.parametrize("size", [0, 2000])
def test_an_empty_container_is_a_level(leaf: bytes, kinds: str, size: int) -> None:
    """An empty array or object at the bottom counts."""
    pad = b" " * size
    assert edge.read(pad + nested(127, kinds, leaf), bounds=BOUNDS)
    assert refusal(pad + nested(128, kinds, leaf)).code == "core.depth"


def test_brackets_in_strings_are_no_depth() -> None:
    """Brackets in strings neither count nor cancel real ones."""
    flat = b'{"x":[' + b'"[{",' * 300 + b"1]}"
    assert edge.read(flat, bounds=BOUNDS)[1] == flat
    # What removes "[]" and "{}" until nothing changes takes this for flat: each level closes one that is in a string.
    deep = b'{"x":' + b'["]",' * 200 + b"1" + b',"["]' * 200 + b"}"
    assert refusal(deep).code == "core.depth"


def test_wide_is_not_deep() -> None:
    """A hundred thousand arrays beside each other pass."""
    line = b'{"x":[' + b"[]," * 100_000 + b"[]]}"
    assert edge.read(line, bounds=BOUNDS)[1] == line


@pytest.fixture(params=["gauge", "walk"])
def gauge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> _depth.Gauge:
    """Measure depth as this orjson allows, or as where there is no limit to measure it with."""
    found = _depth.installed() if request.param == "gauge" else _depth.Gauge(0)
    monkeypatch.setattr(_depth, "installed", lambda: found)
    return found


@pytest.mark.parametrize("kinds", ["[", "{", "[{"])
@pytest.mark.parametrize("leaf", [b"1", b"[]", b"{}"])
def test_gauge_and_walk_agree(gauge: _depth.Gauge, kinds: str, leaf: bytes) -> None:
    """Both ways to measure depth stop at the same level, and refuse with the same code."""
    levels = 128 - (leaf != b"1")
    line = b" " * 2000 + nested(levels, kinds, leaf)
    read, own = edge.read(line, bounds=BOUNDS)
    assert own == line.strip()
    assert edge.normalise(read) == (read, own)
    assert gauge.dumps(read) == b"[" * gauge.pad + own + b"]" * gauge.pad
    assert refusal(b" " * 2000 + nested(levels + 1, kinds, leaf)).code == "core.depth"


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(lambda _value: False, id="none"),
        pytest.param(lambda value: str(value).count("[") > 100, id="early"),
        pytest.param(lambda value: str(value).count("[") > 250, id="of arrays only"),
    ],
)
def test_a_limit_that_cannot_be_used_is_walked(limit: Callable[[Any], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """An orjson whose limit is missing, too early, or not the same for all makes no gauge: depth is walked."""

    def dumps(value: Any) -> bytes:
        if limit(value):
            raise TypeError
        return b"{}"

    monkeypatch.setattr(_depth, "orjson", types.SimpleNamespace(dumps=dumps))
    assert _depth.installed.__wrapped__().pad == 0


def test_this_orjson_has_a_gauge() -> None:
    """With the orjson that is installed, depth is not walked."""
    assert _depth.installed().pad > 0
    assert _depth.installed()._wrapped(orjson.loads(nested(120, "[{"))) is not None


def test_gauge_is_shared_by_threads() -> None:
    """Threads that measure at the same time do not read each other's messages."""
    lines = [b" " * 2000 + b'{"x":%d}' % number for number in range(8)]
    wrong: list[Any] = []

    def work(number: int) -> None:
        for _ in range(500):
            read, own = edge.read(lines[number], bounds=BOUNDS)
            if read != {"x": number} or own != b'{"x":%d}' % number:
                wrong.append((number, read, own))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


# --- objects of another parser ---


class Word(str):
    __slots__ = ()


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize("filler", [{}, {"filler": "x" * 2000}], ids=["short", "long"])
@given(OBJECTS, st.booleans())
def test_normalise(filler: dict[str, Any], value: dict[str, Any], long: bool) -> None:
    """A plain object comes back equal, type by type, and is a copy, whether it is short or holds a long text, and
    whatever was expected.
    """
    value = filler | value
    plain, own = edge.normalise(value, long=long)
    assert outlines(plain) == outlines(value)
    assert not containers(plain) & containers(value)
    assert own == orjson.dumps(value)


def containers(value: Any) -> set[int]:
    """Return which dicts and lists a value is made of."""
    if not isinstance(value, dict | list):
        return set()
    return {id(value)}.union(*map(containers, value.values() if isinstance(value, dict) else value))


@pytest.mark.parametrize("text", ["x", "x" * 2000], ids=["short", "long"])
def test_normalise_makes_plain(text: str) -> None:
    """Subclasses of strings, integers and dicts come back as what they are to JSON."""
    plain, own = edge.normalise({"a": Word(text), "b": Colour.RED, "c": Level.HIGH, "d": True, "e": 1, "f": 1.0})
    assert own == b'{"a":"%s","b":"red","c":3,"d":true,"e":1,"f":1.0}' % text.encode()
    assert [type(item) for item in plain.values()] == [str, str, int, bool, int, float]


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        [1, {"a": -math.inf}],
        2**64,
        -(2**63) - 1,
        "\ud800",
        {"\udc00": 1},
        {1: 2},
        (1, 2),
        datetime(2026, 1, 1, tzinfo=UTC),
        UUID(int=1),
        b"bytes",
        {"a", "b"},
        orjson.Fragment(b'{"a":1,"a":1}'),
        enum.Enum("Plain", {"A": "a"}).A,  # type: ignore[attr-defined]
        object(),
    ],
    ids=lambda value: None if "object at" in repr(value) or isinstance(value, set) else repr(value),
)
def test_normalise_refuses_what_json_does_not_carry(value: Any) -> None:
    """What JSON cannot carry, or carries as something else, is refused, deep inside too (A55)."""
    long = {"filler": "x" * 2000, "x": [{"x": value}]}
    for given_value in ({"x": value}, {"a": [None, {"word": WORD, "x": [value]}]}, long):
        with pytest.raises(Refused) as caught:
            edge.normalise(given_value)
        assert (caught.value.code, caught.value.jsonrpc) == ("core.not_json", MEDIATION)
        assert WORD not in str(caught.value)
        with pytest.raises(Refused) as again:
            edge.normalise(given_value, long=True)
        assert again.value.code == "core.not_json"


@pytest.mark.parametrize("value", [[], [{}], "x", None, 1])
def test_normalise_takes_objects(value: Any) -> None:
    """What is no dict is no message."""
    with pytest.raises(Refused, match="no JSON object"):
        edge.normalise(value)


@pytest.mark.parametrize("long", [False, True])
def test_normalise_measures_length(long: bool) -> None:
    """An object of another parser is at most as long as a line may be (A53)."""
    bounds = Bounds(line_bytes=1024)
    fits = {"a": "x" * (1024 - len(b'{"a":""}'))}
    assert len(edge.normalise(fits, long=long, bounds=bounds)[1]) == 1024
    with pytest.raises(Refused) as caught:
        edge.normalise({"a": fits["a"] + "x"}, long=long, bounds=bounds)
    assert caught.value.code == "core.line_too_long"


@pytest.mark.parametrize("size", [0, 1, 2000])
def test_normalise_measures_depth(gauge: _depth.Gauge, size: int) -> None:
    """An object of another parser obeys the same limit; one that holds itself is too deep (A53)."""
    filler = {"filler": "x" * size}
    fits = filler | orjson.loads(nested(128, "[{"))
    for long in (False, True):
        assert edge.normalise(fits, long=long)[0] == fits
    loop: list[Any] = []
    loop += [loop, loop]
    for value in (orjson.loads(nested(129, "[{")), orjson.loads(nested(300, "[")), {"x": loop}):
        for long in (False, True):
            with pytest.raises(Refused) as caught:
                edge.normalise(filler | value, long=long)
            assert caught.value.code == "core.depth"


# --- who waits ---


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"a","params":{"id":1,"id":2}}', ("request", 7)),
        (b'{"method":"a","id":"x","params":{"a":NaN}}', ("request", "x")),
        (b'{"id":7,"result":{"a":1e999,"b":"\\ud800"}}', ("response", 7)),
        (b'{"id":7,"error":{"code":1,"code":1}}', ("response", 7)),
        (b'{"id":7,"result":{"a":"\xff"}}', ("response", 7)),
        (b'\xef\xbb\xbf{"id":7,"result":{}}', ("response", 7)),
        (b'{"id":-1,"method":"a","result":1,"x":1,"x":1}', ("request", -1)),
        (b'{"method":"a","x":1,"x":1}', ("request", None)),
        (b'{"id":7,"x":1,"x":1}', (None, 7)),
        (b'{"id":7,"method":"a","id":7}', ("request", None)),
        (b'{"id":7,"method":"a","\\u0069d":8}', ("request", None)),
        (b'{"id":true,"method":"a","a":1,"a":1}', ("request", None)),
        (b'{"id":null,"method":"a","a":1,"a":1}', ("request", None)),
        (b'{"id":1.0,"method":"a","a":1,"a":1}', ("request", None)),
        (b'{"id":[1],"method":"a","a":1,"a":1}', ("request", None)),
        (b'{"id":18446744073709551616,"method":"a"}', ("request", None)),
        (b'{"id":' + b"9" * 5000 + b',"method":"a"}', ("request", None)),
        (b'{"id":18446744073709551615,"method":"a","a":1,"a":1}', ("request", 2**64 - 1)),
        (b'{"id":"\\ud800","method":"a"}', ("request", None)),
        (b'{"id":"\xff","method":"a"}', ("request", None)),
        (b'{"id":"' + b"x" * 256 + b'","method":"a","a":1,"a":1}', ("request", "x" * 256)),
        (b'{"id":"' + b"x" * 257 + b'","method":"a","a":1,"a":1}', ("request", None)),
        (b'{"id":7,"params":' + b"[" * 200 + b"]" * 200 + b',"method":"a"}', ("request", 7)),
        (b'{"id":7,"params":' + b"[" * 100_000 + b"]" * 100_000 + b"}", (None, None)),
        (b'[{"id":7,"method":"a"}]', (None, None)),
        (b"7", (None, None)),
        (b"npm WARN", (None, None)),
        (b"", (None, None)),
    ],
)
def test_salvage(line: bytes, found: tuple[str | None, str | int | None]) -> None:
    """Whoever waits for the answer to a refused frame is found, if the frame says so in one way (A54)."""
    assert edge.salvage(line) == found
    assert type(edge.salvage_id(line)) is type(found[1])
    assert edge.salvage_id(line) == found[1]


@pytest.mark.parametrize(
    ("head", "tail", "found"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"a","params":', b"}", ("request", 7)),
        (b'{"jsonrpc": "2.0", "id": "a", "result": ', b"}", ("response", "a")),
        (b'{"result":', b',"jsonrpc":"2.0","id":7}', ("response", 7)),
        (b'{"method":"a","params":', b',"jsonrpc":"2.0","id":7}', ("request", 7)),
        (b'{"params":', b"}", (None, None)),
    ],
)
def test_salvage_of_a_large_frame(head: bytes, tail: bytes, found: tuple[str | None, str | int | None]) -> None:
    """Of a frame that is too large to be parsed for that, the ends tell (A53)."""
    large = head + b'{"a":1,"a":"' + b"x" * (256 * 1024) + b'"}' + tail
    assert edge.salvage(large) == found


@given(st.binary() | st.integers(0, 2**64).map(lambda seed: fuzz_edge.mutated(random.Random(seed))))
def test_salvage_never_fails(line: bytes) -> None:
    """Any bytes give an answer; of a valid message with a usable id, its own."""
    kind, found = edge.salvage(line)
    assert kind in {None, "request", "response"}
    assert edge.loose_id(line, line) is None or type(edge.loose_id(line, line)) in {int, str}
    try:
        read, _ = edge.read(line, bounds=BOUNDS)
    except Refused:
        return
    if type(read.get("id")) is int:
        assert found == read["id"]


@pytest.mark.parametrize(
    ("head", "tail", "found"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"a","par', b'"}}', 7),
        (b' { "jsonrpc" : "2.0" , "id" : -7 , "m', b'"}}', -7),
        (b'{"id":"x\\u0061","method":"a"', b'"}}', "xa"),
        (b'{"method":"a","params":{', b'"},"jsonrpc":"2.0","id":7}', 7),
        (b'{"method":"a","params":{', b'"}, "jsonrpc": "2.0", "id": "x"}\r', "x"),
        (b'{"method":"a","params":{', b'"},"id":7,"jsonrpc":"2.0"}', 7),
        (b'{"jsonrpc":"2.0","id":7,', b',"jsonrpc":"2.0","id":7}', 7),
        (b'{"jsonrpc":"2.0","id":7,', b',"jsonrpc":"2.0","id":8}', None),
        (b'{"jsonrpc":"2.0","id":7,', b',"jsonrpc":"2.0","id":"7"}', None),
        (b'{"params":{"id":7,', b'"a":{"x":1,"id":7}}', None),
        (b'{"jsonrpc":"2.0","id":1.5,', b'"}', None),
        (b'{"jsonrpc":"2.0","id":true,', b'"}', None),
        (b'{"jsonrpc":"2.0","id":18446744073709551616,', b'"}', None),
        (b'{"jsonrpc":"2.0","id":01,', b'"}', None),
        (b'{"jsonrpc":"2.0","id":"\\ud800",', b'"}', None),
        (b'{"jsonrpc":"2.0","id":"\\x",', b'"}', None),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 257 + b'",', b'"}', None),
        (b'{"jsonrpc":"2.0","method":"a",', b'"}', None),
        (b"npm WARN", b"npm WARN", None),
        (b"", b"", None),
    ],
)
def test_loose_id(head: bytes, tail: bytes, found: str | int | None) -> None:
    """The id of a frame too long to hold is found where the SDKs write it, and nowhere else (A53)."""
    assert edge.loose_id(head, tail) == found
    assert type(edge.loose_id(head, tail)) is type(found)


# --- lines ---


def feed(framer: Framer, *chunks: bytes) -> list[bytes | Overlong]:
    return [line for chunk in chunks for line in framer.feed(chunk)]


@pytest.mark.parametrize(
    "text", [b"a\x0bb", b"a\x0cb", b"a\rb\r", "a\u2028b\u2029c\u0085d".encode(), b"a\x1c\x1d\x1eb", b"a\0b", b"\xff"]
)
def test_only_lf_ends_a_line(text: bytes) -> None:
    """What Unicode, terminals or Python's `splitlines` end a line at stays inside of it (A56)."""
    framer = Framer(BOUNDS)
    assert feed(framer, text + b"\n" + text) == [text]
    assert framer.rest == text
    assert framer.close() == text
    assert framer.rest == b""


def test_blank_lines_are_no_frames() -> None:
    """Empty lines and lines of blanks are left out, within a chunk and over its edges."""
    assert feed(Framer(BOUNDS), b"\n\r\n \t\na\n\n", b"  ", b"\nb\n", b"\n") == [b"a", b"b"]
    framer = Framer(BOUNDS)
    framer.feed(b"  ")
    assert framer.close() is None


@given(
    st.lists(
        st.binary(max_size=30).filter(lambda part: b"\n" not in part)
        | st.integers(1020, 1100).map(lambda size: b"y" * size),
        max_size=8,
    ),
    st.lists(st.integers(0, 3000), max_size=20),
)
def test_chunks_do_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    """However a stream is cut, the same lines come out, and those over the bound with size, head and tail (A53)."""
    stream = b"\n".join(lines)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    framer = Framer(SMALL)
    found = feed(framer, *(stream[start:end] for start, end in itertools.pairwise(edges)))
    last = framer.close()
    expected = [
        line if len(line) <= SMALL.line_bytes else Overlong(len(line), line[:512], line[-512:])
        for line in lines
        if line.strip()
    ]
    assert found + ([] if last is None else [last]) == expected
    assert framer.feed(b"next\n") == [b"next"]


def test_byte_by_byte() -> None:
    """Chunks of one byte take time in proportion to the line, not to its square."""
    framer = Framer(BOUNDS)
    line = b"x" * 300_000
    assert feed(framer, *(line[at : at + 1] for at in range(len(line)))) == []
    assert framer.feed(b"\n") == [line]


@pytest.mark.parametrize("size", [1, 1000, 70_000])
def test_endless_line_is_not_held(size: int) -> None:
    """A line without end is dropped while it streams: memory stays at the bound and a chunk (A53)."""
    framer = Framer(SMALL)
    chunk = b"x" * size
    total = 0
    tracemalloc.start()
    try:
        while total < min(8 * 1024 * 1024, size * 20_000):
            assert framer.feed(chunk) == []
            assert len(framer.rest) <= SMALL.line_bytes
            total += size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * (SMALL.line_bytes + size) + 8192
    assert framer.feed(b"end\nnext\n") == [
        Overlong(total + 3, (chunk * 512)[:512], ((chunk * 512)[:512] + b"end")[-512:]),
        b"next",
    ]


def test_overlong_without_an_end() -> None:
    """A line over the bound that never ends is told at the end of the stream."""
    framer = Framer(SMALL)
    framer.feed(b"x" * 2000)
    assert framer.close() == Overlong(2000, b"x" * 512, b"x" * 512)
    assert framer.close() is None


def test_refused_frames_keep_step() -> None:
    """Noise between frames is refused line by line, and the frames around it are read (A56)."""
    stream = b'{"a":1}\nlistening on 8080\n{"a":"\x0b"}\n{"a":2}\n'
    codes = []
    for line in Framer(BOUNDS).feed(stream):
        assert isinstance(line, bytes)
        try:
            codes.append(edge.read(line, bounds=BOUNDS)[0]["a"])
        except Refused as refused:
            codes.append(refused.code)
    assert codes == [1, "core.not_json", "core.not_json", 2]


# --- the fuzz target ---


def test_fuzz_target(root: Path) -> None:
    """The fuzz target runs, and finds nothing in 20,000 frames that it makes itself (A51, A53)."""
    target = root / "tests" / "fuzz" / "fuzz_edge.py"
    command = [sys.executable, str(target), "--runs", "20000", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "20000 executions" in done.stdout or "Done 20000 runs" in done.stderr
