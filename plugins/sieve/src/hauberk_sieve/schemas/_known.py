"""What is known of tools: their schemas, made ready once and shared by all connections and lists.

A definition that was met before is known by the very object; a list that comes again brings other objects, so schemas
are known by their text as well. Both are bounded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, TypeVar, final

import orjson

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.schemas import _headers
from hauberk_sieve.schemas._addresses import Unusable
from hauberk_sieve.schemas._checker import Checker
from hauberk_sieve.schemas._graph import Graph
from hauberk_sieve.schemas._headers import Invalid, Path
from hauberk_sieve.schemas._work import Work

T = TypeVar("T")
_MARK: Final = f'"{_headers.WORD}"'.encode()


@final
class Reason:
    """Why a schema is unusable, or a tool invalid."""

    __slots__ = ("rule", "text")

    def __init__(self, rule: str, text: str) -> None:
        self.rule = rule
        self.text = text


class Ready:
    """One definition of a tool, with its schemas ready."""

    __slots__ = ("arguments", "definition", "headers", "plain", "result")

    def __init__(self, definition: dict[str, Any], known: Known) -> None:
        self.definition = definition
        self.arguments: Checker | Reason | None = known.schema(definition, "inputSchema")
        """None where the definition has none."""
        self.result: Checker | Reason | None = known.schema(definition, "outputSchema")
        self.headers: tuple[Path, ...] | Reason = headers(definition)
        is_plain = not self.headers and type(self.result) is not Reason
        self.plain: Final = self.arguments if is_plain and type(self.arguments) is Checker else None
        """What its calls are checked with, where there is nothing to them but their arguments."""


class Known:
    """The definitions and schemas that were met last."""

    def __init__(self) -> None:
        self._tools: Final[OrderedDict[int, Ready]] = OrderedDict()
        self._schemas: Final[OrderedDict[bytes, tuple[Checker | Reason, int]]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._schemas)

    def tool(self, definition: dict[str, Any]) -> Ready:
        """Return a definition with its schemas ready."""
        found = self._tools.get(id(definition))
        return found if found is not None and found.definition is definition else self._added(definition)

    def schema(self, definition: dict[str, Any], member: str) -> Checker | Reason | None:
        """Return a schema of a definition ready, or why it cannot be used; None where there is none."""
        if member not in definition:
            return None
        data = _data(definition[member])
        if isinstance(data, Reason):
            return data
        digest = hashlib.sha256(data).digest()
        kept = self._schemas.get(digest)
        if kept is not None:
            self._schemas.move_to_end(digest)
            return kept[0]
        made = _made(lambda: Checker(data))
        self._schemas[digest] = made, len(data)
        self._bytes += len(data)
        while len(self._schemas) > LIMITS.schemas or self._bytes > LIMITS.schemas_bytes:
            _, (_, size) = self._schemas.popitem(last=False)
            self._bytes -= size
        return made

    def _added(self, definition: dict[str, Any]) -> Ready:
        ready = self._tools[id(definition)] = Ready(definition, self)
        if len(self._tools) > LIMITS.schemas:
            self._tools.popitem(last=False)
        return ready


def inspected(definition: dict[str, Any]) -> tuple[Reason | None, int]:
    """Return why a schema of a definition is unusable, as far as can be told without compiling it.

    Returns:
        It, and how much there was to look at (places).
    """
    spent = 0
    for member in ("inputSchema", "outputSchema"):
        data = _data(definition[member]) if member in definition else b""
        if data:
            made = data if isinstance(data, Reason) else _made(lambda data=data: Work(Graph(orjson.loads(data))))  # type: ignore[misc]
            if isinstance(made, Reason):
                return made, spent + (LIMITS.schema_branches if made.rule == "work" else 0)
            spent += made.spent
    return None, spent


def measured(definition: dict[str, Any]) -> tuple[int, bool]:
    """Return how large the schemas of a definition are (bytes; one that is too large is not looked at and has none).

    Returns:
        It, and whether ``x-mcp-header`` is somewhere in them.
    """
    found = [_data(definition[member]) for member in ("inputSchema", "outputSchema") if member in definition]
    data = [one for one in found if isinstance(one, bytes)]
    return sum(map(len, data)), any(_MARK in one for one in data)


def headers(definition: dict[str, Any]) -> tuple[Path, ...] | Reason:
    """Return the parameters of a tool that go into headers, or why the tool is invalid."""
    schema = definition.get("inputSchema")
    data = _data(schema)
    if isinstance(data, Reason) or _MARK not in data:
        return ()  # what is too large to look at is unusable, and its tool is refused for that
    try:
        return _headers.annotated(schema)
    except Invalid as invalid:
        return Reason(_headers.WORD, str(invalid))


def _data(schema: Any) -> bytes | Reason:
    try:
        data = orjson.dumps(schema)
    except (TypeError, ValueError, RecursionError):
        return Reason("invalid", "it is no JSON")
    if len(data) > LIMITS.schema_bytes:
        return Reason("size", f"it has {len(data)} bytes, more than {LIMITS.schema_bytes}")
    return data


def _made(make: Callable[[], T]) -> T | Reason:
    try:
        return make()
    except Unusable as unusable:
        return Reason(unusable.rule, unusable.reason)
