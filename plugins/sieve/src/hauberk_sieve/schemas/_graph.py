"""A schema as a graph: its places, which of them look at the same value, and which at a part of it.

The rules:

1. A reference leads to a place in the document, or the schema is unusable. So does an ``$id`` that two places share, or
   that is written in a way that two programs may read differently.
2. The dialects are 2020-12, which holds where none is named, and draft-07. All places are of one dialect.
3. Places that look at the same value one after the other make a chain; a chain has an end and is not long, since the
   validator's own stack is as long as chains times the depth of the value.
4. What one place costs is an upper bound, in units of work (`LIMITS.work`), of what the validator was measured to need.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import msgspec
import orjson

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.schemas._addresses import Addresses, Unusable
from hauberk_sieve.schemas._patterns import measured

DIALECTS: Final = {
    "https://json-schema.org/draft/2020-12/schema": "2020-12",
    "http://json-schema.org/draft-07/schema": "draft-07",
}
_HERE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_HERE: Final = ("not", "if", "then", "else")
_HERE_MAPS: Final = ("dependentSchemas", "dependencies")
_MEMBERS: Final = ("additionalProperties", "unevaluatedProperties")
_ITEMS: Final = ("items", "additionalItems", "contains", "unevaluatedItems")
_BELOW: Final = ("contentSchema",)
_BELOW_MAPS: Final = ("$defs", "definitions")
_AGAIN: Final = 4
"""What ``unevaluated…`` multiplies: the places that look at the same value are asked again for what they looked at."""
_COMPARED: Final = 10.0
"""Comparing with one node of an array or object in ``enum`` or ``const``."""
_MATCHED: Final = 2.0
"""Searching one short key for a pattern."""
_FORMAT: Final = 3.0
"""Looking at one byte of a text for its format."""
_NUMBER: Final = 10.0
"""Comparing with a whole number in ``const``."""
_REAL: Final = 20.0
"""Comparing with any other number."""
_WHOLE: Final = 35.0
"""Dividing by a whole number."""
_BROKEN: Final = 200.0
"""Dividing by any other number."""
_ODD_REAL: Final = 300.0
_ODD_WHOLE: Final = 90.0
_ODD_BROKEN: Final = 2000.0
_PLAIN_DIVISOR: Final = 1e-15
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_CONTAINED: Final = 2.0
"""Counting one item for ``contains``."""
_HASHED: Final = 4.0
"""Taking one node of an array into account for ``uniqueItems``."""


class Place(msgspec.Struct):
    """One schema in the document: where it leads, and what it costs itself."""

    value: dict[str, Any]
    base: str
    here: list[int] = []
    """Places that look at the same value."""
    members: dict[str, int] = {}
    """Places that look at the member of a name."""
    other: list[int] = []
    """Places that may look at a member of any name."""
    names: list[int] = []
    """Places that look at names."""
    first: list[int] = []
    """Places that look at the item of an index."""
    items: list[int] = []
    """Places that may look at an item of any index."""
    again: int = 1
    cost: float = 1.0
    """Units for each value."""
    each: float = 0.0
    """Units for each member or item."""
    per_byte: float = 0.0
    """Units for each byte of a text."""
    per_name_byte: float = 0.0
    odd: float = 0.0
    """Units for a number that is very large or very near to zero."""
    deep: float = 0.0
    """Units for each node of the whole value."""


class Graph:
    """The places of one schema; the first is the schema itself."""

    def __init__(self, schema: Any) -> None:
        """Read a schema that nothing else holds.

        Raises:
            Unusable: It is not one that can be checked with.
        """
        if type(schema) is not dict:
            raise Unusable("object", f"it is {_kind(schema)}, no object")
        self.dialect: Final = _dialect(schema.get("$schema"))
        self.places: Final[list[Place]] = []
        self.names: Final[set[str]] = set()
        """The names of members that it names."""
        self._addresses: Final = Addresses(self.dialect)
        self._states = self._depth = 0
        self._place_of: Final[dict[int, int]] = {}
        self._refs: Final[list[tuple[int, str, bool]]] = []
        self._read(schema, "")
        self._refer()

    def _read(self, value: Any, base: str) -> int | None:
        """Return the place of a schema, read with all below it; None where it is ``true`` or ``false``."""
        if type(value) is bool:
            return None
        if type(value) is not dict:
            raise Unusable("invalid", f"a schema in it is {_kind(value)}")
        if (known := self._place_of.get(id(value))) is not None:
            return known
        if value.get("$schema") is not None and _dialect(value["$schema"]) != self.dialect:
            raise Unusable("dialect", "it has parts of two dialects")
        index = len(self.places)
        if index >= LIMITS.schema_places:
            raise Unusable("size", f"it has more than {LIMITS.schema_places} places")
        if self._depth >= LIMITS.schema_depth:
            raise Unusable("size", f"it is nested more than {LIMITS.schema_depth} deep")
        place = Place(value, self._addresses.enter(value, base, index))
        self.places.append(place)
        self._place_of[id(value)] = index
        self._depth += 1
        self._lead(place, index)
        self._depth -= 1
        _weigh(place)
        self._weigh_patterns(place)
        return index

    def _lead(self, place: Place, index: int) -> None:
        value = place.value
        place.here = [*self._lists(place, _HERE_LISTS), *self._singles(place, _HERE), *self._maps(place, _HERE_MAPS)]
        place.other = [*self._singles(place, _MEMBERS), *self._maps(place, ("patternProperties",))]
        place.names = self._singles(place, ("propertyNames",))
        place.items = self._singles(place, _ITEMS, lists=False)
        place.first = self._lists(place, ("prefixItems", "items"))
        self._singles(place, _BELOW)
        self._maps(place, _BELOW_MAPS)
        properties = value.get("properties")
        if type(properties) is dict:
            self.names.update(properties)
            found = {name: self._read(member, place.base) for name, member in properties.items()}
            place.members = {name: member for name, member in found.items() if member is not None}
        if "$recursiveRef" in value:
            raise Unusable("reference", "'$recursiveRef' belongs to another dialect")
        for keyword in ("$ref", "$dynamicRef"):
            if keyword in value:
                self._refs.append((index, value[keyword], keyword == "$dynamicRef"))

    def _singles(self, place: Place, keywords: tuple[str, ...], *, lists: bool = True) -> list[int]:
        values = (place.value[keyword] for keyword in keywords if keyword in place.value)
        found = (self._read(value, place.base) for value in values if lists or type(value) is not list)
        return [index for index in found if index is not None]

    def _lists(self, place: Place, keywords: tuple[str, ...]) -> list[int]:
        values = (place.value[keyword] for keyword in keywords if type(place.value.get(keyword)) is list)
        found = [self._read(item, place.base) for value in values for item in value]
        return [index for index in found if index is not None]

    def _maps(self, place: Place, keywords: tuple[str, ...]) -> list[int]:
        values = (place.value[keyword] for keyword in keywords if type(place.value.get(keyword)) is dict)
        members = [member for value in values for member in value.values() if type(member) is not list]
        found = [self._read(member, place.base) for member in members]
        return [index for index in found if index is not None]

    def _weigh_patterns(self, place: Place) -> None:
        value = place.value
        pattern, keys = value.get("pattern"), value.get("patternProperties")
        if type(pattern) is str:
            place.per_byte += self._pattern(pattern)
        if type(keys) is dict:
            place.each += _MATCHED * len(keys)
            place.per_name_byte = sum(map(self._pattern, keys))

    def _pattern(self, text: str) -> float:
        if len(text) > LIMITS.pattern_chars:
            raise Unusable("pattern", f"a pattern has {len(text)} characters, more than {LIMITS.pattern_chars}")
        found = measured(text)
        self._states += found.states
        if self._states > LIMITS.pattern_states:
            raise Unusable("pattern", f"its patterns have more than {LIMITS.pattern_states} states")
        return found.per_byte

    def _refer(self) -> None:
        """Follow each reference; what it leads to may hold further ones."""
        done = 0
        while done < len(self._refs):
            index, text, dynamic = self._refs[done]
            done += 1
            place = self.places[index]
            targets = [self._target(place, text)]
            if dynamic:
                targets += self._addresses.dynamic.get(text.partition("#")[2], [])
            place.here += sorted({target for target in targets if target is not None})

    def _target(self, place: Place, text: Any) -> int | None:
        if type(text) is not str:
            raise Unusable("invalid", "a reference is no text")
        resource, fragment = self._addresses.find(place.base, text)
        if fragment and not fragment.startswith("/"):
            return self._addresses.anchor(resource, fragment)
        value: Any = self.places[self._addresses.resources[resource]].value
        for member in unquote(fragment).split("/")[1:]:
            value = _member(value, member.replace("~1", "/").replace("~0", "~"))
        return self._read(value, resource)


def _weigh(place: Place) -> None:
    """Say what one schema costs itself."""
    value = place.value
    for keyword in ("properties", "required", "dependentRequired", "dependencies", "dependentSchemas"):
        held = value.get(keyword)
        place.cost += sum(map(_length, held.values())) + len(held) if type(held) is dict else _length(held)
    options = [*(value["enum"] if type(value.get("enum")) is list else ()), value.get("const")]
    if any(type(option) in {list, dict} for option in options):
        place.cost += _COMPARED * sum(map(_nodes, options))
    _reckon(place)
    if "format" in value:
        place.per_byte += _FORMAT
    if value.get("uniqueItems") is True:
        place.deep = _HASHED
    if "contains" in value:
        place.each += _CONTAINED
    if "unevaluatedProperties" in value or "unevaluatedItems" in value:
        place.again = _AGAIN


def _dialect(name: Any) -> str:
    if name is None:
        return "2020-12"
    dialect = DIALECTS.get(name.removesuffix("#")) if type(name) is str else None
    if dialect is None:
        raise Unusable("dialect", "its dialect is neither 2020-12 nor draft-07")
    return dialect


def _member(value: Any, member: str) -> Any:
    if type(value) is dict and member in value:
        return value[member]
    if type(value) is list and member.isascii() and member.isdigit() and int(member[:9]) < len(value):
        return value[int(member[:9])]
    raise Unusable("reference", "a reference leads nowhere")


def _length(value: Any) -> int:
    return len(value) if type(value) in {list, dict} else 0


def _nodes(value: Any) -> int:
    """Count the values in a value, by its commas and brackets: never too few."""
    return nodes(orjson.dumps(value))


def nodes(data: bytes) -> int:
    """Count the values in JSON, by its commas and brackets: never too few."""
    return 1 + data.count(b",") + data.count(b"{") + data.count(b"[")


def _reckon(place: Place) -> None:
    """Say what numbers cost, which are compared and divided exactly."""
    value = place.value
    options = [*(value["enum"] if type(value.get("enum")) is list else ()), value.get("const")]
    reals = sum(type(option) is float for option in options)
    bounds = sum(type(value.get(keyword)) is float for keyword in _BOUNDS)
    place.cost += _NUMBER * (type(value.get("const")) is int) + _REAL * (reals + bounds)
    place.odd = _ODD_REAL * (reals + bounds)
    divisor = value.get("multipleOf")
    if divisor is not None:
        is_whole = type(divisor) is int
        place.cost += _WHOLE if is_whole else _BROKEN
        place.odd += _ODD_WHOLE if is_whole else _ODD_BROKEN
        if not is_whole and not _PLAIN_DIVISOR <= abs(divisor if type(divisor) is float else 0) < 1 / _PLAIN_DIVISOR:
            place.cost += _ODD_BROKEN


def _kind(value: Any) -> str:
    return {type(None): "null", bool: "true or false", str: "a text", list: "an array"}.get(type(value), "a number")
