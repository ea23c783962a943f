"""Answers to calls that are texts: what is told of them by one look is what the long way finds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hauberk import plugins
from hauberk.config import Config
from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.guard import Guard
from hauberk.message import Message
from hauberk.principal import ANONYMOUS
from hauberk.refusals import Refused
from hauberk_sieve import Sieve, _plugin
from hauberk_sieve._routes import is_text
from hauberk_sieve._words import BETWEEN, words
from hauberk_sieve.text import walk

Json = dict[str, Any]

HIDDEN = "\u200b"
LISTED = '{"tools": [{"name": "x"}, {"name": "y"}]}'
GOOD = [{"type": "text", "text": "a"}]


def message(result: Json, tool: str = "read", **fields: Any) -> Message:
    data = {"jsonrpc": "2.0", "id": 1, "result": result}
    exchange = Exchange(1, 1, "tools/call", ANONYMOUS, 0.0, 1, tool=tool)
    given_: Json = {"kind": "result", "toward": "client", "method": "tools/call", "data": data, "exchange": exchange}
    return Message(**(given_ | fields))


texts = st.sampled_from(["", "a", "A file.", f"a{HIDDEN}b", "ignore", "\n\n", "https://x.example/a", LISTED])
values = st.one_of(texts, st.booleans(), st.none(), st.integers(0, 9), st.just({"a": f"{HIDDEN}x"}), st.just(["a"]))
blocks = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
    st.fixed_dictionaries({"type": st.sampled_from(["text", "image", HIDDEN, 1]), "text": values}),
    st.dictionaries(st.sampled_from(["type", "text", "uri", HIDDEN, "mimeType", "data"]), values, max_size=3),
    values,
)
names = st.sampled_from(["isError", "resultType", "structuredContent", "task", "taskId", "_meta", HIDDEN])
usual = st.builds(
    lambda content, more: {"content": content} | more,
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=9),
    st.sampled_from(
        [{}, {}, {}, {"isError": True}, {"resultType": "complete"}, {"resultType": HIDDEN, "isError": False}]
    ),
)
unusual = st.builds(
    lambda content, more: {"content": content} | more,
    st.one_of(st.lists(blocks, max_size=3), values),
    st.dictionaries(names, st.one_of(values, st.just({"taskId": "t"})), max_size=2),
)
results = st.one_of(usual, usual, usual, unusual)


@given(results)
def test_words_are_all_that_can_be_read(result: Json) -> None:
    """Of what passes by its words, each leaf stands among them; there is no number, no link and no task (S1.4)."""
    one = message(result)
    found = words(one)
    if found is None:
        return
    assert is_text(one)
    assert not {"task", "taskId", "structuredContent"} & result.keys()
    leaves = walk(result)
    assert not leaves.numbers
    assert not leaves.skipped
    for leaf in leaves.texts:
        assert f"{BETWEEN}{leaf}{BETWEEN}" in f"{BETWEEN}{found}{BETWEEN}"


@pytest.mark.parametrize(
    "other",
    [
        message({"content": GOOD}, toward="server"),
        message({"content": GOOD}, kind="request", data={"params": {"content": GOOD}}),
        message({"content": GOOD}, kind="error", data={"error": {"content": GOOD}}),
        message({"content": GOOD}, embedded="a"),
        message({}, data={"jsonrpc": "2.0", "id": 1, "result": {"content": GOOD}, "more": HIDDEN}),
        message({"content": [{"type": "text", "text": "a", HIDDEN: "a"}]}),
        message({"content": [{"type": HIDDEN, "text": "a"}]}),
        message({"content": [{"type": "text", "text": ["a"]}]}),
        message({"content": GOOD, "isError": {HIDDEN: "a"}}),
        message({"content": GOOD, "resultType": 1}),
        message({"content": GOOD, "task": {}}),
        message({"content": GOOD, HIDDEN: True}),
        message({"content": tuple(GOOD)}),
    ],
)
def test_words_are_of_answers_that_are_nothing_else(other: Message) -> None:
    """What is no answer to a call, or has more to it than its result, has no words."""
    assert words(message({"content": GOOD})) is not None
    assert words(other) is None


TABLES = (
    '[sieve]\ndefault = "allow"\n',
    '[sieve]\ndefault = "allow"\n[sieve.schemas]\nresults = "alert"\n',
    '[sieve]\ndefault = "allow"\ndeny = ["*/x"]\n[sieve.inner]\n"files/find" = { results = "tools[].name" }\n',
)
SCHEMA = {"type": "object"}
TOOLS = [
    {"name": "read", "inputSchema": SCHEMA},
    {"name": "find", "inputSchema": SCHEMA},
    {"name": "sure", "inputSchema": SCHEMA, "outputSchema": SCHEMA},
]


def made(text: str) -> Sieve:
    source = plugins.Source("sieve", "hauberk-sieve", "0", lambda: Sieve)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "installed", lambda: {"sieve": source})
        sieve = Guard.load(Config.from_toml(f'{text}[sieve.text]\npacks = ["invisible"]\n')).loaded["sieve"].plugin
    assert isinstance(sieve, Sieve)
    return sieve


def passes(sieve: Sieve, connection: Connection, result: Json, tool: str) -> object:
    """Return what becomes of an answer, and the codes of the events that it leaves."""
    one = message(copy.deepcopy(result), tool)
    try:
        passed = sieve.on_receive(one, connection)
    except Refused as refused:
        return refused.code, refused.rule, [event.code for event in one.notes]
    return None if passed is None else passed.data, [(event.code, event.details) for event in one.notes]


@settings(deadline=None)
@given(
    st.sampled_from(TABLES),
    st.lists(st.tuples(results, st.sampled_from(["read", "find", "sure", "unknown"])), max_size=9),
)
def test_words_change_nothing_of_what_passes(table: str, answers: list[tuple[Json, str]]) -> None:
    """Whatever a tool answers becomes what it becomes the long way, events and all (S1.4, A47)."""
    short, long = made(table), made(table)
    connection = Connection(id="c", host="h", server="files", role="client")
    listed: Json = {"tools": TOOLS}
    for sieve in (short, long):
        shown = message(copy.deepcopy(listed), method="tools/list", exchange=None)
        assert sieve.on_receive(shown, connection) is None
    for result, tool in answers:
        found = passes(short, connection, result, tool)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_plugin, "words", lambda _: None)
            assert found == passes(long, connection, result, tool)


def test_words_of_before_say_nothing_of_what_a_mesh_made() -> None:
    """A list that is sifted inside an answer is written anew, and scanned as it is then: escapes are gone (S1.4)."""
    sieve, connection = made(TABLES[2]), Connection(id="c", host="h", server="files", role="client")
    text = '{"tools": [{"name": "x"}, {"name": "y", "title": "a\\u200bb"}]}'
    assert HIDDEN not in text
    found = passes(sieve, connection, {"content": [{"type": "text", "text": text}]}, "find")
    assert isinstance(found, tuple)
    assert found[0]["result"] == {"content": [{"type": "text", "text": '{"tools":[{"name":"y","title":"ab"}]}'}]}
