"""``x-mcp-header``: which tools are invalid by it, what is hidden, and what is refused."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map

from hauberk.connection import Role
from hauberk_sieve.schemas._headers import LARGEST, Invalid, annotated, too_large

if TYPE_CHECKING:
    from plugins.sieve.tests.conftest import Connect

Json = dict[str, Any]
roles = pytest.mark.parametrize("role", ["client", "server"])


def at(name: Any, kind: Any = "string") -> Json:
    return {"type": kind, "x-mcp-header": name}


VALID: Final[dict[str, Json]] = {
    "none": {"properties": {"a": {"type": "string"}}},
    "one": {"properties": {"a": at("Region")}},
    "each type": {"properties": {"a": at("A"), "b": at("B", "integer"), "c": at("C", "boolean")}},
    "nested": {"properties": {"a": {"type": "object", "properties": {"b": at("B")}}}},
    "odd characters of tokens": {"properties": {"a": at("!#$%&'*+-.^_`|~09")}},
    "as the name of a property": {"properties": {"x-mcp-header": {"type": "string"}}},
    "in what is data": {"properties": {"a": {"default": at("no token"), "enum": [at("")], "const": at(7)}}},
}
INVALID: Final[dict[str, Json]] = {
    "empty": {"properties": {"a": at("")}},
    "a space": {"properties": {"a": at("My Region")}},
    "a line feed": {"properties": {"a": at("Region\r\nX-Evil: 1")}},
    "a line feed at its end": {"properties": {"a": at("Region\n")}},
    "a colon": {"properties": {"a": at("Region:")}},
    "not ASCII": {"properties": {"a": at("Région")}},
    "no text": {"properties": {"a": at(7)}},
    "null": {"properties": {"a": at(None)}},
    "twice": {"properties": {"a": at("Region"), "b": at("Region")}},
    "twice, case aside": {"properties": {"a": at("Region"), "b": {"properties": {"c": at("rEGION")}}}},
    "a number": {"properties": {"a": at("A", "number")}},
    "an object": {"properties": {"a": at("A", "object")}},
    "several types": {"properties": {"a": at("A", ["string", "null"])}},
    "no type": {"properties": {"a": {"x-mcp-header": "A"}}},
    "the root": {"type": "string", "x-mcp-header": "A"},
    **{
        f"in {word}": {"properties": {"a": {word: at("A")}}}
        for word in ("items", "not", "if", "then", "else", "contains", "additionalProperties", "propertyNames")
    },
    **{f"in {word}": {word: [{"properties": {"a": at("A")}}]} for word in ("allOf", "anyOf", "oneOf")},
    "in prefixItems": {"properties": {"a": {"prefixItems": [at("A")]}}},
    "in $defs": {"$defs": {"a": at("A")}, "properties": {"a": {"$ref": "#/$defs/a"}}},
    "in patternProperties": {"patternProperties": {"^a": at("A")}},
    "in dependentSchemas": {"dependentSchemas": {"a": {"properties": {"b": at("A")}}}},
}


@pytest.mark.parametrize("name", VALID)
def test_valid_annotations_are_found(name: str) -> None:
    """What the revision allows is allowed, and gives the same parameters as the SDK finds (S1.2)."""
    assert find_invalid_x_mcp_header(VALID[name]) is None
    assert set(annotated(VALID[name])) == set(x_mcp_header_map(VALID[name]))


@pytest.mark.parametrize("name", INVALID)
def test_invalid_annotations_are_found(name: str) -> None:
    """Whatever breaks a rule of the revision makes the tool invalid, as it does for the SDK (A42)."""
    assert find_invalid_x_mcp_header(INVALID[name]) is not None
    with pytest.raises(Invalid) as raised:
        annotated(INVALID[name])
    assert "Evil" not in str(raised.value)


WORDS = st.sampled_from(["properties", "items", "allOf", "not", "$defs", "x-mcp-header", "type", "if", "default"])
SCHEMAS = st.recursive(
    st.sampled_from(["string", "integer", "Region", "region", "", "a b", 7, None, True]),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=12,
)


def holds_tuple(value: Any) -> bool:
    """Whether ``items`` is an array somewhere, as drafts before 2020-12 have it."""
    if type(value) is dict and type(value.get("items")) is list:
        return True
    return type(value) in {dict, list} and any(map(holds_tuple, value.values() if type(value) is dict else value))


@given(SCHEMAS)
@example({"items": [{"x-mcp-header": "string"}]})
def test_reading_agrees_with_the_sdk(schema: Any) -> None:
    """On any document this reads annotations as the SDK does, and looks into tuples of older drafts besides."""
    reason = find_invalid_x_mcp_header(schema)
    if reason is not None:
        with pytest.raises(Invalid):
            annotated(schema)
    elif holds_tuple(schema):
        with contextlib.suppress(Invalid):
            assert set(annotated(schema)) == set(x_mcp_header_map(schema))
    else:
        assert set(annotated(schema)) == set(x_mcp_header_map(schema) if type(schema) is dict else ())


def test_tuple_of_an_older_draft_is_looked_into() -> None:
    """An annotation in an array of ``items`` makes the tool invalid, though the SDK takes no notice of it."""
    with pytest.raises(Invalid):
        annotated({"properties": {"a": {"type": "array", "items": [at("A")]}}})


@roles
async def test_invalid_tool_is_hidden_and_refused(link: Connect, role: Role) -> None:
    """A tool with a bad ``x-mcp-header`` is left out of the list, its call is refused, and the others stay (A42)."""
    between = await link('[sieve]\ndefault = "allow"', role=role)
    good = {"name": "good", "inputSchema": VALID["one"], "x-unknown": 1}
    bad = {"name": "bad", "inputSchema": INVALID["a line feed"]}
    got = between.listed({"tools": [bad, good], "nextCursor": "c"})
    assert got["result"] == {"tools": [good], "nextCursor": "c"}
    (event,) = await between.events("sieve.header_hidden")
    assert (event.count, event.action, event.details) == (1, "blocked", {"tools": {"bad": "it is no token"}})
    assert "error" in (between.call("bad", 2) or {})
    assert len(await between.events("sieve.header")) == 1
    assert [sent["method"] for sent in between.server.got] == ["tools/list"]
    assert between.ask("tools/call", {"name": "good", "arguments": {"a": "x"}}, 3) == between.server.got[-1]


async def test_invalid_tool_is_only_told_of_in_alert_and_audit(link: Connect) -> None:
    """With ``alert``, and in mode ``audit``, nothing is hidden, and the event does not claim it."""
    tools = {"tools": [{"name": "bad", "inputSchema": INVALID["twice"]}]}
    for text in ('[sieve.schemas]\narguments = "alert"', '[sieve]\nmode = "audit"\ndefault = "allow"'):
        between = await link(text if "audit" in text else f'[sieve]\ndefault = "allow"\n{text}')
        assert between.listed(tools)["result"] == tools
        (event,) = await between.events("sieve.header_hidden")
        assert event.action == "logged"
        assert "params" in (between.call("bad", 2) or {})


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        (LARGEST, True),
        (-LARGEST, True),
        (LARGEST + 1, False),
        (-LARGEST - 1, False),
        (2**63, False),
        (1e300, False),
        (0, True),
        (1.0, True),
    ],
)
async def test_integers_in_headers_are_safe(link: Connect, value: Any, passes: bool) -> None:
    """An integer that goes into a header is within 2^53 - 1, at whatever depth it stands (A42)."""
    schema = {"properties": {"a": {"properties": {"n": at("N", "integer")}}, "free": {"type": "integer"}}}
    between = await link('[sieve]\ndefault = "allow"')
    between.listed({"tools": [{"name": "read", "inputSchema": schema}]})
    got = between.ask("tools/call", {"name": "read", "arguments": {"a": {"n": value}, "free": 2**63}}, 2)
    assert got is not None
    assert ("params" in got) == passes
    if not passes:
        assert got["error"]["data"]["code"] == "sieve.header"


@pytest.mark.parametrize("text", ["line\r\nX-Evil: 1", " padded ", "=?base64?x?=", "世界", "\x00"])
def test_texts_that_headers_do_not_carry_are_encoded(text: str) -> None:
    """A text that a header does not carry needs no refusal: the headers that leave hold it in Base64 (A42)."""
    paths = annotated(VALID["one"])
    assert too_large(paths, {"a": text}) is None
    (sent,) = mcp_param_headers(x_mcp_header_map(VALID["one"]), {"a": text}).values()
    assert sent.startswith("=?base64?")
    assert sent.isascii()
    assert sent.isprintable()


async def test_annotations_that_take_long_to_look_at_hide_their_tool(link: Connect) -> None:
    """A list cannot keep the host busy with annotations: what is over the bound is hidden, unread (A47)."""
    wide = {"properties": {f"p{place}": at(f"H{place}") for place in range(4000)}}
    between = await link('[sieve]\ndefault = "allow"')
    tools = [{"name": f"t{place}", "inputSchema": wide} for place in range(5)]
    got = between.listed({"tools": [*tools, {"name": "plain", "inputSchema": {}}]})
    assert [tool["name"] for tool in got["result"]["tools"]] == ["t0", "plain"]
    (event,) = await between.events("sieve.header_hidden")
    assert event.count == 4
