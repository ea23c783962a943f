"""The digest of a result."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.harness import rig, ring

from hauberk import contents
from hauberk.contents import Content, digest_of
from hauberk.message import Message
from hauberk.principal import Principal

texts = st.text(max_size=8) | st.sampled_from(
    ['","result":', ',"jsonrpc":', '","jsonrpc":"', '"result":{}', "\\", "abc,"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
results = st.dictionaries(texts, values, max_size=4)
orders = st.sampled_from(list(itertools.permutations(("jsonrpc", "id", "result"))))


def content(data: dict[str, Any], latest: dict[str, tuple[bytes, bytes]] | None = None) -> Content:
    return Content(orjson.dumps(data), data, "tools/list", {} if latest is None else latest)


def made(result: Any, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": result}


@given(results, texts | st.integers(-(2**53), 2**53), orders, st.booleans())
def test_digest_is_of_the_result_alone(result: Any, id: Any, order: tuple[str, ...], more: bool) -> None:
    """Whatever the id, the order of the members and other members, equal results have the digest of their text."""
    data = {key: made(result, id)[key] for key in order} | ({"extra": 1} if more else {})
    assert content(data).digest == digest_of(result) == hashlib.sha256(orjson.dumps(result)).digest()


@given(results, results, orders)
def test_what_came_last_changes_no_digest(before: Any, after: Any, order: tuple[str, ...]) -> None:
    """A digest that is taken from the result before it is the one that would be made anew."""
    latest: dict[str, tuple[bytes, bytes]] = {}
    for result in (before, after, after, before):
        data = {key: made(result)[key] for key in order}
        assert content(data, latest).digest == digest_of(result)


@pytest.mark.parametrize(
    ("one", "other"),
    [([1], [1.0]), ([1], [True]), ([0], [False]), ([0.0], [-0.0]), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (["1"], [1])],
)
def test_what_python_takes_for_equal_is_not(one: Any, other: Any) -> None:
    """Numbers, booleans and orders that Python's ``==`` does not tell apart have digests of their own."""
    latest: dict[str, tuple[bytes, bytes]] = {}
    assert content(made({"x": one}), latest).digest != content(made({"x": other}), latest).digest


def test_unchanged_result_is_compared_and_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that comes again under another id costs no second hash; one that differs in a byte does."""
    hashed: list[int] = []
    real = hashlib.sha256

    def counted(data: bytes) -> Any:
        hashed.append(len(data))
        return real(data)

    monkeypatch.setattr(hashlib, "sha256", counted)
    latest: dict[str, tuple[bytes, bytes]] = {}
    for id, name in ((1, "a"), (22, "a"), ("c", "a"), (3, "b")):
        assert content(made({"tools": [{"name": name}]}, id), latest).digest
    assert len(hashed) == 2


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result over the bound is hashed and not kept."""
    monkeypatch.setattr(contents, "KEPT_BYTES", 64)
    latest: dict[str, tuple[bytes, bytes]] = {}
    assert content(made({"tools": ["x" * 100]}), latest).digest
    assert latest == {}
    assert content(made({"tools": ["x"]}), latest).digest
    assert len(latest["tools/list"][0]) <= 64


async def test_hooks_read_what_entered_the_guard() -> None:
    """A plugin that comes after one that rewrote reads the digest of what the server sent, in both parsers."""
    seen: list[bytes] = []

    def hide(message: Message, connection: Any) -> Message | None:
        return message.with_result({"tools": []}) if message.kind == "result" else None

    def look(message: Message, connection: Any) -> None:
        if message.kind == "result":
            seen.append(message.result_digest)

    async with rig(ring("a", on_receive=look), ring("b", on_receive=hide)) as r:
        for id in (1, 2):
            await r.request("tools/list", id=id)
            await r.answer({"tools": [{"name": "x"}]}, id=id)
    assert seen == [digest_of({"tools": [{"name": "x"}]})] * 2


async def test_answer_belongs_to_who_asked_as_narrow_as_it_was_asked() -> None:
    """What a plugin takes from the asker's identity stays gone when the answer comes."""
    seen: list[Principal] = []

    def narrow(message: Message, connection: Any) -> Message | None:
        if message.kind == "request":
            return message.with_principal(message.principal.narrow(roles=frozenset()))
        assert message.exchange is not None
        seen.append(message.exchange.principal)
        return None

    async with rig(ring("n", on_send=narrow, on_receive=narrow), role="server") as r:
        r.connection.principal = Principal(id="ada", roles=frozenset({"admin"}))
        await r.request("tools/list", id=1)
        await r.answer({"tools": []}, id=1)
        assert [who.id for who in seen] == ["ada"]
        assert [who.roles for who in seen] == [frozenset()]
