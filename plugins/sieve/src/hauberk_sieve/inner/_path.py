"""Where something stands in a value: ``commands[].tool`` is the member ``tool`` of each item of ``commands``.

The rules:

1. A path is names of members with dots between them. ``[]`` behind a name says that an array stands there, and that the
   path goes on in each of its items. What could be meant for another language of paths is an error at load.
2. A value must have what the path says, or nobody can tell what is called: a member that is missing, an object where an
   array should be, a number for a name.
3. Beside a member that the path names no other may stand that a parser which does not tell cases apart takes for it:
   ``Tool`` beside ``tool`` could be what is called (A51).
4. A string where an object or an array should be is parsed by the rules of `hauberk.edge`, and is refused where that
   fails: one JSON text, or for an array one object a line (JSON Lines).
5. What has too many calls is refused before it is looked at any further.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hauberk import edge
from hauberk.bounds import Bounds
from hauberk.refusals import Refused
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import fold, has_hidden, shown

_STEP: Final = re.compile(r"([^.\[\]\"'*?{}()\\/$@,;:#|~^!=<>`\s]+)((?:\[\])*)")
_MEMBER: Final = b'{"v":%b}'
_BOUNDS: Final = Bounds()
_BLANK: Final = " \t\r"
_I: Final = {0x130: "i", 0x131: "i"}
"""What is an i to a parser that folds as Turkish does."""

Step = str | None
"""The name of a member, or None for each item of an array."""
Path = tuple[Step, ...]


class Malformed(Exception):
    """A value does not have what a path says; the text says what, and never repeats the value."""


class Call(NamedTuple):
    """One inner call: what stands at its name, and at each path beside it."""

    name: str
    server: str | None
    id: str | None
    after: tuple[str, ...]


def parse(key: str, text: str) -> Path:
    """Read a path.

    Args:
        key: What the path is of, for errors.
        text: The path.

    Raises:
        ValueError: It is malformed (rule 1).
    """
    steps: list[Step] = []
    for part in text.split("."):
        found = _STEP.fullmatch(part)
        if found is None or has_hidden(part):
            raise ValueError(f"{key}: '{shown(text)}' is no path, expected members like 'tool' or 'commands[].tool'")
        steps += [found[1], *[None] * (len(found[2]) // 2)]
    if steps[-1] is None:
        raise ValueError(f"{key}: '{shown(text)}' ends in an array, name the member of its items that is meant")
    if len(steps) > LIMITS.inner_steps:
        raise ValueError(f"{key}: '{shown(text)}' has more than {LIMITS.inner_steps} steps")
    return tuple(steps)


class Calls:
    """Where the calls of a meta-tool stand: the way to the objects that are calls, and the members of each."""

    __slots__ = ("_beside", "_name", "_way")

    def __init__(self, way: Path, name: Path, beside: Mapping[str, Path]) -> None:
        self._way: Final = way
        self._name: Final = name
        self._beside: Final = beside

    @classmethod
    def of(cls, name: str, beside: Mapping[str, str]) -> Calls:
        """Read the path of the name, and those that stand beside it.

        Raises:
            ValueError: One is malformed, or does not stand in the same object.
        """
        path = parse("name", name)
        last = max((place for place, step in enumerate(path) if step is None), default=-1) + 1
        way, found = path[:last], {}
        for key, text in beside.items():
            if text:
                other = parse(key, text)
                if other[:last] != way or None in other[last:]:
                    raise ValueError(f"{key}: '{shown(text)}' does not stand beside '{shown(name)}', in the same item")
                found[key] = other[last:]
        if "id" in found and not way:
            raise ValueError(f"id: '{shown(name)}' is one call, and has nothing to be told apart from")
        return cls(way, path[last:], found)

    def find(self, arguments: Any, most: int) -> list[Call]:
        """Return each call in the arguments.

        Raises:
            Malformed: They do not have what the paths say, or too many calls.
        """
        found = [self._call(item) for item in _items(arguments, self._way, most)]
        if not found:
            raise Malformed("no call stands where the calls should be")
        return found

    def _call(self, item: Any) -> Call:
        name, server = _text(_member(item, self._name), "name"), None
        if (path := self._beside.get("server")) is not None:
            server = _text(_member(item, path), "server")
        id = self._optional(item, "id")
        after = self._optional(item, "after")
        ids = after if isinstance(after, list) else [] if after is None else [after]
        return Call(name, server, None if id is None else _text(id, "id"), tuple(_text(one, "after") for one in ids))

    def _optional(self, item: Any, key: str) -> Any:
        path = self._beside.get(key)
        return None if path is None else _member(item, path, optional=True)


def _items(value: Any, way: Path, most: int) -> list[Any]:
    """Return what stands at the end of the way, at most so many."""
    found = [value]
    for step in way:
        if step is None:
            found = [item for array in found for item in _array(array)]
            if len(found) > most:
                raise Malformed(f"it has more than {most} calls")
        else:
            found = [one(_object(item), step) for item in found]
    return found


def _member(value: Any, path: Path, *, optional: bool = False) -> Any:
    for step in path:
        if value is None and optional:
            return None
        value = one(_object(value), str(step), optional=optional)
    return value


def one(members: dict[str, Any], name: str, *, optional: bool = False) -> Any:
    """Return one member, unless another looks like it (rule 3)."""
    if name not in members and not optional:
        raise Malformed(f"a member {name!r} is missing")
    alike = _fold(name)
    if any(key != name and _fold(key) == alike for key in members):
        raise Malformed(f"a member looks like {name!r}")
    return members.get(name)


def _fold(key: str) -> str:
    return key.lower() if key.isascii() else fold(key[: LIMITS.name_chars].translate(_I))


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = parsed(value)
    if not isinstance(value, dict):
        raise Malformed("something else stands where an object should be")
    return value


def _array(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = _lines(value)
    if not isinstance(value, list):
        raise Malformed("something else stands where an array should be")
    return value


def _text(value: Any, what: str) -> str:
    if type(value) is not str or not value:
        raise Malformed(f"the {what} of a call is no string, or an empty one")
    return value


def parsed(text: str) -> Any:
    """Parse one JSON text by the rules of the edge, inside an object that it cannot leave: that has one member.

    Raises:
        Malformed: It breaks a rule.
    """
    try:
        found, _ = edge.read(_MEMBER % text.encode(), bounds=_BOUNDS)
    except (Refused, UnicodeEncodeError):
        raise Malformed("a string stands where an object or an array should be, and is no strict JSON") from None
    if list(found) != ["v"]:
        raise Malformed("a string stands where an object or an array should be, and is no strict JSON")
    return found["v"]


def _lines(text: str) -> Any:
    """Parse an array that stands in a string, or objects of which each has a line of its own."""
    lines = [line for line in text.split("\n") if line.strip(_BLANK)]
    if len(lines) > 1 and not text.lstrip(_BLANK + "\n").startswith("["):
        return lines
    found = parsed(text)
    return [found] if isinstance(found, dict) else found
