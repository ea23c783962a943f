"""The definition of a tool, as far as rules go by it.

The rules:

1. A definition is the server's word, so it only narrows: a deny rule may go by an annotation or by the names of
   arguments, an allow rule by a hash of the whole. Neither lets a server talk itself out of a rule, or into one.
2. An annotation that is missing, or is no boolean, is the worse of its two: a tool may write, destroy, do more the
   second time, and reach out (the defaults of MCP's ToolAnnotations).
3. An argument is each name that stands under ``properties``, ``required`` and the like anywhere in ``inputSchema``,
   whatever combines or refers to it. It is compared as it is and by what it looks like.
4. The hash is SHA-256 over the canonical form (RFC 8785) of the complete definition, as ``hauberk pins list`` shows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hauberk import canon
from hauberk_sieve._spelling import fold, nfc
from hauberk_sieve.access._patterns import Patterns

WORST: Final = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True}
"""What each annotation is taken for where a definition does not say otherwise (rule 2)."""
_NAMING: Final = ("properties", "patternProperties", "dependentRequired", "dependentSchemas", "dependencies")


class Facts:
    """One definition; what rules go by is worked out when one asks."""

    __slots__ = ("_arguments", "_hash", "_held", "definition")

    def __init__(self, definition: dict[str, Any]) -> None:
        self.definition: Final = definition
        self._hash = ""
        self._arguments: frozenset[str] | None = None
        self._held: Final[dict[Needs, bool]] = {}

    def meets(self, needs: Needs) -> bool:
        """Whether the definition is what the conditions of a rule are about; worked out once."""
        held = self._held.get(needs)
        if held is None:
            held = self._held[needs] = needs.hold(self)
        return held

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the definition (64 hexadecimal digits)."""
        if not self._hash:
            self._hash = hashlib.sha256(canon.dumps(self.definition)).hexdigest()
        return self._hash

    @property
    def arguments(self) -> frozenset[str]:
        """Return the names of the arguments, with what they look like."""
        if self._arguments is None:
            names = list(_arguments(self.definition.get("inputSchema")))
            self._arguments = frozenset([*map(nfc, names), *map(fold, names)])
        return self._arguments

    def annotation(self, name: str) -> bool:
        """Return what an annotation says."""
        annotations = self.definition.get("annotations")
        found = annotations.get(name) if isinstance(annotations, dict) else None
        return found if isinstance(found, bool) else WORST[name]


class Needs(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The conditions of one rule on the definition."""

    annotations: tuple[str, ...] = ()
    """Annotations that must be the worse of their two."""
    arguments: tuple[str, ...] = ()
    """Patterns, of which one must match the name of an argument."""
    content_hash: str = ""
    """64 hexadecimal digits in lower case."""

    def hold(self, facts: Facts) -> bool:
        """Whether the definition is what the rule is about."""
        if self.content_hash:
            return facts.hash == self.content_hash
        if not all(facts.annotation(name) is WORST[name] for name in self.annotations):
            return False
        return not self.arguments or self._names(facts.arguments)

    def _names(self, arguments: frozenset[str]) -> bool:
        found = Patterns((text, True) for one in self.arguments for text in {one, fold(one)})
        return any(next(found.matching(name), False) for name in arguments)


def _arguments(schema: Any) -> Iterator[str]:
    rest = [schema]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            for key in _NAMING:
                yield from part[key] if isinstance(part.get(key), dict) else ()
            required = part.get("required")
            yield from (name for name in required if isinstance(name, str)) if isinstance(required, list) else ()
            rest.extend(part.values())
        elif isinstance(part, list):
            rest.extend(part)
