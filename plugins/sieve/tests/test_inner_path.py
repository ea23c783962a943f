"""Where calls stand in arguments, and what is no call that anybody can tell."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve.inner import _order
from hauberk_sieve.inner._entries import Entries
from hauberk_sieve.inner._options import Inner
from hauberk_sieve.inner._path import Call, Calls, Malformed, parse, parsed

ONE = Calls.of("tool", {})
MANY = Calls.of("commands[].tool", {"server": "commands[].module", "id": "commands[].id", "after": "commands[].deps"})
NAMED = Calls.of("commands[].tool", {})


def names(calls: Calls, arguments: Any, most: int = 10) -> list[str]:
    return [call.name for call in calls.find(arguments, most)]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("tool", ("tool",)),
        ("a.b.tool", ("a", "b", "tool")),
        ("commands[].tool", ("commands", None, "tool")),
        ("a[][].b[].c", ("a", None, None, "b", None, "c")),
        ("x-y_1.\u00e9", ("x-y_1", "\u00e9")),
    ],
)
def test_path_is_members_and_arrays(text: str, steps: tuple[str | None, ...]) -> None:
    """A path is names of members with dots between them, and `[]` where an array stands."""
    assert parse("name", text) == steps


NO_PATHS = (
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a[]",
    "[]",
    "[].a",
    "a[0].b",
    "a[*].b",
    "a.*",
    "$.a",
    "/a/b",
    "a b",
    "a[",
    "a]b",
)
HIDDEN_PATHS = ("a[]b", "..\u200b", "a\u200b", "a[].", "'a'", '"a"', "a/b", "a\\b", "a[]..b", ".".join("a" * 40))


@pytest.mark.parametrize("text", [*NO_PATHS, *HIDDEN_PATHS])
def test_other_languages_of_paths_are_errors(text: str) -> None:
    """What could be meant for another language of paths is an error at load."""
    with pytest.raises(ValueError, match="name: "):
        parse("name", text)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": "c[].t", "id": "c[].x[].id"}, "does not stand beside"),
        ({"name": "c[].t", "id": "d[].id"}, "does not stand beside"),
        ({"name": "c[].t", "id": "id"}, "does not stand beside"),
        ({"name": "t", "server": "c[].s"}, "does not stand beside"),
        ({"name": "t", "id": "id"}, "is one call"),
        ({"name": "c[].t", "after": "c[].after"}, "after needs id"),
        ({"results": "t[].n", "server": "s"}, "server needs name"),
        ({}, "neither name nor results"),
        ({"results": "t[]"}, "ends in an array"),
    ],
)
def test_entry_that_judges_nothing_is_an_error(table: dict[str, Any], words: str) -> None:
    """An entry that could not be obeyed is an error at load."""
    with pytest.raises(ValueError, match=words):
        Entries({"gateway/call": msgspec.convert(table, Inner)})


@pytest.mark.parametrize("table", [{"name": "t", "most": 0}, {"name": "t", "most": 1001}, {"name": "t", "tool": "t"}])
def test_entry_out_of_bounds_is_an_error(table: dict[str, Any]) -> None:
    """A bound on calls that is none, and a key that nothing reads, are errors at load."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, Inner)


@pytest.mark.parametrize("key", ["call", "a/[b]", "a/", "/b", "gate way /call"])
def test_entry_of_no_tool_is_an_error(key: str) -> None:
    """An entry whose key is no pattern of a server and a tool is an error at load, which names it."""
    with pytest.raises(ValueError, match="inner"):
        Entries({key: "tool"})


def test_calls_are_found() -> None:
    """Each call is found with its server, its id and what it waits for."""
    arguments = {
        "commands": [
            {"tool": "a", "module": "m", "id": "1"},
            {"tool": "b", "module": "n", "id": "2", "deps": ["1"]},
            {"tool": "c", "module": "n", "deps": "2"},
        ]
    }
    assert MANY.find(arguments, 10) == [
        Call("a", "m", "1", ()),
        Call("b", "n", "2", ("1",)),
        Call("c", "n", None, ("2",)),
    ]
    assert names(ONE, {"tool": "x", "other": 1}) == ["x"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"tool": None},
        {"tool": 5},
        {"tool": True},
        {"tool": ""},
        {"tool": ["x"]},
        {"tool": {"tool": "x"}},
        {"Tool": "x"},
        {"tool": "x", "Tool": "y"},
        {"tool": "x", "TOOL": "x"},
        {"tool": "x", "to\u200bol": "y"},
        {"tool": "x", "\uff54ool": "y"},
        {"tool ": "x"},
        [],
        ["x"],
        "tool",
        None,
        5,
    ],
)
def test_one_call_that_cannot_be_told_is_none(arguments: Any) -> None:
    """A name that is missing, that is no string, or that stands beside one that looks like it is not guessed."""
    with pytest.raises(Malformed):
        ONE.find(arguments, 10)


@pytest.mark.parametrize(
    ("member", "twin"), [("tasks", "ta\u017fks"), ("kind", "\u212aind"), ("id", "\u0130d"), ("id", "\u0131d")]
)
def test_foreign_letters_make_twins(member: str, twin: str) -> None:
    """A member that some parser folds to the one that is judged stands beside it in vain (A51)."""
    with pytest.raises(Malformed, match="looks like"):
        Calls.of(member, {}).find({member: "x", twin: "y"}, 1)


@pytest.mark.parametrize(
    "commands",
    [
        None,
        [],
        {},
        {"tool": "a"},
        {"0": {"tool": "a"}},
        5,
        "",
        " ",
        "a",
        "[]",
        "5",
        "null",
        [[{"tool": "a"}]],
        [{"tool": "a"}, {}],
        [{"tool": "a"}, None],
        [{"tool": "a"}, "b"],
        [{"tool": "a"}, {"tool": 1}],
        ["[]"],
        '[{"tool":"a"}',
        '[{"tool":"a","tool":"b"}]',
        '[{"tool":"a"}]]',
        '[{"tool":"a"}],"x":[{"tool":"b"}]',
        '[{"tool":"a"}],"v":[{"tool":"b"}]',
        '[{"tool":"a"}]} {"v":1',
        '[{"tool":"a","n":NaN}]',
        '[{"tool":"a","n":1e999}]',
        '[{"tool":"\\ud800"}]',
        '{"tool":"a"}\n{"tool":}',
        '{"tool":"a"}\n[{"tool":"b"}]',
        '{"tool":"a"}\n"b"',
        '{"tool":"a"} {"tool":"b"}',
        '{"tool":"a"},\n{"tool":"b"}',
        "\ufeff[]",
        "[" * 5000,
        '{"a":' * 200 + "1" + "}" * 200,
    ],
)
def test_several_calls_that_cannot_be_told_are_none(commands: Any) -> None:
    """What is no array of calls, or a string that strict JSON does not know, is not guessed."""
    with pytest.raises(Malformed):
        NAMED.find({"commands": commands}, 10)


@pytest.mark.parametrize(
    "text",
    [
        '[{"tool":"a"},{"tool":"b"}]',
        ' [ {"tool" : "a"} , "{\\"tool\\":\\"b\\"}" ] ',
        '{"tool":"a"}\n{"tool":"b"}',
        '{"tool":"a"}\r\n\r\n  {"tool":"b"}\n',
        '\n[\n{"tool":"a"},\n{"tool":"b"}\n]\n',
    ],
)
def test_calls_in_a_string_are_read(text: str) -> None:
    """An array that stands in a string is read as JSON, and so are objects of which each has a line."""
    assert names(NAMED, {"commands": text}) == ["a", "b"]


def test_object_in_a_string_is_read() -> None:
    """An object that stands in a string is read where a path goes through it."""
    calls = Calls.of("request.tool", {})
    assert names(calls, {"request": '{"tool":"a"}'}) == ["a"]
    assert names(calls, {"request": '"{\\"tool\\":\\"a\\"}"'[1:-1].replace("\\", "")}) == ["a"]
    with pytest.raises(Malformed):
        calls.find({"request": '{"tool":"a","tool":"b"}'}, 1)


@pytest.mark.parametrize("count", [11, 10_000])
def test_too_many_calls_are_refused_unread(count: int) -> None:
    """More calls than the bound are refused, in whatever form they come, and none of them is looked at (S1.6)."""
    commands: list[Any] = [{"tool": "a"}] * 10 + [None] * (count - 10)
    nested = {"a": [{"b": [{"tool": "x"}] * 4}] * (count // 4 + 1)}
    for value in (commands, json.dumps(commands), "\n".join('{"tool":"a"}' for _ in range(count))):
        with pytest.raises(Malformed, match="more than 10 calls"):
            NAMED.find({"commands": value}, 10)
    with pytest.raises(Malformed, match="more than 10 calls"):
        Calls.of("a[].b[].tool", {}).find(nested, 10)


def test_blank_lines_hide_no_call() -> None:
    """However many blank lines stand between calls, each call is found and counted."""
    text = '{"tool":"a"}' + "\n" * 100_000 + '{"tool":"b"}'
    assert names(NAMED, {"commands": text}) == ["a", "b"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
KEYS = st.sampled_from(["tool", "commands", "v", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_string_is_read_as_what_it_says(value: Any) -> None:
    """What a string holds is what a strict parser reads in it."""
    assert parsed(json.dumps(value)) == value


@given(st.text(st.sampled_from('{}[]",:v1x \n'), max_size=24))
def test_string_never_leaves_the_object_it_is_read_in(text: str) -> None:
    """A string is read only if it is one JSON text by itself, whatever brackets it has."""
    try:
        found = parsed(text)
    except Malformed:
        return
    assert json.loads(text) == found


@given(JSON)
def test_every_name_is_found_or_none(arguments: Any) -> None:
    """From whatever arguments, either each item gives a name that is a string, or nothing is told."""
    try:
        found = NAMED.find(arguments, 10)
    except Malformed:
        return
    commands = arguments["commands"]
    if isinstance(commands, list) and all(isinstance(item, dict) for item in commands):
        assert [call.name for call in found] == [item["tool"] for item in commands]
    assert all(type(call.name) is str and call.name for call in found)


# --- the order ---


def made(*waits: tuple[str | None, str]) -> list[Call]:
    return [Call("t", None, id, tuple(after.split())) for id, after in waits]


@pytest.mark.parametrize(
    "calls",
    [
        made(("a", ""), ("b", "a"), ("c", "a b")),
        made(("c", "b"), ("b", "a"), ("a", "")),
        made((None, ""), (None, "")),
        made((None, "a"), ("a", "")),
        made(("a", ""), ("A", "a")),
    ],
)
def test_calls_in_some_order_pass(calls: list[Call]) -> None:
    """Calls that can be made one after the other pass, in whatever order they stand."""
    _order.check(calls)


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        (made(("a", ""), ("a", "")), "two calls have one id"),
        (made(("\u00e9", ""), ("e\u0301", "")), "two calls have one id"),
        (made(("a", "b")), "not there"),
        (made((None, "a")), "not there"),
        (made(("a", "a")), "circle"),
        (made(("a", "b"), ("b", "a")), "circle"),
        (made(("x", ""), ("a", "x c"), ("b", "a"), ("c", "b"), ("d", "x")), "circle"),
    ],
)
def test_calls_without_an_order_are_refused(calls: list[Call], words: str) -> None:
    """Two calls of one id, one that waits for what is not there, and circles are refused (S1.6)."""
    with pytest.raises(Malformed, match=words):
        _order.check(calls)


@given(st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=8))
def test_circles_are_found_like_a_walk_finds_them(graph: list[list[int]]) -> None:
    """A circle is found if and only if some walk along what calls wait for comes back to where it was."""
    calls = [Call("t", None, str(at), tuple(map(str, after))) for at, after in enumerate(graph)]

    def returns(start: int) -> bool:
        reached, todo = set[int](), list(graph[start])
        while todo:
            at = todo.pop()
            if at not in reached and at < len(graph):
                reached.add(at)
                todo += graph[at]
        return start in reached

    missing = any(at >= len(graph) for after in graph for at in after)
    try:
        _order.check(calls)
    except Malformed:
        assert missing or any(map(returns, range(len(graph))))
    else:
        assert not missing
        assert not any(map(returns, range(len(graph))))
