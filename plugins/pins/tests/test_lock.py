"""``hauberk.lock``: one content has one text, and nothing else is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk import canon
from hauberk.refusals import ConfigError
from hauberk_pins import _items, _lock, _templates, _visible
from hauberk_pins._compare import compare, diff
from hauberk_pins._items import Item, Lock

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(["a\nb", "\n", "\\n\n", "x\\\n\\", '"\n"', "\u202e", "\u200b\U000e0041", "\x7f\x85\xa0"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
ITEMS = st.builds(_items.item, st.sampled_from(["server", "tool", "prompt", "resource", "template"]), NAMES, JSON)
LOCKS = st.builds(
    Lock,
    st.integers(0, 10**17),
    st.dictionaries(NAMES, st.lists(ITEMS, min_size=1, max_size=3).map(lambda all_: {one.key: one for one in all_})),
)


def tool(name: str, **fields: Any) -> Item:
    return _items.item("tool", name, {"name": name, **fields})


def lock_of(*items: Item, generation: int = 1) -> Lock:
    return Lock(generation, {"files": {one.key: one for one in items}})


TEXT = _lock.write(lock_of(tool("read", description="Read.\nAll."), tool("write")))


@given(LOCKS)
def test_lock_reads_what_it_writes(lock: Lock) -> None:
    """Every lock survives being written and read, to the hash of each item."""
    assert _lock.read(_lock.write(lock).encode(), "x") == lock


@given(JSON)
def test_text_is_visible_and_reversible(value: Any) -> None:
    """No character of a review is hidden but line feeds, and what is read is what was written."""
    text = _visible.text(value)
    assert all(not _visible.hidden().search(line) for line in text.split("\n"))
    assert canon.dumps(_visible.parse(text)) == canon.dumps(value)


@given(st.integers(0, len(TEXT) - 1), st.binary(min_size=1, max_size=3))
def test_damaged_lock_is_refused(at: int, junk: bytes) -> None:
    """A lock that was cut off, or has a byte more or another one anywhere, is an error."""
    data = TEXT.encode()
    for broken in (data[:at], data[:at] + junk + data[at:], data[:at] + junk + data[at + len(junk) :]):
        if broken != data:
            with pytest.raises(ConfigError):
                _lock.read(broken, "x")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("# hauberk.lock", "# my.lock", 1),
        ("generation 1", "generation 01", 2),
        ('tool "write"', 'tool "wrote"', 5),
        ('"Read.\\n"', '"Read!\\n"', 5),
        ('  tool "write"', ' tool "write"', 11),
        ("\n\nserver", "\n\n\nserver", 4),
        ('server "files"', 'server "mail"', 4),
    ],
)
def test_error_names_the_line(old: str, new: str, line: int) -> None:
    """What was edited by hand is named by its line, or by the line of the first hash that does not hold any more."""
    assert TEXT.count(old) == 1
    with pytest.raises(ConfigError, match=r"cannot use 'h.lock': line \d+ ") as caught:
        _lock.read(TEXT.replace(old, new).encode(), "h.lock")
    assert int(caught.value.message.split("line ")[1].split()[0]) <= line + 6


def test_deep_and_odd_locks_are_errors() -> None:
    """A body that is deeper than any parser goes, or holds what JSON does not carry, is an error, and no crash."""
    for body in ("[" * 100_000, "NaN", "1e999", '"\\ud800"', "{}}", ""):
        zero = "sha256:" + "0" * 64
        head = f'{_lock.HEAD}\ngeneration 1 {zero}\n\nserver "a" {zero}\n  tool "t" {zero}\n    {body}\n'
        with pytest.raises(ConfigError, match="cannot use"):
            _lock.read(head.encode(), "x")


def test_diff_is_a_diff_of_lines() -> None:
    """A description of many lines differs in the line that changed; the members that differ are named by their path."""
    before = tool("read", description="One.\nTwo.\nThree.", inputSchema={"properties": {"a": {"default": True}}})
    after = tool("read", description="One.\n2.\nThree.", inputSchema={"properties": {"a": {"default": 1}}})
    (change,) = compare({before.key: before}, {after.key: after})
    assert (change.what, change.fields) == ("changed", ["description", "inputSchema.properties.a.default"])
    changed = [line for line in diff(change)[2:] if line[0] in "+-"]
    assert [line.strip("+- ,") for line in changed] == ['"Two.\\n"', '"2.\\n"', '"default": true', '"default": 1']


def test_rename_is_one_difference() -> None:
    """Of an item that went and one that came with the same body, one difference is told; other pairs are two."""
    old, new, other = tool("read", title="x"), tool("read_v2", title="x"), tool("write", title="y")
    assert [change.what for change in compare({old.key: old}, {new.key: new})] == ["renamed"]
    assert sorted(change.what for change in compare({old.key: old}, {other.key: other})) == ["added", "removed"]


@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("file:///{path}", "file:///a", True),
        ("file:///{path}", "file:///a/b", False),
        ("file:///{+path}", "file:///a/b", True),
        ("db://{schema}/{table}/rows", "db://s/t/rows", True),
        ("db://{schema}/{table}/rows", "db://s/t/u/rows", False),
        ("x://a{?q}", "x://a?q=1", True),
        ("x://a", "x://ab", False),
        ("x://" + "{a}" * 33, "x://", False),
    ],
)
def test_uri_is_of_its_template(template: str, uri: str, fits: bool) -> None:
    """A simple expression stands for no slash, one with an operator for anything."""
    assert _templates.matches(template, uri) is fits


def test_template_cannot_stall() -> None:
    """A template that would take a regular expression for ever is done in time that grows with the URI."""
    assert not _templates.matches("x://" + "{a}a{+b}" * 15 + "!", "x://" + "a" * 16_000)


def test_lock_that_lost_a_server_is_refused() -> None:
    """A lock that was cut off between two servers, or from which one was taken, is refused: it is hashed as a whole."""
    items = {one.key: one for one in [tool("read")]}
    text = _lock.write(Lock(1, {"a": items, "b": items}))
    head, first, second = text.split("\n\n")
    for left in (f"{head}\n", f"{head}\n\n{first}\n", f"{head}\n\n{second}"):
        with pytest.raises(ConfigError, match="is not as hauberk writes it"):
            _lock.read(left.encode(), "x")
