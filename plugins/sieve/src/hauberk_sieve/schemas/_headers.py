"""Parameters that a client also sends as HTTP headers: ``x-mcp-header`` in an ``inputSchema`` (revision 2026-07-28).

The rules, from "Custom Headers from Tool Parameters" (Streamable HTTP; SEP-2243):

1. The value of ``x-mcp-header`` is a token (RFC 9110, section 5.6.2), so neither empty nor with a control character in
   it, and no two in a schema are equal, case aside.
2. It stands at a property of type ``string``, ``integer`` or ``boolean`` to which a chain of ``properties`` alone leads
   from the root. Anywhere else it makes the tool invalid.
3. A client leaves an invalid tool out of the list. Any other transport may ignore all this; here it holds for each,
   since whoever hands the list on may be on HTTP.
4. An integer that goes into a header is within 2^53 - 1. A text may be any: what a header cannot carry is sent in
   Base64, which whoever makes the headers does from the arguments that were judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

WORD: Final = "x-mcp-header"
LARGEST: Final = 2**53 - 1
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TYPES: Final = ("string", "integer", "boolean")
_SINGLE: Final = (
    *("items", "additionalItems", "contains", "unevaluatedItems", "additionalProperties", "unevaluatedProperties"),
    *("propertyNames", "not", "if", "then", "else", "contentSchema"),
)
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_MAPS: Final = ("patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions")

Path = tuple[str, ...]


class Invalid(Exception):
    """A tool whose annotations break a rule."""


def annotated(schema: Any) -> tuple[Path, ...]:
    """Return the paths of the parameters that go into headers.

    Raises:
        Invalid: An annotation breaks a rule; its text says which.
    """
    taken: set[str] = set()
    found: list[Path] = []
    for path, place in _places(schema):
        if WORD not in place:
            continue
        name = place[WORD]
        if not path:
            raise Invalid("it stands where no chain of 'properties' leads")
        if type(name) is not str or not _TOKEN.fullmatch(name):
            raise Invalid("it is no token")
        if place.get("type") not in _TYPES:
            raise Invalid("it stands at a parameter that is no string, integer or boolean")
        if name.lower() in taken:
            raise Invalid("two are equal, case aside")
        taken.add(name.lower())
        found.append(path)
    return tuple(found)


def too_large(paths: tuple[Path, ...], arguments: dict[str, Any]) -> Path | None:
    """Return the path of an argument that no header carries exactly (rule 4), or None."""
    for path in paths:
        value: Any = arguments
        for name in path:
            value = value.get(name) if type(value) is dict else None
        if type(value) in {int, float} and abs(value) > LARGEST:
            return path
    return None


def _places(schema: Any) -> Iterator[tuple[Path | None, dict[str, Any]]]:
    """Yield each schema in a schema, with the names of properties that lead to it; None where something else does."""
    todo: list[tuple[Path | None, Any]] = [((), schema)]
    while todo:
        path, place = todo.pop()
        if type(place) is not dict:
            continue
        yield path, place
        properties = place.get("properties")
        for name, below in properties.items() if type(properties) is dict else ():
            todo.append((None if path is None else (*path, name), below))
        todo += [(None, place[word]) for word in _SINGLE if word in place]
        for word in _LISTS:
            todo += [(None, below) for below in _list(place.get(word))]
        for word in _MAPS:
            held = place.get(word)
            todo += [(None, below) for below in held.values()] if type(held) is dict else []


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []
