"""A policy that says nothing to anybody but one ear: for calls that are judged, and never sent.

What has no side effect is run, and nothing else: the hooks of POLICY and CONTENT. ADMIT charges, REPLAY remembers,
SEAL, GATE and WIRE make frames: they are left out. Nobody is asked, nothing is recorded, and no reference to a secret
becomes its value.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from hauberk.chains import Chains, Step
from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.layers import Layer
from hauberk.message import Message, ToolCall
from hauberk.sinks import Recorder, Sink
from hauberk.verdict import Approved

if TYPE_CHECKING:
    from collections.abc import Callable

    from hauberk.guard import Guard
    from hauberk.policy import Policy

SELF: Final = "explain"


def is_run(step: Step) -> bool:
    """Whether a hook has no side effect."""
    return step.hook in ("on_connect", "on_send", "on_tool_call") and step.layer >= Layer.POLICY


class Ear:
    """What the plugins of a policy say of one call, and what the session makes of it."""

    def __init__(self) -> None:
        self.events: Final[list[Event]] = []
        self.said: Final[dict[str, Any]] = {}
        """What each judge answered or raised."""
        self.rewriters: Final[list[str]] = []
        self.asked = False
        """Whether an approver would be."""
        self.lacking: Final[dict[str, str]] = {}
        """What the verdict of a plugin misses."""
        self.copy: Callable[[], ToolCall] | None = None
        """Makes the call anew, as it was before anybody judged it."""

    def quiet(self, policy: Policy, guard: Guard) -> Policy:
        """Return a policy that runs what may be run, and says everything to this ear and nothing to anybody else."""
        steps = [self._heard(step) for one in policy.loaded.values() for step in one.steps if is_run(step)]
        sink = Sink(Step(SELF, "on_audit", Layer.ADMIT, self.events.append), required=False, quick=True)
        return replace(
            policy,
            chains=Chains(steps),
            recorder=Recorder([sink], policy.bounds, guard.complete, guard.clock),
            decides=True,
            approvers=tuple((name, self) for name, _ in policy.approvers),
            resolvers=((SELF, lambda _ref, _call: ""),),
            request_timeout=None,
        )

    def approve(self, call: ToolCall, _connection: Connection) -> Approved:
        """Say yes in the place of whoever would be asked."""
        self.asked = True
        return Approved(call.digest)

    def _heard(self, step: Step) -> Step:
        """Return a step whose answer is kept."""
        if step.hook == "on_connect":
            return step

        async def ask_async(item: Any, connection: Connection) -> Any:
            self._begin(step, item)
            try:
                return self._keep(step, item, await step.call(item, connection))
            except BaseException as error:
                self._keep(step, item, error)
                raise

        def ask(item: Any, connection: Connection) -> Any:
            self._begin(step, item)
            try:
                return self._keep(step, item, step.call(item, connection))
            except BaseException as error:
                self._keep(step, item, error)
                raise

        return replace(step, call=ask_async if step.is_async else ask)

    def _begin(self, step: Step, item: Any) -> None:
        if step.hook != "on_tool_call":
            return
        item.dry = True
        if self.copy is None:
            data, exchange, server = deepcopy(item.message.data), item.exchange, item.server
            self.copy = lambda: ToolCall(
                replace(item.message, data=deepcopy(data), notes=[]), exchange, server, dry=True
            )

    def _keep(self, step: Step, item: Any, answer: Any) -> Any:
        if step.hook == "on_tool_call":
            self.said[step.plugin] = answer
            if item.lacking:
                self.lacking[step.plugin], item.lacking = item.lacking, ""
        elif type(answer) is Message and answer.data != item.data:
            self.rewriters.append(step.plugin)
        return answer
