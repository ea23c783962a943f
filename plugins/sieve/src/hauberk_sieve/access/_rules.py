"""The rules of who may see and call what: patterns on pairs of server and tool.

The rules:

1. A pattern is ``server/tool``, split at the first ``/``, or a table ``{server, tool}`` where the server's name has a
   ``/``; ``*`` alone is every tool of every server. In each part ``*`` is any characters, ``/`` included; every other
   character is itself and is compared exactly, case included, after normalization form C (S1.11, S3.36).
2. What could be meant for a pattern of another kind is malformed, and an error at load: an empty part, a question mark,
   bracket, brace or backslash, a hidden character, white space at the ends of a part. A rule that is skipped in silence
   would be a hole.
3. Server and tool are two values and are never joined: ``("a", "b/c")`` is not ``("a/b", "c")``.
4. A deny rule that matches wins over every allow rule, in whatever order they stand (S3.35); then an allow rule that
   matches; then the default.
5. A deny rule is matched with the name as it came, and with its form C; one that is not plain is also matched by its
   fold (`hauberk_sieve._spelling`). An allow rule matches plain names only.
6. A name that is too long, or has too many combining marks in a row, is denied before any rule is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

from hauberk_sieve._limits import LIMITS, Limits
from hauberk_sieve._spelling import fold, has_hidden, is_plain, nfc, shown, unfit

T = TypeVar("T")
Default = Literal["allow", "deny"]

_FOREIGN: Final = frozenset("?[]{}\\")


class Decision(msgspec.Struct, frozen=True):
    """What the rules say of one tool of one server."""

    allowed: bool
    rule: str
    """The pattern that decided, as it is written, or ``default = …``."""
    by: Literal["allow", "deny", "default", "name"]

    def hint(self, server: str, tool: str) -> str:
        """Return the one thing to do for an operator who wants a refused call to pass."""
        if self.by == "deny":
            return f"take {self.rule} out of [sieve] deny"
        if self.by == "name":
            return "rename it: no rule matches such a name"
        if not (is_plain(nfc(server)) and is_plain(tool)):
            return "rename it: no allow rule matches a name that is not what it looks like"
        pattern = Pattern.exactly(server, tool)
        if pattern is None:
            return "allow it by a pattern with '*' in [sieve] allow: no exact pattern can be offered for its name"
        return f"add {pattern} to [sieve] allow"


class Pattern(NamedTuple):
    """One pattern: what is matched, and how it is written."""

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
        return cls(_part("server", server, text), _part("tool", tool, text), nfc(text))

    @classmethod
    def pair(cls, server: str, tool: str) -> Pattern:
        """Take the two parts of a table.

        Raises:
            ValueError: One is malformed (rule 2).
        """
        text = f"{server}/{tool}" if "/" not in server else f'{{ server = "{server}", tool = "{tool}" }}'
        return cls(_part("server", server, text), _part("tool", tool, text), nfc(text))

    @classmethod
    def exactly(cls, server: str, tool: str) -> Pattern | None:
        """Return the pattern that matches this pair and no other, if there is one that is safe to copy.

        A server may name its tool ``*``, or ``x", "*``: in the configuration that would allow more than was refused.
        """
        if len(server) + len(tool) > LIMITS.shown_chars or {"*", '"'}.intersection(server + tool):
            return None
        try:
            return cls.pair(server, tool)
        except ValueError:
            return None

    def __str__(self) -> str:
        return self.text if self.text.startswith("{") else f'"{self.text}"'


def _part(which: str, part: str, text: str) -> str:
    name = f"pattern '{shown(text)}'"
    if not part:
        raise ValueError(f"{name} has an empty {which}, write '*' for any")
    if part.strip() != part:
        raise ValueError(f"{name} has white space at an end of its {which}")
    if has_hidden(part):
        raise ValueError(f"{name} has a control, zero-width or bidirectional character in its {which}")
    if foreign := sorted(_FOREIGN.intersection(part)):
        raise ValueError(f"{name} has {foreign[0]!r} in its {which}, only '*' is special")
    return nfc(part)


class Patterns(Generic[T]):
    """Values by pattern of one name. Finding takes one look-up for each pair of lengths of the patterns' literal ends.

    That is quicker than one regular expression of them all, which is tried branch by branch and takes long to compile
    where there are thousands, and no hostile name makes it explode.
    """

    __slots__ = ("_exact", "_globs", "_lengths")

    def __init__(self, items: Iterable[tuple[str, T]]) -> None:
        self._exact: Final[dict[str, T]] = {}
        self._globs: Final[dict[tuple[str, str], list[tuple[list[str], T]]]] = {}
        for text, value in items:
            head, *pieces = text.split("*")
            if pieces:
                self._globs.setdefault((head, pieces.pop()), []).append((pieces, value))
            else:
                self._exact.setdefault(text, value)
        lengths = {(len(head), len(tail)) for head, tail in self._globs}
        self._lengths: Final = tuple(sorted(lengths, key=sum, reverse=True))

    def matching(self, name: str) -> Iterator[T]:
        """Yield the value of each pattern that matches, the most literal first."""
        if (value := self._exact.get(name)) is not None:
            yield value
        for head, tail in self._lengths:
            end = len(name) - tail
            if head <= end:
                for pieces, value in self._globs.get((name[:head], name[end:]), ()):
                    if _fits(name, pieces, head, end):
                        yield value


def _fits(name: str, pieces: list[str], start: int, end: int) -> bool:
    """Whether the pieces stand in order between two places of a name. The leftmost place of each leaves most room."""
    for piece in pieces:
        at = name.find(piece, start, end)
        if at < 0:
            return False
        start = at + len(piece)
    return True


class _Table:
    """The patterns of one list: the server's part first, then the tool's."""

    __slots__ = ("_servers",)

    def __init__(self, patterns: Iterable[Pattern], form: Callable[[str], str] = str) -> None:
        servers: dict[str, list[tuple[str, str]]] = {}
        for pattern in patterns:
            servers.setdefault(form(pattern.server), []).append((form(pattern.tool), pattern.text))
        self._servers: Final = Patterns((server, Patterns(tools)) for server, tools in servers.items())

    def find(self, server: str, tool: str) -> str | None:
        """Return a pattern that matches the pair, as it is written."""
        for tools in self._servers.matching(server):
            for text in tools.matching(tool):
                return text
        return None


class Rules:
    """One list of allow and one of deny patterns, with the default for what neither names."""

    __slots__ = ("_allow", "_default", "_deny", "_folded", "_memo", "limits")

    def __init__(
        self,
        default: Default,
        allow: Iterable[Pattern] = (),
        deny: Iterable[Pattern] = (),
        *,
        limits: Limits = LIMITS,
    ) -> None:
        deny = tuple(deny)
        self.limits: Final = limits
        self._allow: Final = _Table(allow)
        self._deny: Final = _Table(deny)
        self._folded: Final = _Table(deny, fold)
        self._default: Final = Decision(default == "allow", f"default = {default}", "default")
        self._memo: Final[dict[tuple[str, str], Decision]] = {}

    def decide(self, server: str, tool: str) -> Decision:
        """Say whether a host may see and call this tool of this server."""
        return self._memo.get((server, tool)) or self._decided(server, tool)

    def remembered(self) -> int:
        """Return how many decisions are remembered."""
        return len(self._memo)

    def _decided(self, server: str, tool: str) -> Decision:
        decision = self._decision(server, tool)
        if len(server) + len(tool) <= self.limits.memo_chars:
            if len(self._memo) >= self.limits.memo:
                del self._memo[next(iter(self._memo))]
            self._memo[server, tool] = decision
        return decision

    def _decision(self, server: str, tool: str) -> Decision:
        if (broken := unfit(tool)) is not None:
            return Decision(False, broken, "name")
        place = nfc(server)
        plain = is_plain(place) and is_plain(tool)
        denied = self._deny.find(place, tool) or (None if plain else self._look_alike(place, tool))
        if denied is not None:
            return Decision(False, denied, "deny")
        allowed = self._allow.find(place, tool) if plain else None
        return self._default if allowed is None else Decision(True, allowed, "allow")

    def _look_alike(self, server: str, tool: str) -> str | None:
        return self._deny.find(server, nfc(tool)) or self._folded.find(fold(server), fold(tool))
