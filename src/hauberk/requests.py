"""Requests: one goes through the hooks, is judged if it is a call, and leaves once the decision is recorded."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

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
    policy = crossing.policy
    judged = message.method == "tools/call" and (policy.decides or policy.chains.judged)
    if judged or crossing.encoded is None or crossing.after is not None or _RETRY in message.data.get("params", ()):
        return _walk(crossing, message)
    left = crossing.write(message, None, message.data)
    if crossing.notes:
        crossing.flush()
    return None if left is None else awaiting(left)


def _walk(crossing: Crossing, message: Message) -> Walk:
    route, outward = crossing.route, crossing.way.outward
    first = route.shape_out if outward else route.inward
    if first.steps:
        message = crossing.walk(first, message) if first.plain else (yield from crossing.through(first, message))
        crossing.asked.principal = message.principal  # its answer is for who asked, as narrow as it was asked for
    if _RETRY in message.data.get("params", ()):
        message = yield from embedded.responses(crossing, message)
    call: ToolCall | None = None
    judgement: Judgement | None = None
    judged = crossing.encoded is None or crossing.policy.decides or crossing.policy.chains.judged
    if judged and message.method == "tools/call":
        judgement = Judgement(crossing, message)
        yield from judgement.run()
        call = judgement.call
    if outward and route.admit_out.steps:
        message = yield from crossing.through(route.admit_out, message)
    first_recorded = judgement is not None and crossing.policy.recorder.required
    if first_recorded and (recorded := _record(crossing, judgement)) is not None:
        yield recorded
        crossing.alive()
    data = message.data
    if call is not None and judgement is not None:
        data = (yield from _ready(crossing, message, call, judgement)) or data
    elif crossing.after is not None:
        yield from crossing.turn()
    left = crossing.write(message, call, data)
    if not first_recorded:
        _ = _record(crossing, judgement)
    if left is not None:
        yield left


def _ready(crossing: Crossing, message: Message, call: ToolCall, judgement: Judgement) -> Walk:
    """Wait for secrets and for the call's turn; return what it is with its secrets, if it has any."""
    data = (yield from _with_secrets(crossing, message, call)) if call.holds_secrets else None
    if crossing.after is not None:
        yield from crossing.turn()
    if judgement.overtaken:
        yield from judgement.again()
    return data


def _record(crossing: Crossing, judgement: Judgement | None) -> Awaitable[None] | None:
    """Record what was noted, and the decision about a call; return what is to be awaited for a required sink."""
    recorder = crossing.policy.recorder
    if judgement is None or not recorder.used:
        if crossing.notes:
            crossing.flush()
        return None
    events = [judgement.decision()]  # first: what was noted is about the call that it names
    if crossing.notes:
        events = [*crossing.completed(), *events]
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
