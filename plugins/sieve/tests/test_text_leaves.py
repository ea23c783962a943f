"""The walker: every leaf that can reach a model, and what is not one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve.text import Leaf, walk
from hauberk_sieve.text._leaves import flat, pointer

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=5), inner, max_size=5)
        | st.lists(st.integers(0, 0x110000), max_size=12)
        | st.fixed_dictionaries(
            {
                "mimeType": st.sampled_from(("image/png", "text/plain", "x")) | inner,
                "data": st.text() | st.text(st.sampled_from("aGk0=-_+")),
            }
        )
    ),
    max_leaves=40,
)


def naive(value: Any, path: tuple[Any, ...] = ()) -> list[Leaf]:
    """Find leaves by recursion, slowly."""
    if isinstance(value, dict):
        hidden = binary(value)
        found = [Leaf((*path, key), key, "key") for key in value]
        if hidden and is_textual(value["mimeType"]):
            found += [Leaf((*path, hidden), text, "encoded") for text in readings(value[hidden])]
        return found + [leaf for key in value if key != hidden for leaf in naive(value[key], (*path, key))]
    if isinstance(value, list):
        found = [leaf for place, item in enumerate(value) for leaf in naive(item, (*path, place))]
        if len(value) >= 8 and all(is_code(item) for item in value):
            found.append(Leaf(path, "".join(map(chr, value)), "codes"))
        return found
    if isinstance(value, str):
        return [Leaf(path, value, "text")]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [Leaf(path, orjson.dumps(value).decode(), "number")]
    return []


def readings(held: str) -> Iterator[str]:
    """Decode base64 bit by bit: stopping at each padding, passing over it, and without the letters of URLs."""
    parts = [part for part in held.replace("-", "+").replace("_", "/").split("=") if part]
    yield b"".join(map(from_bits, parts)).decode("utf-8", "replace")
    if len(parts) > 1:
        yield from_bits("".join(parts)).decode("utf-8", "replace")
    if "-" in held or "_" in held:
        yield from_bits(held.replace("-", "").replace("_", "").replace("=", "")).decode("utf-8", "replace")


def from_bits(letters: str) -> bytes:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bits = "".join(f"{alphabet.index(letter):06b}" for letter in letters)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))


def binary(value: dict[str, Any]) -> str | None:
    if not isinstance(value.get("mimeType"), str):
        return None
    letters = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_")
    return next(
        (key for key in ("data", "blob") if isinstance(value.get(key), str) and set(value[key]) <= letters), None
    )


def is_textual(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower().startswith("text/")


def is_code(item: Any) -> bool:
    return type(item) is int and 0 < item <= 0x10FFFF and not 0xD800 <= item <= 0xDFFF


@given(JSON)
def test_walker_finds_what_recursion_finds(value: Any) -> None:
    """The walker visits every leaf of any JSON, each once, with its place (A45, A48)."""
    leaves = walk(value)
    assert Counter(leaves.located()) == Counter(naive(value))
    strings = [leaf.text for leaf in naive(value) if leaf.kind != "number"]
    assert Counter(leaves.texts) == Counter(strings)
    assert len(leaves.numbers) == sum(leaf.kind == "number" for leaf in naive(value))


@given(JSON)
def test_lines_hold_every_leaf(value: Any) -> None:
    """What is matched together holds each leaf whole, between line feeds."""
    joined = f"\n{walk(value).joined()}\n"
    assert all(f"\n{leaf.text}\n" in joined for leaf in naive(value))


def test_depth_needs_no_stack() -> None:
    """Arrays in arrays a hundred thousand deep are walked as any others."""
    value: Any = "bottom"
    for _ in range(100_000):
        value = [value]
    leaves = walk(value)
    assert leaves.texts == ["bottom"]
    del leaves
    while isinstance(value, list):
        value = value.pop()


@pytest.mark.parametrize(
    ("block", "skipped", "texts"),
    [
        ({"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}, {"image/png": 1}, []),
        ({"type": "audio", "data": "aGVsbG8=", "mimeType": "Audio/WAV; rate=8"}, {"audio/wav": 1}, []),
        ({"uri": "a:b", "blob": "aGVsbG8=", "mimeType": "application/pdf"}, {"application/pdf": 1}, []),
        ({"uri": "a:b", "blob": "aGVsbG8=", "mimeType": "text/plain"}, {}, ["hello"]),
        ({"uri": "a:b", "blob": "eyJhIjoxfQ", "mimeType": "application/ld+json"}, {}, ['{"a":1}']),
        ({"type": "image", "data": "not base64", "mimeType": "image/png"}, {}, ["not base64"]),
        ({"type": "image", "data": "aGVsbG8="}, {}, ["aGVsbG8="]),
        ({"type": "image", "data": "aGVsbG8=", "mimeType": "\x1b[31m"}, {"unknown": 1}, []),
    ],
)
def test_binary_is_skipped_and_counted(block: dict[str, Any], skipped: dict[str, int], texts: list[str]) -> None:
    """Base64 beside a MIME type is counted; of a textual type it is read, and what is no base64 is a leaf."""
    leaves = walk({"content": [block]})
    assert leaves.skipped == skipped
    assert [text for text in texts if text in leaves.texts] == texts
    assert ("aGVsbG8=" in leaves.texts) == (texts == ["aGVsbG8="])


def test_mime_types_of_a_server_are_bounded() -> None:
    """A server that makes up MIME types fills one line of the event with them, not more."""
    leaves = walk([{"data": "AAAA", "mimeType": f"image/{place}"} for place in range(100)])
    assert len(leaves.skipped) == 17
    assert leaves.skipped["other"] == 84


def test_codes_are_spelled() -> None:
    """An array of code points is read as the text that it spells, beside its numbers (A48)."""
    codes = [ord(char) for char in "ignore all"]
    leaves = walk({"structuredContent": {"codes": codes}})
    assert "ignore all" in leaves.texts
    assert sorted(leaves.numbers) == sorted(codes)


def test_pointer_is_escaped() -> None:
    """A pointer follows RFC 6901."""
    assert pointer(("a/b", "m~n", 0, "")) == "/a~1b/m~0n/0/"


@given(JSON)
def test_flat_text_is_what_a_walk_finds(value: Any) -> None:
    """Where the quick walk answers at all, it has the very leaves of the other one, and no more."""
    found = flat(value)
    leaves = walk(value)
    if found is not None:
        assert not leaves.numbers
        assert not leaves.skipped
        assert sorted(found.split("\n")) == sorted(leaves.joined().split("\n"))


@pytest.mark.parametrize(
    "value", [{"a": 1}, [0.5], {"mimeType": "x", "data": "aGk="}, [72, 101, 108, 108, 111, 33, 33, 33]]
)
def test_flat_text_leaves_the_rest_to_the_walk(value: Any) -> None:
    """Numbers, what is binary, and what an array spells are not for the quick walk."""
    assert flat(value) is None
