"""JSON as a person keeps it in a file: each value with the place where it stands, so that one can be changed alone.

The rules:

1. RFC 8259, and what editors allow in settings: ``//`` and ``/* */`` comments, and a comma after the last item.
2. One key stands once in an object: of two, a client reads one and this program perhaps the other.
3. A number, true, false and null are only told apart from strings; what they say is nobody's business here.
4. An error says where and what was expected, and never what stands there: it may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from hauberk.refusals import ConfigError

DEPTH: Final = 128
"""Nobody nests deeper (levels)."""
MARK: Final = "\ufeff"
"""A byte order mark, which some editors write first."""
_COMMENT: Final = re.compile(r"//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_BETWEEN: Final = re.compile(rf"[ \t\r\n]*(?:(?:{_COMMENT.pattern})[ \t\r\n]*)*", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_PLAIN: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_OPENING: Final = {"{": "}", "[": "]"}
Edit = tuple[int, int, str]
"""Start, end and what takes the place of the text between."""


class Node(NamedTuple):
    """A value, and where it stands in the text."""

    start: int
    end: int
    text: str | None = None
    """What a string says; None for anything else."""
    items: tuple[Node, ...] | None = None
    """The items of an array."""
    members: tuple[Member, ...] | None = None
    """The members of an object, in their order."""
    null: bool = False

    def get(self, key: str) -> Node | None:
        """Return the value of a key, or None."""
        return next((member.value for member in self.members or () if member.key == key), None)


class Member(NamedTuple):
    """A key of an object, where it stands, and its value."""

    key: str
    start: int
    value: Node


class Tree(NamedTuple):
    """A whole document."""

    text: str
    root: Node
    comments: tuple[tuple[int, int], ...]

    def raw(self, node: Node) -> str:
        """Return a value as it is written."""
        return self.text[node.start : node.end]


def parse(text: str, name: str) -> Tree:
    """Read a document.

    Raises:
        ConfigError: It is none; the error names ``name`` and the place.
    """
    reader = _Reader(text, name)
    at = reader.skip(len(MARK) if text.startswith(MARK) else 0)
    root = reader.value(at, 0)
    end = reader.skip(root.end)
    if end < len(text):
        raise reader.error(end, "the end of the file")
    return Tree(text, root, tuple(reader.comments))


def replaced(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with some of its spans replaced; spans do not overlap."""
    parts, at = [], 0
    for start, end, new in sorted(edits):
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def walk(node: Node) -> Iterator[Node]:
    """Give a value and all that is in it."""
    yield node
    for item in (*(node.items or ()), *(member.value for member in node.members or ())):
        yield from walk(item)


class _Reader:
    """A reader of one text; each method takes the place where a thing begins."""

    def __init__(self, text: str, name: str) -> None:
        self._text: Final = text
        self._name: Final = name
        self.comments: Final[list[tuple[int, int]]] = []

    def error(self, at: int, expected: str) -> ConfigError:
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        got = ", got the end of the file" if at >= len(self._text) else ""
        return ConfigError(
            f"{self._name}: line {line}, column {column}: expected {expected}{got}",
            hint="repair the file, or let its program write it anew; it was left as it is",
        )

    def skip(self, at: int) -> int:
        """Return where the next thing begins after white space and comments."""
        end = _end(_BETWEEN, self._text, at)
        if end - at > 1 and "/" in self._text[at:end]:
            self.comments.extend(found.span() for found in _COMMENT.finditer(self._text, at, end))
        return end

    def value(self, at: int, depth: int) -> Node:
        if depth > DEPTH:
            raise self.error(at, f"at most {DEPTH} levels")
        first = self._text[at : at + 1]
        if first == '"':
            return self._string(at)
        if first == "[":
            return self._array(at, depth)
        if first == "{":
            return self._object(at, depth)
        found = _PLAIN.match(self._text, at)
        if found is None or self._text[found.end() : found.end() + 1].isalnum():
            raise self.error(at, "a value")
        return Node(at, found.end(), null=found.group() == "null")

    def _string(self, at: int, what: str = "the end of this string") -> Node:
        found = _STRING.match(self._text, at)
        if found is None:
            raise self.error(at, what)
        text = found.group()
        return Node(at, found.end(), text=json.loads(text) if "\\" in text else text[1:-1])

    def _array(self, at: int, depth: int) -> Node:
        items: list[Node] = []
        place = self.skip(at + 1)
        while self._text[place : place + 1] != "]":
            items.append(self.value(place, depth + 1))
            place = self._next(items[-1].end, "[")
        return Node(at, place + 1, items=tuple(items))

    def _object(self, at: int, depth: int) -> Node:
        members: dict[str, Member] = {}
        place = self.skip(at + 1)
        while self._text[place : place + 1] != "}":
            key = self._string(place, "a key in double quotes or '}'")
            if key.text in members:
                raise self.error(place, "each key once in an object")
            value = self.value(self._colon(key.end), depth + 1)
            members[str(key.text)] = Member(str(key.text), place, value)
            place = self._next(value.end, "{")
        return Node(at, place + 1, members=tuple(members.values()))

    def _colon(self, at: int) -> int:
        at = self.skip(at)
        if self._text[at : at + 1] != ":":
            raise self.error(at, "':'")
        return self.skip(at + 1)

    def _next(self, at: int, opening: str) -> int:
        """Return where the next item or the closing bracket stands, after one item."""
        at = self.skip(at)
        closing = _OPENING[opening]
        if self._text[at : at + 1] == ",":
            return self.skip(at + 1)
        if self._text[at : at + 1] != closing:
            raise self.error(at, f"',' or '{closing}'")
        return at


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
