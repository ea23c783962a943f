"""Canonical JSON: the vectors of RFC 8785, and agreement with another implementation of it."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import struct
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from hauberk import canon
from hauberk.exchange import Exchange
from hauberk.message import Message, ToolCall
from hauberk.principal import ANONYMOUS
from hauberk.refusals import MEDIATION, Refused

# Characters next to what the code looks for, and to where the two sort orders part.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from('\\"\0\1.e-+,]}{[: 019\ud7ff\ue000\ufb33\uffff😀\U0010ffff')
)
SAFE = st.integers(-(2**53) + 1, 2**53 - 1)
DOUBLES = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**22), 10**22).map(float)
    | st.builds(lambda digits, power: float(f"{digits}e{power}"), st.integers(-99999, 99999), st.integers(-30, 30))
)
JSON = st.recursive(
    st.none() | st.booleans() | SAFE | DOUBLES | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


@pytest.fixture(params=["searched", "rewritten", "walked"], autouse=True)
def doubles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for doubles in the output, or, as where orjson writes them in another form, rewrite it in any case.

    Or look at the values first, as is done where few of them make a long text.
    """
    if request.param != "searched":
        monkeypatch.setattr(canon, "_SEARCHED", 0)
    if request.param == "walked":
        monkeypatch.setattr(canon, "_LONG", 0)
    if request.param == "rewritten":
        monkeypatch.setattr(canon, "_TRACEABLE", False)


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
@pytest.mark.parametrize("around", ["%s", "[%s]", '{"a":%s}', '["1.5",%s,0]'])
def test_numbers(bits: str, text: str, around: str) -> None:
    """Doubles are written as appendix B of RFC 8785 writes them, wherever they stand (X.8)."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canon.dumps(json.loads(around % repr(number))) == (around % text).encode()


@pytest.mark.parametrize(
    ("number", "text"),
    [(1.0, "1"), (-1.0, "-1"), (1e16, "10000000000000000"), (1e-7, "1e-7"), (1e-5, "0.00001"), (1.5e-7, "1.5e-7")],
)
def test_where_the_exponent_begins(number: float, text: str) -> None:
    """Plain digits from 1e-6 to below 1e21, an exponent outside."""
    assert canon.dumps({"x": [number]}) == b'{"x":[%b]}' % text.encode()


def test_numbers_and_strings() -> None:
    """The example of RFC 8785, section 3.2.2."""
    text = r"""{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"""
    numbers = b'"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]'
    string = r'''"string":"€$\u000f\nA'B\"\\\\\"/"'''.encode()
    assert canon.dumps(json.loads(text)) == b'{"literals":[null,true,false],' + numbers + b"," + string + b"}"


def test_order_of_keys() -> None:
    """Keys are sorted by UTF-16 code units, RFC 8785, section 3.2.3: an emoji comes before U+FB33."""
    names = ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    value = dict.fromkeys(sorted(names, reverse=True), 1)
    assert list(json.loads(canon.dumps(value))) == names
    assert list(json.loads(canon.dumps([{"x": value}]))[0]["x"]) == names
    assert list(json.loads(canon.dumps(value | {"\n": 1.0, "z": None}))) == ["\n", *names[:2], "z", *names[2:]]


@pytest.mark.parametrize(
    ("low", "high"),
    [("\U00010000", "\ue000"), ("\U0010ffff", "\uffff"), ("\U000e0001", "\uf8ff"), ("\ud7ff", "\U00050000")],
)
def test_order_at_the_edges(low: str, high: str) -> None:
    """The order holds for each plane, in keys that begin alike too."""
    assert canon.dumps({"a" + high: 1, "a" + low: 2}) == f'{{"a{low}":2,"a{high}":1}}'.encode()


@pytest.mark.parametrize("number", [2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**64 - 1, -(2**63)])
def test_integers_are_exact(number: int) -> None:
    """Beyond 2**53 integers are written exactly, where the RFC knows doubles only (X.8)."""
    assert canon.dumps({"x": number}) == b'{"x":%d}' % number


@given(JSON)
@example({"a": '1.5,"', "b\\": '\\"', "\\": -0.0})
@example(['"', 1.0, "\\", 1e21, "e-7]", "2.5]"])
@example({"\ufb33": None, "\U0001f600": [{"\ufb33": 1.5, "\U0001f600": "\0"}]})
def test_agrees_with_another_implementation(value: Any) -> None:
    """Any value within the RFC is written byte for byte as the package `rfc8785` writes it (X.8)."""
    assert canon.dumps(value) == rfc8785.dumps(value)


@given(JSON)
def test_one_value_one_form(value: Any) -> None:
    """The form does not depend on the order of keys, on white space, or on having been written before (X.8)."""

    def turned(item: Any) -> Any:
        if isinstance(item, dict):
            return OrderedDict((key, turned(item[key])) for key in reversed(item))
        return tuple(turned(part) for part in item) if isinstance(item, list) else item

    out = canon.dumps(value)
    assert canon.dumps(turned(value)) == out
    assert canon.dumps(json.loads(json.dumps(value, indent=3))) == out
    assert canon.dumps(orjson.loads(out)) == out
    assert json.loads(out, parse_int=float) == value


@dataclasses.dataclass
class Point:
    x: int = 1


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**63) - 1,
        "\ud800",
        {"\ud800": 1},
        {1: 2},
        {None: 1},
        {Colour.RED: 1},
        Point(),
        datetime(2026, 1, 1, tzinfo=UTC),
        b"x",
        {1},
        object(),
    ],
    ids=lambda value: None if "object at" in repr(value) else repr(value),
)
def test_what_json_does_not_carry_is_refused(value: Any) -> None:
    """NaN, infinities, integers out of range, lone surrogates, keys that are no strings and other types (X.8, A55)."""
    for given_value in (value, [value], {"a": [None, {"b": (1.5, value)}]}, {"\ufb33": {"😀": value}}):
        with pytest.raises(Refused) as caught:
            canon.dumps(given_value)
        assert (caught.value.code, caught.value.jsonrpc) == ("core.not_json", MEDIATION)


def test_none_beside_a_tuple_is_no_nan() -> None:
    """A null is not taken for a NaN where the value read back differs for another reason."""
    assert canon.dumps({"a": (None, 1.0)}) == b'{"a":[null,1]}'


@given(JSON, TEXT.filter(lambda label: "\n" not in label))
def test_digest(value: Any, label: str) -> None:
    """A digest is SHA-256 over the label, a line feed and the canonical form."""
    expected = hashlib.sha256(label.encode() + b"\n" + rfc8785.dumps(value)).hexdigest()
    assert canon.digest(label, value) == f"sha256:{expected}"


def test_digest_of_a_call() -> None:
    """The digest of one call, as a fixed value: approvals and records outlive a version of this code."""
    value = ["write", {"path": "/x", "size": 1.0, "ids": [9007199254740993, -1], "text": 'é "q" \\'}]
    text = '["write",{"ids":[9007199254740993,-1],"path":"/x","size":1,"text":"é \\"q\\" \\\\"}]'
    assert canon.dumps(value) == text.encode()
    assert (
        canon.digest("hauberk/call/v1", value)
        == "sha256:a428e84e719c5fefcdb5dc67c7c11fbd28b70b808849392c934cc98c74eb3583"
    )


@given(TEXT, st.dictionaries(TEXT, JSON, max_size=4))
def test_digest_of_a_call_is_over_its_name_and_arguments(name: str, arguments: dict[str, Any]) -> None:
    """A call's digest is the labelled digest of its name and its arguments, and is made without another one (X.8)."""
    data = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    message = Message(kind="request", toward="server", method="tools/call", id=1, data=data)
    exchange = Exchange(1, 1, "tools/call", ANONYMOUS, 0.0, 1)
    assert ToolCall(message, exchange, "files").digest == canon.digest("hauberk/call/v1", [name, arguments])


def test_digests_of_different_kinds_differ() -> None:
    """The same value under two labels has two digests, and a label cannot reach into the value (X.8)."""
    assert canon.digest("a/v1", {}) != canon.digest("a/v2", {})
    with pytest.raises(ValueError, match="line feed"):
        canon.digest("a\n{}", {})
