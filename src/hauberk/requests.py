"""Requests: one goes through the hooks, is judged if it is a call, and leaves once the decision is recorded."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from hauberk import embedded
from hauberk.judgement import Judgement
from hauberk.message import Message, ToolCall, filled, references
from hauberk.ways import awaiting

if TYPE_CHECKING:
    from hauberk.crossing import Crossing, Walk

_RETRY: Final = "inputResponses"
"""What a request brings that answers what an earlier answer asked for."""


def cross(crossing: Crossing, message: Message) -> Walk | None:
    """Take a request to the other side; return the rest of its way, where somebody has a say in it or it waits."""
    policy, route = crossing.policy, crossing.route
    hooked = not (route.idle_out if crossing.way.outward else route.idle_in)
    judged = message.method == "tools/call" and (hooked or policy.decides or policy.chains.judged)
    if judged or hooked or crossing.after is not None or _RETRY in message.data.get("params", ()):
        return _walk(crossing, message, judged=judged)
    left = crossing.write(message, None, message.data)
    if crossing.notes:
        crossing.flush()
    return None if left is None else awaiting(left)


def _walk(crossing: Crossing, message: Message, *, judged: bool) -> Walk:
    route, outward = crossing.route, crossing.way.outward
    first = route.shape_out if outward else route.inward
    if first.steps:
        message = crossing.walk(first, message) if first.plain else (yield from crossing.through(first, message))
        crossing.asked.principal = message.principal  # its answer is for who asked, as narrow as it was asked for
    if _RETRY in message.data.get("params", ()):
        message = yield from embedded.responses(crossing, message)
    judgement: Judgement | None = None
    if judged:
        judgement = Judgement(crossing, message, crossing.asked)
        yield from judgement.run()
    if outward and route.admit_out.steps:
        message = yield from crossing.through(route.admit_out, message)
    first_recorded = judgement is not None and crossing.policy.recorder.required
    if first_recorded and (recorded := _record(crossing, judgement)) is not None:
        yield recorded
        crossing.alive()
    data = message.data
    if crossing.after is not None or (judgement is not None and judgement.unready):
        data = (yield from _ready(crossing, message, judgement)) or data
    left = crossing.write(message, None if judgement is None else judgement.call, data)
    if not first_recorded:
        _ = _record(crossing, judgement)
    if left is not None:
        yield left


def _ready(crossing: Crossing, message: Message, judgement: Judgement | None) -> Walk:
    """Wait for secrets and for the message's turn; return what it is with its secrets, if it has any."""
    data: dict[str, Any] | None = None
    if judgement is not None and judgement.call.holds_secrets:
        data = yield from _with_secrets(crossing, message, judgement.call)
    if crossing.after is not None:
        yield from crossing.turn()
    if judgement is not None and judgement.overtaken:
        yield from judgement.again()
    return data


def _record(crossing: Crossing, judgement: Judgement | None) -> Awaitable[None] | None:
    """Record what was noted, and the decision about a call; return what is to be awaited for a required sink."""
    recorder = crossing.policy.recorder
    if judgement is None or not recorder.used:
        if crossing.notes:
            crossing.flush()
        return None
    event = crossing.session.reports.allowed(judgement.call, judgement.answer)
    # First what was noted: it is about the call that the decision names.
    events = [*crossing.completed(), event] if crossing.notes else (event,)
    if recorder.required:
        return recorder.barrier(events)
    recorder.note(events)
    return None


def _with_secrets(crossing: Crossing, message: Message, call: ToolCall) -> Walk:
    """Put in what the references stand for, at exactly those places; return the whole message."""
    params = message.data["params"]
    values = {}
    for _, ref in references(params["arguments"]):
        if ref not in values:
            values[ref] = yield from crossing.policy.reveal(ref, call)
            crossing.alive()
    crossing.asked.secrets = tuple(values.values())
    return {**message.data, "params": {**params, "arguments": filled(params["arguments"], values)}}
