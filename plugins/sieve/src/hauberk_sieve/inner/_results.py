"""What is left of a result that lists tools, once those that may not be called are hidden (S1.2).

The rules:

1. A model reads the structured content and each text, so the path is looked for in each. A text is one JSON text;
   whatever else stands there is refused: nobody can tell what it shows.
2. An object whose name is hidden is hidden, an array that is left with nothing is hidden too, and so is an object
   without what the path goes through. If nothing at all is left, that is an error, and no empty list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown
from hauberk_sieve.inner import _path
from hauberk_sieve.inner._path import Malformed, Path

_GONE: Final = object()


class Sifter:
    """Hides names at one path, and remembers which."""

    def __init__(self, path: Path, allowed: Callable[[str], bool]) -> None:
        self._path: Final = path
        self._allowed: Final = allowed
        self.hidden = 0
        self.names: Final[list[str]] = []
        """The first names that were hidden, as they may be shown."""

    def sift(self, result: dict[str, Any]) -> dict[str, Any] | None:
        """Return what is left of the result of a call; None where nothing is.

        Raises:
            Malformed: It does not have what the path says.
        """
        kept, before = dict(result), self.hidden
        if "structuredContent" in result:
            kept["structuredContent"] = self._left(result["structuredContent"], 0)
        if "content" in result:
            kept["content"] = self._texts(result["content"])
        if _GONE in kept.values():
            return None
        return kept if self.hidden > before else result

    def _texts(self, blocks: Any) -> Any:
        if not isinstance(blocks, list):
            raise Malformed("content is no array")
        kept = [left for left in map(self._text, blocks) if left is not _GONE]
        return kept if kept or not blocks else _GONE

    def _text(self, block: Any) -> Any:
        text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
        if not isinstance(text, str):
            raise Malformed("something else than text stands in it")
        before = self.hidden
        left = self._left(_path.parsed(text), 0)
        if left is _GONE or self.hidden == before:
            return _GONE if left is _GONE else block
        return {**block, "text": orjson.dumps(left).decode()}

    def _left(self, value: Any, at: int) -> Any:
        """Return what is left of what stands at one step of the path."""
        if at == len(self._path):
            return self._named(value)
        step = self._path[at]
        if step is None:
            if not isinstance(value, list):
                raise Malformed("something else stands where an array should be")
            kept = [left for item in value if (left := self._left(item, at + 1)) is not _GONE]
            return kept if kept or not value else _GONE
        if not isinstance(value, dict):
            raise Malformed("something else stands where an object should be")
        left = self._left(_path.one(value, step), at + 1)
        return _GONE if left is _GONE else {**value, step: left}

    def _named(self, name: Any) -> Any:
        if not isinstance(name, str):
            raise Malformed("a name is no string")
        if self._allowed(name):
            return name
        self.hidden += 1
        if len(self.names) < LIMITS.shown_names:
            self.names.append(shown(name))
        return _GONE
