"""How deep arrays and objects stand in each other."""

from __future__ import annotations

import functools
import itertools
from typing import Any, Final, final

import orjson

from hauberk import _strict as rules
from hauberk._strict import MAX_DEPTH

_LIMIT_MAX: Final = 512
"""A limit of orjson above this is not looked for: brackets around each message would cost more than they save."""


@final
class Gauge:
    """Measures depth for nothing: orjson has a limit of its own, and brackets around a value bring it down to ours.

    What passes is not too deep; what fails is walked, since the limit may be one off for an empty list or object. A
    wrapper belongs to one call at a time: it is taken out of the idle ones, which threads can share.
    """

    __slots__ = ("_idle", "pad")

    def __init__(self, pad: int) -> None:
        self.pad: Final = pad
        self._idle: Final[list[tuple[list[Any], list[Any]]]] = []

    def dumps(self, value: Any) -> bytes:
        """Serialise a JSON value between ``pad`` brackets on each side.

        Raises:
            Refused: ``core.depth``.
        """
        if self.pad and (wrapped := self._wrapped(value)):
            return wrapped
        if too_deep(value):
            raise rules.DEPTH.refused()
        return b"[" * self.pad + orjson.dumps(value) + b"]" * self.pad

    def _wrapped(self, value: Any) -> bytes | None:
        try:
            wrapper = self._idle.pop()
        except IndexError:  # asking first whether there is one would be a race
            wrapper = self._wrapper()
        outer, slot = wrapper
        slot[0] = value
        try:
            return orjson.dumps(outer)
        except TypeError:
            return None
        finally:
            slot[0] = None
            self._idle.append(wrapper)

    def _wrapper(self) -> tuple[list[Any], list[Any]]:
        slot: list[Any] = [None]
        outer = slot
        for _ in range(self.pad - 1):
            outer = [outer]
        return outer, slot

    def sound(self) -> bool:
        """Whether 129 levels never pass, whatever they are made of."""
        leaves: tuple[Any, ...] = (1, [], {})
        return not any(self._wrapped(_nest(kinds, leaf)) for kinds in ("[", "{", "[{") for leaf in leaves)


def _nest(kinds: str, leaf: Any) -> Any:
    """Return one level more than is allowed."""
    value = leaf
    for kind in itertools.islice(itertools.cycle(kinds), MAX_DEPTH + (leaf == 1)):
        value = [value] if kind == "[" else {"": value}
    return value


@functools.cache
def installed() -> Gauge:
    """Measure the limit of the orjson that is installed; without a usable one, depth is walked."""
    nest: list[Any] = []
    for limit in range(_LIMIT_MAX):
        try:
            orjson.dumps(nest)
        except TypeError:
            gauge = Gauge(max(0, limit - MAX_DEPTH))
            return gauge if gauge.pad and gauge.sound() else Gauge(0)
        nest = [nest]
    return Gauge(0)


def too_deep(value: Any) -> bool:
    """Walk level by level; an object that holds itself is too deep."""
    level = {0: value}
    for _ in range(MAX_DEPTH):
        level = {
            id(item): item
            for node in level.values()
            for item in (node.values() if isinstance(node, dict) else node)
            if isinstance(item, dict | list | tuple)
        }
        if not level:
            return False
    return True
