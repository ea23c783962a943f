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

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import has_hidden, nfc, shown

T = TypeVar("T")
_Glob = tuple[list[str], T]
"""The pieces between the ends, and a value."""

_FEW: Final = 16
"""So many globs are tried one by one."""
_GRAM: Final = 3
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
    length of an end that goes with the beginning that was found. Where many have the same ends, each is found by three
    characters that few others have. That is quicker than one regular expression of them all, which is tried branch by
    branch and takes long to compile where there are thousands, and no hostile name makes it explode.
    """

    __slots__ = ("_exact", "_heads", "_lengths")

    def __init__(self, items: Iterable[tuple[str, T]]) -> None:
        self._exact: Final[dict[str, list[T]]] = {}
        heads: dict[str, dict[str, list[_Glob[T]]]] = {}
        for text, value in items:
            head, *pieces = text.split("*")
            if pieces:
                heads.setdefault(head, {}).setdefault(pieces.pop(), []).append((pieces, value))
            else:
                self._exact.setdefault(text, []).append(value)
        self._heads: Final = {head: _Tails(tails) for head, tails in heads.items()}
        self._lengths: Final = tuple(sorted({len(head) for head in heads}, reverse=True))

    def matching(self, name: str) -> Iterator[T]:
        """Yield the value of each pattern that matches."""
        yield from self._exact.get(name, ())
        heads = self._heads
        for length in self._lengths:
            found = heads.get(name[:length])
            if found is not None and len(name) >= length:
                yield from found.matching(name, length)


class _Tails(Generic[T]):
    """The globs of one beginning."""

    __slots__ = ("_by_tail", "_lengths")

    def __init__(self, tails: dict[str, list[_Glob[T]]]) -> None:
        self._by_tail: Final = {tail: _Middles(globs) for tail, globs in tails.items()}
        self._lengths: Final = tuple(sorted({len(tail) for tail in tails}, reverse=True))

    def matching(self, name: str, start: int) -> Iterator[T]:
        """Yield the value of each glob that matches a name which has the beginning."""
        tails, size = self._by_tail, len(name)
        for length in self._lengths:
            end = size - length
            found = tails.get(name[end:]) if start <= end else None
            if found is not None:
                yield from found.matching(name, start, end)


class _Middles(Generic[T]):
    """The globs of one beginning and one end."""

    __slots__ = ("_by_gram", "_rest")

    def __init__(self, globs: list[_Glob[T]]) -> None:
        self._by_gram: Final[dict[str, list[_Glob[T]]]] = {}
        self._rest: Final[list[_Glob[T]]] = []
        many = len(globs) > _FEW
        shared = Counter(gram for pieces, _ in globs for gram in _grams(pieces)) if many else Counter[str]()
        for glob in globs:
            rarest = min(_grams(glob[0]) if many else (), key=shared.__getitem__, default=None)
            (self._rest if rarest is None else self._by_gram.setdefault(rarest, [])).append(glob)

    def matching(self, name: str, start: int, end: int) -> Iterator[T]:
        """Yield the value of each glob whose pieces stand between two places of a name."""
        for pieces, value in self._rest:
            if _fits(name, pieces, start, end):
                yield value
        if self._by_gram:
            for gram in _grams([name[start:end]]):
                for pieces, value in self._by_gram.get(gram, ()):
                    if _fits(name, pieces, start, end):
                        yield value


def _grams(pieces: list[str]) -> set[str]:
    return {piece[at : at + _GRAM] for piece in pieces for at in range(len(piece) - _GRAM + 1)}


def _fits(name: str, pieces: list[str], start: int, end: int) -> bool:
    """Whether the pieces stand in order between two places of a name. The leftmost place of each leaves most room."""
    for piece in pieces:
        at = name.find(piece, start, end)
        if at < 0:
            return False
        start = at + len(piece)
    return True
