"""Patterns on names: how they are written, and how thousands of them are matched with one name.

The rules:

1. ``*`` is any characters, ``/`` included. Every other character is itself and is compared exactly, case included,
   after normalization form C (S1.11, S3.36).
2. What could be meant for a pattern of another kind is malformed, and an error at load: an empty part, a question mark,
   bracket, brace or backslash, a hidden character, white space at the ends. A rule that is skipped in silence would be
   a hole.
3. ``server/tool`` is split at the first ``/``; ``*`` alone is every tool of every server. Server and tool are two
   values and are never joined: ``("a", "b/c")`` is not ``("a/b", "c")``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import has_hidden, nfc, shown

T = TypeVar("T")

_FOREIGN: Final = frozenset("?[]{}\\")


class Pattern(NamedTuple):
    """One pattern on pairs of server and tool: what is matched, and how it is written."""

    server: str
    tool: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read ``server/tool`` or ``*``.

        Raises:
            ValueError: It is malformed (rule 2).
        """
        if text == "*":
            return cls("*", "*", text)
        server, slash, tool = text.partition("/")
        if not slash:
            raise ValueError(f"pattern '{shown(text)}' has no '/', expected 'server/tool' or '*'")
        return cls(part("server", server, text), part("tool", tool, text), nfc(text))

    @classmethod
    def pair(cls, server: str, tool: str) -> Pattern:
        """Take the two parts of a table.

        Raises:
            ValueError: One is malformed (rule 2).
        """
        text = f"{server}/{tool}" if "/" not in server else f'{{ server = "{server}", tool = "{tool}" }}'
        return cls(part("server", server, text), part("tool", tool, text), nfc(text))

    @classmethod
    def exactly(cls, server: str, tool: str) -> Pattern | None:
        """Return the pattern that matches this pair and no other, if there is one that is safe to copy.

        A server may name its tool ``*``, or ``x", "*``: in the configuration that would allow more than was refused.
        """
        if not is_copied_safely(server, tool):
            return None
        try:
            return cls.pair(server, tool)
        except ValueError:
            return None

    def __str__(self) -> str:
        return self.text if self.text.startswith("{") else f'"{self.text}"'


def is_copied_safely(server: str, name: str) -> bool:
    """Whether both names stay what they are between quotation marks in a configuration."""
    return len(server) + len(name) <= LIMITS.shown_chars and not {"*", '"'}.intersection(server + name)


def part(which: str, text: str, whole: str = "") -> str:
    """Return one part of a pattern in normalization form C.

    Args:
        which: What it is a pattern of, for the error.
        text: The part.
        whole: The pattern that it is a part of, if it is one.

    Raises:
        ValueError: It is malformed (rule 2).
    """
    name = f"pattern '{shown(whole or text)}'"
    if not text:
        raise ValueError(f"{name} has an empty {which}, write '*' for any")
    if text.strip() != text:
        raise ValueError(f"{name} has white space at an end of its {which}")
    if has_hidden(text):
        raise ValueError(f"{name} has a control, zero-width or bidirectional character in its {which}")
    if foreign := sorted(_FOREIGN.intersection(text)):
        raise ValueError(f"{name} has {foreign[0]!r} in its {which}, only '*' is special")
    return nfc(text)


class Patterns(Generic[T]):
    """Values by pattern of one name.

    A glob is found by the lengths of its literal ends: a look-up for each length of a beginning, and one for each
    length of an end that goes with the beginning that was found. That is quicker than one regular expression of them
    all, which is tried branch by branch and takes long to compile where there are thousands, and no hostile name makes
    it explode.
    """

    __slots__ = ("_exact", "_heads", "_lengths")

    def __init__(self, items: Iterable[tuple[str, T]]) -> None:
        self._exact: Final[dict[str, list[T]]] = {}
        self._heads: Final[dict[str, _Tails[T]]] = {}
        for text, value in items:
            head, *pieces = text.split("*")
            if pieces:
                self._heads.setdefault(head, _Tails()).add(pieces.pop(), pieces, value)
            else:
                self._exact.setdefault(text, []).append(value)
        self._lengths: Final = tuple(sorted({len(head) for head in self._heads}, reverse=True))

    def matching(self, name: str) -> Iterator[T]:
        """Yield the value of each pattern that matches, the most literal first."""
        yield from self._exact.get(name, ())
        heads = self._heads
        for length in self._lengths:
            found = heads.get(name[:length])
            if found is not None and len(name) >= length:
                yield from found.matching(name, length)


class _Tails(Generic[T]):
    """The globs of one beginning."""

    __slots__ = ("_by_tail", "_lengths")

    def __init__(self) -> None:
        self._by_tail: Final[dict[str, list[tuple[list[str], T]]]] = {}
        self._lengths: tuple[int, ...] = ()

    def add(self, tail: str, pieces: list[str], value: T) -> None:
        """Add a glob."""
        if len(tail) not in self._lengths:
            self._lengths = tuple(sorted({*self._lengths, len(tail)}, reverse=True))
        self._by_tail.setdefault(tail, []).append((pieces, value))

    def matching(self, name: str, start: int) -> Iterator[T]:
        """Yield the value of each glob that matches a name which has the beginning."""
        tails, size = self._by_tail, len(name)
        for length in self._lengths:
            end = size - length
            if start <= end:
                for pieces, value in tails.get(name[end:], ()):
                    if _fits(name, pieces, start, end):
                        yield value


def _fits(name: str, pieces: list[str], start: int, end: int) -> bool:
    """Whether the pieces stand in order between two places of a name. The leftmost place of each leaves most room."""
    for piece in pieces:
        at = name.find(piece, start, end)
        if at < 0:
            return False
        start = at + len(piece)
    return True
