"""The frozen chains of one guard: which hooks a message meets, and in which order.

The order is the onion's. Outwards the layers run from CONTENT to WIRE, inwards from WIRE to CONTENT; inside a layer the
listed order outwards and its reverse inwards. One number orders both ways, so what seals last opens first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from hauberk.layers import Layer

Toward = Literal["server", "client"]
HookName = Literal["on_connect", "on_send", "on_receive", "on_tool_call", "on_audit"]

_BOTH: Final[tuple[Toward, ...]] = ("server", "client")


class Step(msgspec.Struct, frozen=True):
    """One implementation of one hook."""

    plugin: str
    hook: HookName
    layer: Layer
    call: Callable[..., Any]
    is_async: bool = False
    must_judge: bool = False
    methods: frozenset[str] | None = None
    """The methods of which it sees messages; None for all."""
    toward: Mapping[Toward, frozenset[str]] = MappingProxyType({})
    """The same for messages in one direction."""

    def meets(self, method: str, toward: Toward) -> bool:
        """Whether it sees messages of this method in this direction."""
        if self.methods is not None and method not in self.methods:
            return False
        named = self.toward.get(toward)
        return named is None or method in named


class Chain:
    """The steps of one hook in one direction, in the order in which they run."""

    __slots__ = ("calls", "must_judge", "names", "plain", "steps")

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps: Final = tuple(steps)
        self.calls: Final = tuple(step.call for step in self.steps)
        self.plain: Final = not any(step.is_async for step in self.steps)
        self.must_judge: Final = any(step.must_judge for step in self.steps)
        self.names: Final = ", ".join(step.plugin for step in self.steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def at(self, left: int) -> Step:
        """Return the step that was running when ``left`` steps were left after it."""
        return self.steps[len(self.steps) - left - 1]


class Route:
    """The message hooks that messages of one method meet in one direction."""

    __slots__ = ("admit_out", "idle_in", "idle_out", "inward", "shape_out")

    def __init__(self, outward: Iterable[Step], inward: Iterable[Step], method: str, toward: Toward) -> None:
        out, back = ([step for step in steps if step.meets(method, toward)] for steps in (outward, inward))
        self.shape_out: Final = _of("on_send", out, Layer.POLICY, Layer.CONTENT)
        """CONTENT and POLICY on the way out: the last that may rewrite arguments."""
        self.admit_out: Final = _of("on_send", out, Layer.REPLAY, Layer.ADMIT)
        self.inward: Final = _of("on_receive", back, Layer.REPLAY, Layer.CONTENT)
        self.idle_out: Final = not (self.shape_out or self.admit_out)
        """No hook sees such messages on the way out, so they go on as they were checked."""
        self.idle_in: Final = not self.inward


class Chains:
    """Everything that a message can meet, made once from the steps of all plugins in listed order."""

    __slots__ = (
        "_other",
        "_routes",
        "charges",
        "connect",
        "frames_in",
        "frames_out",
        "judged",
        "judges",
        "replays",
        "seals",
        "waits_inward",
        "waits_outward",
    )

    def __init__(self, steps: Sequence[Step]) -> None:
        outward = sorted(steps, key=lambda step: -step.layer)
        inward = list(reversed(outward))
        self.connect: Final = _of("on_connect", inward)
        self.judges: Final = _of("on_tool_call", outward, Layer.POLICY, Layer.CONTENT)
        self.charges: Final = _of("on_tool_call", outward, Layer.ADMIT, Layer.ADMIT)
        self.frames_out: Final = _of("on_send", outward, Layer.WIRE, Layer.SEAL)
        self.frames_in: Final = _of("on_receive", inward, Layer.WIRE, Layer.SEAL)
        self.judged: Final = bool(self.judges or self.charges)
        named = {method for step in steps for method in step.methods or ()}
        named.update(method for step in steps for methods in step.toward.values() for method in methods)
        self._routes: Final = {
            toward: {method: Route(outward, inward, method, toward) for method in named} for toward in _BOTH
        }
        self._other: Final = {toward: Route(outward, inward, "", toward) for toward in _BOTH}
        routes = [*self._other.values(), *(route for found in self._routes.values() for route in found.values())]
        self.seals: Final = any(step.layer is Layer.SEAL for step in steps)
        self.replays: Final = any(step.layer is Layer.REPLAY for step in steps)
        decisions = not (self.judges.plain and self.charges.plain)
        self.waits_outward: Final = decisions or not all(r.shape_out.plain and r.admit_out.plain for r in routes)
        self.waits_inward: Final = not (self.frames_in.plain and all(r.inward.plain for r in routes))

    def route(self, method: str, toward: Toward) -> Route:
        """Return the message hooks for one method in one direction."""
        return self._routes[toward].get(method) or self._other[toward]


def _of(hook: HookName, steps: Iterable[Step], low: Layer = Layer.WIRE, high: Layer = Layer.CONTENT) -> Chain:
    return Chain(step for step in steps if step.hook == hook and low <= step.layer <= high)
