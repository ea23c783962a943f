"""The frozen chains of one guard: which hooks a message meets, and in which order.

The order is the onion's. Outwards the layers run from CONTENT to WIRE, inwards from WIRE to CONTENT; inside a layer the
listed order outwards and its reverse inwards. One number orders both ways, so what seals last opens first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

from hauberk.layers import Layer

HookName = Literal["on_connect", "on_send", "on_receive", "on_tool_call", "on_audit"]


class Step(msgspec.Struct, frozen=True):
    """One implementation of one hook."""

    plugin: str
    hook: HookName
    layer: Layer
    call: Callable[..., Any]
    is_async: bool = False
    observes: bool = False
    """Mode ``audit``: the check runs, its answer is recorded and dropped."""
    must_judge: bool = False


class Chain:
    """The steps of one hook in one direction, in the order in which they run."""

    __slots__ = ("calls", "names", "plain", "steps")

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps: Final = tuple(steps)
        self.calls: Final = tuple(step.call for step in self.steps)
        self.plain: Final = not any(step.is_async for step in self.steps)
        self.names: Final = ", ".join(step.plugin for step in self.steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def at(self, left: int) -> Step:
        """Return the step that was running when ``left`` steps were left after it."""
        return self.steps[len(self.steps) - left - 1]


class Chains:
    """Everything that a message can meet, made once from the steps of all plugins in listed order."""

    __slots__ = (
        "admit_out",
        "charges",
        "connect",
        "frames_in",
        "frames_out",
        "idle_in",
        "idle_out",
        "inward",
        "judges",
        "replays",
        "seals",
        "shape_out",
        "waits_inward",
        "waits_outward",
    )

    def __init__(self, steps: Sequence[Step]) -> None:
        outward = sorted(steps, key=lambda step: -step.layer)
        inward = list(reversed(outward))
        self.connect: Final = _of("on_connect", inward)
        self.shape_out: Final = _of("on_send", outward, Layer.POLICY, Layer.CONTENT)
        """CONTENT and POLICY on the way out: the last that may rewrite arguments."""
        self.judges: Final = _of("on_tool_call", outward, Layer.POLICY, Layer.CONTENT)
        self.charges: Final = _of("on_tool_call", outward, Layer.ADMIT, Layer.ADMIT)
        self.admit_out: Final = _of("on_send", outward, Layer.REPLAY, Layer.ADMIT)
        self.frames_out: Final = _of("on_send", outward, Layer.WIRE, Layer.SEAL)
        self.frames_in: Final = _of("on_receive", inward, Layer.WIRE, Layer.SEAL)
        self.inward: Final = _of("on_receive", inward, Layer.REPLAY, Layer.CONTENT)
        judged = bool(self.judges or self.charges)
        self.idle_out: Final = not (judged or self.shape_out or self.admit_out)
        """No hook sees messages on the way out, so they go on as they were checked."""
        self.idle_in: Final = not (judged or self.inward)
        self.seals: Final = any(step.layer is Layer.SEAL for step in steps)
        self.replays: Final = any(step.layer is Layer.REPLAY for step in steps)
        decisions = not (self.judges.plain and self.charges.plain)
        self.waits_outward: Final = decisions or not (self.shape_out.plain and self.admit_out.plain)
        self.waits_inward: Final = not (self.frames_in.plain and self.inward.plain)


def _of(hook: HookName, steps: Iterable[Step], low: Layer = Layer.WIRE, high: Layer = Layer.CONTENT) -> Chain:
    return Chain(step for step in steps if step.hook == hook and low <= step.layer <= high)
