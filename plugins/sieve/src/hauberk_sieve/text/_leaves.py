"""The leaves of a message: every string that can reach a model, wherever it stands.

The rules:

1. A leaf is a string, a key of an object, a number, or what eight or more integers of an array spell as code points.
   True, false and null say nothing.
2. What is binary is skipped and counted by its MIME type: ``data`` or ``blob`` beside a ``mimeType``, and only where it
   is base64 without a break. If it is not, somebody may show it as it stands, so it is a leaf. If it is of a textual
   type, it is decoded, and what it says is a leaf too; so is a ``blob`` of any type but a picture's, a sound's and the
   like that turns out to be text. Decoders differ over white space, padding and the URL-safe letters: each reading is
   a leaf.
3. Nothing recurses: the core bounds the depth, and this does not depend on it. Time grows with the number of values.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import orjson

from hauberk_sieve._words import BETWEEN

Kind = Literal["text", "key", "number", "codes", "encoded"]
Path = tuple[str | int, ...]

_FEWEST_CODES: Final = 8
_LAST_CODE: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)
_BASE64: Final = (string.ascii_letters + string.digits + "+/=-_").encode()
_NO_BASE64: Final = bytes(set(range(256)) - set(_BASE64))
_HOLDERS: Final = ("data", "blob")
_MEDIA: Final = ("image/", "audio/", "video/", "font/")
_FEWEST_ENCODED: Final = 16
_TEXTUAL: Final = ("json", "xml", "yaml", "toml", "javascript", "html", "markdown", "csv")
_TYPE_CHARS: Final = 64


class Leaf(NamedTuple):
    """One leaf, and where it stands."""

    path: Path
    """Keys and indices from the root of what was walked; of a key: up to the key itself."""
    text: str
    kind: Kind

    @property
    def pointer(self) -> str:
        """Return the JSON Pointer (RFC 6901) of the leaf."""
        return pointer(self.path)


class Leaves:
    """All leaves of one part of a message; where each stands is looked for only if somebody asks."""

    __slots__ = ("at", "numbers", "part", "skipped", "texts")

    def __init__(self, part: Any, at: Path = ()) -> None:
        self.part: Final = part
        self.at: Final = at
        """The path of the part in the message."""
        self.texts: Final[list[str]] = []
        """Strings, keys, and what codes spell, in no order."""
        self.numbers: Final[list[int | float]] = []
        self.skipped: Final[dict[str, int]] = {}
        """How many binary values were not inspected, by MIME type."""

    @classmethod
    def of_text(cls, text: str) -> Leaves:
        """Return one text as all there is."""
        leaves = cls(text)
        leaves.texts.append(text)
        return leaves

    def __len__(self) -> int:
        return len(self.texts) + len(self.numbers)

    def characters(self) -> int:
        """Return how many characters they have; a number is as long as it is written."""
        return sum(map(len, self.texts)) + sum(len(orjson.dumps(number)) for number in self.numbers)

    def joined(self) -> str:
        """Return all of it, by empty lines. What matches in a leaf matches here too: patterns know lines, not more."""
        if not self.numbers:
            return BETWEEN.join(self.texts)
        digits = orjson.dumps(self.numbers)[1:-1].decode().replace(",", BETWEEN)
        return BETWEEN.join((*self.texts, digits))

    def located(self) -> Iterator[Leaf]:
        """Yield each leaf with its place, in the order of the text."""
        stack: list[tuple[Path, Any]] = [(self.at, self.part)]
        while stack:
            path, value = stack.pop()
            kind = type(value)
            if kind is dict:
                yield from _of_binary(path, value)
                hidden = _binary(value)
                stack.extend(((*path, key), value[key]) for key in reversed(value) if key not in hidden)
                yield from (Leaf((*path, key), key, "key") for key in value)
            elif kind is list:
                if (spelled := _spelled(value)) is not None:
                    yield Leaf(path, spelled, "codes")
                stack.extend(((*path, index), value[index]) for index in range(len(value) - 1, -1, -1))
            elif kind is str:
                yield Leaf(path, value, "text")
            elif kind is int or kind is float:
                yield Leaf(path, orjson.dumps(value).decode(), "number")


def walk(part: Any, at: Path = ()) -> Leaves:
    """Return every leaf of one part of a message.

    Args:
        part: JSON values as a parser gave them.
        at: Where it stands in the message.
    """
    leaves = Leaves(part, at)
    texts, numbers = leaves.texts, leaves.numbers
    stack = [part]
    pop, more, text, keys = stack.pop, stack.extend, texts.append, texts.extend
    while stack:
        value = pop()
        kind = type(value)
        if kind is str:
            text(value)
        elif kind is dict:
            keys(value)
            if "mimeType" in value or "blob" in value:
                hidden = _binary(value)
                _skip(leaves, value, hidden)
                more(item for key, item in value.items() if key not in hidden)
            else:
                more(value.values())
        elif kind is list:
            more(value)
            if len(value) >= _FEWEST_CODES and (spelled := _spelled(value)) is not None:
                text(spelled)
        elif kind is int or kind is float:
            numbers.append(value)
    return leaves


def flat(part: Any) -> str | None:
    """Return what `walk` would find, joined as `Leaves.joined` does, where it is strings and keys and nothing else."""
    texts: list[str] = []
    stack = [part]
    while stack:
        value = stack.pop()
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif kind is dict:
            if "mimeType" in value or "blob" in value:
                return None
            texts.extend(value)
            stack.extend(value.values())
        elif kind is list:
            if len(value) >= _FEWEST_CODES:
                return None
            stack.extend(value)
        elif value is not None and kind is not bool:
            return None
    return BETWEEN.join(texts)


def pointer(path: Path) -> str:
    """Return the JSON Pointer (RFC 6901) of a path."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _spelled(codes: list[Any]) -> str | None:
    """Return what an array spells, if all of it are code points."""
    if len(codes) < _FEWEST_CODES or type(codes[0]) is not int:
        return None
    if not all(type(code) is int and 0 < code <= _LAST_CODE and code not in _SURROGATES for code in codes):
        return None
    return "".join(map(chr, codes))


def _binary(value: dict[str, Any]) -> tuple[str, ...]:
    """Return the keys of what is binary in an object (rule 2)."""
    if type(value.get("mimeType")) is not str:
        return ()
    return tuple(key for key in _HOLDERS if _is_base64(value.get(key)))


def _is_base64(held: Any) -> bool:
    return type(held) is str and held.isascii() and not held.encode().translate(None, _BASE64)


def _skip(leaves: Leaves, value: dict[str, Any], hidden: tuple[str, ...]) -> None:
    inside = list(_of_binary((), value))
    leaves.texts.extend(leaf.text for leaf in inside)
    if inside or not hidden:
        return
    shown = mime(value["mimeType"])
    if shown not in leaves.skipped and len(leaves.skipped) >= _TYPES:
        shown = "other"
    leaves.skipped[shown] = leaves.skipped.get(shown, 0) + 1


_TYPES: Final = 16


def mime(text: str) -> str:
    """Return a MIME type as an event may show it."""
    plain = _type(text)[:_TYPE_CHARS]
    return plain if plain.isascii() and plain.isprintable() and plain else "unknown"


def _type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _of_binary(path: Path, value: dict[str, Any]) -> Iterator[Leaf]:
    """Yield what base64 of a textual type says, and what a blob says that is text (rule 2)."""
    told = value.get("mimeType")
    kind = _type(told) if type(told) is str else ""
    is_textual = _is_textual(kind)
    if kind.startswith(_MEDIA) and not is_textual:
        return
    for key in _HOLDERS:
        held = value.get(key)
        if type(held) is str and (key == "blob" or (is_textual and _is_base64(held))):
            for decoded in _readings(held):
                if is_textual or _is_text(decoded):
                    yield Leaf((*path, key), decoded.decode("utf-8", "replace"), "encoded")


def _readings(text: str) -> Iterator[bytes]:
    """Yield what decoders may make of base64: they skip what is no letter of it, and stop or go on after padding."""
    data = text.encode("ascii", "ignore").translate(None, _NO_BASE64)
    parts = [part for part in data.translate(_PLAIN_LETTERS).split(b"=") if part]
    yield b"".join(map(_decoded, parts))
    if len(parts) > 1:
        yield _decoded(b"".join(parts))
    if b"-" in data or b"_" in data:
        yield _decoded(data.translate(None, b"-_="))


_PLAIN_LETTERS: Final = bytes.maketrans(b"-_", b"+/")


def _decoded(letters: bytes) -> bytes:
    return base64.b64decode(letters[: len(letters) - (len(letters) % 4 == 1)] + b"==")


def _is_text(decoded: bytes) -> bool:
    """Whether bytes whose type says nothing are a text: UTF-8, without what everybody takes for binary."""
    if len(decoded) < _FEWEST_ENCODED or b"\0" in decoded:
        return False
    try:
        return bool(decoded.decode())
    except UnicodeDecodeError:
        return False


def _is_textual(kind: str) -> bool:
    return kind.startswith("text/") or kind.endswith(_TEXTUAL)
