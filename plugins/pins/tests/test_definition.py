"""The whole of a definition is its pin: whatever leaf of it changes is seen (A38, A45)."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.pins.tests.conftest import Showing, codes, listed

from hauberk_pins import _compare, _items, _lock
from hauberk_pins._items import Lock

if TYPE_CHECKING:
    from plugins.pins.tests.conftest import Guarded

Path = tuple[str | int, ...]
BIG: Final[dict[str, Any]] = {
    "name": "search",
    "title": "Search notes",
    "description": "Search all notes.\nAnswers with the first ten.",
    "inputSchema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "kept short",
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for", "minLength": 1, "examples": ["milk"]},
            "order": {"enum": ["newest", "oldest", None, 0, False], "default": "newest"},
            "nested": {
                "type": "array",
                "items": {"anyOf": [{"const": 1.5}, {"type": "object", "properties": {"deep": {"title": "Deep"}}}]},
            },
        },
        "required": ["query"],
        "additionalProperties": False,
        "$defs": {"page": {"type": "integer", "maximum": 18446744073709551615}},
    },
    "outputSchema": {"type": "object", "properties": {"notes": {"type": "array", "default": []}}},
    "annotations": {"title": "Search", "readOnlyHint": True, "destructiveHint": False, "openWorldHint": None},
    "icons": [{"src": "https://example.com/i.png", "sizes": ["48x48"], "mimeType": "image/png"}],
    "execution": {"taskSupport": "optional"},
    "_meta": {"example.com/rank": 3, "example.com/empty": {}},
    "x-unknown": [[], {"": ""}, "\u00e9"],
}


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Give the way to each value in which there is no other, empty ones too."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for key, one in inside for leaf in leaves(one, (*path, key))]
    yield from found or [path]


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def put(value: Any, path: Path, new: Any) -> Any:
    made = copy.deepcopy(value)
    at(made, path[:-1])[path[-1]] = new
    return made


def others(leaf: Any) -> list[Any]:
    """Return what a leaf may become that differs as little as can be."""
    if leaf is None or isinstance(leaf, bool):
        return [not leaf, int(bool(leaf)), str(leaf)]
    if isinstance(leaf, (int, float)):
        return [leaf + 1 if leaf < 2**64 - 1 else leaf - 1, str(leaf), bool(leaf), None]
    if isinstance(leaf, str):
        return [leaf + "\u200b", leaf + " ", "x" + leaf[1:], leaf.upper() + "!", None]
    return [[None], {"a": None}, None]


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


WAYS: Final = [path for path in leaves(BIG) if path != ("name",)]
PIN: Final = _items.item("tool", "search", BIG)


@pytest.mark.parametrize("path", WAYS, ids=lambda path: ".".join(map(str, path)))
def test_each_leaf_is_in_the_hash(path: Path) -> None:
    """Each value of a definition, however deep, changes its hash with its least change, and the change is named."""
    leaf = at(BIG, path)
    for new in others(leaf):
        if same(leaf, new):
            continue
        changed = _items.item("tool", "search", put(BIG, path, new))
        assert changed.hash != PIN.hash
        (change,) = _compare.compare({PIN.key: PIN}, {changed.key: changed})
        (field,) = change.fields
        assert field.split(".")[0] == path[0]
        assert _compare.diff(change)


@pytest.mark.parametrize("path", WAYS, ids=lambda path: ".".join(map(str, path)))
def test_each_leaf_may_be_added_or_taken_away(path: Path) -> None:
    """A member that comes or goes, anywhere, changes the hash."""
    parent = at(BIG, path[:-1])
    less = copy.deepcopy(parent)
    del less[path[-1]]
    more = {**parent, "\u200b": None} if isinstance(parent, dict) else [*parent, None]
    for new in (less, more):
        whole = put(BIG, path[:-1], new) if len(path) > 1 else new
        assert _items.item("tool", "search", whole).hash != PIN.hash


@given(
    st.sampled_from(WAYS), st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), st.lists)
)
def test_any_other_value_is_another_hash(path: Path, new: Any) -> None:
    """Two definitions have one hash only if their canonical forms are the same to the byte."""
    changed = _items.item("tool", "search", put(BIG, path, new))
    assert (changed.hash == PIN.hash) == (changed.canonical == PIN.canonical)
    if not same(at(BIG, path), new):
        assert changed.hash != PIN.hash


@given(st.randoms(use_true_random=False))
def test_order_of_members_is_nothing(draw: random.Random) -> None:
    """Whatever the order of the members at each level, hash and lock are the same (S3.41)."""
    shuffled = _items.item("tool", "search", _shuffled(BIG, draw))
    assert shuffled == PIN
    assert _lock.write(Lock(1, {"s": {shuffled.key: shuffled}})) == _lock.write(Lock(1, {"s": {PIN.key: PIN}}))


def _shuffled(value: Any, draw: random.Random) -> Any:
    if isinstance(value, list):
        return [_shuffled(one, draw) for one in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    draw.shuffle(keys)
    return {key: _shuffled(value[key], draw) for key in keys}


LISTS: Final = [
    ("tools/list", "tools", {"name": "x"}, "tools/call", {"name": "x", "arguments": {}}),
    ("prompts/list", "prompts", {"name": "x"}, "prompts/get", {"name": "x"}),
    ("resources/list", "resources", {"uri": "n://x", "name": "x"}, "resources/read", {"uri": "n://x"}),
    (
        "resources/templates/list",
        "resourceTemplates",
        {"uriTemplate": "n://{a}", "name": "x"},
        "resources/read",
        {"uri": "n://y"},
    ),
]
META: Final = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "a", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.mark.parametrize("era", ["shaken", "new"])
@pytest.mark.parametrize(("method", "member", "entry", "use", "params"), LISTS, ids=[row[1] for row in LISTS])
async def test_each_kind_is_pinned_in_both_eras(
    guarded: Guarded,
    trust: Callable[..., None],
    era: str,
    method: str,
    member: str,
    entry: dict[str, Any],
    use: str,
    params: dict[str, Any],
) -> None:
    """Tools, prompts, resources and templates work as pinned, and one unknown member hides and refuses each (S3.41)."""
    meta = {"_meta": META} if era == "new" else {}
    server = Showing(**{member: [[entry]]})
    async with guarded(server) as rig:
        assert await listed(rig, method, member, **meta) == []
    trust()
    async with guarded(server) as rig:
        reply = await rig.request(use, params | meta)  # nothing was listed: the guard asks
        assert reply is not None
        assert "result" in reply
        assert len(await listed(rig, method, member, **meta)) == 1
    server.pages[member] = [[entry | {"x-unknown": None}]]
    server.asked.clear()
    async with guarded(server) as rig:
        reply = await rig.request(use, params | meta)
        assert reply is not None
        assert reply["error"]["data"]["code"] in {"pins.changed", "pins.unpinned"}
        assert use not in server.asked
        assert await listed(rig, method, member, **meta) == []
    assert "pins.hidden" in codes(rig)


def _introduction(era: str) -> tuple[str, dict[str, Any]]:
    if era == "new":
        return "server/discover", {"_meta": META}
    client = {"name": "a", "version": "1"}
    return "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}


@pytest.mark.parametrize("era", ["shaken", "new"])
@pytest.mark.parametrize("other", ["shaken", "new"])
async def test_introduction_is_pinned_in_both_eras(
    guarded: Guarded, trust: Callable[..., None], era: str, other: str
) -> None:
    """Who a server says it is holds in either era once it is trusted in one, and is no other in either (S3.41)."""
    server = Showing({"name": "x"})
    method, params = _introduction(era)
    async with guarded(server) as rig:
        await rig.request(method, params)
        await listed(rig)
    trust()
    method, params = _introduction(other)
    meta: Any = {"_meta": META} if other == "new" else {}
    async with guarded(server) as rig:
        reply = await rig.request(method, params)
        assert reply is not None
        said = reply["result"]
        assert server.about["serverInfo"] in (said.get("serverInfo"), *said.get("_meta", {}).values())
        assert reply["result"]["instructions"] == "Be kind."
        assert await listed(rig, **meta) == ["x"]
        await rig.request("tools/call", {"name": "x", "arguments": {}} | meta)
        assert len(server.called("x")) == 1
    server.about["serverInfo"] = {"name": "shop", "version": "2"}
    async with guarded(server) as rig:
        reply = await rig.request(method, params)
        assert reply is not None
        assert '"version":"2"' not in str(reply).replace(" ", "").replace("'", '"')
        await rig.request("tools/call", {"name": "x", "arguments": {}} | meta)
        rig.assert_refused("pins.changed")
        assert len(server.called("x")) == 1
